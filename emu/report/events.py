"""Figures of the recorded events: who interrupted whom, and who held a lock when."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cpus.layout import CONSTANTS
from emu.report.source import Source

RAISE = CONSTANTS["EV_IPI_RAISE"]
LOCK_WAIT, LOCK_TAKEN, LOCK_RELEASED = (CONSTANTS[f"EV_LOCK_{name}"] for name in ("WAIT", "TAKEN", "RELEASED"))
NOBODY = (1 << 48) - 1  # the coordinator is the target
MOST_INTERVALS = 3000
ARRAYS = ("cpu", "ns", "event", "argument")
TIMELINE_LOCKS = ("slab_mutex", "cgroup_mutex", "rcu_barrier_mutex", "pcpu_drain_mutex", "cpu_hotplug", "mem_hotplug")


class Matrix(NamedTuple):
    """counts[i][j]: how often context i (0 is the coordinator, then CPU 0, 1, ...) raised a vector at CPU j - 1."""

    counts: Any
    raised: int
    dropped: int  # records that were overwritten: what is shown is the end of the run


class Interval(NamedTuple):
    """A lock held, or waited for, by one context."""

    lock: str
    cpu: int
    begin: int  # ns since boot
    end: int
    waited: bool


class Timeline(NamedTuple):
    """The intervals shown, and how many there were."""

    intervals: list[Interval]
    total: int


def sound(source: Source) -> bool:
    """Whether the arrays are there, and of one length."""
    if not all(name in source.events for name in ARRAYS):
        return False
    lengths = {len(source.events[name]) for name in ARRAYS}
    return len(lengths) == 1 and lengths != {0}


def matrix(source: Source) -> Matrix | None:
    """Who raised a vector at whom; None if no events were recorded."""
    cpus = source.get("config").get("cpus")
    if not sound(source) or not isinstance(cpus, int) or not 1 <= cpus <= CONSTANTS["MAX_CPUS"]:
        return None
    chosen = source.events["event"] == RAISE
    sender = source.events["cpu"][chosen].astype(np.int64) + 1
    argument = source.events["argument"][chosen].astype(np.int64)
    target = np.where(argument == NOBODY, 0, (argument & 0xFFFF) + 1)
    good = (sender >= 0) & (sender <= cpus) & (target >= 0) & (target <= cpus)
    counts = np.zeros((cpus + 1, cpus + 1), dtype=np.int64)
    np.add.at(counts, (sender[good], target[good]), 1)
    dropped = source.get("trace").get("dropped")
    lost = sum(dropped.values()) if isinstance(dropped, dict) else 0
    return Matrix(counts, int(good.sum()), lost) if good.any() else None


def timeline(source: Source) -> Timeline | None:
    """When the named locks were waited for and held, by whom; the longest intervals, if there are too many."""
    names = source.get("trace").get("locks")
    if not sound(source) or not isinstance(names, dict):
        return None
    wanted = {
        int(address): name for address, name in names.items() if name in TIMELINE_LOCKS and str(address).isdecimal()
    }
    events = source.events
    chosen = np.flatnonzero(np.isin(events["event"], (LOCK_WAIT, LOCK_TAKEN, LOCK_RELEASED)))
    chosen = chosen[np.isin(events["argument"][chosen], list(wanted))]
    order = chosen[np.argsort(events["ns"][chosen], kind="stable")]
    found: list[Interval] = []
    since: dict[tuple[int, int, bool], int] = {}
    for i in order.tolist():
        event, cpu, lock, at = (int(events[key][i]) for key in ("event", "cpu", "argument", "ns"))
        waited = event == LOCK_TAKEN
        begin = since.pop((cpu, lock, waited), None)
        if event != LOCK_WAIT and begin is not None:
            found.append(Interval(wanted[lock], cpu, begin, at, waited))
        if event != LOCK_RELEASED:
            since[cpu, lock, event == LOCK_WAIT] = at
    if not found:
        return None
    shown = sorted(found, key=lambda each: each.begin - each.end)[:MOST_INTERVALS]
    return Timeline(sorted(shown, key=lambda each: each.begin), len(found))
