# mm/slab_common.c: child caches of memcgs. `memcg` is a struct mem_cgroup of cpus/memcontrol.
from cpus.list_head cimport list_head
from cpus.rcu_types cimport rcu_head
from cpus.slab_def cimport kmem_cache, memcg_cache_array

# All take slab_mutex themselves.
cdef kmem_cache *memcg_create_kmem_cache(void *memcg, kmem_cache *root_cache) noexcept nogil   # NULL: none was made
cdef long memcg_update_all_caches(long num_memcgs) noexcept nogil    # room for ids below num_memcgs; 0 or -ENOMEM

# slab_mutex held.
cdef long memcg_init_array(kmem_cache *cachep, long size) noexcept nogil
cdef void link_child(kmem_cache *cachep) noexcept nogil
cdef void unlink_child(kmem_cache *cachep) noexcept nogil
cdef long grow_array(kmem_cache *root_cache, long size) noexcept nogil
cdef void free_array(rcu_head *head) noexcept nogil
cdef kmem_cache *make_child(void *memcg, kmem_cache *root_cache, long idx) noexcept nogil

cdef extern from "stdio.h" nogil:
    int snprintf(char *text, size_t size, const char *format, ...)
