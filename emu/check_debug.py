"""Debugged caches (I12): red zones and poison of every object that is free, in its slab or in an array."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cpus.layout import CONSTANTS
from emu.raw_memory import BASE, RawMemory, Words
from emu.validate import Findings

if TYPE_CHECKING:
    from emu.check_slab import Slabs

RED_ZONE, POISONED = CONSTANTS["SLAB_RED_ZONE"], CONSTANTS["SLAB_POISON"]
RED_FREE, POISON, POISON_END = CONSTANTS["RED_FREE"], CONSTANTS["POISON_FREE"], CONSTANTS["POISON_END"]
AT_ONCE = 1 << 12  # objects


def check_debugged(raw: RawMemory, findings: Findings, slabs: Slabs, free: Words, most: int) -> None:
    """free: page frame * most + index of each free object."""
    flags = slabs.table["flags"].astype(np.int64)
    if not (flags & (RED_ZONE | POISONED)).any():
        return
    pfn, index = np.divmod(free, most)
    cache = slabs.index_of(slabs.pages.table["slab_cache"][pfn].astype(np.int64))
    for number in np.flatnonzero(flags & (RED_ZONE | POISONED)):
        mine = cache == number
        size = int(slabs.table["size"][number])
        first = slabs.pages.table["s_mem"][pfn[mine]].astype(np.int64) + index[mine] * size
        first = first[raw.in_ram(first, size)]
        for start in range(0, len(first), AT_ONCE):
            _check(raw, findings, slabs, int(number), first[start : start + AT_ONCE])


def _check(raw: RawMemory, findings: Findings, slabs: Slabs, number: int, objects: Words) -> None:
    """Objects of one cache, by the address that arrays and slabs hold."""
    row = slabs.table[number]
    left, size, end = int(row["obj_offset"]), int(row["object_size"]), int(row["info_offset"])
    flags = int(row["flags"])
    held = raw.bytes[(objects - BASE)[:, None] + np.arange(end)]
    wanted = np.full(end, -1, np.int64)
    if flags & RED_ZONE:
        wanted[:left] = wanted[left + size :] = RED_FREE
    if flags & POISONED:
        wanted[left : left + size] = POISON
        wanted[left + size - 1] = POISON_END
    wrong = (held != wanted) & (wanted >= 0)
    bad = np.flatnonzero(wrong.any(axis=1))

    def text(i: int) -> str:
        at = int(np.flatnonzero(wrong[i])[0])
        what = "Poison" if left <= at < left + size else "Redzone"
        return (
            f"BUG {slabs.name(number)}: {what} overwritten at {int(objects[i]) + at:#x}: "
            f"{int(held[i, at]):#x} instead of {int(wanted[at]):#x}, in a free object"
        )

    findings.add_each("I12", bad, text)
