"""The removal of many memcgs: CPU 0 removes them one by one; CPU 1 frees the last objects of each while, before or
after it is removed, and writes limits of a cgroup that has nothing to do with it; all others compute.
"""

import cython
from cython.cimports.cpus.cgroup import cgroup_mkdir, cgroup_rmdir
from cython.cimports.cpus.cpu import (
    TASK_DONE,
    TASK_RUN,
    kernel_enter,
    kernel_exit,
    smp_processor_id,
    this_cpu,
    wake_up_process,
)
from cython.cimports.cpus.memcontrol import (
    mem_cgroup_init,
    mem_cgroup_write_kmem_limit,
    mem_cgroup_write_limit,
    the_memcgs,
)
from cython.cimports.cpus.mm_types import GFP_KERNEL
from cython.cimports.cpus.rcu import rcu, rcu_barrier_sched
from cython.cimports.cpus.slab import kmem_cache_alloc, kmem_cache_free
from cython.cimports.cpus.slab_common import kmem_cache_create
from cython.cimports.cpus.slab_def import SLAB_ACCOUNT, SLAB_TYPESAFE_BY_RCU
from cython.cimports.cpus.slab_release import hold_releases
from cython.cimports.cpus.workqueue import flush_workqueue
from cython.cimports.ipc.atomic import atomic_fetch_add, read_once, write_once
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.memory import heap_alloc
from cython.cimports.ipc.processor import COORDINATOR
from cython.cimports.libc.stdio import snprintf
from cython.cimports.libc.string import memset

if not cython.compiled:
    raise ImportError("workloads.memcg_death_loop is not built; run `make setup`")

ENOMEM = cython.declare(cython.long, 12)
GIB = cython.declare(cython.long, 1 << 30)


def set_up(args):
    error: cython.long = mem_cgroup_init(args[2])
    if error != 0:
        return error
    s = cython.cast(cython.pointer(death_state), heap_alloc(cython.sizeof(death_state)))
    if s == cython.NULL:
        return -ENOMEM
    s.memcgs = args[0]
    s.caches = args[1]
    s.memcg = cython.cast(cython.pointer(cython.pointer(mem_cgroup)), heap_alloc(args[0] * 8))
    s.late = cython.cast(cython.pointer(cython.p_void), heap_alloc(args[0] * args[1] * 8))
    s.by = cython.cast(cython.pointer(bystander), heap_alloc(segment().nr_cpus * cython.sizeof(bystander)))
    if s.memcg == cython.NULL or s.late == cython.NULL or s.by == cython.NULL:
        return -ENOMEM
    account: cython.ulong = SLAB_ACCOUNT
    s.cache[0] = kmem_cache_create("anon_vma", 80, 0, account | SLAB_TYPESAFE_BY_RCU, cython.NULL, cython.NULL)
    if s.caches > 1:
        s.cache[1] = kmem_cache_create("cred_jar", 192, 0, account, cython.NULL, cython.NULL)
    if s.caches > 2:
        s.cache[2] = kmem_cache_create("dentry", 192, 0, account, cython.NULL, cython.NULL)
    if s.caches > 3:
        s.cache[3] = kmem_cache_create("filp", 256, 0, account, cython.NULL, cython.NULL)
    if s.caches > 4:
        s.cache[4] = kmem_cache_create("pid", 128, 0, account, cython.NULL, cython.NULL)
    for i in range(s.caches):
        if s.cache[i] == cython.NULL:
            return -ENOMEM
    segment().area[AREA_WORKLOAD] = cython.cast(cython.long, s)
    s.unrelated = cgroup_mkdir("unrelated")
    return 0 if s.unrelated != cython.NULL else -ENOMEM


def alloc_in(memcg, cachep):
    """As a task of that memcg."""
    t: task
    memset(cython.address(t), 0, cython.sizeof(task))
    t.memcg = memcg
    c = this_cpu()
    was = c.current
    c.current = cython.address(t)
    obj = kmem_cache_alloc(cachep, GFP_KERNEL)
    c.current = was
    return obj


