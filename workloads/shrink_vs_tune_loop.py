"""shrink-vs-tune on the CPUs: CPU 0 writes to slabinfo, CPU 1 shrinks and now and then refills its array, the others
allocate and free.

The writer fills the node's shared array before each write: an empty one is left alone by a shrink. The limits change
from write to write, so that arrays of several sizes come and go, and what was freed is soon something else.
"""

import cython
from cython.cimports.cpus.cpu import smp_processor_id
from cython.cimports.cpus.list_head import list_head
from cython.cimports.cpus.mm_types import GFP_KERNEL
from cython.cimports.cpus.slab import kmem_cache_alloc, kmem_cache_free
from cython.cimports.cpus.slab_common import kmem_cache_shrink, slabinfo_write
from cython.cimports.cpus.slab_def import slab_root
from cython.cimports.cpus.slab_torture import between_operations
from cython.cimports.ipc.atomic import atomic_fetch_add, read_once, write_once
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.memory import heap_alloc
from cython.cimports.libc.stdio import snprintf

if not cython.compiled:
    raise ImportError("workloads.shrink_vs_tune_loop is not built; run `make setup`")


def go_on(r, until):
    if read_once(cython.address(r.stop)) or get_cycles() >= until:
        return False
    return r.keep_going != 0 or read_once(cython.address(slab_root().nr_bugs)) == 0


def fill(r):
    """Allocate more than an array holds and free it all: what does not fit goes to the shared array."""
    chain = cython.cast(cython.pointer(list_head), cython.NULL)
    for _ in range(OBJECTS):
        objp = cython.cast(cython.pointer(list_head), kmem_cache_alloc(r.cache, GFP_KERNEL))
        if objp == cython.NULL:
            break
        objp.next = chain
        chain = objp
    while chain != cython.NULL:
        following = chain.next
        kmem_cache_free(r.cache, chain)
        chain = following


def tune(r, turn):
    line = cython.declare(cython.char[LINE])
    limit = 8 + turn % 57
    length: cython.long = snprintf(line, LINE, "%s %ld %ld %ld", r.cache.name, limit, limit // 2, 1 + turn % 8)
    if slabinfo_write(line, length) != length:
        atomic_fetch_add(cython.address(r.failed), 1)


def race(args):
    r = the_race()
    until = get_cycles() + args[0] * segment().cycles_per_us
    turn = args[1]
    id = smp_processor_id()
    while go_on(r, until):
        if id == 0:
            fill(r)
            tune(r, turn)
            turn += 7
            atomic_fetch_add(cython.address(r.tunes), 1)
        elif id == 1:
            kmem_cache_shrink(r.cache)
            shrinks = atomic_fetch_add(cython.address(r.shrinks), 1)
            if shrinks & 1:
                fill(r)
        else:
            fill(r)
        between_operations()
    return 0


# --- Python --------------------------------------------------------------------------------------


def prepare(cache: int, keep_going: bool) -> bool:
    """Begin with this cache. False when the segment is too small."""
    r = cython.cast(cython.pointer(race_state), heap_alloc(cython.sizeof(race_state)))
    if r == cython.NULL:
        return False
    r.cache = cython.cast(cython.pointer(kmem_cache), cython.cast(cython.ulong, cache))
    r.keep_going = keep_going
    r.begun = get_cycles()
    segment().area[AREA_WORKLOAD] = cython.cast(cython.long, r)
    return True


def stop() -> None:
    """End all loops after what they are doing."""
    write_once(cython.address(the_race().stop), 1)


def keeps_going() -> bool:
    """Whether it goes on after a report."""
    return the_race().keep_going != 0


def counts() -> dict:
    """What was done so far."""
    r = the_race()
    begun = (r.begun - segment().boot_cycles) * 1000 // segment().cycles_per_us
    found = {"shrinks": r.shrinks, "tunes": r.tunes, "failed": r.failed, "begun_ns": begun}
    found["reports"] = slab_root().nr_bugs
    return found


def entry_points() -> dict:
    """Address of each function that is mailed to a CPU, by name."""
    return {"race": cython.cast(cython.long, cython.cast(cython.p_void, race))}
