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
    for unit, size in (("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)):
        if abs(ns) < 999.5 * size:
            break
    value = ns / size
    return f"{value:.{0 if value >= 99.5 or unit == 'ns' and value >= 10 else 1 if value >= 9.95 else 2}f} {unit}"


def quotient(value: float | None) -> str:
    """A ratio to the floor."""
    return "-" if value is None else f"{value:.2f}x"


def columns(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Rows of text in columns; the first `left` of them ranged left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        .rstrip()
        for row in rows
    ]


def render(rows: list[dict[str, Any]]) -> str:
    """The table, then Norov's lines."""
    if rows and "wrong_cpu" in rows[0]:
        return torture(rows)
    table = [("test", "ipi", "targets", "p50", "p99", "return", "floor", "ratio")]
    for row in rows:
        table.append(
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
        )
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
    names = ("ipi", "delivery", "cpus", "requests", "run", "wrong_cpu", "raised", "taken", "merged", "pending", "seconds")
    table = [names] + [
        tuple(f"{row[n]:,.1f}" if n == "seconds" else f"{row[n]:,}" if isinstance(row[n], int) else row[n] for n in names)
        for row in rows
    ]
    return "\n".join(columns(table, 2))