def make(args):
    """The first allocation from each cache is served by the root, and queues the making of the child."""
    s = the_deaths()
    for i in range(args[0], args[1]):
        name: cython.char[24]
        snprintf(name, 24, "%ld", i)
        memcg = cgroup_mkdir(name)
        if memcg == cython.NULL:
            return -ENOMEM
        s.memcg[i] = memcg
        if mem_cgroup_write_kmem_limit(memcg, GIB) != 0:
            return -ENOMEM
        for k in range(s.caches):
            obj = alloc_in(memcg, s.cache[k])
            if obj == cython.NULL:
                return -ENOMEM
            kmem_cache_free(s.cache[k], obj)
    return 0


def use_one(s, i):
    """A few objects of each child, all but one given back."""
    objects: cython.p_void[3]  # KEPT
    for k in range(s.caches):
        for j in range(KEPT):
            objects[j] = alloc_in(s.memcg[i], s.cache[k])
            if objects[j] == cython.NULL:
                return -ENOMEM
        for j in range(1, KEPT):
            kmem_cache_free(s.cache[k], objects[j])
        s.late[i * s.caches + k] = objects[0]
    return 0


def use_caches(args):
    """Memcg i is used on CPU i modulo their number: its children have one slab each, on that CPU."""
    s = the_deaths()
    cpus = segment().nr_cpus
    i = smp_processor_id()
    while i < s.memcgs:
        error = use_one(s, i)
        if error != 0:
            return error
        i += cpus
    return 0


# --- tasks ----------------------------------------------------------------------------------------


def end_task(s):
    atomic_fetch_add(cython.address(s.running), -1)


def remove_step(c, t):
    s = the_deaths()
    at = read_once(cython.address(s.removed))
    if at == 0:
        s.begun = get_cycles()
    if at < s.memcgs and read_once(cython.address(s.stop)) == 0:
        start = get_cycles()
        was = kernel_enter()
        error = cgroup_rmdir(s.memcg[at])
        kernel_exit(was)
        taken = get_cycles() - start
        if taken > s.longest_rmdir:
            s.longest_rmdir = taken
        if error != 0:
            write_once(cython.address(s.error), error)
        write_once(cython.address(s.removed), at + 1)
        return TASK_RUN
    s.ended = get_cycles()
    end_task(s)
    return TASK_DONE


