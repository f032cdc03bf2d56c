"""Chrome's trace JSON: for chrome://tracing, Perfetto, speedscope."""

from __future__ import annotations

from typing import Any

from emu.export_timeline import BEGIN, END, Mark, Timeline, tracks

GROUPS = {"CPUs": 1, "locks": 2, "counters": 3}


def chrome(made: Timeline, about: dict[str, Any]) -> dict[str, Any]:
    """The trace as the JSON object format; times in microseconds, as it wants."""
    events: list[dict[str, Any]] = [
        {"ph": "M", "pid": pid, "name": "process_name", "args": {"name": name}} for name, pid in GROUPS.items()
    ]
    for group, name, number, marks in tracks(made):
        pid = GROUPS[group]
        events.append({"ph": "M", "pid": pid, "tid": number, "name": "thread_name", "args": {"name": name}})
        for mark in marks:
            events += rows(mark, pid, number)
    for name, points in made.counters.items():
        events += [{"ph": "C", "pid": 3, "tid": 0, "ts": ns / 1000, "name": name, "args": {"n": n}} for ns, n in points]
    return {"traceEvents": events, "displayTimeUnit": "ns", "otherData": about}


def rows(mark: Mark, pid: int, tid: int) -> list[dict[str, Any]]:
    """One mark, and its part of a flow."""
    base: dict[str, Any] = {"pid": pid, "tid": tid, "ts": mark.ns / 1000}
    if mark.kind == END:
        return [base | {"ph": "E"}]
    kind: dict[str, Any] = {"ph": "B"} if mark.kind == BEGIN else {"ph": "i", "s": "t"}
    found = [base | kind | {"name": mark.name, "cat": "emu", "args": mark.args}]
    if mark.flow:
        step = "f" if mark.ends else "t" if mark.kind == BEGIN else "s"
        end: dict[str, Any] = {"bp": "e"} if mark.ends else {}
        found.append(base | end | {"ph": step, "id": mark.flow, "name": "request", "cat": "ipi"})
    return found
