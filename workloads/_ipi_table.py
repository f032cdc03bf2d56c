"""ipi-bench's result as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

NOROV = {
    "dry-run": "Dry-run",
    "self": "Self-IPI",
    "normal": "Normal IPI",
    "broadcast": "Broadcast IPI",
    "broadcast-lock": "Broadcast lock",
}


def time(ns: float | None) -> str:
    """Three digits and a unit."""
    if ns is None:
        return "-"
    units = (("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9))
    unit, size = next((u for u in units if abs(ns) < 999.5 * u[1]), units[-1])
    value = ns / size
    return f"{value:.{0 if value >= 99.5 or (unit == 'ns' and value >= 10) else 1 if value >= 9.95 else 2}f} {unit}"


def quotient(value: float | None) -> str:
    """A ratio to the floor."""
    return "-" if value is None else f"{value:.2f}x"


def columns(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Rows of text in columns; the first `left` of them ranged left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = enumerate(zip(row, widths, strict=True))
        lines.append("  ".join(cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in cells).rstrip())
    return lines


def render(rows: list[dict[str, Any]]) -> str:
    """The table, then Norov's lines."""
    if rows and "wrong_cpu" in rows[0]:
        return torture(rows)
    table = [("test", "ipi", "targets", "p50", "p99", "return", "floor", "ratio")]
    table += [
        (
            row["test"],
            row["ipi"],
            str(row["targets"] or "-"),
            time(row["p50_ns"]),
            time(row["p99_ns"]),
            time(row["return_p50_ns"]),
            time(row["floor_p50_ns"]),
            quotient(row["ratio"]),
        )
        for row in rows
    ]
    text = columns(table, 2)
    text += ["", "p50, p99: to the last ack; return: until the call returns; floor: the same in plain C"]
    return "\n".join(text + norov(rows))


def norov(rows: list[dict[str, Any]]) -> list[str]:
    """Sums over all calls, in the form of the kernel module: handler's time minus start, and the whole loop."""
    lines: list[str] = []
    for row in rows:
        sums = row["norov"]
        if sums is None:
            continue
        label = f"{NOROV[row['test']]}:"
        published = "" if row["published_ns"] is None else f"  (a KVM guest's IPI: {time(row['published_ns'])} a call)"
        where = f"{row['ipi']}, {row['targets'] or 1} targets" if row["targets"] != 1 else row["ipi"]
        lines.append(
            f"{label:<15}{sums['ipi_ns']:>18,.0f},{sums['total_ns']:>18,.0f} ns  "
            f"{sums['calls']} calls, {where}{published}"
        )
    return ["", *lines] if lines else []


def torture(rows: list[dict[str, Any]]) -> str:
    """The account of --requests."""
    counts = ("requests", "run", "wrong_cpu", "raised", "taken", "merged", "pending")
    names = ("ipi", "delivery", "cpus", *counts, "seconds")
    table = [names]
    for row in rows:
        numbers = [f"{row[name]:,}" for name in ("cpus", *counts)]
        table.append((row["ipi"], row["delivery"], *numbers, f"{row['seconds']:,.1f}"))
    return "\n".join(columns(table, 2))