def free_step(c, t):
    """One object a step. A memcg's first ones go while it is still there or being removed, its last ones afterwards."""
    s = the_deaths()
    removed = read_once(cython.address(s.removed))
    done = t.arg[1]
    memcg = done // s.caches
    given_up: cython.bint = read_once(cython.address(s.stop)) != 0 and memcg >= removed
    if done == s.memcgs * s.caches or given_up:
        write_once(cython.address(s.stop), 1)
        end_task(s)
        return TASK_DONE
    early: cython.bint = memcg == removed and done % s.caches < s.caches // 2
    if memcg < removed or early:
        kmem_cache_free(s.cache[done % s.caches], s.late[done])
        t.arg[1] = done + 1
        write_once(cython.address(s.freed), (done + 1) // s.caches)
    start = get_cycles()
    was = kernel_enter()
    mem_cgroup_write_limit(s.unrelated, GIB + removed * 4096)
    kernel_exit(was)
    taken = get_cycles() - start
    if taken > read_once(cython.address(s.stall)):
        write_once(cython.address(s.stall), taken)
    write_once(cython.address(s.operations), read_once(cython.address(s.operations)) + 1)
    return TASK_RUN


def bystander_step(c, t):
    """Look at the clock again and again. A gap in which a call interrupt was taken, and neither a tick nor a change of
    the host core's owner, is time that the caller took from this CPU."""
    s = the_deaths()
    me = cython.address(s.by[c.hw.id])
    irqs = cython.address(c.hw.irqs)
    if read_once(cython.address(s.stop)) != 0:
        end_task(s)
        return TASK_DONE
    before = get_cycles()
    for _ in range(10000):
        calls = irqs.taken[0] + irqs.taken[1]
        others = irqs.taken[2] + irqs.taken[3] + c.hw.gate_moves
        now = get_cycles()
        gap = now - before
        if calls != t.arg[1]:
            if others == t.arg[2] and t.arg[1] != 0:
                me.hits += 1
                me.interrupted += gap
                if gap > me.longest:
                    me.longest = gap
            t.arg[1] = calls
        t.arg[2] = others
        before = now
    me.loops += 10000
    return TASK_RUN


def start(args):
    s = the_deaths()
    id = smp_processor_id()
    t = cython.address(s.tasks[id])
    t.step = bystander_step
    if args[0] == ROLE_REMOVER:
        t.step = remove_step
    elif args[0] == ROLE_FREER:
        t.step = free_step
    t.done.waiter = COORDINATOR
    atomic_fetch_add(cython.address(s.running), 1)
    wake_up_process(t, id)
    return 0


def settle(args):
    """Let all callbacks and work items of the removals run; memcgs that are still pinned."""
    if args[0]:
        rcu_barrier_sched()
    flush_workqueue(the_memcgs().memcg_kmem_cache_wq)
    if the_memcgs().memcg_kmem_cache_wq != the_memcgs().system_wq:
        flush_workqueue(the_memcgs().system_wq)
    flush_workqueue(the_memcgs().cgroup_destroy_wq)
    return the_memcgs().nr_dying


def hold(args):
    hold_releases(args[0] != 0)
    return 0


# --- Python ---------------------------------------------------------------------------------------


def entry_points() -> dict:
    """Address of each function that is mailed to a CPU, by name."""
    return {
        "set_up": cython.cast(cython.long, cython.cast(cython.p_void, set_up)),
        "make": cython.cast(cython.long, cython.cast(cython.p_void, make)),
        "use": cython.cast(cython.long, cython.cast(cython.p_void, use_caches)),
        "start": cython.cast(cython.long, cython.cast(cython.p_void, start)),
        "settle": cython.cast(cython.long, cython.cast(cython.p_void, settle)),
        "hold": cython.cast(cython.long, cython.cast(cython.p_void, hold)),
    }


def ask_to_stop() -> None:
    """End after the memcg that is being removed."""
    write_once(cython.address(the_deaths().stop), 1)


def progress() -> tuple:
    """(memcgs removed, memcgs whose last objects are freed, tasks that run, error)."""
    s = the_deaths()
    return (
        read_once(cython.address(s.removed)),
        read_once(cython.address(s.freed)),
        read_once(cython.address(s.running)),
        read_once(cython.address(s.error)),
    )


def dying() -> int:
    """Memcgs that were removed and are kept by a charged page."""
    return the_memcgs().nr_dying


def grace_periods_passed() -> int:
    """Grace periods completed since boot."""
    return rcu().gp_completed


def cycles() -> int:
    """The clock."""
    return get_cycles()


def outcome() -> dict:
    """All readings, in nanoseconds, when the tasks have ended."""
    s = the_deaths()
    per_us = segment().cycles_per_us
    lost: cython.long = 0
    hits: cython.long = 0
    longest: cython.long = 0
    for id in range(segment().nr_cpus):
        lost += s.by[id].interrupted
        hits += s.by[id].hits
        longest = max(longest, s.by[id].longest)
    return {
        "begun": s.begun,
        "rmdir_ns": (s.ended - s.begun) * 1000 // per_us,
        "longest_rmdir_ns": s.longest_rmdir * 1000 // per_us,
        "longest_stall_ns": s.stall * 1000 // per_us,
        "unrelated_operations": s.operations,
        "bystanders": {
            "interruptions": hits,
            "lost_ns": lost * 1000 // per_us,
            "longest_ns": longest * 1000 // per_us,
        },
        "cycles_per_us": per_us,
    }
