# mm/memcontrol.c: memcgs, what is charged to them, and their kmem caches.
from ipc.atomic cimport atomic_fetch_add, vlong
from ipc.memory cimport segment
from cpus.cpu cimport AREA_MEMCG, cpu
from cpus.idr cimport ida
from cpus.list_head cimport list_head
from cpus.page_counter cimport page_counter
from cpus.slab_def cimport kmem_cache
from cpus.workqueue cimport queue_work, work_struct, workqueue_struct

cdef enum:
    MEM_CGROUP_ID_MAX = 65535     # memcgs that exist at one time, the root not counted
    MEMCG_CACHES_MIN_SIZE = 4
    MEMCG_NAME = 32

    # mem_cgroup.kmem_state
    KMEM_NONE = 0
    KMEM_ALLOCATED = 1            # was online: its caches may still hold charged pages
    KMEM_ONLINE = 2

cdef struct mem_cgroup:
    # References: its own until rmdir, one per work item, one per charged page, one during an allocation.
    vlong css_refcnt
    vlong kmem_state
    vlong kmemcg_id               # index into root_cache.memcg_params.memcg_caches, or -1
    long id
    long serial_nr                # never used twice, unlike the ids
    mem_cgroup *parent            # NULL: the root
    mem_cgroup *prev              # all memcgs that are not yet freed, oldest first; under cgroup_mutex
    mem_cgroup *next
    long nr_tasks
    page_counter memory
    page_counter kmem
    list_head kmem_caches         # its child caches; slab_mutex
    work_struct css_free_work
    char name[MEMCG_NAME]

cdef struct memcg_system:
    mem_cgroup root
    long kernel                   # version as major * 1000 + minor
    long next_serial_nr
    vlong nr_memcgs               # made and not yet removed
    vlong nr_dying                # removed and not yet freed: pinned by charged pages
    ida mem_cgroup_idr
    ida memcg_cache_ida
    workqueue_struct *memcg_kmem_cache_wq       # creation
    workqueue_struct *cgroup_destroy_wq
    workqueue_struct *system_wq

cdef inline memcg_system *the_memcgs() noexcept nogil:
    return <memcg_system *>segment().area[AREA_MEMCG]

cdef inline bint mem_cgroup_online(mem_cgroup *memcg) noexcept nogil:
    """Its child caches may be made. Goes false under cgroup_mutex, before they are taken down."""
    return memcg.kmem_state == KMEM_ONLINE

cdef inline void css_get_many(mem_cgroup *memcg, long n) noexcept nogil:
    atomic_fetch_add(&memcg.css_refcnt, n)

cdef inline void css_put_many(mem_cgroup *memcg, long n) noexcept nogil:
    """The last reference queues the freeing: it may be dropped in an interrupt, and freeing takes mutexes."""
    if atomic_fetch_add(&memcg.css_refcnt, -n) == n:
        queue_work(the_memcgs().cgroup_destroy_wq, &memcg.css_free_work)

cdef int mem_cgroup_init(long kernel) noexcept nogil                # once per machine
cdef mem_cgroup *mem_cgroup_alloc(const char *name) noexcept nogil  # cgroup_mutex held
cdef int memcg_online_kmem(mem_cgroup *memcg) noexcept nogil        # cgroup_mutex held
cdef void memcg_offline_kmem(mem_cgroup *memcg) noexcept nogil      # cgroup_mutex held

# Control files: 0, or a negative errno.
cdef int mem_cgroup_write_limit(mem_cgroup *memcg, long bytes) noexcept nogil
cdef int mem_cgroup_write_kmem_limit(mem_cgroup *memcg, long bytes) noexcept nogil

# What the allocators call.
cdef kmem_cache *memcg_kmem_get_cache(kmem_cache *cachep) noexcept nogil
cdef void memcg_kmem_put_cache(kmem_cache *cachep) noexcept nogil
cdef bint memcg_charge_slab(void *memcg_of_cache, long order) noexcept nogil
cdef void memcg_uncharge_slab(void *memcg_of_cache, long order) noexcept nogil

cdef bint memcg_kmem_bypass(cpu *c) noexcept nogil
cdef void memcg_schedule_kmem_cache_create(cpu *c, mem_cgroup *memcg, kmem_cache *cachep) noexcept nogil
cdef void memcg_kmem_cache_create_func(work_struct *work) noexcept nogil
cdef long memcg_alloc_cache_id() noexcept nogil
cdef void mem_cgroup_css_free(work_struct *work) noexcept nogil
cdef bint set_limit(page_counter *counter, long bytes) noexcept nogil
cdef workqueue_struct *creation_workqueue() noexcept nogil
