# mm/slab_common.c: what SLAB and SLUB share: slab_mutex, create, shrink, destroy.
#
# Errors are 0 or a negative errno. Whatever takes slab_mutex may sleep and is called with interrupts on.
from ipc.atomic cimport smp_load_acquire_ptr
from cpus.list_head cimport list_head
from cpus.slab_def cimport (
    kmem_cache, memcg_cache_array, slab_ctor_t, slab_root, slab_system,
)
from cpus.slab_info cimport slabinfo_write
from cpus.slab_memcg cimport memcg_create_kmem_cache, memcg_update_all_caches

# NULL, and *error says why (error may be NULL).
cdef kmem_cache *kmem_cache_create(
    const char *name, long size, long align, unsigned long flags, slab_ctor_t ctor, long *error) noexcept nogil
cdef long kmem_cache_shrink(kmem_cache *cachep) noexcept nogil       # 1 if slabs with objects are left
cdef long kmem_cache_destroy(kmem_cache *cachep) noexcept nogil      # -EBUSY if objects are left: it stays

cdef inline kmem_cache *cache_from_memcg_idx(kmem_cache *root_cache, long idx) noexcept nogil:
    """The child with this kmemcg_id, or NULL. Lock-less: in a preempt-off or irq-off section, or with slab_mutex."""
    cdef memcg_cache_array *children = <memcg_cache_array *>smp_load_acquire_ptr(&root_cache.memcg_params.memcg_caches)
    if children == NULL or idx >= children.size:
        return NULL
    return <kmem_cache *>smp_load_acquire_ptr(&children.entries[idx])

cdef void lock_slab() noexcept nogil                                 # hotplug read locks, then slab_mutex
cdef void unlock_slab() noexcept nogil
# slab_mutex held.
cdef kmem_cache *create_cache(
    const char *name, long object_size, long align, unsigned long flags, slab_ctor_t ctor, void *memcg,
    kmem_cache *root_cache, long *error) noexcept nogil
# -EBUSY, or 0 and not to be touched any more: gone, on its way, or on `release` for release_caches()
cdef long shutdown_cache(kmem_cache *cachep, list_head *release) noexcept nogil
cdef long calculate_alignment(unsigned long flags, long align, long size) noexcept nogil
cdef bint mergeable(kmem_cache *s, long size, long align, unsigned long flags) noexcept nogil
cdef kmem_cache *find_mergeable(long size, long align, unsigned long flags, slab_ctor_t ctor) noexcept nogil
cdef long check_arguments(long size, long align) noexcept nogil
cdef kmem_cache *create_locked(
    const char *name, long size, long align, unsigned long flags, slab_ctor_t ctor, long *error) noexcept nogil
cdef long init_cache_params(kmem_cache *s, void *memcg, kmem_cache *root_cache) noexcept nogil
cdef long __kmem_cache_create(kmem_cache *s, unsigned long flags) noexcept nogil
cdef void release_cache(kmem_cache *s) noexcept nogil
