# mm/page_alloc.c: per-CPU pagesets, lists of single pages in front of each zone. Called with interrupts off.
from cpus.cpu cimport cpu
from cpus.list_head cimport list_add, list_head
from cpus.mm_types cimport PG_PCP, page
from cpus.mmzone cimport per_cpu_pages, zone

cdef page *rmqueue_pcplist(cpu *c, zone *z, int migratetype) noexcept nogil
cdef void free_unref_page(cpu *c, zone *z, page *p) noexcept nogil
cdef long drain_pages_zone(long cpu, zone *z) noexcept nogil          # how many it gave back
cdef long drain_pages(long cpu, zone *only) noexcept nogil            # of every zone, if `only` is NULL
cdef void pageset_init(per_cpu_pages *pcp, zone *z) noexcept nogil
cdef long zone_batchsize(long managed) noexcept nogil
cdef void set_high_and_batch(per_cpu_pages *pcp, long managed, long fraction) noexcept nogil

# The pageset is this context's own: interrupts are off, or its lock is held.
cdef inline page *pcp_pop(per_cpu_pages *pcp, int migratetype) noexcept nogil:
    """The hottest page; NULL if the list is empty."""
    cdef list_head *head = &pcp.lists[migratetype]
    cdef list_head *first = head.next
    cdef list_head *following
    if first == head:
        return NULL
    following = first.next
    following.prev = head
    head.next = following
    pcp.count -= 1
    return <page *>first

cdef inline bint pcp_push(per_cpu_pages *pcp, page *p, int migratetype) noexcept nogil:
    """To the head of its list: it is hot. True if a batch of cold ones is now to be given back."""
    p.flags = PG_PCP
    p.private = migratetype
    list_add(&p.lru, &pcp.lists[migratetype])
    pcp.count += 1
    return pcp.count >= pcp.high

cdef page *rmqueue_pcplist_locked(per_cpu_pages *pcp, zone *z, int migratetype) noexcept nogil
cdef void free_unref_page_locked(per_cpu_pages *pcp, zone *z, page *p, int migratetype) noexcept nogil
cdef page *refill(per_cpu_pages *pcp, zone *z, int migratetype) noexcept nogil
cdef void free_pcppages_bulk(per_cpu_pages *pcp, zone *z, long count) noexcept nogil
cdef int free_migratetype(zone *z, page *p) noexcept nogil
cdef void free_one_page(zone *z, page *p, long order) noexcept nogil
cdef page *rmqueue_buddy(zone *z, long order, int migratetype) noexcept nogil
