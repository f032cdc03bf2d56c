# mm/slab.c: the tunables, and the replacement of the per-CPU arrays.
from cpus.slab_def cimport kmem_cache

# slab_mutex held; may sleep. 0, or -ENOMEM.
cdef long setup_cpu_cache(kmem_cache *cachep) noexcept nogil
cdef long enable_cpucache(kmem_cache *cachep) noexcept nogil
cdef long do_tune_cpucache(kmem_cache *cachep, long limit, long batchcount, long shared) noexcept nogil
cdef long __do_tune_cpucache(kmem_cache *cachep, long limit, long batchcount, long shared) noexcept nogil

cdef struct ccupdate_struct:
    kmem_cache *cachep
    void *block
    long stride

cdef void do_ccupdate_local(void *info) noexcept nogil
cdef long publish_arrays(kmem_cache *cachep, void *block, long stride) noexcept nogil
cdef void set_arrays(kmem_cache *cachep, void *block, long stride, bint all_cpus) noexcept nogil
cdef void drain_old_arrays(kmem_cache *cachep, void *block, long stride) noexcept nogil
cdef long boot_cpu_cache(kmem_cache *cachep) noexcept nogil
