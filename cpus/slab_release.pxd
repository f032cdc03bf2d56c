# mm/slab_common.c: the release of shut-down caches: when the last callback that uses them has run.
from cpus.list_head cimport list_head
from cpus.rcu_types cimport rcu_head
from cpus.slab_def cimport kmem_cache
from cpus.workqueue cimport work_struct, workqueue_struct

cdef enum:
    POISONED_LOW = 0x6b6b         # the low half of a word of freed metadata

# slab_mutex held; the cache is on no list. Releases it, or queues that.
cdef void queue_release(kmem_cache *cachep, list_head *release) noexcept nogil
cdef void release_caches(list_head *release) noexcept nogil              # without slab_mutex: may wait for callbacks
cdef bint release_is_synchronous() noexcept nogil                        # release_caches() may wait
cdef workqueue_struct *events_workqueue() noexcept nogil                 # system_wq, made when first asked for
# Of a callback that is to free pages of this cache: false, and reported, if the cache was freed before.
cdef bint cache_is_alive(kmem_cache *cachep, const void *page) noexcept nogil
cdef void hold_releases(bint hold) noexcept nogil                        # for workloads: queue, and start later

cdef void release_now(kmem_cache *cachep) noexcept nogil
cdef void queue_async(kmem_cache *cachep) noexcept nogil
cdef void start_release_work() noexcept nogil
cdef void slab_caches_to_rcu_destroy_workfn(work_struct *work) noexcept nogil
cdef void release_by_callback(rcu_head *head) noexcept nogil
