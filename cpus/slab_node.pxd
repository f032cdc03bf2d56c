# mm/slab.c: allocation from a given node, and frees of other nodes' objects.
from cpus.list_head cimport list_head
from cpus.slab_def cimport alien_cache, kmem_cache, kmem_cache_node

# Interrupts off.
cdef void *____cache_alloc_node(kmem_cache *cachep, long gfp, long nodeid) noexcept nogil
cdef void *fallback_alloc(kmem_cache *cachep, long gfp) noexcept nogil
cdef bint cache_free_alien(kmem_cache *cachep, void *objp) noexcept nogil     # false: it is a local object
cdef void __drain_alien_cache(kmem_cache *cachep, alien_cache *alien, long node, list_head *list) noexcept nogil

cdef alien_cache **node_aliens(kmem_cache_node *n) noexcept nogil             # NULL without alien caches
cdef void drain_alien_cache(kmem_cache *cachep, kmem_cache_node *n) noexcept nogil
cdef void drain_aliens(kmem_cache *cachep, alien_cache **aliens) noexcept nogil
cdef alien_cache **real_aliens(alien_cache **aliens) noexcept nogil
cdef alien_cache **alloc_alien_cache(long node, long limit) noexcept nogil
cdef void free_alien_cache(alien_cache **aliens) noexcept nogil
cdef void *fallback_grow(kmem_cache *cachep, long gfp, bint *again) noexcept nogil
cdef void *take_one(kmem_cache *cachep, kmem_cache_node *n) noexcept nogil
