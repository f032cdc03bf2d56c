# Load on one cache from all CPUs, for tests: `long f(long *args)`.
from ipc.atomic cimport vlong
from cpus.slab_def cimport kmem_cache

cdef enum:
    # args of torture()
    TORTURE_CACHE = 0
    TORTURE_US = 1                # how long
    TORTURE_SEED = 2
    TORTURE_SLOTS = 3             # words through which objects go from CPU to CPU
    TORTURE_NR_SLOTS = 4
    TORTURE_ROLES = 5

    # What CPU 0, CPU 1 and CPU 2 do instead of allocating and freeing.
    ROLE_TUNE = 1
    ROLE_SHRINK = 2
    ROLE_REAP = 4

cdef long torture(long *args) noexcept nogil
cdef long fill_and_flush(long *args) noexcept nogil
cdef void mark(kmem_cache *cachep, unsigned long *objp) noexcept nogil
cdef bint intact(kmem_cache *cachep, unsigned long *objp) noexcept nogil
cdef long exchange_objects(kmem_cache *cachep, vlong *slots, long nr_slots, unsigned long *state) noexcept nogil
cdef long tune_often(kmem_cache *cachep, long until) noexcept nogil
cdef void between_operations() noexcept nogil
