# mm/slub.c: the geometry of a cache, its making and its end.
from cpus.slab_def cimport kmem_cache
from cpus.slub_def cimport slub_node

# slab_mutex held. 0, or a negative errno; what was made meanwhile is kmem_cache_release()'s.
cdef long slub_create(kmem_cache *cachep, unsigned long flags) noexcept nogil
cdef void slub_release(kmem_cache *cachep) noexcept nogil

cdef long get_order(long size) noexcept nogil
cdef long order_objects(long order, long size) noexcept nogil
cdef long slab_order(long size, long min_objects, long max_order, long fraction) noexcept nogil
cdef long calculate_order(long size) noexcept nogil
cdef long calculate_sizes(kmem_cache *cachep, unsigned long flags, long *offset) noexcept nogil
cdef long cpu_partial_of(long size) noexcept nogil
cdef long min_partial_of(long size) noexcept nogil
