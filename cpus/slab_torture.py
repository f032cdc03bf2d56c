"""Load on one cache from all CPUs at once, for tests. Every object is filled with a pattern of its own address while it
is allocated, and looked at when it is freed, mostly by another CPU: one that was handed out twice has been overwritten.
"""

import cython
from cython.cimports.cpus.cpu import cpu, smp_processor_id
from cython.cimports.cpus.list_head import list_head
from cython.cimports.cpus.locks import locks
from cython.cimports.cpus.mm_types import GFP_KERNEL
from cython.cimports.cpus.rcu import note_quiescent_state
from cython.cimports.cpus.slab import kmem_cache_alloc, kmem_cache_alloc_bulk, kmem_cache_free, kmem_cache_free_bulk
from cython.cimports.cpus.slab_common import kmem_cache_shrink
from cython.cimports.cpus.slab_reap import cache_reap, start_cpu_timer
from cython.cimports.cpus.slab_tune import do_tune_cpucache
from cython.cimports.ipc.atomic import xchg
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.interrupt import poll_interrupts
from cython.cimports.ipc.lock import mutex_lock, mutex_unlock
from cython.cimports.ipc.memory import segment
from cython.cimports.ipc.processor import this_processor
from cython.cimports.ipc.random import draw

if not cython.compiled:
    raise ImportError("cpus.slab_torture is not built; run `make setup`")

BURST = cython.declare(cython.long, 32)


def mark(cachep, objp):
    for i in range(cachep.object_size >> 3):
        objp[i] = cython.cast(cython.ulong, objp) + i


def intact(cachep, objp):
    for i in range(cachep.object_size >> 3):
        if objp[i] != cython.cast(cython.ulong, objp) + i:
            return False
    return True


def exchange_objects(cachep, slots, nr_slots, state):
    """Allocate a few objects, one by one or in bulk, and free those that were in the slots. Damaged ones."""
    objects: cython.p_void[32]
    damaged: cython.long = 0
    count = cython.cast(cython.long, draw(state) % BURST) + 1
    got: cython.long = 0
    if draw(state) % 4 == 0:
        got = kmem_cache_alloc_bulk(cachep, GFP_KERNEL, count, objects)
    else:
        while got < count:
            objects[got] = kmem_cache_alloc(cachep, GFP_KERNEL)
            if objects[got] == cython.NULL:
                break
            got += 1
    back: cython.long = 0
    for i in range(got):
        mark(cachep, cython.cast(cython.pointer(cython.ulong), objects[i]))
        slot = cython.cast(cython.long, draw(state) % cython.cast(cython.ulong, nr_slots))
        old = xchg(slots + slot, cython.cast(cython.long, objects[i]))
        if old != 0:
            objects[back] = cython.cast(cython.p_void, cython.cast(cython.ulong, old))
            damaged += not intact(cachep, cython.cast(cython.pointer(cython.ulong), objects[back]))
            back += 1
    if draw(state) % 4 == 0:
        kmem_cache_free_bulk(cachep, back, objects)
    else:
        for i in range(back):
            kmem_cache_free(cachep, objects[i])
    return damaged


def between_operations():
    """What the way out to user mode would do: take interrupts, and be in no read-side section."""
    poll_interrupts(this_processor())
    note_quiescent_state(cython.cast(cython.pointer(cpu), this_processor()))


def tune_often(cachep, until):
    """Replace the arrays again and again; how often that failed."""
    failed: cython.long = 0
    turn: cython.long = 0
    while get_cycles() < until:
        limit = 4 + turn % 61
        turn += 1
        mutex_lock(cython.address(locks().slab_mutex))
        failed += do_tune_cpucache(cachep, limit, (limit + 1) // 2, 1 + turn % 8) != 0
        mutex_unlock(cython.address(locks().slab_mutex))
        between_operations()
    return failed


def torture(args):
    """One CPU's part, by its number; how many objects were found damaged, or operations failed."""
    cachep = cython.cast(cython.pointer(kmem_cache), cython.cast(cython.ulong, args[TORTURE_CACHE]))
    slots = cython.cast(cython.pointer(vlong), cython.cast(cython.ulong, args[TORTURE_SLOTS]))
    id = smp_processor_id()
    me = cython.cast(cython.pointer(cpu), this_processor())
    until = get_cycles() + args[TORTURE_US] * segment().cycles_per_us
    state = cython.cast(cython.ulong, args[TORTURE_SEED] * 1000003 + id * 7919 + 1)
    bad: cython.long = 0
    if args[TORTURE_ROLES] & ROLE_TUNE and id == 0:
        return tune_often(cachep, until)
    while get_cycles() < until:
        if args[TORTURE_ROLES] & ROLE_SHRINK and id == 1:
            kmem_cache_shrink(cachep)
        elif args[TORTURE_ROLES] & ROLE_REAP and id == 2 and start_cpu_timer(me):
            cache_reap(me)
        else:
            bad += exchange_objects(cachep, slots, args[TORTURE_NR_SLOTS], cython.address(state))
        between_operations()
    return bad


def fill_and_flush(args):
    """args[1] allocations from cache args[0], then all freed: leaves the arrays full. How many there were."""
    cachep = cython.cast(cython.pointer(kmem_cache), cython.cast(cython.ulong, args[0]))
    chain = cython.cast(cython.pointer(list_head), cython.NULL)
    got: cython.long = 0
    while got < args[1]:
        objp = cython.cast(cython.pointer(list_head), kmem_cache_alloc(cachep, GFP_KERNEL))
        if objp == cython.NULL:
            break
        objp.next = chain
        chain = objp
        got += 1
    while chain != cython.NULL:
        following = chain.next
        kmem_cache_free(cachep, chain)
        chain = following
    return got


def entry_points() -> dict:
    """Address of each operation, by name."""
    return {
        "slab_torture": cython.cast(cython.long, cython.cast(cython.p_void, torture)),
        "slab_fill_and_flush": cython.cast(cython.long, cython.cast(cython.p_void, fill_and_flush)),
    }


ROLES = {"tune": ROLE_TUNE, "shrink": ROLE_SHRINK, "reap": ROLE_REAP}
