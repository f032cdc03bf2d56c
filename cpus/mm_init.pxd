# mm/page_alloc.c, mm/mm_init.c: nodes, zones, watermarks and pagesets at boot.
from cpus.mmzone cimport mm_system, zone

cdef void init_zone(mm_system *system, long nid, long index, long start, long end) noexcept nogil
cdef bint init_pageblocks(zone *z) noexcept nogil
cdef long int_sqrt(long x) noexcept nogil
cdef void setup_per_zone_wmarks(mm_system *system) noexcept nogil
cdef void setup_lowmem_reserve(mm_system *system) noexcept nogil
cdef zone *preferred_zone(mm_system *system, long nid, long index) noexcept nogil
cdef bint setup_pagesets(mm_system *system) noexcept nogil
cdef void setup_nodes(mm_system *system) noexcept nogil
cdef bint allocate_system(long nodes, long fraction) noexcept nogil
cdef bint list_populated(mm_system *system) noexcept nogil
