"""The caches as the monitor reads them: many at a time, each address checked before it is followed."""

from __future__ import annotations

import numpy as np

from cpus.layout import CONSTANTS, STRUCTS
from emu.raw_memory import BASE, DamagedError, Mask, RawMemory, Words, offset
from emu.structs import entries, offset_of

CPU_CACHE = offset("kmem_cache", "cpu_cache")
CACHE_BYTES = STRUCTS["kmem_cache"].size
MOST_CACHES = 100_000
MOST_ENTRIES = 1 << 20  # of an array; the kernel's own limit is far below
LOW = 0xFFFFFFFF
MAX_OBJECTS, MAX_SIZE, MAX_ORDER = 1 << 16, 1 << 23, 10


def root_caches(memory: RawMemory) -> Words:
    """Addresses of the root caches; none before the allocator is up."""
    root = memory.root("AREA_SLAB")
    if not root:
        return np.zeros(0, dtype=np.int64)
    return on_list(memory, root + offset("slab_system", "slab_root_caches"), "memcg_params.root_caches_node")


def children_of(memory: RawMemory, cache: int) -> Words:
    """Addresses of a cache's memcg children."""
    return on_list(memory, cache + offset_of("kmem_cache", "memcg_params.children"), "memcg_params.children_node")


def on_list(memory: RawMemory, head: int, member: str) -> Words:
    """Addresses of the caches on a list, those only that lie in memory of the heap."""
    for attempt in (1, 2, 3):
        try:
            found = np.array(entries(memory, head, MOST_CACHES), dtype=np.int64) - offset_of("kmem_cache", member)  # type: ignore[arg-type]
        except DamagedError:
            if attempt == 3:
                raise
        else:
            return found[memory.in_heap(found, CACHE_BYTES)]
    raise AssertionError("unreachable")


def field(memory: RawMemory, caches: Words, name: str) -> Words:
    """One word of each cache."""
    return memory.gather(caches + offset("kmem_cache", name), 1)[:, 0]


def sound(memory: RawMemory, caches: Words) -> Mask:
    """Whether each has the geometry of a cache: 1 to MAX_OBJECTS objects of a size in slabs of order 0 to 10."""
    num, size, order = (field(memory, caches, name) for name in ("num", "size", "gfporder"))
    found: Mask = (num > 0) & (num <= MAX_OBJECTS) & (size > 0) & (size <= MAX_SIZE)
    return found & (order >= 0) & (order <= MAX_ORDER)


def names(memory: RawMemory, caches: Words) -> list[str]:
    """The names, as they may be shown."""
    raw = memory.gather(caches + offset("kmem_cache", "name"), CONSTANTS["SLAB_NAME"] // 8)
    return [row.tobytes().partition(b"\0")[0].decode("ascii", "replace") for row in raw]


def arrays(memory: RawMemory, caches: Words, cpus: int) -> tuple[Words, Words]:
    """(avail, limit) of each cache's array on each CPU: rows are caches. 0 and 0 where there is no sound array."""
    shape = (len(caches), cpus)
    at = memory.gather(caches + CPU_CACHE + 8, cpus).reshape(-1)  # entry 0 is the coordinator's
    good = memory.in_heap(at, STRUCTS["array_cache"].size - 8)
    word = memory.gather(np.where(good, at, BASE), 1)[:, 0]
    avail, limit = word & LOW, (word >> 32) & LOW
    good &= (avail <= limit) & (limit <= MOST_ENTRIES)
    return np.where(good, avail, 0).reshape(shape), np.where(good, limit, 0).reshape(shape)


def fill(memory: RawMemory, caches: Words, cpus: int) -> Words:
    """How full each CPU's arrays are, 0 to 1: objects in all of them by what they may hold. NaN without arrays."""
    avail, limit = arrays(memory, caches, cpus)
    room = limit.sum(axis=0)
    found: Words = np.where(room > 0, avail.sum(axis=0) / np.maximum(room, 1), np.nan)
    return found


def node_counts(memory: RawMemory, caches: Words, nodes: int) -> dict[str, Words]:
    """Per cache, summed over its nodes: slabs, free_slabs, free_objects, shared (objects in the shared arrays)."""
    keys = ("total_slabs", "free_slabs", "free_objects", "shared")
    total = {key: np.zeros(len(caches), dtype=np.int64) for key in keys}
    size = STRUCTS["kmem_cache_node"].size
    table = field(memory, caches, "node")
    for node in range(nodes):
        slot = table + 8 * node
        known = memory.in_heap(slot, 8)
        at = memory.gather(np.where(known, slot, BASE), 1)[:, 0]
        good = known & memory.in_heap(at, size)
        safe = np.where(good, at, BASE)
        for key in ("total_slabs", "free_slabs", "free_objects"):
            total[key] += np.where(good, memory.gather(safe + offset("kmem_cache_node", key), 1)[:, 0], 0)
        shared = memory.gather(safe + offset("kmem_cache_node", "shared"), 1)[:, 0]
        good &= memory.in_heap(shared, STRUCTS["array_cache"].size - 8)
        total["shared"] += np.where(good, memory.gather(np.where(good, shared, BASE), 1)[:, 0] & LOW, 0)
    return total
