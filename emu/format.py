"""Numbers for people: scaled, with units, every repeated figure with its spread. Files hold plain nanoseconds."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence

TIMES = ((1e9, "s"), (1e6, "ms"), (1e3, "us"), (1.0, "ns"))
BYTES = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
COUNTS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def significant(value: float, digits: int = 3) -> str:
    """`digits` significant digits, without an exponent: 0.0123, 1.23, 123, 12300."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{decimals}f}"
    # 9.996 rounds up to a digit too many.
    if "." in text and len(text.lstrip("-0.").replace(".", "")) > digits:
        text = text[:-1].rstrip(".")
    return text


def nanoseconds(value: float | None) -> str:
    """1234567 -> 1.23 ms."""
    if value is None:
        return "-"
    for scale, unit in TIMES:
        if abs(value) >= scale:
            return f"{significant(value / scale)} {unit}"
    return f"{significant(value)} ns" if value else "0 ns"


def seconds(value: float) -> str:
    """12.3456 -> 12.3 s."""
    return nanoseconds(value * 1e9)


def size(value: float) -> str:
    """268435456 -> 256 MiB."""
    for scale, unit in BYTES:
        if abs(value) >= scale:
            text = significant(value / scale, 4)
            return f"{text.rstrip('0').rstrip('.') if '.' in text else text} {unit}"
    return f"{value:.0f} B"


def count(value: float) -> str:
    """1234567 -> 1.23M; below 10000 in full."""
    if abs(value) < 10000:
        return f"{value:.0f}" if value == int(value) else significant(value)
    for scale, unit in COUNTS:
        if abs(value) >= scale:
            return f"{significant(value / scale)}{unit}"
    return significant(value)


def spread(values: Sequence[float], unit: str = "ns") -> str:
    """Median and how far the quarters around it lie: `1.20 ms (1.11 .. 1.34)`; one value has no spread."""
    ordered = sorted(values)
    if not ordered:
        return "-"
    show = nanoseconds if unit == "ns" else count
    middle = show(quantile(ordered, 0.5))
    if len(ordered) == 1:
        return f"{middle} (once)"
    return f"{middle} ({show(quantile(ordered, 0.25))} .. {show(quantile(ordered, 0.75))})"


def quantile(ordered: Sequence[float], share: float) -> float:
    """A quantile of sorted values, between two of them in proportion."""
    at = share * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns of text: the first to the left, the others to the right, two blanks between."""
    lines = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def hanging(head: str, text: str, width: int = 80) -> str:
    """HEAD and TEXT beside it, in lines of WIDTH; text too long for one goes on below itself."""
    return textwrap.fill(text, width, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False)


def plain(result: object, indent: str = "") -> str:
    """Any result as indented text: for workloads that render none."""
    if isinstance(result, dict):
        return "\n".join(_entry(str(key), value, indent) for key, value in result.items())
    if isinstance(result, list):
        return "\n".join(_entry("-", value, indent) for value in result)
    return f"{indent}{result}"


def _entry(key: str, value: object, indent: str) -> str:
    if isinstance(value, (dict, list)) and value and not _is_flat(value):
        return f"{indent}{key}\n{plain(value, indent + '  ')}"
    if isinstance(value, (dict, list)):
        items = [f"{k} {v}" for k, v in value.items()] if isinstance(value, dict) else [str(v) for v in value]
        return f"{indent}{key}  {', '.join(items) or 'none'}"
    return f"{indent}{key}  {value}"


def _is_flat(value: dict[str, object] | list[object]) -> bool:
    items = value.values() if isinstance(value, dict) else value
    return len(value) <= 32 and not any(isinstance(item, (dict, list)) for item in items)
