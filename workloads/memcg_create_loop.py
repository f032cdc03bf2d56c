"""The script of memcg-create, step by step, as a task that a scheduler moves between CPUs.

Each loop: mkdir; two limits; move into the new memcg; create, close and unlink a file. Afterwards: read CPU 0's
column, as the script does; wait for the creations that are still queued; read all columns; move back to the root and
rmdir every memcg. After each step the task goes to a CPU drawn evenly from those online.
"""

import cython
from cython.cimports.cpus.cpu import (
    TASK_DONE,
    TASK_MIGRATE,
    TASK_RUN,
    cpu_of,
    cpu_online_mask,
    cpu_relax,
    kernel_enter,
    kernel_exit,
    wake_up_process,
)
from cython.cimports.cpus.memcontrol import mem_cgroup_init, the_memcgs
from cython.cimports.cpus.vfs import (
    CFT_KMEM_LIMIT,
    CFT_LIMIT,
    CFT_PROCS,
    file,
    sys_close,
    sys_creat,
    sys_mkdir,
    sys_open_control,
    sys_rmdir,
    sys_unlink,
    sys_write_control,
    vfs_caches_init,
)
from cython.cimports.cpus.vmstat import MEMCG_CACHES_CREATED, MEMCG_CREATE_DUPLICATES
from cython.cimports.cpus.workqueue import flush_workqueue
from cython.cimports.ipc.atomic import read_once, smp_load_acquire, smp_store_release, write_once
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.cpumask import cpumask_next, cpumask_weight
from cython.cimports.ipc.memory import heap_alloc
from cython.cimports.ipc.processor import COORDINATOR
from cython.cimports.libc.stdio import snprintf
from cython.cimports.libc.string import memset

if not cython.compiled:
    raise ImportError("workloads.memcg_create_loop is not built; run `make setup`")

ENOMEM = cython.declare(cython.long, 12)
GIB = cython.declare(cython.long, 1 << 30)
PHASES = ("script", "flush", "rmdir", "done")


def ipi_count():
    """What the script's ipi_count() finds: the first number of `Function call interrupts`, so CPU 0's."""
    irqs = cython.address(cpu_of(0).hw.irqs)
    return irqs.taken[0] + irqs.taken[1]


def settle():
    """Wait until every call vector that was raised has been counted by its target.

    A request may be answered by the interrupt of an earlier one; its own vector is then taken, and counted, a moment
    after its sender has gone on. Nobody calls meanwhile.
    """
    while True:
        raised: cython.long = 0
        counted: cython.long = 0
        for id in range(-1, segment().nr_cpus):
            irqs = cython.address(cpu_of(id).hw.irqs)
            raised += irqs.raised[0] + irqs.raised[1]
            counted += irqs.merged[0] + irqs.merged[1] + irqs.taken[0] + irqs.taken[1]
        if raised == counted or segment().shutting_down:
            return
        cpu_relax()


def read_all(r):
    settle()
    r.duplicates = 0
    for id in range(segment().nr_cpus):
        c = cpu_of(id)
        r.cal[id] = c.hw.irqs.taken[0] + c.hw.irqs.taken[1]
        r.created[id] = c.counter[MEMCG_CACHES_CREATED]
        r.duplicates += c.counter[MEMCG_CREATE_DUPLICATES]
    r.time = get_cycles()


def random_cpu(t):
    """An online CPU, each as likely as any other."""
    online = cpu_online_mask()
    high = splitmix64(cython.address(t.random)) >> 32
    skip = cython.cast(cython.long, (high * cython.cast(cython.ulong, cpumask_weight(online))) >> 32)
    id = cpumask_next(-1, online)
    while skip > 0:
        id = cpumask_next(id, online)
        skip -= 1
    return id


def migrate(c, t):
    t.cpu = random_cpu(t)
    return TASK_RUN if t.cpu == c.hw.id else TASK_MIGRATE


def fail(s, error):
    if s.error == 0:
        write_once(cython.address(s.error), error)


def echo(fs, memcg, cft, value, t):
    """open, write, close. The file that moves the task is opened in its old memcg and closed in its new one."""
    f: file
    memset(cython.address(f), 0, cython.sizeof(file))
    error: cython.long = sys_open_control(fs, cython.address(f))
    if error == 0:
        error = sys_write_control(memcg, cft, value, t)
    sys_close(fs, cython.address(f))
    sys_unlink(fs, cython.address(f))
    return error


def one_loop(s, t):
    """The body of the script's `for`. 0, or a negative errno."""
    fs = cython.address(s.fs)
    name: cython.char[24]
    snprintf(name, 24, "%ld", s.loops_done)
    memcg = sys_mkdir(fs, name)
    if memcg == cython.NULL:
        return -ENOMEM
    memcg_slot = cython.cast(cython.pointer(cython.p_void), s.memcg)
    memcg_slot[read_once(cython.address(s.loops_done))] = memcg
    write_once(cython.address(s.loops_done), read_once(cython.address(s.loops_done)) + 1)
    error = echo(fs, memcg, CFT_LIMIT, GIB, t)
    if error == 0:
        error = echo(fs, memcg, CFT_KMEM_LIMIT, GIB, t)
    if error == 0:
        error = echo(fs, memcg, CFT_PROCS, 0, t)
    if error != 0:
        return error
    f: file
    memset(cython.address(f), 0, cython.sizeof(file))
    error = sys_creat(fs, cython.address(f))
    sys_close(fs, cython.address(f))
    sys_unlink(fs, cython.address(f))
    return error


