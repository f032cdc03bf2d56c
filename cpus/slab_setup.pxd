# mm/slab.c: the arrays of a cache and its nodes, made and released.
from cpus.slab_def cimport alien_cache, array_cache, kmem_cache

cdef void *alloc_kmem_cache_cpus(long entries, long batchcount) noexcept nogil    # one block with all CPUs' arrays
cdef array_cache *alloc_arraycache(long entries) noexcept nogil
cdef void init_arraycache(array_cache *ac, long limit, long batchcount) noexcept nogil
# slab_mutex held. 0, or -ENOMEM.
cdef long setup_kmem_cache_node(kmem_cache *cachep, long node, bint force_change) noexcept nogil
cdef long setup_kmem_cache_nodes(kmem_cache *cachep) noexcept nogil
cdef void __kmem_cache_release(kmem_cache *cachep) noexcept nogil
cdef void free_kmem_cache(kmem_cache *cachep) noexcept nogil                      # the struct itself

cdef inline long cpu_stride(long entries) noexcept nogil:
    """Bytes of one CPU's array: whole cache lines, so that neighbours share none."""
    return (sizeof(array_cache) + (entries - 1) * 8 + 63) & ~<long>63

cdef inline array_cache *array_in_block(void *block, long stride, long cpu) noexcept nogil:
    return <array_cache *>(<char *>block + cpu * stride)

cdef long init_cache_node(kmem_cache *cachep, long node) noexcept nogil
cdef long node_free_limit(kmem_cache *cachep, long node) noexcept nogil
cdef void wait_for_lockless_readers(array_cache *old_shared) noexcept nogil
cdef void swap_arrays(
    kmem_cache *cachep, long node, bint force_change, bint existed, array_cache **shared, alien_cache ***alien) noexcept nogil
cdef alien_cache **wanted_aliens(kmem_cache *cachep, long node, bint *failed) noexcept nogil
