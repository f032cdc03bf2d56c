# mm/slub.c: slabs, from the page allocator and back to it.
from cpus.mm_types cimport page
from cpus.rcu_types cimport rcu_head
from cpus.slab_def cimport kmem_cache
from cpus.slub_def cimport kmem_cache_slub

# Interrupts off; on meanwhile if `gfp` may block. All objects taken, frozen, on no list; NULL when memory is out.
cdef page *new_slab(kmem_cache *cachep, long gfp, long nid) noexcept nogil
cdef void discard_slab(kmem_cache *cachep, page *p) noexcept nogil

cdef page *alloc_slab_page(kmem_cache *cachep, long gfp, long nid, long order) noexcept nogil
cdef void init_slab(kmem_cache *cachep, page *p) noexcept nogil
cdef void free_slab_page(kmem_cache *cachep, page *p) noexcept nogil
cdef void rcu_free_slab(rcu_head *head) noexcept nogil
