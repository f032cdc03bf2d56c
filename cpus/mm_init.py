"""mm/page_alloc.c, mm/mm_init.c: how RAM is split, at boot, in the coordinator.

RAM is split evenly over the nodes, in whole blocks of the largest order. What lies below 16 MiB is ZONE_DMA, below
4 GiB ZONE_DMA32, the rest ZONE_NORMAL, as on x86-64: so node 0 of a machine of 256 MiB has a DMA and a DMA32 zone, and
its ZONE_NORMAL is not populated.
"""

import cython
from cython.cimports.cpus.cpu import AREA_ZONES, cpu_of
from cython.cimports.cpus.list_head import INIT_LIST_HEAD
from cython.cimports.cpus.locks import CLASS_ZONE_LOCK
from cython.cimports.cpus.mm_types import MAX_ORDER
from cython.cimports.cpus.mmzone import (
    DMA32_END_PFN,
    DMA_END_PFN,
    MAX_NR_ZONES,
    MIGRATE_MOVABLE,
    MIGRATE_TYPES,
    PAGEBLOCK_ORDER,
    WMARK_HIGH,
    WMARK_LOW,
    WMARK_MIN,
    ZONE_DMA,
    ZONE_DMA32,
    ZONE_NORMAL,
    cpu_pagesets,
    mm_root,
    pageset_of,
    pagesets_of,
    per_cpu_pages,
    pg_data,
    populated_zone,
)
from cython.cimports.cpus.pcp import pageset_init
from cython.cimports.cpus.pcp_drain import init_drain
from cython.cimports.cpus.vmstat import PGALLOC, PGALLOC_DMA, PGALLOC_DMA32
from cython.cimports.ipc.cpumask import cpumask_set_cpu
from cython.cimports.ipc.lock import spin_lock_init
from cython.cimports.ipc.memory import heap_alloc, segment
from cython.cimports.libc.string import memset

if not cython.compiled:
    raise ImportError("cpus.mm_init is not built; run `make setup`")

# sysctl_lowmem_reserve_ratio: a share of the higher zones that is kept free in a lower one.
RESERVE_RATIO_DMA = cython.declare(cython.long, 256)
RESERVE_RATIO_DMA32 = cython.declare(cython.long, 256)


def init_pageblocks(z):
    """All memory is MOVABLE until somebody else wants it."""
    if not populated_zone(z):
        return True
    first = z.zone_start_pfn >> PAGEBLOCK_ORDER
    count = ((z.zone_end_pfn - 1) >> PAGEBLOCK_ORDER) - first + 1
    z.pageblock_type = cython.cast(cython.p_uchar, heap_alloc(count))
    if z.pageblock_type == cython.NULL:
        return False
    memset(z.pageblock_type, MIGRATE_MOVABLE, count)
    return True


def init_zone(system, nid, index, start, end):
    z = cython.address(system.zones[nid * MAX_NR_ZONES + index])
    spin_lock_init(cython.address(z.lock), CLASS_ZONE_LOCK)
    spin_lock_init(cython.address(z.lru_lock), CLASS_ZONE_LOCK)
    INIT_LIST_HEAD(cython.address(z.lru))
    z.node = nid
    z.index = index
    z.item = PGALLOC_DMA if index == ZONE_DMA else PGALLOC_DMA32 if index == ZONE_DMA32 else PGALLOC
    low: cython.long = 0 if index == ZONE_DMA else DMA_END_PFN if index == ZONE_DMA32 else DMA32_END_PFN
    high: cython.long = DMA_END_PFN if index == ZONE_DMA else DMA32_END_PFN if index == ZONE_DMA32 else end
    z.zone_start_pfn = start if start > low else low
    z.zone_end_pfn = end if end < high else high
    if z.zone_end_pfn < z.zone_start_pfn:
        z.zone_end_pfn = z.zone_start_pfn
    z.fresh_pfn = z.zone_start_pfn
    for order in range(MAX_ORDER):
        for i in range(MIGRATE_TYPES):
            INIT_LIST_HEAD(cython.address(z.area[order].free_list[i]))


def int_sqrt(x):
    root: cython.long = 0
    bit: cython.long = cython.cast(cython.long, 1) << 31
    while bit:
        if (root + bit) * (root + bit) <= x:
            root += bit
        bit >>= 1
    return root


def setup_per_zone_wmarks(system):
    """min_free_kbytes is 4 times the root of lowmem's KiB, from 128 KiB to 64 MiB; each zone has its share of that."""
    kbytes = int_sqrt(system.totalram_pages * 4 * 16)
    if kbytes < 128:
        kbytes = 128
    if kbytes > 65536:
        kbytes = 65536
    pages_min = kbytes // 4
    for i in range(system.nr_populated):
        z = system.populated[i]
        share = pages_min * (z.zone_end_pfn - z.zone_start_pfn) // system.totalram_pages
        z.watermark[WMARK_MIN] = share
        z.watermark[WMARK_LOW] = share + share // 4
        z.watermark[WMARK_HIGH] = share + share // 2


