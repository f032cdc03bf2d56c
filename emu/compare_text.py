"""A comparison as a table of at most 80 columns, and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from emu import published
from emu.compare_fail import Judgement
from emu.compare_runs import DIFFERS, EQUAL, NOISE, SHOWN, TOO_FEW, Comparison, Row
from emu.compare_stats import ALPHA
from emu.format import count, nanoseconds, significant, size

WIDTH = 80
NAME = 24


def text(
    found: Comparison,
    *,
    everything: bool,
    limits: Sequence[Judgement] = (),
    title: str = "",
    wanted: Sequence[str] = (),
) -> str:
    """The whole report. WANTED figures, and those of which something was published, are always in the table."""
    known = published.figures(str(found.a.document.get("workload")), found.a.switches, found.b.switches)
    known = [figure for figure in known if any(published.find([figure], row.path) for row in found.rows)]
    parts = [heading(found, title)]

    def in_table(row: Row) -> bool:
        return everything or row.differs or row.path in wanted or published.find(known, row.path) is not None

    rows = [row for row in found.rows if in_table(row)]
    exact = [row for row in rows if row.kind == "exact"]
    varying = [row for row in rows if row.kind != "exact"]
    if exact:
        parts.append("counts: exact, the same in every run of a side\n" + table(exact, known, exact=True))
    if varying:
        share = f"{found.confidence * 100:g}%"
        parts.append(f"medians, with {share} bootstrap intervals of the change\n" + table(varying, known))
    if not rows:
        parts.append("no figure differs beyond the noise")
    if not everything:
        parts += hidden(found)
    parts += notes(found, known)
    if limits:
        parts.append("\n".join(f"--fail-if {j.state}: {j.text}" for j in limits))
    return "\n\n".join(part for part in parts if part) + "\n"


def heading(found: Comparison, title: str) -> str:
    """Who is compared with whom, how often, and what else differs."""
    n = [max((len(v) for v in side.samples.values()), default=0) for side in (found.a, found.b)]
    lines = [title] if title else []
    lines += [f"A  {found.a.name}  ({_times(n[0])})", f"B  {found.b.name}  ({_times(n[1])})"]
    for difference in found.differences:
        lines += wrapped(f"differs in {difference}")
    return "\n".join(lines)


def _times(n: int) -> str:
    return f"{n} run" if n == 1 else f"{n} runs"


def table(rows: Sequence[Row], known: list[published.Published], exact: bool = False) -> str:
    """Rows of figures; a long name has a line of its own."""
    seeds = sorted({f.thread for f in known if any(published.find([f], row.path) for row in rows)})
    head = ["A", "B", "change"] + ([] if exact else ["interval"]) + ([f"seed {','.join(seeds)}"] if seeds else [])
    cells = [_cells(row, exact) + ([_published(known, row.path)] if seeds else []) for row in rows]
    widths = [max(len(line[i]) for line in [head, *cells]) for i in range(len(head))]
    lines = [f"{'figure':<{NAME}}" + _line(head, widths)]
    for row, cell in zip(rows, cells, strict=True):
        if len(row.path) <= NAME:
            lines.append(f"{row.path:<{NAME}}" + _line(cell, widths))
        else:
            lines += [row.path, " " * NAME + _line(cell, widths)]
    return "\n".join(line.rstrip() for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _cells(row: Row, exact: bool) -> list[str]:
    shown = [value(row.a.value, row.unit, exact), value(row.b.value, row.unit, exact), percent(row)]
    if exact:
        return shown
    if row.change is None:
        return [*shown, "-"]
    if row.found == TOO_FEW:
        return [*shown, "too few runs"]
    if row.found == NOISE and row.change.low == row.change.high:
        return [*shown, "the same"]
    high = f"{row.change.high * 100:+.1f}%" if row.change.high < 1e4 else "any"
    return [*shown, f"{row.change.low * 100:+.1f} .. {high}"]


def _published(known: list[published.Published], path: str) -> str:
    found = published.find(known, path)
    return found.shown() if found else ""


def value(number: float, unit: str, exact: bool = False) -> str:
    """One figure with its unit."""
    if unit == "ns":
        return nanoseconds(number)
    if unit == "bytes" and not exact:
        return size(number)
    if exact:
        return f"{number:.0f}"
    if unit == "rate":
        return f"{count(number)}/s"
    if unit == "number":
        return significant(number)
    return count(number)


def percent(row: Row) -> str:
    """The change as it is said: a share, or the difference where there was nothing before."""
    if row.change is None:
        return "0" if row.b.value == 0 else f"+{value(row.b.value, row.unit, row.kind == 'exact')}"
    if row.change.value > 9.995:
        return f"x{row.change.value + 1:.3g}"
    return f"{row.change.value * 100:+.1f}%"


def by_row(paths: list[str]) -> str:
    """Paths by name; those of one row of a table together, with their number."""
    names: dict[str, int] = {}
    for path in paths:
        name = path[: path.rindex("]") + 1] if "]" in path else path
        names[name] = names.get(name, 0) + 1
    return ", ".join(name if number == 1 else f"{name} ({number} figures)" for name, number in names.items())


def hidden(found: Comparison) -> list[str]:
    """What is not in the table, by name."""
    equal, noise, few = (found.named(kind) for kind in (EQUAL, NOISE, TOO_FEW))
    parts = []
    if noise:
        parts.append("\n".join(wrapped(f"no difference shown ({len(noise)}): " + ", ".join(noise))))
    if few:
        changed = [row.path for row in found.rows if row.found == TOO_FEW and row.a.value != row.b.value]
        names = ": " + ", ".join(changed) if changed else ""
        text = f"too few runs to tell ({len(changed)} of {len(few)} figures are not the same){names}"
        parts.append("\n".join(wrapped(text)))
    if equal:
        parts.append(f"exact and equal: {len(equal)} counts (--all lists them)")
    for side, only in (("A", found.only_a), ("B", found.only_b)):
        if only:
            parts.append("\n".join(wrapped(f"only in {side} ({len(only)}): " + by_row(only))))
    return parts


def notes(found: Comparison, known: list[published.Published]) -> list[str]:
    """Where the published figures come from, and how to read the rest."""
    lines = [line for f in known if f.text for line in wrapped(f"seed {f.thread}: {f.text}")]
    said = {f.thread for f in known}
    for thread in published.threads(found.a.switches, found.b.switches):
        if thread not in said and thread in published.CLAIMS:
            lines += wrapped(f"seed {thread}, no figures of this workload: {published.CLAIMS[thread]}")
    tested = sum(row.found in (SHOWN, NOISE) for row in found.rows)
    if tested:
        lines += wrapped(
            f"{tested} figures were tested, each at p <= {ALPHA:g}: by chance {tested * ALPHA:.1f} would be shown"
        )
    return ["\n".join(lines)] if lines else []


def wrapped(text: str) -> list[str]:
    """Lines of at most 80 columns; names are not broken."""
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)


def as_dict(found: Comparison, limits: Sequence[Judgement] = ()) -> dict[str, Any]:
    """The comparison as JSON."""
    known = published.figures(str(found.a.document.get("workload")), found.a.switches, found.b.switches)
    rows = []
    for row in found.rows:
        said = published.find(known, row.path)
        rows.append(
            {
                "path": row.path,
                "unit": row.unit,
                "kind": row.kind,
                "samples": list(row.samples),
                "a": row.a._asdict(),
                "b": row.b._asdict(),
                "change": _finite(row.change._asdict()) if row.change is not None else None,
                "p": row.p,
                "found": row.found,
            }
            | ({"published": {"thread": said.thread, "before": said.before, "after": said.after}} if said else {})
        )
    return {
        "a": {"name": found.a.name, "config": found.a.document.get("config")},
        "b": {"name": found.b.name, "config": found.b.document.get("config")},
        "confidence": found.confidence,
        "differences": found.differences,
        "rows": rows,
        "shown": found.named(SHOWN) + found.named(DIFFERS),
        "no_difference_shown": found.named(NOISE),
        "only_a": found.only_a,
        "only_b": found.only_b,
        "fail_if": [judgement._asdict() for judgement in limits],
    }


def _finite(interval: dict[str, float]) -> dict[str, float | None]:
    """JSON has no infinity: an end that is not known is null."""
    return {key: number if abs(number) < float("inf") else None for key, number in interval.items()}
