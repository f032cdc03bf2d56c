# mm/page_alloc.c: the buddy allocator of a zone. Everything here is called with the zone's lock held.
from cpus.list_head cimport list_head
from cpus.mm_types cimport page
from cpus.mmzone cimport zone

cdef page *__rmqueue(zone *z, long order, int migratetype) noexcept nogil
cdef long rmqueue_bulk(zone *z, long count, list_head *list, int migratetype) noexcept nogil
cdef void __free_one_page(zone *z, page *p, long order, int migratetype) noexcept nogil
cdef bint back_pages(page *p) noexcept nogil           # any context
cdef long move_freepages_block(zone *z, long pfn, int migratetype) noexcept nogil
cdef void set_pageblock_migratetype(zone *z, long pfn, int migratetype) noexcept nogil

cdef bint add_fresh_block(zone *z) noexcept nogil
cdef void add_to_free_list(zone *z, page *p, long order, int migratetype) noexcept nogil
cdef void del_from_free_list(zone *z, page *p, long order) noexcept nogil
cdef void expand(zone *z, page *p, long order, long have, int migratetype) noexcept nogil
cdef page *rmqueue_smallest(zone *z, long order, int migratetype) noexcept nogil
cdef page *rmqueue_fallback(zone *z, long order, int migratetype) noexcept nogil
cdef int steal_suitable_fallback(zone *z, page *p, long order, int migratetype, int fallback) noexcept nogil
