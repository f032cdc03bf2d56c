"""SLUB's caches as the monitor reads them: no array caches, but slabs that a CPU holds for itself."""

from __future__ import annotations

import numpy as np

from cpus.layout import STRUCTS
from emu.monitor.slab import field
from emu.raw_memory import BASE, Mask, RawMemory, Words, offset

STATE = "kmem_cache_slub"
KNOWN = STATE in STRUCTS


def states(memory: RawMemory, caches: Words, cpus: int) -> tuple[Words, Mask]:
    """(address of each cache's kmem_cache_slub, whether it is one). The addresses of what is none are safe to read."""
    at = field(memory, caches, "slub")
    whole = offset(STATE, "cpu") + STRUCTS["kmem_cache_cpu"].size * (cpus + 1)
    good = memory.in_heap(at, whole)
    return np.where(good, at, BASE), good


def counts(memory: RawMemory, caches: Words, nodes: int, cpus: int) -> dict[str, int]:
    """Of all these caches: objects in slabs, objects in use, slabs, and CPU slabs held."""
    at, good = states(memory, caches, cpus)
    total = {"objects": 0, "active": 0, "slabs": 0, "held": 0}
    table = memory.gather(at + offset(STATE, "node"), 1)[:, 0]
    for node in range(nodes):
        slot = np.where(good, table + 8 * node, BASE)
        known = good & memory.in_heap(slot, 8)
        where = memory.gather(np.where(known, slot, BASE), 1)[:, 0]
        known &= memory.in_heap(where, STRUCTS["slub_node"].size)
        safe = np.where(known, where, BASE)
        for key, name in (("objects", "total_objects"), ("slabs", "nr_slabs")):
            total[key] += int(np.where(known, memory.gather(safe + offset("slub_node", name), 1)[:, 0], 0).sum())
    given, taken, pages = (per_cpu(memory, at, name, cpus + 1)[good] for name in ("allocs", "frees", "page"))
    total["active"] = int((given - taken).sum())
    total["held"] = int((pages[:, 1:] != 0).sum())
    return total


def per_cpu(memory: RawMemory, at: Words, name: str, contexts: int) -> Words:
    """A word of each cache's kmem_cache_cpu of each context, the coordinator's first: rows are caches."""
    step = STRUCTS["kmem_cache_cpu"].size
    first = at + offset(STATE, "cpu") + offset("kmem_cache_cpu", name)
    where = (first[:, None] + step * np.arange(contexts)).reshape(-1)
    return memory.gather(where, 1)[:, 0].reshape(len(at), contexts)


def fill(memory: RawMemory, caches: Words, cpus: int) -> Words:
    """Of how many of these caches each CPU holds a slab, 0 to 1; NaN where there is no such cache."""
    at, good = states(memory, caches, cpus)
    if not good.any():
        return np.full(cpus, np.nan)
    found: Words = (per_cpu(memory, at[good], "page", cpus + 1)[:, 1:] != 0).mean(axis=0)
    return found
