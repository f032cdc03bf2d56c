# include/linux/mmzone.h: nodes, zones, their buddy lists, and the per-CPU pagesets in front of them.
from ipc.atomic cimport vint, vlong
from ipc.cpumask cimport cpumask
from ipc.lock cimport spinlock
from ipc.memory cimport segment
from cpus.cpu cimport AREA_ZONES, cpu
from cpus.list_head cimport list_head
from cpus.mm_types cimport MAX_ORDER, page, page_to_pfn

cdef enum:
    ZONE_DMA = 0                  # the first 16 MiB of RAM
    ZONE_DMA32 = 1                # up to 4 GiB
    ZONE_NORMAL = 2
    MAX_NR_ZONES = 3              # of one node, populated or not
    DMA_END_PFN = 4096
    DMA32_END_PFN = 1048576

    # Numbers of 4.4 and later. Up to 4.3 MOVABLE and RECLAIMABLE were the other way round; what that changes, the order
    # in which a CPU's lists are emptied, is the switch pcp-order.
    MIGRATE_UNMOVABLE = 0
    MIGRATE_MOVABLE = 1
    MIGRATE_RECLAIMABLE = 2
    MIGRATE_PCPTYPES = 3          # as many have lists of their own in a pageset
    MIGRATE_HIGHATOMIC = 3        # MIGRATE_RESERVE up to 4.3
    MIGRATE_ISOLATE = 4           # is not allocated from
    MIGRATE_TYPES = 5
    PAGEBLOCK_ORDER = 9

    WMARK_MIN = 0
    WMARK_LOW = 1
    WMARK_HIGH = 2
    NR_WMARK = 3

    PCP_MAX_CHUNK = 96            # PAGE_SHIFT * 8: the largest batch of percpu_pagelist_fraction
    MAX_OOM_VICTIMS = 4096

# One CPU's pages of one zone; two cache lines. Its owner's alone, with interrupts off; under its lock with pcp-drain=remote.
cdef struct per_cpu_pages:
    vlong count                   # on the three lists together
    long high                     # at so many the next free gives a batch back
    long batch
    long zone                     # its number among the populated ones
    list_head lists[MIGRATE_PCPTYPES]      # by page.lru, hottest first
    spinlock lock
    long _pad[3]

# All of a CPU's pagesets, and where its own requests look first: the cache lines of the fast path.
cdef struct cpu_pagesets:
    zone *preferred[MAX_NR_ZONES] # of its node: the first populated zone for requests that allow up to this one
    long _pad[5]
    per_cpu_pages sets[1]         # one for each populated zone

cdef struct free_area:
    list_head free_list[MIGRATE_TYPES]     # by page.lru
    long nr_free                  # blocks, of all types

cdef struct zone:
    # What every allocation reads.
    vlong nr_free_pages           # in free_area; fresh ones apart
    vlong fresh_pfn               # from here on no page was ever used, and the host backs neither them nor their structs
    long zone_start_pfn
    long zone_end_pfn             # = zone_start_pfn: not populated
    long watermark[NR_WMARK]      # pages
    long lowmem_reserve[MAX_NR_ZONES]      # kept from requests that higher zones could serve
    long node
    long index                    # ZONE_DMA .. ZONE_NORMAL
    long number                   # among the populated zones
    long item                     # its counter of pages handed out (cpus/vmstat)
    unsigned char *pageblock_type          # one for each pageblock, from that of zone_start_pfn on
    # The buddy allocator.
    spinlock lock
    free_area area[MAX_ORDER]
    # Pages that may be reclaimed (cpus/vmscan).
    spinlock lru_lock
    list_head lru                 # by page.lru, newest first
    vlong nr_lru

cdef struct pg_data:
    cpumask cpus                  # of this node

# What a workload may be killed for when memory is out (cpus/oom_kill).
cdef struct oom_task:
    vlong pages                   # it holds
    vlong killed                  # asked to give all of it back
    vlong gone                    # has done so
    long killed_at                # cycles
    long _pad[4]

