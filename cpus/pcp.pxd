# mm/page_alloc.c: per-CPU pagesets, lists of single pages in front of each zone. Called with interrupts off.
from cpus.cpu cimport cpu
from cpus.mm_types cimport page
from cpus.mmzone cimport per_cpu_pages, zone

cdef page *rmqueue_pcplist(cpu *c, zone *z, int migratetype) noexcept nogil
cdef void free_unref_page(cpu *c, zone *z, page *p) noexcept nogil
cdef long drain_pages_zone(long cpu, zone *z) noexcept nogil          # how many it gave back
cdef long drain_pages(long cpu, zone *only) noexcept nogil            # of every zone, if `only` is NULL
cdef void pageset_init(per_cpu_pages *pcp, zone *z) noexcept nogil
cdef long zone_batchsize(long managed) noexcept nogil
cdef void set_high_and_batch(per_cpu_pages *pcp, long managed, long fraction) noexcept nogil

cdef page *rmqueue_pcplist_locked(per_cpu_pages *pcp, zone *z, int migratetype) noexcept nogil
cdef void free_unref_page_locked(per_cpu_pages *pcp, zone *z, page *p, int migratetype) noexcept nogil
cdef page *refill(per_cpu_pages *pcp, zone *z, int migratetype) noexcept nogil
cdef void free_pcppages_bulk(per_cpu_pages *pcp, zone *z, long count) noexcept nogil
cdef int free_migratetype(zone *z, page *p) noexcept nogil
cdef void free_one_page(zone *z, page *p, long order) noexcept nogil
cdef page *rmqueue_buddy(zone *z, long order, int migratetype) noexcept nogil
