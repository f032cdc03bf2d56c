"""Control groups: mkdir, rmdir and the moving of tasks, all below the root.

Where this differs: rmdir takes the memcg's caches down before it returns. In the kernel it queues that part
(cgroup_destroy_wq, since v3.11); both hold cgroup_mutex for it.
"""

import cython
from cython.cimports.cpus.locks import locks
from cython.cimports.cpus.memcontrol import (
    css_put_many,
    mem_cgroup_alloc,
    memcg_offline_kmem,
    memcg_online_kmem,
    the_memcgs,
)
from cython.cimports.ipc.atomic import atomic_fetch_add
from cython.cimports.ipc.lock import mutex_lock, mutex_unlock

if not cython.compiled:
    raise ImportError("cpus.cgroup is not built; run `make setup`")

EBUSY = cython.declare(cython.int, 16)


def cgroup_mkdir(name):
    system = the_memcgs()
    mutex_lock(cython.address(locks().cgroup_mutex))
    memcg = mem_cgroup_alloc(name)
    failed: cython.bint = memcg == cython.NULL
    if not failed:
        atomic_fetch_add(cython.address(system.nr_memcgs), 1)
        # since v4.6, mm: memcontrol: enable kmem accounting for all cgroups in the legacy hierarchy (Davydov 2016)
        if system.kernel >= 4006 and memcg_online_kmem(memcg) != 0:
            cgroup_kill(memcg)
            failed = True
    mutex_unlock(cython.address(locks().cgroup_mutex))
    if failed:
        return cython.NULL
    return memcg


def cgroup_kill(memcg):
    """Take it down and drop its own reference: the rest goes with the last charged page."""
    system = the_memcgs()
    atomic_fetch_add(cython.address(system.nr_memcgs), -1)
    atomic_fetch_add(cython.address(system.nr_dying), 1)
    memcg_offline_kmem(memcg)
    css_put_many(memcg, 1)


def cgroup_rmdir(memcg):
    mutex_lock(cython.address(locks().cgroup_mutex))
    busy: cython.bint = memcg.nr_tasks != 0
    if not busy:
        cgroup_kill(memcg)
    mutex_unlock(cython.address(locks().cgroup_mutex))
    return -EBUSY if busy else 0


def cgroup_attach_task(memcg, t):
    """What the task has allocated stays charged where it is."""
    mutex_lock(cython.address(locks().cgroup_mutex))
    old = cython.cast(cython.pointer(mem_cgroup), t.memcg)
    if old != cython.NULL:
        old.nr_tasks -= 1
    if memcg != cython.NULL:
        memcg.nr_tasks += 1
    t.memcg = memcg
    mutex_unlock(cython.address(locks().cgroup_mutex))
