"""mm/oom_kill.c: the OOM killer.

A workload registers what can be killed. Killing is asking: the victim's own step sees `killed`, gives everything back
and says so. Until it has, nobody else is killed, and requests that find no memory fail: the victim may be on the run
queue of the very CPU that asks, so waiting for it inside the kernel could take for ever (docs/decisions/0021).
"""

import cython
from cython.cimports.cpus.cpu import count_event
from cython.cimports.cpus.events import EV_OOM_KILL
from cython.cimports.cpus.mmzone import MAX_OOM_VICTIMS, mm_root
from cython.cimports.cpus.vmstat import OOM_KILL
from cython.cimports.ipc.atomic import atomic_fetch_add, read_once, write_once
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.lock import spin_lock, spin_unlock
from cython.cimports.ipc.memory import heap_alloc
from cython.cimports.ipc.trace import trace

if not cython.compiled:
    raise ImportError("cpus.oom_kill is not built; run `make setup`")


def oom_task_add():
    system = mm_root()
    if system.oom_tasks == cython.NULL:
        system.oom_tasks = cython.cast(
            cython.pointer(oom_task), heap_alloc(MAX_OOM_VICTIMS * cython.sizeof(oom_task))
        )
    if system.oom_tasks == cython.NULL or read_once(cython.address(system.nr_oom_tasks)) == MAX_OOM_VICTIMS:
        return cython.cast(cython.pointer(oom_task), cython.NULL)
    index = atomic_fetch_add(cython.address(system.nr_oom_tasks), 1)
    return cython.address(system.oom_tasks[index])


def oom_task_exit(task):
    spin_lock(cython.address(mm_root().oom_lock))
    write_once(cython.address(task.pages), 0)
    write_once(cython.address(task.gone), 1)
    if read_once(cython.address(task.killed)):
        atomic_fetch_add(cython.address(mm_root().nr_victims), -1)
    spin_unlock(cython.address(mm_root().oom_lock))


def select_bad_process():
    """Who holds most."""
    system = mm_root()
    worst = cython.cast(cython.pointer(oom_task), cython.NULL)
    most: cython.long = 0
    for i in range(read_once(cython.address(system.nr_oom_tasks))):
        each = cython.address(system.oom_tasks[i])
        pages = read_once(cython.address(each.pages))
        if pages > most and read_once(cython.address(each.killed)) == 0 and read_once(cython.address(each.gone)) == 0:
            most = pages
            worst = each
    return worst


def out_of_memory():
    """Called with interrupts on and nothing held. Kills at most one; False when there is nobody to kill."""
    system = mm_root()
    if read_once(cython.address(system.nr_oom_tasks)) == 0:
        return False
    spin_lock(cython.address(system.oom_lock))
    pending: cython.bint = read_once(cython.address(system.nr_victims)) != 0
    if not pending:
        victim = select_bad_process()
        if victim != cython.NULL:
            atomic_fetch_add(cython.address(system.nr_victims), 1)
            victim.killed_at = get_cycles()
            write_once(cython.address(victim.killed), 1)
            count_event(OOM_KILL)
            trace(EV_OOM_KILL, victim - system.oom_tasks)
            pending = True
    spin_unlock(cython.address(system.oom_lock))
    return pending
