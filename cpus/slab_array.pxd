# mm/slab.c: what moves objects between array caches and slabs.
from cpus.list_head cimport list_head
from cpus.mm_types cimport page
from cpus.slab_def cimport array_cache, kmem_cache, kmem_cache_node

# Interrupts off.
cdef void *cache_alloc_refill(kmem_cache *cachep, long gfp) noexcept nogil
cdef void cache_flusharray(kmem_cache *cachep, array_cache *ac) noexcept nogil
# With the node's list_lock held. What it empties beyond free_limit goes to `list`, for slabs_destroy().
cdef void free_block(kmem_cache *cachep, void **objpp, long nr_objects, long node, list_head *list) noexcept nogil
cdef page *get_first_slab(kmem_cache_node *n) noexcept nogil
cdef void fixup_slab_list(kmem_cache *cachep, kmem_cache_node *n, page *p) noexcept nogil
cdef long transfer_objects(array_cache *to, array_cache *source, long max) noexcept nogil
cdef void release_free_slab(kmem_cache *cachep, kmem_cache_node *n, page *p, list_head *list) noexcept nogil

cdef long refill_from_node(kmem_cache *cachep, kmem_cache_node *n, array_cache *ac, long batchcount) noexcept nogil
cdef long alloc_block(kmem_cache *cachep, array_cache *ac, page *p, long batchcount) noexcept nogil
cdef bint nothing_on_node(kmem_cache *cachep, kmem_cache_node *n) noexcept nogil
cdef bint grow_into_array(kmem_cache *cachep, long gfp, long batchcount) noexcept nogil
cdef bint debug_put(kmem_cache *cachep, void *objp) noexcept nogil
cdef bint slab_put_obj(kmem_cache *cachep, page *p, void *objp) noexcept nogil
cdef bint free_one_object(kmem_cache *cachep, kmem_cache_node *n, void *objp) noexcept nogil
