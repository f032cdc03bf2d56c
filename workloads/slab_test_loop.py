"""The loops of slab-test: Lameter's and Desnoyers' benchmark of 2009, each CPU's part of each test.

All CPUs run run_test() at the same time and meet before, between and after the two phases of a test. The last one to
come to a meeting sums up the counters while nobody works, so that what a phase cost in locks is exact.
"""

import cython
from cython.cimports.cpus.cpu import cpu_of, cpu_relax
from cython.cimports.cpus.locks import CLASS_LIST_LOCK
from cython.cimports.cpus.mm_types import GFP_ATOMIC, GFP_KERNEL
from cython.cimports.cpus.slab import (
    kfree,
    kmalloc,
    kmem_cache_alloc,
    kmem_cache_alloc_bulk,
    kmem_cache_free,
    kmem_cache_free_bulk,
)
from cython.cimports.cpus.vmstat import SLAB_GROWING_REFILL, SLAB_REFILL
from cython.cimports.ipc.atomic import (
    atomic_fetch_add,
    barrier,
    read_once,
    smp_load_acquire,
    smp_load_acquire_ptr,
    smp_store_release,
    smp_store_release_ptr,
    write_once,
)
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.gate import the_gate
from cython.cimports.ipc.lock import lock_stat
from cython.cimports.ipc.memory import PAGE_SIZE, heap_alloc, ram_base
from cython.cimports.ipc.park import PARK_NS, park, park_begin, park_end, sleep_begin, sleep_end, wake_cpu
from cython.cimports.ipc.processor import WAIT_COMPLETION, WAIT_NONE, processor_of, this_processor
from cython.cimports.libc.string import memset

if not cython.compiled:
    raise ImportError("workloads.slab_test_loop is not built; run `make setup`")

ENOMEM = cython.declare(cython.long, 12)


# --- meeting -------------------------------------------------------------------------------------


def sum_up(t):
    """The counters of all contexts. Nobody else runs, except for interrupts, which touch none of them."""
    memset(t, 0, cython.sizeof(tally))
    for id in range(-1, segment().nr_cpus):
        c = cpu_of(id)
        t.refills += c.counter[SLAB_REFILL]
        t.growing += c.counter[SLAB_GROWING_REFILL]
        stats = cython.cast(cython.pointer(lock_stat), processor_of(id).lock_stats)
        t.acquisitions += stats[CLASS_LIST_LOCK].acquisitions
        t.contended += stats[CLASS_LIST_LOCK].contended
        t.wait_cycles += stats[CLASS_LIST_LOCK].wait.total
        t.holds += stats[CLASS_LIST_LOCK].hold.count
        t.hold_cycles += stats[CLASS_LIST_LOCK].hold.total


def wait_for_round(b, me, number):
    """Spin, then sleep with the host core given away, until the meeting is over. Interrupts are served."""
    spins: cython.long = SPINS if crowded() else OWN_CORE_SPINS
    for _ in range(spins):
        if smp_load_acquire(cython.address(b.round)) >= number:
            return
        cpu_relax()
    me.waiting_since = get_cycles()
    me.waiting_on = cython.cast(cython.long, b)
    me.waiting_for = WAIT_COMPLETION
    sleep_begin(me)
    while True:
        seen = park_begin(me)
        if smp_load_acquire(cython.address(b.round)) >= number:
            break
        park(me, seen, PARK_NS)
    park_end(me)
    sleep_end(me)
    me.waiting_for = WAIT_NONE


def meet(b, number):
    """The meeting `number`, counted from 1 over all tests: nobody leaves before all have come."""
    me = this_processor()
    cpus = segment().nr_cpus
    if atomic_fetch_add(cython.address(b.arrived), 1) + 1 < cpus * number:
        wait_for_round(b, me, number)
        return
    sum_up(cython.address(b.at[(number - 1) % MEETINGS]))
    smp_store_release(cython.address(b.round), number)
    for id in range(cpus):
        if id != me.id:
            wake_cpu(processor_of(id))


# --- the six tests -------------------------------------------------------------------------------


def alloc_all(b, v, size):
    """Allocate, and store a byte in each. How many."""
    for i in range(b.count):
        obj = kmalloc(size, GFP_KERNEL)
        if obj == cython.NULL:
            write_once(cython.address(b.failed), 1)
            return i
        cython.cast(cython.p_uchar, obj)[0] = 123
        v[i] = obj
    return b.count


def free_all(b, v):
    """Free what there is, in the order of its allocation. How many."""
    done: cython.long = 0
    for i in range(b.count):
        if v[i] != cython.NULL:
            kfree(v[i])
            v[i] = cython.NULL
            done += 1
    return done


