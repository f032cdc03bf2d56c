# mm/vmscan.c, mm/swap.c: pages that may be taken from their owners, and taking them.
from cpus.mm_types cimport page
from cpus.mmzone cimport zone

cdef enum:
    SWAP_CLUSTER_MAX = 32
    DEF_PRIORITY = 12

# `mapping` is a word of the owner's that holds the page's address; reclaim sets it to NULL.
cdef void lru_cache_add(page *p, void **mapping) noexcept nogil
cdef bint page_unmap(void **mapping) noexcept nogil           # the owner gives it back; False if reclaim was first
cdef bint mark_page_accessed(void **mapping) noexcept nogil   # False if reclaim was first
cdef long try_to_free_pages(long nid, long classzone, bint this_node, long wanted) noexcept nogil     # pages reclaimed

cdef long shrink_zone(zone *z, long nr_to_scan) noexcept nogil
cdef page *isolate_one(zone *z) noexcept nogil
cdef zone *zone_of_mapped(void **mapping) noexcept nogil
