"""Store buffering, bare and in SLUB's own code, on two CPUs that run at the same time.

Bare: CPU 0 exchanges y from 0 to 1 and reads x; CPU 1 stores 0 to x, has a full barrier, and reads y. A hit is that both
read the old value: CPU 0's store was still in its store buffer when it read x.

In SLUB: CPU 0 frees the first object of a full slab, which links it into its partial list and looks at cpu_partial; CPU 1
deactivates the cache. A hit is that a slab is left on CPU 0's partial list.
"""

import cython
from cython.cimports.cpus.cpu import smp_processor_id
from cython.cimports.cpus.mm_types import GFP_KERNEL
from cython.cimports.cpus.slab import kmem_cache_alloc, kmem_cache_free
from cython.cimports.cpus.slab_death import slub_deactivate
from cython.cimports.cpus.slub_def import cpu_slab_of, slub_of
from cython.cimports.cpus.slub_drain import slub_shrink
from cython.cimports.ipc.atomic import read_once, smp_load_acquire, smp_mb, smp_store_release, spin_pause, write_once
from cython.cimports.ipc.interrupt import poll_interrupts
from cython.cimports.ipc.memory import heap_alloc, heap_free
from cython.cimports.ipc.percpu import this_cpu_cmpxchg, this_cpu_cmpxchg_locked
from cython.cimports.ipc.processor import this_processor

if not cython.compiled:
    raise ImportError("workloads.smp_mb_loop is not built; run `make setup`")

MOST_OBJECTS = cython.declare(cython.long, 64)


def meet(l, me, turn):
    """Both are here, and go on at the same time."""
    smp_store_release(cython.address(l.arrived[me].word), turn)
    spins: cython.long = 0
    while smp_load_acquire(cython.address(l.arrived[1 - me].word)) < turn:
        spin_pause()
        spins += 1
        if spins & 1023 == 0:
            poll_interrupts(this_processor())


def stagger(turn):
    """Not always the same first."""
    for _ in range(turn % 7):
        spin_pause()


def link_side(l, i, kind):
    y = cython.address(l.y[i].word)
    if kind == PLAIN_STORE:
        write_once(y, 1)
    elif kind == UNLOCKED:
        this_cpu_cmpxchg(this_processor(), y, cython.NULL, cython.cast(cython.p_void, 1))
    else:
        this_cpu_cmpxchg_locked(y, cython.NULL, cython.cast(cython.p_void, 1))
    l.saw_x[i] = read_once(cython.address(l.x[i].word))


def count_hits(l):
    hits: cython.long = 0
    for i in range(SLOTS):
        hits += l.saw_x[i] == 1 and l.saw_y[i] == 0
    return hits


def run_litmus(args):
    l = cython.cast(cython.pointer(litmus), cython.cast(cython.ulong, args[0]))
    me = smp_processor_id()
    hits: cython.long = 0
    turn: cython.long = 0
    for _ in range(args[2] // SLOTS):
        # Each resets what the other will store to, so that the stores have to wait for the line.
        for i in range(SLOTS):
            if me == 0:
                write_once(cython.address(l.x[i].word), 1)
            else:
                write_once(cython.address(l.y[i].word), 0)
        for i in range(SLOTS):
            turn += 1
            meet(l, me, turn)
            if me == 0:
                stagger(turn)
                link_side(l, i, args[1])
            else:
                stagger(turn // 7)
                write_once(cython.address(l.x[i].word), 0)
                smp_mb()
                l.saw_y[i] = read_once(cython.address(l.y[i].word))
        turn += 1
        meet(l, me, turn)
        if me == 0:
            hits += count_hits(l)
        turn += 1
        meet(l, me, turn)
    return hits


def fill_slab(cachep, objects):
    """All objects of one slab, and the CPU goes on to another; how many, or -1."""
    num = cachep.num
    for i in range(num + 1):
        objects[i] = kmem_cache_alloc(cachep, GFP_KERNEL)
        if objects[i] == cython.NULL:
            return -1
    return num + 1


def run_oracle(args):
    """Rounds in which a slab was left on the partial list of CPU 0, although its cache was deactivated."""
    l = cython.cast(cython.pointer(litmus), cython.cast(cython.ulong, args[0]))
    cachep = cython.cast(cython.pointer(kmem_cache), cython.cast(cython.ulong, args[1]))
    s = slub_of(cachep)
    cpu_partial = read_once(cython.address(s.cpu_partial))
    min_partial = read_once(cython.address(s.min_partial))
    me = smp_processor_id()
    objects: cython.p_void[65]  # MOST_OBJECTS, and one
    left: cython.long = 0
    turn: cython.long = 0
    taken: cython.long = 0
    for _ in range(args[2]):
        if me == 0:
            taken = fill_slab(cachep, objects)
            if taken < 0:
                return -1
        turn += 1
        meet(l, me, turn)
        if me == 0:
            stagger(turn * 5)
            kmem_cache_free(cachep, objects[0])
        else:
            stagger(turn // 3)
            slub_deactivate(cachep, cython.cast(cython.int, args[3]))
        turn += 1
        meet(l, me, turn)
        if me == 0:
            left += cpu_slab_of(cachep, 0).partial != cython.NULL
            write_once(cython.address(s.cpu_partial), cpu_partial)
            write_once(cython.address(s.min_partial), min_partial)
            s.dead = 0
            for i in range(1, taken):
                kmem_cache_free(cachep, objects[i])
            slub_shrink(cachep)
        turn += 1
        meet(l, me, turn)
    return left


def new_litmus() -> int:
    """Room for one, in the segment; MemoryError if there is none."""
    l = heap_alloc(cython.sizeof(litmus))
    if l == cython.NULL:
        raise MemoryError("the segment is full")
    return cython.cast(cython.ulong, l)


def drop_litmus(address: int) -> None:
    """Give it back."""
    heap_free(cython.cast(cython.p_void, cython.cast(cython.ulong, address)))


KINDS = {"plain store": PLAIN_STORE, "unlocked cmpxchg": UNLOCKED, "locked cmpxchg": LOCKED}
TRIES_AT_ONCE = SLOTS


def entry_points() -> dict:
    """Address of each function that is mailed to a CPU, by name."""
    return {
        "litmus": cython.cast(cython.long, cython.cast(cython.p_void, run_litmus)),
        "oracle": cython.cast(cython.long, cython.cast(cython.p_void, run_oracle)),
    }
