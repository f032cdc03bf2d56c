# mm/page_alloc.c: one zone per NUMA node, each a buddy allocator of orders 0..10 under its lock.
from ipc.atomic cimport vlong
from ipc.cpumask cimport cpumask
from ipc.lock cimport spinlock
from ipc.memory cimport segment
from cpus.cpu cimport AREA_ZONES
from cpus.list_head cimport list_head
from cpus.mm_types cimport MAX_ORDER, page

cdef enum:
    ZONE_NAME = 16

cdef struct free_area:
    list_head free_list           # by page.lru
    long nr_free

cdef struct zone:
    spinlock lock
    long node
    long zone_start_pfn
    long zone_end_pfn
    # From here on no page was ever used: neither their struct pages nor their memory are backed by the host yet.
    long fresh_pfn
    vlong nr_free_pages           # in free_area; fresh ones apart
    free_area area[MAX_ORDER]
    cpumask cpus                  # of this node

cdef struct mm_system:
    long nr_nodes
    long totalram_pages
    vlong backing_failures        # the host had no memory for a page that the machine has
    zone zones[1]                 # nr_nodes of them

cdef inline mm_system *mm_root() noexcept nogil:
    return <mm_system *>segment().area[AREA_ZONES]

cdef inline zone *node_zone(long nid) noexcept nogil:
    return &(<mm_system *>segment().area[AREA_ZONES]).zones[nid]

# order > 0 gives a compound page. NUMA_NO_NODE: this CPU's. With __GFP_THISNODE no other node is tried. Any interrupt
# state.
cdef page *alloc_pages_node(long nid, long order, long gfp) noexcept nogil
cdef void __free_pages(page *p, long order) noexcept nogil
cdef long nr_cpus_node(long nid) noexcept nogil               # online CPUs of a node; at boot the possible ones

# For the per-CPU pagesets: blocks of the buddy, with the zone's lock held.
cdef page *__rmqueue(zone *z, long order) noexcept nogil
cdef void __free_one_page(zone *z, page *p, long order) noexcept nogil

cdef bint add_fresh_block(zone *z) noexcept nogil
cdef void add_to_free_list(zone *z, page *p, long order) noexcept nogil
cdef void del_from_free_list(zone *z, page *p, long order) noexcept nogil
cdef page *rmqueue(zone *z, long order) noexcept nogil
cdef void free_one_page(zone *z, page *p, long order) noexcept nogil
cdef bint back_pages(page *p) noexcept nogil
cdef void prep_new_page(zone *z, page *p, long order) noexcept nogil
cdef void init_zone(zone *z, long nid, long start, long end) noexcept nogil
