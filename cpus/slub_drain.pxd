# mm/slub.c: emptying CPUs' slabs and node lists: flush, shrink, shutdown; a CPU that goes; the numbers of slabinfo.
from cpus.list_head cimport list_head
from cpus.slab_def cimport kmem_cache
from cpus.slab_info cimport slabinfo
from cpus.slub_def cimport kmem_cache_cpu, slub_node

cdef void flush_all(kmem_cache *cachep) noexcept nogil               # all CPUs, or those that have a slab
cdef long slub_shrink(kmem_cache *cachep) noexcept nogil             # 1 if slabs are left
cdef long slub_shutdown(kmem_cache *cachep) noexcept nogil           # the same, and nothing empty is kept
cdef void slub_dead_cpu(long cpu) noexcept nogil
cdef void slub_get_slabinfo(kmem_cache *cachep, slabinfo *sinfo) noexcept nogil
cdef long count_partial(slub_node *n) noexcept nogil                 # free objects on the list

cdef bint has_cpu_slab(long cpu, void *info) noexcept nogil
cdef void flush_cpu_slab(void *info) noexcept nogil
cdef void __flush_cpu_slab(kmem_cache *cachep, kmem_cache_cpu *c) noexcept nogil
cdef void sort_partial(slub_node *n, list_head *discard) noexcept nogil
cdef void discard_list(kmem_cache *cachep, list_head *discard) noexcept nogil