def alloc_free(b, size):
    for i in range(b.count):
        obj = kmalloc(size, GFP_KERNEL)
        if obj == cython.NULL:
            write_once(cython.address(b.failed), 1)
            return i
        cython.cast(cython.p_uchar, obj)[0] = 123
        kfree(obj)
    return b.count


def free_for_all(b):
    """What all other CPUs have allocated, CPU by CPU."""
    done: cython.long = 0
    for id in range(1, segment().nr_cpus):
        done += free_all(b, b.per_cpu[id].v)
    return done


def share(b):
    """Slots that one consumer empties in the sixth test."""
    return b.count // segment().nr_cpus


def produce(b, size):
    """CPU 0 of the sixth test: one object for each other CPU, `count` times over."""
    done: cython.long = 0
    waits: cython.bint = crowded()
    for i in range(b.count):
        for id in range(1, segment().nr_cpus):
            obj = kmalloc(size, GFP_KERNEL)
            if obj == cython.NULL:
                write_once(cython.address(b.failed), 1)
                wake_all()
                return done
            cython.cast(cython.p_uchar, obj)[0] = 123
            smp_store_release_ptr(cython.address(b.per_cpu[id].v[i]), obj)
            done += 1
        if waits and i % WAKE_EVERY == WAKE_EVERY - 1:
            wake_all()
    if waits:
        wake_all()
    return done


def crowded():
    """Whether CPUs must take turns on the host's cores."""
    g = the_gate()
    return segment().nr_cpus > g.tokens or g.on != 0


def wake_all():
    for id in range(1, segment().nr_cpus):
        wake_cpu(processor_of(id))


def wait_for_object(b, slot):
    """Sleep until the producer has come by, with the host core given away: it may need this one."""
    me = this_processor()
    me.waiting_since = get_cycles()
    me.waiting_on = cython.cast(cython.long, slot)
    me.waiting_for = WAIT_COMPLETION
    sleep_begin(me)
    while True:
        seen = park_begin(me)
        if smp_load_acquire_ptr(slot) != cython.NULL or read_once(cython.address(b.failed)):
            break
        park(me, seen, PARK_NS)
    park_end(me)
    sleep_end(me)
    me.waiting_for = WAIT_NONE


def consume(b, v):
    """Another CPU of the sixth test: wait for each of the first slots, and free what comes."""
    sleeps: cython.bint = crowded()
    for i in range(share(b)):
        spins: cython.long = 0
        while True:
            obj = smp_load_acquire_ptr(cython.address(v[i]))
            if obj != cython.NULL:
                break
            if read_once(cython.address(b.failed)):
                return i
            spins += 1
            if sleeps and spins > SPINS:
                wait_for_object(b, cython.address(v[i]))
                spins = 0
            cpu_relax()
        cython.cast(cython.p_uchar, obj)[0] = 123
        kfree(obj)
        v[i] = cython.NULL
    return share(b)


def free_the_leaked(b):
    """The sixth test leaves most of its objects: the module that it comes from leaks them."""
    b.leaked = 0
    for id in range(1, segment().nr_cpus):
        b.leaked += free_all(b, b.per_cpu[id].v)


def first_phase(b, own, test, size, id):
    done: cython.long = 0
    begun = get_cycles()
    if test == TEST_CONCURRENT or (test == TEST_SINGLE and id == 0) or (test == TEST_REMOTE_FREE and id != 0):
        done = alloc_all(b, own.v, size)
    elif test == TEST_CONCURRENT_PAIR or (test == TEST_SINGLE_PAIR and id == 0):
        done = alloc_free(b, size)
    elif test == TEST_ONE_ALLOC:
        done = produce(b, size) if id == 0 else consume(b, own.v)
    own.cycles[0] = get_cycles() - begun
    own.done[0] = done


def second_phase(b, own, test, id):
    done: cython.long = 0
    begun = get_cycles()
    if test == TEST_CONCURRENT or (test == TEST_SINGLE and id == 0):
        done = free_all(b, own.v)
    elif test == TEST_REMOTE_FREE and id == 0:
        done = free_for_all(b)
    own.cycles[1] = get_cycles() - begun
    own.done[1] = done


def run_test(args):
    """One CPU's part of one test, in step with all others. args: test, size, tests run before. 0, or -ENOMEM."""
    b = the_slab_test()
    id = this_processor().id
    own = cython.address(b.per_cpu[id])
    first = args[2] * MEETINGS + 1
    meet(b, first)
    first_phase(b, own, args[0], args[1], id)
    meet(b, first + 1)
    second_phase(b, own, args[0], id)
    meet(b, first + 2)
    if id == 0:
        if args[0] == TEST_ONE_ALLOC or read_once(cython.address(b.failed)):
            free_the_leaked(b)
        else:
            b.leaked = 0
    return -ENOMEM if read_once(cython.address(b.failed)) else 0


