# The kernel's named locks and their classes. Order, outermost first:
#   cgroup_mutex > cpu_hotplug (read) > mem_hotplug (read) > slab_mutex > alien lock > list_lock
#   pcpu_drain_mutex; rcu_barrier_mutex; pcp lock > zone lock; never two list_locks.
from ipc.lock cimport mutex, rwsem
from ipc.memory cimport segment
from cpus.cpu cimport AREA_LOCKS

cdef enum:
    CLASS_SLAB_MUTEX = 0
    CLASS_CGROUP_MUTEX = 1
    CLASS_LIST_LOCK = 2
    CLASS_ALIEN_LOCK = 3
    CLASS_ZONE_LOCK = 4
    CLASS_PCP_LOCK = 5
    CLASS_RCU_BARRIER_MUTEX = 6
    CLASS_PCPU_DRAIN_MUTEX = 7
    CLASS_CPU_HOTPLUG = 8
    CLASS_MEM_HOTPLUG = 9
    CLASS_WORKQUEUE_LOCK = 10
    CLASS_WORKLOAD_LOCK = 11      # a workload's own
    CLASS_RCU_LOCK = 12

cdef struct kernel_locks:
    mutex slab_mutex
    mutex cgroup_mutex
    mutex rcu_barrier_mutex
    mutex pcpu_drain_mutex
    rwsem cpu_hotplug
    rwsem mem_hotplug

cdef inline kernel_locks *locks() noexcept nogil:
    return <kernel_locks *>segment().area[AREA_LOCKS]

cdef int init_locks() noexcept nogil
