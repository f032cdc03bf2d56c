# The removal of many memcgs: set up and used by mailed functions, removed by one task while others work.
from ipc.atomic cimport vlong
from ipc.memory cimport segment
from ipc.processor cimport MAX_CPUS
from cpus.cpu cimport AREA_WORKLOAD, cpu, task
from cpus.memcontrol cimport mem_cgroup
from cpus.slab_def cimport kmem_cache

cdef enum:
    DEATH_CACHES = 5
    KEPT = 3                      # objects that each child's user holds for a while

# One bystander, on a cache line of its own.
cdef struct bystander:
    vlong loops                   # turns of its own loop
    vlong interrupted             # cycles between two turns in which a call interrupt was taken
    vlong hits                    # how often
    vlong longest
    long _pad[4]

# In the segment, area[AREA_WORKLOAD].
cdef struct death_state:
    vlong removed
    vlong freed                   # memcgs whose late objects are gone
    vlong stop                    # for bystanders
    vlong error
    vlong running                 # tasks that have not ended
    vlong stall                   # cycles: the longest operation of the unrelated cgroup
    vlong operations              # of the unrelated cgroup
    long memcgs
    long caches
    long begun                    # cycles: first rmdir
    long ended                    # cycles: last rmdir returned
    long longest_rmdir
    kmem_cache *cache[DEATH_CACHES]
    mem_cgroup *unrelated
    mem_cgroup **memcg            # [memcgs]
    void **late                   # [memcg * caches + cache]: freed after the memcg's removal has begun
    bystander *by                 # [CPU]
    task tasks[MAX_CPUS]

cdef inline death_state *the_deaths() noexcept nogil:
    return <death_state *>segment().area[AREA_WORKLOAD]

# Mailed to a CPU: `long f(long *args)`.
cdef long set_up(long *args) noexcept nogil          # memcgs, caches, kernel; 0 or a negative errno
cdef long make(long *args) noexcept nogil            # memcgs args[0] to args[1] - 1
cdef long use_caches(long *args) noexcept nogil      # this CPU's share of them
cdef long start(long *args) noexcept nogil           # task of this CPU: args[0] its role
cdef long settle(long *args) noexcept nogil          # wait for what is queued; memcgs that are left
cdef long hold(long *args) noexcept nogil

cdef enum:
    ROLE_REMOVER = 0
    ROLE_FREER = 1                # frees what was kept, and works on an unrelated cgroup
    ROLE_BYSTANDER = 2

cdef void *alloc_in(mem_cgroup *memcg, kmem_cache *cachep) noexcept nogil
cdef long use_one(death_state *s, long i) noexcept nogil
cdef long remove_step(cpu *c, task *t) noexcept nogil
cdef long free_step(cpu *c, task *t) noexcept nogil
cdef long bystander_step(cpu *c, task *t) noexcept nogil
cdef void end_task(death_state *s) noexcept nogil
