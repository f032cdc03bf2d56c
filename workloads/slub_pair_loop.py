"""Pairs of alloc and free: `depth` objects are allocated and then all freed, again and again, one byte written in each.

Through kmem_cache_alloc() and kmem_cache_free(), which serve both allocators, or straight through SLUB's own.
"""

import cython
from cython.cimports.cpus.mm_types import GFP_KERNEL
from cython.cimports.cpus.slab import kmem_cache_alloc, kmem_cache_free
from cython.cimports.cpus.slub import slub_alloc, slub_free
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.libc.stdlib import free, malloc

if not cython.compiled:
    raise ImportError("workloads.slub_pair_loop is not built; run `make setup`")


def slub_pairs(cachep, depth, rounds, kept, direct):
    """Cycles of all rounds; -1 when memory is out."""
    start = get_cycles()
    for _ in range(rounds):
        for i in range(depth):
            kept[i] = slub_alloc(cachep, GFP_KERNEL) if direct else kmem_cache_alloc(cachep, GFP_KERNEL)
            if kept[i] == cython.NULL:
                return -1
            cython.cast(cython.p_char, kept[i])[0] = 1
        for i in range(depth):
            if direct:
                slub_free(kept[i])
            else:
                kmem_cache_free(cachep, kept[i])
    return get_cycles() - start


def glibc_pairs(size, depth, rounds, kept):
    start = get_cycles()
    for _ in range(rounds):
        for i in range(depth):
            kept[i] = malloc(size)
            if kept[i] == cython.NULL:
                return -1
            cython.cast(cython.p_char, kept[i])[0] = 1
        for i in range(depth):
            free(kept[i])
    return get_cycles() - start


def measure(cache: int, size: int, depth: int, rounds: int, direct: bool = False) -> float:
    """Cycles per pair; cache 0 is glibc. Raises MemoryError, and ValueError for a depth beyond MAX_DEPTH."""
    if not 1 <= depth <= MAX_DEPTH:
        raise ValueError(f"depth {depth}: 1 to {MAX_DEPTH}")
    kept: cython.p_void[8192]  # MAX_DEPTH
    cachep = cython.cast(cython.pointer(kmem_cache), cython.cast(cython.ulong, cache))
    bytes_: cython.long = size
    deep: cython.long = depth
    turns: cython.long = rounds
    straight: cython.bint = direct
    with cython.nogil:
        if cachep == cython.NULL:
            cycles = glibc_pairs(bytes_, deep, turns, kept)
        else:
            cycles = slub_pairs(cachep, deep, turns, kept, straight)
    if cycles < 0:
        raise MemoryError("an allocation failed")
    return cycles / (rounds * depth)