def end_of_script(s, t):
    """Both readings that the script's own number is compared with: nothing may be queued any more."""
    was = kernel_enter()
    flush_workqueue(the_memcgs().memcg_kmem_cache_wq)
    kernel_exit(was)
    read_all(cython.address(s.after))
    return echo(cython.address(s.fs), cython.NULL, CFT_PROCS, 0, t)


def remove_one(s):
    at = read_once(cython.address(s.removed))
    error: cython.long = sys_rmdir(s.memcg[at])
    write_once(cython.address(s.removed), at + 1)
    return error


def step(c, t):
    s = the_script()
    phase = read_once(cython.address(s.phase))
    stopped: cython.bint = read_once(cython.address(s.stop)) != 0 or read_once(cython.address(s.error)) != 0
    if phase == PHASE_SCRIPT:
        error = one_loop(s, t)
        if error != 0:
            fail(s, error)
        stopped = read_once(cython.address(s.stop)) != 0 or error != 0
        if stopped or read_once(cython.address(s.loops_done)) == s.loops:
            s.script_after = ipi_count()
            smp_store_release(cython.address(s.phase), PHASE_FLUSH)
            return TASK_RUN
        return migrate(c, t)
    if phase == PHASE_FLUSH:
        error = end_of_script(s, t)
        if error != 0:
            fail(s, error)
        smp_store_release(cython.address(s.phase), PHASE_REMOVE)
        return migrate(c, t)
    if not stopped and read_once(cython.address(s.removed)) < read_once(cython.address(s.loops_done)):
        error = remove_one(s)
        if error != 0:
            fail(s, error)
        return migrate(c, t)
    was = kernel_enter()
    flush_workqueue(the_memcgs().cgroup_destroy_wq)
    kernel_exit(was)
    read_all(cython.address(s.removal))
    smp_store_release(cython.address(s.phase), PHASE_DONE)
    return TASK_DONE


def set_up(args):
    """args: loops, seed, kernel version as major * 1000 + minor. Creates the root caches, so it runs on a CPU."""
    loops = args[0]
    error: cython.long = mem_cgroup_init(args[2])
    if error != 0:
        return error
    s = cython.cast(
        cython.pointer(memcg_script), heap_alloc(cython.sizeof(memcg_script) + loops * cython.sizeof(cython.p_void))
    )
    if s == cython.NULL:
        return -ENOMEM
    s.loops = loops
    s.script.step = step
    s.script.random = cython.cast(cython.ulong, args[1])
    s.script.done.waiter = COORDINATOR
    segment().area[AREA_WORKLOAD] = cython.cast(cython.long, s)
    return vfs_caches_init(cython.address(s.fs))


def start(args):
    """The script's first reading, then its first step, on some CPU."""
    s = the_script()
    flush_workqueue(the_memcgs().memcg_kmem_cache_wq)
    read_all(cython.address(s.before))
    s.script_before = ipi_count()
    wake_up_process(cython.address(s.script), random_cpu(cython.address(s.script)))
    return 0


def stop(args):
    write_once(cython.address(the_script().stop), 1)
    return 0


def entry_points() -> dict:
    """Address of each function that is mailed to a CPU, by name."""
    return {
        "set_up": cython.cast(cython.long, cython.cast(cython.p_void, set_up)),
        "start": cython.cast(cython.long, cython.cast(cython.p_void, start)),
        "stop": cython.cast(cython.long, cython.cast(cython.p_void, stop)),
    }


def progress() -> tuple:
    """(phase, loops done, memcgs removed, error), while the script runs."""
    s = the_script()
    return (
        PHASES[smp_load_acquire(cython.address(s.phase))],
        read_once(cython.address(s.loops_done)),
        read_once(cython.address(s.removed)),
        read_once(cython.address(s.error)),
    )


def outcome() -> dict:
    """All readings as plain numbers, when the script has ended."""
    s = the_script()
    per_us = segment().cycles_per_us
    cpus = range(segment().nr_cpus)
    return {
        "loops": s.loops_done,
        "script": {"before": s.script_before, "after": s.script_after},
        "cal_before": [s.before.cal[id] for id in cpus],
        "cal_after": [s.after.cal[id] for id in cpus],
        "cal_removed": [s.removal.cal[id] for id in cpus],
        "creations": [s.after.created[id] - s.before.created[id] for id in cpus],
        "duplicates": s.after.duplicates - s.before.duplicates,
        "elapsed_ns": (s.after.time - s.before.time) * 1000 // per_us,
        "removed": s.removed,
        "dying": the_memcgs().nr_dying,
        "removal_ns": (s.removal.time - s.after.time) * 1000 // per_us,
        "error": s.error,
    }
