"""Caches of SLAB_TYPESAFE_BY_RCU: every CPU fills some slabs of each and empties them again, so that their pages wait
for callbacks on every CPU; then a task destroys the caches, one a step, each on the next CPU. It avoids the CPU
that waits in the asynchronous release: a kworker has no stack of its own here, and sleeps with its whole CPU.
"""

import cython
from cython.cimports.cpus.cpu import (
    TASK_DONE,
    TASK_MIGRATE,
    TASK_RUN,
    cpu_of,
    kernel_enter,
    kernel_exit,
    this_cpu,
    wake_up_process,
)
from cython.cimports.cpus.mm_types import GFP_KERNEL
from cython.cimports.cpus.rcu import rcu_barrier_sched
from cython.cimports.cpus.slab import kmem_cache_alloc, kmem_cache_free
from cython.cimports.cpus.slab_common import kmem_cache_create, kmem_cache_destroy
from cython.cimports.cpus.slab_def import SLAB_TYPESAFE_BY_RCU, slab_root
from cython.cimports.cpus.slab_release import events_workqueue
from cython.cimports.cpus.workqueue import flush_workqueue
from cython.cimports.ipc.atomic import read_once, write_once
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.memory import heap_alloc
from cython.cimports.ipc.processor import COORDINATOR
from cython.cimports.libc.stdio import snprintf

if not cython.compiled:
    raise ImportError("workloads.cache_destroy_loop is not built; run `make setup`")

ENOMEM = cython.declare(cython.long, 12)


def set_up(args):
    s = cython.cast(cython.pointer(destroy_state), heap_alloc(cython.sizeof(destroy_state)))
    if s == cython.NULL:
        return -ENOMEM
    s.count = args[0]
    s.cache = cython.cast(cython.pointer(cython.pointer(kmem_cache)), heap_alloc(args[0] * 8))
    s.took = cython.cast(cython.p_long, heap_alloc(args[0] * 8))
    if s.cache == cython.NULL or s.took == cython.NULL:
        return -ENOMEM
    for i in range(s.count):
        name: cython.char[32]
        snprintf(name, 32, "typesafe-%ld", i)
        s.cache[i] = kmem_cache_create(name, args[1], 0, SLAB_TYPESAFE_BY_RCU, cython.NULL, cython.NULL)
        if s.cache[i] == cython.NULL:
            return -ENOMEM
    slab_root().rcu_destroy_apart = 1
    s.destroyer.step = destroy_step
    s.destroyer.done.waiter = COORDINATOR
    segment().area[AREA_WORKLOAD] = cython.cast(cython.long, s)
    return 0


def fill_and_empty(cachep, objects):
    """Allocated objects are linked through their first words meanwhile."""
    chain: cython.p_void = cython.NULL
    got: cython.long = 0
    while got < objects:
        obj = kmem_cache_alloc(cachep, GFP_KERNEL)
        if obj == cython.NULL:
            break
        cython.cast(cython.pointer(cython.p_void), obj)[0] = chain
        chain = obj
        got += 1
    while chain != cython.NULL:
        following = cython.cast(cython.pointer(cython.p_void), chain)[0]
        kmem_cache_free(cachep, chain)
        chain = following
    return got


def use_caches(args):
    s = the_caches()
    for i in range(s.count):
        objects = args[0] * s.cache[i].num
        if fill_and_empty(s.cache[i], objects) < objects:
            return -ENOMEM
    return 0


def destroy_step(c, t):
    s = the_caches()
    at = read_once(cython.address(s.destroyed))
    if at == 0:
        s.begun = get_cycles()
    if at == s.count or read_once(cython.address(s.stop)) != 0:
        s.ended = get_cycles()
        write_once(cython.address(s.running), 0)
        return TASK_DONE
    start = get_cycles()
    was = kernel_enter()
    error = kmem_cache_destroy(s.cache[at])
    kernel_exit(was)
    s.took[at] = get_cycles() - start
    if error != 0:
        write_once(cython.address(s.error), error)
    write_once(cython.address(s.destroyed), at + 1)
    t.cpu = next_cpu(c.hw.id)
    return TASK_RUN if t.cpu == c.hw.id else TASK_MIGRATE


def next_cpu(id):
    cpus = segment().nr_cpus
    following = (id + 1) % cpus
    if following == slab_root().rcu_destroy_cpu and read_once(cython.address(slab_root().rcu_destroy_running)):
        following = (following + 1) % cpus
    return following


def start(args):
    s = the_caches()
    write_once(cython.address(s.running), 1)
    wake_up_process(cython.address(s.destroyer), 0)
    return 0


def settle(args):
    """Until every callback has run and every release is done."""
    flush_workqueue(events_workqueue())
    rcu_barrier_sched()
    flush_workqueue(events_workqueue())
    return 0


def hold_callbacks(args):
    """As a long softirq would: this CPU goes on reporting quiescent states, and its callbacks wait."""
    c = this_cpu()
    c.in_softirq = cython.cast(cython.int, args[0])
    if not args[0] and c.rcu_count:
        c.softirq_pending = 1
    return 0


def entry_points() -> dict:
    """Address of each function that is mailed to a CPU, by name."""
    return {
        "set_up": cython.cast(cython.long, cython.cast(cython.p_void, set_up)),
        "use": cython.cast(cython.long, cython.cast(cython.p_void, use_caches)),
        "start": cython.cast(cython.long, cython.cast(cython.p_void, start)),
        "hold_callbacks": cython.cast(cython.long, cython.cast(cython.p_void, hold_callbacks)),
        "settle": cython.cast(cython.long, cython.cast(cython.p_void, settle)),
    }


def ask_to_stop() -> None:
    """End after the cache that is being destroyed."""
    write_once(cython.address(the_caches().stop), 1)


def progress() -> tuple:
    """(caches destroyed, whether the task runs, error)."""
    s = the_caches()
    return (
        read_once(cython.address(s.destroyed)),
        read_once(cython.address(s.running)),
        read_once(cython.address(s.error)),
    )


def queued_on_first() -> int:
    """Callbacks that CPU 0 has queued."""
    return read_once(cython.address(cpu_of(0).rcu_count))


def outcome() -> dict:
    """Times in nanoseconds, when the task has ended."""
    s = the_caches()
    per_us = segment().cycles_per_us
    took = []
    for i in range(s.destroyed):
        took.append(s.took[i] * 1000 // per_us)
    return {"wall_ns": (s.ended - s.begun) * 1000 // per_us, "took_ns": sorted(took)}