def touch_ram(args):
    """Look at each page of the first args[0] bytes of RAM, so that this process's page faults are over."""
    sum: cython.long = 0
    at = cython.cast(cython.p_uchar, cython.cast(cython.ulong, ram_base()))
    offset: cython.long = 0
    while offset < args[0]:
        if segment().ram_backed[offset >> 24]:
            sum += at[offset]
        offset += PAGE_SIZE
    return sum & 0


# --- slab-bulk -----------------------------------------------------------------------------------


def one_by_one(cachep, size, objects):
    """What a caller without the bulk interface does."""
    for i in range(size):
        objects[i] = kmem_cache_alloc(cachep, GFP_ATOMIC)
        if objects[i] == cython.NULL:
            for k in range(i):
                kmem_cache_free(cachep, objects[k])
            return False
    for i in range(size):
        kmem_cache_free(cachep, objects[i])
    return True


def bulk_loop(args):
    """args: cache, kind, objects a step, steps. The cycles all steps took, or -ENOMEM."""
    cachep = cython.cast(cython.pointer(kmem_cache), cython.cast(cython.ulong, args[0]))
    kind = args[1]
    size = args[2]
    objects = cython.declare(cython.p_void[BULK_MAX])
    begun = get_cycles()
    for _ in range(args[3]):
        if kind == BULK_FOR_LOOP:
            barrier()
        elif kind == BULK_FASTPATH or kind == BULK_FALLBACK:
            if not one_by_one(cachep, size, objects):
                return -ENOMEM
        elif kmem_cache_alloc_bulk(cachep, GFP_ATOMIC, size, objects) == 0:
            return -ENOMEM
        elif kind == BULK_QUICK_REUSE:
            kmem_cache_free_bulk(cachep, size, objects)
        else:
            kmem_cache_free_bulk(cython.cast(cython.pointer(kmem_cache), cython.NULL), size, objects)
    return get_cycles() - begun


# --- Python --------------------------------------------------------------------------------------


def prepare(count: int) -> bool:
    """Make the CPUs' vectors for `count` operations each. False when the segment is too small."""
    b = cython.cast(cython.pointer(slab_test), heap_alloc(cython.sizeof(slab_test)))
    if b == cython.NULL:
        return False
    b.count = count
    for id in range(segment().nr_cpus):
        b.per_cpu[id].v = cython.cast(cython.pointer(cython.p_void), heap_alloc(8 * count))
        if b.per_cpu[id].v == cython.NULL:
            return False
    segment().area[AREA_WORKLOAD] = cython.cast(cython.long, b)
    return True


def outcome() -> dict:
    """The last test: per CPU (cycles, operations) of each phase, and the counters of each phase, summed over CPUs."""
    b = the_slab_test()
    cpus = []
    for id in range(segment().nr_cpus):
        own = cython.address(b.per_cpu[id])
        cpus.append(((own.cycles[0], own.done[0]), (own.cycles[1], own.done[1])))
    phases = []
    for i in range(MEETINGS - 1):
        after = cython.address(b.at[i + 1])
        before = cython.address(b.at[i])
        phases.append(
            {
                "acquisitions": after.acquisitions - before.acquisitions,
                "contended": after.contended - before.contended,
                "wait_cycles": after.wait_cycles - before.wait_cycles,
                "holds": after.holds - before.holds,
                "hold_cycles": after.hold_cycles - before.hold_cycles,
                "refills": after.refills - before.refills,
                "growing": after.growing - before.growing,
            }
        )
    return {"cpus": cpus, "phases": phases, "leaked": b.leaked, "failed": b.failed != 0}


def forgive() -> None:
    """After a test that ran out of memory: the next one may try."""
    the_slab_test().failed = 0


def entry_points() -> dict:
    """Address of each function that is mailed to a CPU, by name."""
    return {
        "run_test": cython.cast(cython.long, cython.cast(cython.p_void, run_test)),
        "touch_ram": cython.cast(cython.long, cython.cast(cython.p_void, touch_ram)),
        "bulk_loop": cython.cast(cython.long, cython.cast(cython.p_void, bulk_loop)),
    }


BULK_KINDS = {
    "for_loop": BULK_FOR_LOOP,
    "fastpath reuse": BULK_FASTPATH,
    "bulk_fallback": BULK_FALLBACK,
    "bulk_quick_reuse": BULK_QUICK_REUSE,
    "kfree_bulk": BULK_KFREE,
}
