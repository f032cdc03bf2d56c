"""What a frame is made of: lines of (text, style) parts. Every character is one cell wide, so widths are lengths.

rich's own tables would do, at ten times the cost: four frames a second of 200 x 60 cells have 20 ms each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Part = tuple[str, str]
Line = list[Part]

BLOCKS = "·▁▂▃▄▅▆▇█"
ASCII_BLOCKS = " .:-=+*#@"
EIGHTHS = " ▏▎▍▌▋▊▉█"
LEVELS = 8
TIMES = ((1e9, "s"), (1e6, "ms"), (1e3, "us"), (1.0, "ns"))


def text(*parts: str | Part) -> Line:
    """A line of parts; a plain string has no style."""
    return [(part, "") if isinstance(part, str) else part for part in parts]


def length(line: Line) -> int:
    """Cells of a line."""
    return sum(len(part) for part, _ in line)


def fit(line: Line, width: int) -> Line:
    """The line cut or filled to exactly `width` cells."""
    fitted: Line = []
    left = width
    for part, style in line:
        if left <= 0:
            break
        if part:
            fitted.append((part[:left], style))
            left -= len(part)
    if left > 0:
        fitted.append((" " * left, ""))
    return fitted


def beside(left: Sequence[Line], right: Sequence[Line], width: int, between: str) -> list[Line]:
    """Two blocks of lines of which the left one is `width` cells wide."""
    rows = max(len(left), len(right))
    empty: Line = []
    pairs = ((left[i] if i < len(left) else empty, right[i] if i < len(right) else empty) for i in range(rows))
    return [[*fit(a, width), (between, "dim"), *b] for a, b in pairs]


def level(share: float, ascii_only: bool) -> str:
    """One cell that says how much: anything at all is seen."""
    ramp = ASCII_BLOCKS if ascii_only else BLOCKS
    return ramp[heat(share)]


def heat(share: float) -> int:
    """0 for nothing, 1 to 8 for something."""
    if not share > 0:
        return 0
    return min(LEVELS, 1 + int(share * LEVELS))


def bar(share: float, cells: int, ascii_only: bool) -> str:
    """A bar of `cells` cells."""
    share = min(1.0, max(0.0, share))
    if ascii_only:
        full = round(share * cells)
        return "#" * full + "." * (cells - full)
    eighths = round(share * cells * LEVELS)
    full, rest = divmod(eighths, LEVELS)
    drawn = "█" * full + (EIGHTHS[rest] if rest else "")
    return drawn.ljust(cells)


def count(value: float | None) -> str:
    """A number in at most 5 characters: 0, 999, 12.3k, 123k, 1.2M; "-" for unknown."""
    if value is None:
        return "-"
    if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 - not a number
        return "?"
    if abs(value) < 999.5:
        return f"{value:.0f}" if value >= 9.95 or value == int(value) else f"{value:.1f}"
    for unit in "kMGTPE":
        value /= 1000
        if abs(value) < 99.95:
            return f"{value:.1f}{unit}"
        if abs(value) < 999.5:
            return f"{value:.0f}{unit}"
    return "huge"


def size(value: float) -> str:
    """Bytes in at most 6 characters: 512B, 12.3K, 1.2M."""
    if abs(value) < 1024:
        return f"{value:.0f}B"
    for unit in "KMGTPE":
        value /= 1024
        if abs(value) < 99.95:
            return f"{value:.1f}{unit}"
        if abs(value) < 1023.5:
            return f"{value:.0f}{unit}"
    return "huge"


def time(nanoseconds: float | None) -> str:
    """A time in at most 6 characters: 12ns, 1.2us, 345ms, 12s; "-" for unknown."""
    if nanoseconds is None:
        return "-"
    for scale, unit in TIMES:
        if abs(nanoseconds) >= scale * 0.9995:
            value = nanoseconds / scale
            if value >= 99999:
                return "huge"
            return f"{value:.0f}{unit}" if value >= 9.95 else f"{value:.1f}{unit}"
    return "0" if nanoseconds == 0 else "<1ns"


def row(cells: Iterable[str], widths: Sequence[int]) -> str:
    """Cells in columns: a positive width is right-aligned, a negative one left-aligned; too long is cut."""
    parts = []
    for cell, width in zip(cells, widths, strict=True):
        parts.append(cell[:width].rjust(width) if width > 0 else cell[:-width].ljust(-width))
    return " ".join(parts)
