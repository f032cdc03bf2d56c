"""The figures of a result as a flat table: path -> number, with what kind of number it is.

A path is the one in the JSON, joined by dots: `latency.drain.p99_ns`, `vmstat.kicks`, `result.rows[off].elapsed_ns`.
A row of a table is called by what tells it from the others (its test, variant, size), so that it is found again in a
result whose rows come in another order. Of an array (a figure for each CPU) there is the sum, `interrupts.CAL.sum`;
of a pair {before, after} also what it grew by, `result.script.grown`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Number = int | float

# The sections of a document that hold figures. `config` and `host` hold the circumstances.
SECTIONS = ("elapsed_ns", "result", "latency", "locks", "vmstat", "ipis", "requests", "interrupts", "ledger")
# What tells a row from the others, in the order in which it is tried; text comes before.
KEYS = ("size", "series", "targets", "cpus", "memcgs", "bulk", "operation", "kernel")
# Text that differs from row to row and is no name.
NOT_NAMES = ("verdict", "safe")
# Of these the run itself, its repeats, and what it says of itself are left out.
SKIP = ("repeats", "spread", "seed")


def flatten(document: Mapping[str, Any]) -> dict[str, Number]:
    """All figures of a document. What is no finite number is left out."""
    found: dict[str, Number] = {}
    for section in SECTIONS:
        if section in document:
            found.update(walk(document[section], section))
    return found


def walk(value: Any, path: str) -> Iterator[tuple[str, Number]]:
    """The figures below one value."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return
    if isinstance(value, (int, float)):
        if math.isfinite(value):
            yield path, value
    elif isinstance(value, Mapping):
        yield from _walk_mapping(value, path)
    elif isinstance(value, Sequence) and value:
        yield from _walk_sequence(value, path)


def _walk_mapping(value: Mapping[str, Any], path: str) -> Iterator[tuple[str, Number]]:
    for key, item in value.items():
        if key not in SKIP:
            yield from walk(item, f"{path}.{key}")
    if value.keys() == {"before", "after"} and all(is_number(value[key]) for key in ("before", "after")):
        yield f"{path}.grown", value["after"] - value["before"]


def _walk_sequence(value: Sequence[Any], path: str) -> Iterator[tuple[str, Number]]:
    if all(is_number(item) for item in value):
        yield f"{path}.sum", sum(value)
        return
    rows = [item for item in value if isinstance(item, Mapping)]
    for name, row in zip(row_names(rows), rows, strict=True):
        yield from walk({key: item for key, item in row.items() if key != "patches"}, f"{path}[{name}]")


def is_number(value: Any) -> bool:
    """A finite number; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def row_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name for each row, each once: the texts that differ, then the numbers of KEYS that do, else its place.

    A row alone is called by its size, if it has one: what else is in it may be what two runs are compared in.
    """
    if len(rows) == 1:
        return [str(rows[0].get("size", 0))]
    texts = [key for key in (rows[0] if rows else {}) if key not in NOT_NAMES and _all_text(rows, key)]
    chosen = [key for key in texts if len({row[key] for row in rows}) > 1]
    for key in KEYS:
        if len(set(_labels(rows, chosen))) == len(rows) and chosen:
            break
        if key not in chosen and len({repr(row.get(key)) for row in rows}) > 1:
            chosen.append(key)
    labels = _labels(rows, chosen)
    if len(set(labels)) != len(rows) or not all(labels):
        return [str(i) for i in range(len(rows))]
    return labels


def _all_text(rows: Sequence[Mapping[str, Any]], key: str) -> bool:
    return all(isinstance(row.get(key), str) for row in rows)


def _labels(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> list[str]:
    return [",".join(str(row.get(key)) for key in keys) for row in rows]


def unit(path: str) -> str:
    """What a figure is counted in, by its name: ns, cycles, rate, or count."""
    name = path.rpartition(".")[2].partition("[")[0]
    parent = path.rpartition(".")[0].rpartition(".")[2]
    if name.endswith("_ns") or parent.endswith("_ns"):
        return "ns"
    if name.endswith("cycles") or parent.endswith("cycles") or path.startswith("result.cost."):
        return "cycles"
    if "_per_" in name and name.endswith(("_s", "_us")):
        return "rate"
    if name.endswith("bytes"):
        return "bytes"
    if name.endswith(("ratio", "share", "seconds")):
        return "number"
    return "count"


def is_bucketed(path: str) -> bool:
    """Whether a figure is the middle of a histogram's bucket: percentiles of latencies, and of lock waits and holds."""
    return re.fullmatch(r"(?:latency\..*\.p\d+_ns|locks\..*_ns\.p\d+)", path) is not None


def is_count(path: str, values: Sequence[Number]) -> bool:
    """Whether these are counts: whole numbers of something that happened, and no measured time or rate."""
    return unit(path) in ("count", "bytes") and all(isinstance(value, int) or value == int(value) for value in values)


def better(path: str) -> int:
    """1 where more is better, -1 where less is, for thresholds. All but rates are costs."""
    return 1 if unit(path) == "rate" else -1
