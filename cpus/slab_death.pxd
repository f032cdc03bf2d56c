# mm/slab_common.c: the end of memcgs' child caches.
from cpus.list_head cimport list_head
from cpus.rcu_types cimport rcu_head
from cpus.slab_def cimport kmem_cache
from cpus.workqueue cimport work_struct

# Take slab_mutex themselves.
cdef void memcg_deactivate_kmem_caches(void *memcg) noexcept nogil   # at css_offline, cgroup_mutex held
cdef void memcg_destroy_kmem_caches(void *memcg) noexcept nogil      # at css_free: no object is left
# slab_mutex held.
cdef long shutdown_memcg_caches(kmem_cache *root_cache, list_head *release) noexcept nogil

cdef list_head *all_roots(bint *every_cache) noexcept nogil
cdef kmem_cache *child_in_slot(kmem_cache *root_cache, long idx) noexcept nogil
cdef kmem_cache *next_child(list_head **each, list_head *head, bint every_cache, long idx) noexcept nogil
ctypedef void (*child_visitor)(kmem_cache *child, long idx) noexcept nogil
cdef void for_each_child(long idx, child_visitor visit) noexcept nogil
cdef void forget_limits(kmem_cache *child, long idx) noexcept nogil
cdef void leave_slot(kmem_cache *child, long idx) noexcept nogil
cdef void forget_all_limits(long idx) noexcept nogil
cdef void kmemcg_cache_deactivate(kmem_cache *child) noexcept nogil
cdef void slub_deactivate(kmem_cache *child, int how) noexcept nogil
cdef void shrink_dead(kmem_cache *child) noexcept nogil
cdef void kmemcg_deactivate_rcufn(rcu_head *head) noexcept nogil
cdef void kmemcg_deactivate_workfn(work_struct *work) noexcept nogil
cdef void shutdown_child(kmem_cache *child, list_head *release) noexcept nogil
