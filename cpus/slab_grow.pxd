# mm/slab.c: slabs, from the page allocator and back to it.
from cpus.list_head cimport list_head
from cpus.mm_types cimport page
from cpus.rcu_types cimport rcu_head
from cpus.slab_def cimport kmem_cache

# Interrupts off; on meanwhile if gfp allows blocking, so that everything of this CPU must be looked up again after.
cdef page *cache_grow_begin(kmem_cache *cachep, long gfp, long nodeid, page *p) noexcept nogil
cdef void cache_grow_end(kmem_cache *cachep, page *p) noexcept nogil
cdef long cache_grow(kmem_cache *cachep, long gfp, long nodeid, page *p) noexcept nogil    # the page's node, or -1

cdef void slab_destroy(kmem_cache *cachep, page *p) noexcept nogil             # no list_lock held
cdef void slabs_destroy(kmem_cache *cachep, list_head *list) noexcept nogil
cdef page *kmem_getpages(kmem_cache *cachep, long gfp, long nodeid) noexcept nogil

cdef inline long gfp_exact_node(long gfp) noexcept nogil:
    return (gfp | 0x40200) & ~<long>0x800             # __GFP_THISNODE | __GFP_NOWARN, not __GFP_NOFAIL

cdef void kmem_freepages(kmem_cache *cachep, page *p) noexcept nogil
cdef void kmem_rcu_free(rcu_head *head) noexcept nogil
cdef long next_colour(kmem_cache *cachep, long node) noexcept nogil
cdef long next_colour_racy(kmem_cache *cachep, long node) noexcept nogil
cdef bint alloc_slabmgmt(kmem_cache *cachep, page *p, long offset, long gfp, long node) noexcept nogil
cdef void cache_init_objs(kmem_cache *cachep, page *p) noexcept nogil
