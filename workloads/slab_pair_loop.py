"""The loop of goal P4, in the form of the C floor's: so many allocations, then as many frees in the same order."""

import cython
from cython.cimports.cpus.mm_types import GFP_KERNEL
from cython.cimports.cpus.slab import kmem_cache_alloc, kmem_cache_free
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.memory import heap_alloc, heap_free

if not cython.compiled:
    raise ImportError("workloads.slab_pair_loop is not built; run `make setup`")

ENOMEM = cython.declare(cython.long, 12)


def pairs(args):
    cachep = cython.cast(cython.pointer(kmem_cache), cython.cast(cython.ulong, args[0]))
    depth: cython.long = args[1] if args[1] < MAX_DEPTH else MAX_DEPTH
    objects = cython.cast(cython.pointer(cython.p_void), heap_alloc(8 * depth))
    if objects == cython.NULL:
        return -ENOMEM
    short: cython.long = 0
    begun = get_cycles()
    for _ in range(args[2]):
        for i in range(depth):
            objects[i] = kmem_cache_alloc(cachep, GFP_KERNEL)
        for i in range(depth):
            if objects[i] == cython.NULL:
                short = 1
            else:
                kmem_cache_free(cachep, objects[i])
    cycles = get_cycles() - begun
    heap_free(objects)
    return -ENOMEM if short else cycles


def entry_points() -> dict:
    """Address of the loop, to be mailed."""
    return {"pairs": cython.cast(cython.long, cython.cast(cython.p_void, pairs))}


def run_here(cache: int, depth: int, repeats: int) -> int:
    """The same in this process's context: the cycles, or a negative errno."""
    args = cython.declare(cython.long[3])
    args[0] = cache
    args[1] = depth
    args[2] = repeats
    with cython.nogil:
        cycles = pairs(args)
    return cycles
