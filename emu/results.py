"""The one JSON object of a run: its fixed keys, and how repeated and compared results are put together."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from emu.errors import EmuError
from emu.format import quantile

SCHEMA = 1
# What a machine is asked for when it is left, and what stands there if none was booted.
OBSERVED: dict[str, Any] = {
    "interrupts": {"CAL": [], "RES": []},
    "ipis": {"raised": 0, "taken": 0, "merged": 0, "pending": 0, "fallback": 0},
    "requests": {"enqueued": 0, "run": 0, "refused": 0, "pending": 0},
    "vmstat": {},
    "locks": {},
    "latency": {},
    "machine": {},
}

# What stands there only if it was observed.
ADDED = ("histograms", "ledger", "trace")


def assemble(
    *,
    workload: str,
    command: str,
    config: Mapping[str, Any],
    host: Mapping[str, Any],
    verdict: str,
    warnings: Sequence[str],
    violations: Sequence[Mapping[str, str]],
    elapsed_ns: int,
    observed: Mapping[str, Any],
    result: Mapping[str, Any],
    proc: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the object, in the order in which it is documented. HOST gets what the machine said of delivery."""
    machine = dict(observed.get("host", {}))
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "workload": workload,
        "command": command,
        "seed": config["seed"],
        "verdict": verdict,
        "warnings": list(warnings),
        "elapsed_ns": elapsed_ns,
        "config": dict(config),
        "host": {"delivery": "plain", "running": 0, "ipi_floor_ns": {}} | dict(host) | machine,
        "violations": [dict(row) for row in violations],
    }
    for key, nothing in OBSERVED.items():
        document[key] = observed.get(key, nothing)
    for key in ADDED:
        if observed.get(key):
            document[key] = observed[key]
    document["result"] = dict(result)
    if proc:
        document["proc"] = dict(proc)
    return document


def to_json(document: Mapping[str, Any]) -> bytes:
    """One line of JSON with its line break; numpy's numbers and arrays become plain ones."""
    try:
        return msgspec.json.encode(document, enc_hook=_plain) + b"\n"
    except (TypeError, OverflowError) as error:
        raise EmuError(f"result: cannot be written as JSON: {error}") from error


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} {value!r:.60}")


def combine(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Make one result of repeated ones: the median of each figure in its place, and `spread` of those that differ."""
    if len(results) == 1:
        return results[0]
    spread: dict[str, Any] = {}
    merged = _merge(list(results), "", spread)
    return dict(merged) | {"repeats": len(results), "spread": spread}


def _merge(values: list[Any], path: str, spread: dict[str, Any]) -> Any:
    first = values[0]
    if all(isinstance(v, dict) and v.keys() == first.keys() for v in values):
        return {key: _merge([v[key] for v in values], f"{path}.{key}" if path else str(key), spread) for key in first}
    if all(isinstance(v, list) and len(v) == len(first) for v in values):
        return [_merge([v[i] for v in values], f"{path}[{i}]", spread) for i in range(len(first))]
    if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        ordered = sorted(values)
        middle = statistics.median(ordered)
        if ordered[0] != ordered[-1]:
            low, high = quantile(ordered, 0.25), quantile(ordered, 0.75)
            spread[path] = {"median": middle, "q1": low, "q3": high, "min": ordered[0], "max": ordered[-1]}
        return int(middle) if all(isinstance(v, int) for v in values) and middle == int(middle) else middle
    return first


def rows_of(variant: str, changes: Mapping[str, str], safe: str, result: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that one variant adds to a table of variants: its result, or the rows that it consists of."""
    head = {"variant": variant, "patches": dict(changes), "safe": safe}
    if isinstance(result.get("rows"), list) and all(isinstance(row, dict) for row in result["rows"]):
        rest = {key: value for key, value in result.items() if key != "rows"}
        return [head | rest | row for row in result["rows"]]
    return [head | result]
