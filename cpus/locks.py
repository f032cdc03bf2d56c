"""The named locks of the kernel, made once at boot."""

import cython
from cython.cimports.ipc.lock import mutex_init, rwsem_init
from cython.cimports.ipc.memory import heap_alloc

if not cython.compiled:
    raise ImportError("cpus.locks is not built; run `make setup`")

CLASSES = (
    "slab_mutex",
    "cgroup_mutex",
    "list_lock",
    "alien_lock",
    "zone_lock",
    "pcp_lock",
    "rcu_barrier_mutex",
    "pcpu_drain_mutex",
    "cpu_hotplug",
    "mem_hotplug",
    "workqueue_lock",
    "workload_lock",
    "rcu_lock",
)


def init_locks():
    k = cython.cast(cython.pointer(kernel_locks), heap_alloc(cython.sizeof(kernel_locks)))
    if k == cython.NULL:
        return -1
    segment().area[AREA_LOCKS] = cython.cast(cython.long, k)
    mutex_init(cython.address(k.slab_mutex), CLASS_SLAB_MUTEX)
    mutex_init(cython.address(k.cgroup_mutex), CLASS_CGROUP_MUTEX)
    mutex_init(cython.address(k.rcu_barrier_mutex), CLASS_RCU_BARRIER_MUTEX)
    mutex_init(cython.address(k.pcpu_drain_mutex), CLASS_PCPU_DRAIN_MUTEX)
    rwsem_init(cython.address(k.cpu_hotplug), CLASS_CPU_HOTPLUG)
    rwsem_init(cython.address(k.mem_hotplug), CLASS_MEM_HOTPLUG)
    return 0
