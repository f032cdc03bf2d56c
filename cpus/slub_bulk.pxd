# mm/slub.c: many objects at once; kmem_cache_alloc_bulk and kmem_cache_free_bulk of cpus/slab come here for SLUB's caches.
from cpus.slab_def cimport kmem_cache

cdef long slub_alloc_bulk(kmem_cache *cachep, long gfp, long n, void **objects) noexcept nogil    # n or 0
cdef void slub_free_bulk(long n, void **objects) noexcept nogil