def setup_lowmem_reserve(system):
    """What a lower zone keeps from requests that higher zones of its node could have served."""
    for nid in range(system.nr_nodes):
        dma = cython.address(system.zones[nid * MAX_NR_ZONES + ZONE_DMA])
        dma32 = cython.address(system.zones[nid * MAX_NR_ZONES + ZONE_DMA32])
        normal = cython.address(system.zones[nid * MAX_NR_ZONES + ZONE_NORMAL])
        above32: cython.long = normal.zone_end_pfn - normal.zone_start_pfn
        above16: cython.long = dma32.zone_end_pfn - dma32.zone_start_pfn
        dma.lowmem_reserve[ZONE_DMA32] = above16 // RESERVE_RATIO_DMA
        dma.lowmem_reserve[ZONE_NORMAL] = (above16 + above32) // RESERVE_RATIO_DMA
        dma32.lowmem_reserve[ZONE_NORMAL] = above32 // RESERVE_RATIO_DMA32


def list_populated(system):
    """The zones with memory, in the order of node and zone, numbered."""
    system.populated = cython.cast(
        cython.pointer(cython.pointer(zone)), heap_alloc(system.nr_zones * cython.sizeof(cython.p_void))
    )
    if system.populated == cython.NULL:
        return False
    for i in range(system.nr_zones):
        z = cython.address(system.zones[i])
        if populated_zone(z):
            z.number = system.nr_populated
            system.populated[system.nr_populated] = z
            system.nr_populated += 1
    return True


def setup_pagesets(system):
    """setup_per_cpu_pageset()"""
    cpus: cython.long = segment().nr_cpus
    header = cython.sizeof(cpu_pagesets) - cython.sizeof(per_cpu_pages)
    system.pagesets_stride = header + system.nr_populated * cython.sizeof(per_cpu_pages)
    system.pagesets = cython.cast(cython.p_char, heap_alloc(cpus * system.pagesets_stride))
    if system.pagesets == cython.NULL:
        return False
    for cpu in range(cpus):
        cpu_of(cpu).pcp = pagesets_of(cpu)
        for index in range(MAX_NR_ZONES):
            pagesets_of(cpu).preferred[index] = preferred_zone(system, cpu_of(cpu).node, index)
        for i in range(system.nr_populated):
            pageset_init(pageset_of(cpu, system.populated[i]), system.populated[i])
    return True


def preferred_zone(system, nid, index):
    """The first zone of the walk that a request of this node makes which allows zones up to `index`."""
    for i in range(system.nr_nodes):
        for down in range(index + 1):
            z = cython.address(system.zones[(nid + i) % system.nr_nodes * MAX_NR_ZONES + index - down])
            if populated_zone(z):
                return z
    return cython.cast(cython.pointer(zone), cython.NULL)


def setup_nodes(system):
    pages = system.totalram_pages
    largest: cython.long = cython.cast(cython.long, 1) << (MAX_ORDER - 1)
    share: cython.long = pages // system.nr_nodes
    if share >= largest:
        share -= share % largest
    for nid in range(system.nr_nodes):
        end = pages if nid == system.nr_nodes - 1 else (nid + 1) * share
        for index in range(MAX_NR_ZONES):
            init_zone(system, nid, index, nid * share, end)
    for cpu in range(segment().nr_cpus):
        cpumask_set_cpu(cpu, cython.address(system.nodes[cpu_of(cpu).node].cpus))


def allocate_system(nodes, fraction):
    system = cython.cast(cython.pointer(mm_system), heap_alloc(cython.sizeof(mm_system)))
    if system == cython.NULL:
        return False
    system.nr_nodes = nodes
    system.nr_zones = nodes * MAX_NR_ZONES
    system.totalram_pages = segment().ram_pages
    system.percpu_pagelist_fraction = fraction
    system.nodes = cython.cast(cython.pointer(pg_data), heap_alloc(nodes * cython.sizeof(pg_data)))
    system.zones = cython.cast(cython.pointer(zone), heap_alloc(system.nr_zones * cython.sizeof(zone)))
    segment().area[AREA_ZONES] = cython.cast(cython.long, system)
    return system.nodes != cython.NULL and system.zones != cython.NULL


def mem_init(percpu_pagelist_fraction: cython.long = 0) -> bool:
    """Make nodes, zones and pagesets. In the coordinator, before the fork; False when the segment is too small.

    percpu_pagelist_fraction: of a zone, the most that one CPU's lists may hold; 0 for the kernel's own sizing.
    """
    nodes: cython.long = segment().nr_nodes
    if not allocate_system(nodes, percpu_pagelist_fraction):
        return False
    system = mm_root()
    setup_nodes(system)
    if not list_populated(system):
        return False
    for i in range(system.nr_populated):
        if not init_pageblocks(system.populated[i]):
            return False
    setup_per_zone_wmarks(system)
    setup_lowmem_reserve(system)
    spin_lock_init(cython.address(system.oom_lock), CLASS_ZONE_LOCK)
    return setup_pagesets(system) and init_drain()
