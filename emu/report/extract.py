"""What of a document goes into a table or a figure. Whatever is missing or hand-edited is left out, never guessed."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from emu import patches
from emu.errors import EmuError
from emu.format import count, nanoseconds
from emu.report.source import Source

PERCENTILES = ("p50_ns", "p90_ns", "p99_ns", "max_ns")
SPARED = {
    "ipis_avoided_no_previous": "a new cache has no previous array caches",
    "ipis_avoided_empty": "the CPU was looked at and held nothing",
    "ipis_avoided_offline": "the CPU is offline",
    "ipis_avoided_self": "the sender itself: a plain call",
}
SHOWN_CONFIG = (
    "cpus",
    "nodes",
    "kernel",
    "allocator",
    "ipi",
    "loops",
    "duration",
    "repeat",
    "preempt",
    "gate",
    "boost",
)
HIDDEN_KEYS = ("repeats", "spread", "patches", "rows")
LONGEST_CELL = 60
MOST_FIGURES = 60


class Table(NamedTuple):
    """A table: its columns, and rows of text; the first column is the row's name."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def number(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def shown(name: str, value: Any) -> str:
    """A figure for people: scaled by the unit that its name ends with."""
    figure = number(value)
    if figure is None:
        return "-" if value is None else str(value)[:LONGEST_CELL]
    if name.endswith("_ns") or name in ("p50", "p90", "p99", "max"):
        return nanoseconds(figure)
    return count(figure)


def beside(labels: Sequence[str], tables: Sequence[Table]) -> Table:
    """Tables of pairs as one: a column for each, in the order in which the names first come."""
    if len(tables) == 1:
        return tables[0]
    names = dict.fromkeys(row[0] for table in tables for row in table.rows)
    values = [{row[0]: row[1] for row in table.rows} for table in tables]
    return Table((tables[0].head[0], *labels), [(name, *(each.get(name, "") for each in values)) for name in names])


def are_pairs(tables: Sequence[Sequence[Table]]) -> bool:
    """Whether each of these is one table of pairs."""
    return all(len(each) == 1 and len(each[0].head) == 2 for each in tables)


def configuration(source: Source) -> Table:
    """What was run: options, parameters, and the switches that differ from the version's own."""
    config = source.get("config")
    rows = [(name, str(config[name])) for name in SHOWN_CONFIG if config.get(name) not in (None, "")]
    rows += [(f"parameter {name}", str(value)) for name, value in (config.get("params") or {}).items()]
    rows.append(("seed", str(source.document.get("seed", config.get("seed", "-")))))
    rows += [(f"switch {name}", f"{new} (Linux {config.get('kernel')}: {old})") for name, old, new in changed(source)]
    return Table(("option", "value"), rows)


def changed(source: Source) -> list[tuple[str, str, str]]:
    """(switch, value of the version, value of the run) of those that differ."""
    config = source.get("config")
    try:
        own = patches.difference(patches.defaults(config["kernel"]), config["patches"])
    except (EmuError, KeyError, TypeError, AttributeError):
        return []
    return [(name, old, new) for name, (old, new) in own.items()]


def host(source: Source) -> Table:
    """What it was measured on, and this host's own floor."""
    about = source.get("host")
    keys = ("cpu_model", "allowed_cpus", "kernel", "delivery", "running", "oversubscribed", "governor", "load")
    rows = [(key.replace("_", " "), str(about[key])) for key in keys if about.get(key) is not None]
    floors = about.get("ipi_floor_ns")
    for name, floor in floors.items() if isinstance(floors, dict) else ():
        if isinstance(floor, dict):
            rows.append(
                (f"floor of {name} in C", f"{shown('p50', floor.get('p50'))} p50, {shown('p99', floor.get('p99'))} p99")
            )
    return Table(("host", ""), rows)


def result_tables(source: Source) -> list[Table]:
    """The workload's own figures: its rows as one table, the rest as pairs."""
    result = source.get("result")
    tables = []
    rows = [row for row in result.get("rows") or () if isinstance(row, dict)]
    if rows:
        # What a row is called stands above it already.
        flat = [{key: item for key, item in flatten(row) if key != "variant"} for row in rows]
        names = list(dict.fromkeys(name for row in flat for name in row))
        # Turned: a page is higher than wide.
        head = ("figure", *(row_name(row, i) for i, row in enumerate(rows)))
        tables.append(Table(head, [(n, *(shown(n, row[n]) if n in row else "" for row in flat)) for n in names]))
    pairs = [(name, shown(name, value)) for name, value in flatten(result)]
    if pairs:
        tables.append(Table(("figure", "value"), pairs))
    return tables


def row_name(row: Mapping[str, Any], place: int) -> str:
    """What tells a row from the others."""
    parts = [
        str(row[key]) for key in ("variant", "test", "operation", "kernel", "size", "cpus", "targets") if key in row
    ]
    return " ".join(parts)[:LONGEST_CELL] or f"row {place + 1}"


