# Destroying caches whose slab pages are freed by callbacks.
from ipc.atomic cimport vlong
from ipc.memory cimport segment
from cpus.cpu cimport AREA_WORKLOAD, cpu, task
from cpus.slab_def cimport kmem_cache

# In the segment, area[AREA_WORKLOAD].
cdef struct destroy_state:
    vlong destroyed
    vlong running
    vlong stop
    vlong error
    long count
    long begun                    # cycles
    long ended
    long longest
    task destroyer
    long *took                    # [cache]: cycles of its destruction
    kmem_cache **cache            # [count]

cdef inline destroy_state *the_caches() noexcept nogil:
    return <destroy_state *>segment().area[AREA_WORKLOAD]

# Mailed to a CPU.
cdef long set_up(long *args) noexcept nogil          # caches, object size; 0 or a negative errno
cdef long use_caches(long *args) noexcept nogil      # slabs of each cache that are filled and emptied
cdef long start(long *args) noexcept nogil
cdef long settle(long *args) noexcept nogil
cdef long hold_callbacks(long *args) noexcept nogil  # 1: no softirqs on this CPU, 0: again

cdef long destroy_step(cpu *c, task *t) noexcept nogil
cdef long fill_and_empty(kmem_cache *cachep, long objects) noexcept nogil
cdef long next_cpu(long id) noexcept nogil
