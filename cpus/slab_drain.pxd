# mm/slab.c: emptying array caches and free lists: shrink, shutdown, and what the reaper uses.
from cpus.list_head cimport list_head
from cpus.slab_def cimport array_cache, kmem_cache, kmem_cache_node

cdef long __kmem_cache_shrink(kmem_cache *cachep) noexcept nogil       # 1 if slabs with objects are left
cdef long __kmem_cache_shutdown(kmem_cache *cachep) noexcept nogil
cdef void drain_cpu_caches(kmem_cache *cachep) noexcept nogil
# force: empty it; else only if it was not touched since the last time, and a fifth of its limit.
cdef void drain_array(kmem_cache *cachep, kmem_cache_node *n, array_cache *ac, bint force, long node) noexcept nogil
cdef void drain_array_locked(
    kmem_cache *cachep, array_cache *ac, long node, bint free_all, list_head *list) noexcept nogil
cdef long drain_freelist(kmem_cache *cachep, kmem_cache_node *n, long tofree) noexcept nogil    # slabs freed
cdef long slabs_tofree(kmem_cache *cachep, kmem_cache_node *n) noexcept nogil

cdef void release_quarantine(kmem_cache *cachep) noexcept nogil
cdef void do_drain(void *info) noexcept nogil
