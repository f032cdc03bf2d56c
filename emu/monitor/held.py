"""Which locks are held at this instant, by whom, since when: out of the lists that every CPU keeps of its own."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cpus.layout import CONSTANTS, STRUCTS
from cpus.locks import CLASSES
from emu.monitor.reading import WAIT_MUTEX, Reading

KINDS = CONSTANTS["HELD_KINDS"]
STRUCT = {0: "spinlock", 1: "mutex", 2: "rwsem", 3: "rwsem"}
OWNER = {"spinlock": "word", "mutex": "owner"}
READ = CONSTANTS["HELD_READ"]
BIAS = CONSTANTS["OWNER_BIAS"]
SLEEPERS = CONSTANTS["SLEEPERS"]


class Held(NamedTuple):
    """One entry of a CPU's list: a lock it holds, or waits for."""

    cpu: int
    lock_class: str
    address: int
    kind: int
    waits: bool
    nanoseconds: float  # held for, or waited for; NaN where nobody knows


def held_by(now: Reading) -> list[Held]:
    """All entries of all contexts, in the order in which the locks were taken."""
    counts = np.clip(now.words["held_count"], 0, CONSTANTS["MAX_HELD_LOCKS"])
    found = []
    for context in np.flatnonzero(counts).tolist():
        tagged = now.words["held"][context].astype(np.int64)[: counts[context]]
        for place, word in enumerate(tagged.tolist()):
            entry = _entry(now, context - 1, place, word)
            if entry is not None:
                found.append(entry)
    return found


def _entry(now: Reading, cpu: int, place: int, word: int) -> Held | None:
    """What one word of the list says; None for what is no lock, or is none of this CPU's any more."""
    kind = word & KINDS
    address, struct = word - kind, STRUCT[kind]
    where = np.array([address], dtype=np.int64)
    if not now.memory.in_heap(where, STRUCTS[struct].size)[0]:
        return None
    lock = now.memory.structs(struct, where)[0]
    number = int(lock["lock_class"])
    name = CLASSES[number] if 0 <= number < len(CLASSES) else "?"
    last = place == now.words["held_count"][cpu + 1] - 1
    if last and now.words["waiting_for"][cpu + 1] == WAIT_MUTEX:
        return Held(cpu, name, address, kind, True, float(now.since(now.words["waiting_since"][cpu + 1])))
    waits = False
    if struct in OWNER:
        owner = int(lock[OWNER[struct]]) & ~SLEEPERS
        # The list is older than this look at the lock: is it still on it?
        if not owner or int(now.memory.contexts["hw"]["held"][cpu + 1, place]) != word:
            return None
        waits = owner - BIAS != cpu
    # Who spins has left no note of when it began; nor have the readers of a semaphore.
    known = not waits and kind != READ
    return Held(cpu, name, address, kind, waits, float(now.since(lock["since"])) if known else float("nan"))