def flatten(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, figure or text) of what is worth a cell; of a row of numbers its sum."""
    for key, item in value.items():
        if key in HIDDEN_KEYS:
            continue
        name = f"{path}.{key}" if path else str(key)
        if isinstance(item, Mapping):
            yield from flatten(item, name)
        elif isinstance(item, (list, tuple)):
            if item and all(number(part) is not None for part in item):
                yield f"{name} (sum)", sum(item)
        elif item is not None:
            yield name, item


def latencies(source: Source) -> Table:
    """Percentiles of every kind of operation."""
    rows = [
        (name, shown("", row.get("count")), *(shown(key, row.get(key)) for key in PERCENTILES))
        for name, row in source.get("latency").items()
        if isinstance(row, dict)
    ]
    return Table(("latency", "count", "p50", "p90", "p99", "max"), rows)


def locks(source: Source) -> Table:
    """Acquisitions, waits and holds of every class."""
    rows = []
    for name, row in source.get("locks").items():
        if isinstance(row, dict):
            times = [(row.get(kind) or {}).get(key) for kind in ("wait_ns", "hold_ns") for key in ("p50", "p99", "max")]
            rows.append(
                (
                    name,
                    shown("", row.get("acquisitions")),
                    shown("", row.get("contended")),
                    *(shown("p50", t) for t in times),
                )
            )
    return Table(("lock", "taken", "contended", "wait p50", "p99", "max", "hold p50", "p99", "max"), rows)


def ledger(source: Source) -> list[Table]:
    """Interrupts that were sent, and those that were avoided, and why; by call site where that was recorded."""
    vmstat, ipis = source.get("vmstat"), source.get("ipis")
    sent = [
        ("sent to other CPUs", vmstat.get("ipis_sent")),
        ("taken", ipis.get("taken")),
        ("merged", ipis.get("merged")),
    ]
    rows = [(name, shown("", value)) for name, value in sent if number(value) is not None]
    rows += [(f"avoided: {why}", shown("", vmstat[name])) for name, why in SPARED.items() if number(vmstat.get(name))]
    tables = [Table(("interrupts", "count"), rows)] if rows else []
    found = source.get("ledger").get("rows")
    sites = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
    if sites:
        keys = ("calls", "sent", "empty", "not_raised", "self", "waits", "blocked")
        head = ("called from", "runs", "under", *keys, "waited", "others waited")
        cells = [
            (
                *(str(row.get(key, ""))[:LONGEST_CELL] for key in ("site", "function", "locks")),
                *(shown("", row.get(key)) for key in keys),
                *(shown(key, row.get(key)) for key in ("wait_ns", "blocked_ns")),
            )
            for row in sites
        ]
        tables.append(Table(head, cells))
    return tables


def published(source: Source) -> list[Table]:
    """What the threads that proposed the run's patches have published, beside what was measured here."""
    if importlib.util.find_spec("emu.published") is None:
        return []
    known = importlib.import_module("emu.published")
    rows = []
    for side, figures in sides(source):
        for entry in known.FIGURES:
            if entry.workload != source.document["workload"]:
                continue
            path, value = matching(known, entry, figures)
            if path:
                cells = (said(entry.before), said(entry.after), entry.shown(), entry.text)
                rows.append((f"{path}{f' ({side})' if side else ''}", shown(path, value), *cells))
    if not rows:
        return []
    return [Table(("figure", "here", "published without", "with the patch", "change", "how"), rows[:MOST_FIGURES])]


def said(value: float | None) -> str:
    """A published figure."""
    return "" if value is None else f"{value:g}"


def matching(known: Any, entry: Any, figures: Mapping[str, float]) -> tuple[str, float]:
    """The first of our figures that a published one is about; an empty path for none."""
    for path, value in figures.items():
        if known.find([entry], path) is not None:
            return path, value
    return "", 0.0


def sides(source: Source) -> Iterator[tuple[str, dict[str, float]]]:
    """(name of the variant, its figures): of a run with variants each, else the run itself."""
    flatten_all = importlib.import_module("emu.figures").flatten
    rows = [row for row in source.get("result").get("rows") or () if isinstance(row, dict) and row.get("variant")]
    if not rows:
        yield "", flatten_all(source.document)
    for row in rows:
        yield str(row["variant"]), flatten_all({"result": row})


def again(source: Source) -> list[str]:
    """How to repeat it: the command with its seed, and by its name where it was kept."""
    command, seed = str(source.document["command"]), source.document.get("seed")
    lines = [command if "--seed" in command or seed is None else f"{command} --seed {seed}"]
    if isinstance(source.document.get("run"), dict):
        lines.append(f"emu again {source.label}")
    return lines