# A drain of all CPUs' lists, as far as it is watched: see cpus/pcp_drain.
cdef struct drain_log:
    vlong drains
    vlong skipped                 # returned at once, since somebody else was draining
    long weight[1025]             # drains by CPUs that were asked to give back their pages
    long ran[1025]                # drains by CPUs that had allocated or freed pages since the one before
    vlong rescued                 # work items that had to be run by interrupt
    long operations[1024]         # page operations of each CPU at the last drain

cdef struct mm_system:
    long nr_nodes
    long nr_zones                 # nr_nodes * MAX_NR_ZONES
    long totalram_pages
    vlong backing_failures        # the host had no memory for a page that the machine has
    vlong bad_pages               # pages that were freed while they were free
    vlong bad_pfn                 # the last of them
    long percpu_pagelist_fraction
    long nr_populated
    pg_data *nodes
    zone *zones
    zone **populated              # nr_populated of them
    char *pagesets                # struct cpu_pagesets of each CPU
    long pagesets_stride          # bytes from one CPU's to the next one's
    void *bh_lrus                 # struct bh_lru of each CPU (cpus/buffer_head)
    # drain_all_pages()
    spinlock drain_lock
    vlong drain_left              # work items that the drainer waits for
    vlong drainer                 # who waits, + 2
    void *drain_works             # struct work_struct of each CPU
    void *drain_wq                # mm_percpu_wq
    drain_log *log                # NULL: nobody watches
    cpumask cpus_with_pcps        # static, as in the kernel: shared by all callers
    # oom_kill
    spinlock oom_lock
    vlong nr_oom_tasks
    oom_task *oom_tasks
    vlong nr_victims              # killed and not gone yet

cdef inline mm_system *mm_root() noexcept nogil:
    return <mm_system *>segment().area[AREA_ZONES]

cdef inline bint populated_zone(zone *z) noexcept nogil:
    return z.zone_end_pfn != z.zone_start_pfn

cdef inline zone *node_zone(long nid, long index) noexcept nogil:
    return &mm_root().zones[nid * MAX_NR_ZONES + index]

cdef inline zone *page_zone(page *p) noexcept nogil:
    """The zone of a page that has been allocated once: its node is known."""
    cdef long pfn = page_to_pfn(p)
    return node_zone(p.nid, (pfn >= DMA_END_PFN) + (pfn >= DMA32_END_PFN))

cdef inline cpu_pagesets *pagesets_of(long cpu) noexcept nogil:
    return <cpu_pagesets *>(mm_root().pagesets + cpu * mm_root().pagesets_stride)

cdef inline per_cpu_pages *pageset_of(long cpu, zone *z) noexcept nogil:
    """per_cpu_ptr(zone->pageset, cpu)"""
    return &pagesets_of(cpu).sets[z.number]

cdef inline per_cpu_pages *this_pageset(cpu *c, zone *z) noexcept nogil:
    return &(<cpu_pagesets *>c.pcp).sets[z.number]

cdef inline long zone_free_pages(zone *z) noexcept nogil:
    """NR_FREE_PAGES; what is on per-CPU lists is not free."""
    return z.nr_free_pages + (z.zone_end_pfn - z.fresh_pfn)

cdef inline bint zone_watermark_ok(zone *z, long order, long mark, long classzone) noexcept nogil:
    return zone_free_pages(z) - (<long>1 << order) + 1 > mark + z.lowmem_reserve[classzone]

cdef inline int get_pageblock_migratetype(zone *z, long pfn) noexcept nogil:
    return z.pageblock_type[(pfn >> PAGEBLOCK_ORDER) - (z.zone_start_pfn >> PAGEBLOCK_ORDER)]

cdef inline bint holds_pages(long cpu, zone *only) noexcept nogil:
    """Whether a CPU has pages on its lists; a racy look from outside. only: of that zone, or of any if it is NULL."""
    cdef mm_system *system = mm_root()
    cdef per_cpu_pages *sets = pagesets_of(cpu).sets
    cdef long i
    if only != NULL:
        return sets[only.number].count != 0
    for i in range(system.nr_populated):
        if sets[i].count != 0:
            return True
    return False
