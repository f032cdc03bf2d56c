# mm/page_alloc.c: the way in and out of the page allocator.
from cpus.cpu cimport cpu
from cpus.mm_types cimport page
from cpus.mmzone cimport (
    MAX_NR_ZONES, MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE, WMARK_HIGH, WMARK_LOW, WMARK_MIN,
    ZONE_DMA, ZONE_DMA32, ZONE_NORMAL, mm_root, mm_system, node_zone, page_zone, per_cpu_pages, zone,
)

cdef enum:
    ALLOC_WMARK_MIN = 0           # which watermark must be kept; the low bits of the flags
    ALLOC_WMARK_LOW = 1
    ALLOC_WMARK_HIGH = 2
    ALLOC_WMARK_MASK = 3
    ALLOC_NO_WATERMARKS = 4
    ALLOC_HARDER = 16
    ALLOC_HIGH = 32
    MAX_RECLAIM_RETRIES = 16      # reclaims in vain before a request that may sleep fails
    PAGE_ALLOC_COSTLY_ORDER = 3   # beyond it nobody is killed for a request

# order > 0 gives a compound page. NUMA_NO_NODE: this CPU's. With __GFP_THISNODE no other node is tried. Any interrupt
# state; a request that may sleep does so only with interrupts on and preemption enabled.
cdef page *alloc_pages_node(long nid, long order, long gfp) noexcept nogil
cdef void __free_pages(page *p, long order) noexcept nogil
cdef long nr_cpus_node(long nid) noexcept nogil               # online CPUs of a node; at boot the possible ones

cdef inline long gfp_zone(long gfp) noexcept nogil:
    """The highest zone that a request allows."""
    return ZONE_DMA if gfp & 1 else ZONE_DMA32 if gfp & 4 else ZONE_NORMAL

cdef inline int gfpflags_to_migratetype(long gfp) noexcept nogil:
    return MIGRATE_MOVABLE if gfp & 8 else MIGRATE_RECLAIMABLE if gfp & 16 else MIGRATE_UNMOVABLE

cdef page *alloc_exit(page *p, int flags) noexcept nogil
cdef page *__alloc_pages(long nid, long order, long gfp) noexcept nogil
cdef void free_batch(per_cpu_pages *pcp, zone *z, int flags) noexcept nogil
cdef void free_pages_slowly(page *p, long order) noexcept nogil
cdef void prep_new_page(zone *z, page *p, long order) noexcept nogil
cdef page *rmqueue(cpu *c, zone *z, long order, long gfp) noexcept nogil
cdef page *get_page_from_freelist(long nid, long order, long gfp, int alloc_flags) noexcept nogil
cdef long watermark_of(zone *z, int alloc_flags) noexcept nogil
cdef int gfp_to_alloc_flags(long gfp) noexcept nogil
cdef bint may_sleep(long gfp) noexcept nogil
cdef page *__alloc_pages_slowpath(long nid, long order, long gfp) noexcept nogil
cdef page *__alloc_pages_direct_reclaim(
    long nid, long order, long gfp, int alloc_flags, long *progress) noexcept nogil
cdef page *__alloc_pages_may_oom(long nid, long order, long gfp, bint *pending) noexcept nogil
cdef void count_stall(long gfp) noexcept nogil
cdef void bad_page(page *p) noexcept nogil
cdef void free_pages_ok(page *p, long order) noexcept nogil
