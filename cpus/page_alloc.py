"""mm/page_alloc.c: page frames. A request walks the zones that it allows, nearest node and highest zone first, and
takes from the first that keeps its watermark: single pages from this CPU's pageset (cpus/pcp), blocks from the buddy
allocator (cpus/buddy).

When every zone is below its watermark, a request that may sleep reclaims by itself. There is no kswapd. What it has
reclaimed lies on its own CPU's lists, and what others have freed on theirs: neither counts as free. So a reclaim that
made progress and still finds nothing empties all CPUs' lists, once, and looks again; every one of the tasks that
reclaim at the same time does so (cpus/pcp_drain).
"""

import cython
from cython.cimports.cpus.buddy import back_pages
from cython.cimports.cpus.cpu import LAT_RECLAIM, count_event, cpu_online_mask, record_latency, this_cpu
from cython.cimports.cpus.events import EV_MM_PAGE_ALLOC, EV_MM_PAGE_FREE, EV_RECLAIM_BEGIN, EV_RECLAIM_END
from cython.cimports.cpus.mm_types import (
    __GFP_ATOMIC,
    __GFP_DIRECT_RECLAIM,
    __GFP_HIGH,
    __GFP_NORETRY,
    __GFP_THISNODE,
    __GFP_ZERO,
    NUMA_NO_NODE,
    PG_BUDDY,
    PG_HEAD,
    PG_PCP,
    PG_TAIL,
    page_address,
    page_to_pfn,
    pfn_to_page,
)
from cython.cimports.cpus.mmzone import (
    MIGRATE_PCPTYPES,
    cpu_pagesets,
    get_pageblock_migratetype,
    pageset_of,
    populated_zone,
    this_pageset,
    zone_watermark_ok,
)
from cython.cimports.cpus.oom_kill import out_of_memory
from cython.cimports.cpus.pcp import (
    free_one_page,
    free_pcppages_bulk,
    free_unref_page,
    pcp_pop,
    pcp_push,
    rmqueue_buddy,
    rmqueue_pcplist,
)
from cython.cimports.cpus.pcp_drain import drain_all_pages
from cython.cimports.cpus.switches import PCP_DRAIN, PCP_DRAIN_REMOTE
from cython.cimports.cpus.vmscan import SWAP_CLUSTER_MAX, try_to_free_pages
from cython.cimports.cpus.vmstat import ALLOCSTALL, ALLOCSTALL_DMA, ALLOCSTALL_DMA32, PGALLOC_FAIL, PGFREE
from cython.cimports.ipc.atomic import atomic_fetch_add, barrier, likely, unlikely, write_once
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.cpumask import cpumask, cpumask_and, cpumask_weight
from cython.cimports.ipc.interrupt import irq_save, local_irq_restore, local_irq_save
from cython.cimports.ipc.memory import PAGE_SIZE, segment, switch_value
from cython.cimports.ipc.processor import this_processor
from cython.cimports.ipc.trace import SWITCH_TRACE, trace
from cython.cimports.libc.string import memset

if not cython.compiled:
    raise ImportError("cpus.page_alloc is not built; run `make setup`")


def prep_new_page(z, p, order):
    count = cython.cast(cython.long, 1) << order
    for i in range(1, count):
        each = p + i
        each.flags = PG_TAIL
        each.lru.next = cython.address(p.lru)
        each.nid = cython.cast(cython.short, z.node)
        each.slab_cache = cython.NULL
        each.mem_cgroup = cython.NULL
    p.flags = PG_HEAD if order else 0
    p.lru.next = cython.NULL
    p.nid = cython.cast(cython.short, z.node)
    p.slab_cache = cython.NULL
    p.mem_cgroup = cython.NULL
    p.order = cython.cast(cython.short, order)
    p.freelist = cython.NULL
    p.active = 0


def rmqueue(c, z, order, gfp):
    """Called with interrupts off. The coordinator has no pagesets. What is on a list has been backed by the host."""
    if likely(order == 0 and c.pcp != cython.NULL):
        p = rmqueue_pcplist(c, z, gfpflags_to_migratetype(gfp))
    else:
        p = rmqueue_buddy(z, order, gfpflags_to_migratetype(gfp))
    if p != cython.NULL and unlikely(not back_pages(p)):
        free_one_page(z, p, order)
        p = cython.cast(cython.pointer(page), cython.NULL)
    return p


def watermark_of(z, alloc_flags):
    """How many pages must be free after the request, beside what is reserved for lower zones' own requests."""
    if alloc_flags & ALLOC_NO_WATERMARKS:
        return -z.lowmem_reserve[0] - z.lowmem_reserve[1] - z.lowmem_reserve[2] - 1
    mark: cython.long = z.watermark[alloc_flags & ALLOC_WMARK_MASK]
    if alloc_flags & ALLOC_HIGH:
        mark -= mark // 2
    if alloc_flags & ALLOC_HARDER:
        mark -= mark // 4
    return mark


def get_page_from_freelist(nid, order, gfp, alloc_flags):
    """The first zone that keeps its watermark and has such a block. NULL if there is none."""
    system = mm_root()
    c = this_cpu()
    classzone = gfp_zone(gfp)
    flags = local_irq_save()
    for i in range(system.nr_nodes):
        node = nid + i if nid + i < system.nr_nodes else nid + i - system.nr_nodes
        index: cython.long = classzone
        while index >= 0:
            z = node_zone(node, index)
            index -= 1
            if not populated_zone(z):
                continue
            mark = z.watermark[WMARK_LOW] if alloc_flags == ALLOC_WMARK_LOW else watermark_of(z, alloc_flags)
            if unlikely(not zone_watermark_ok(z, order, mark, classzone)):
                continue
            p = rmqueue(c, z, order, gfp)
            if likely(p != cython.NULL):
                prep_new_page(z, p, order)
                c.counter[z.item] += cython.cast(cython.long, 1) << order
                trace(EV_MM_PAGE_ALLOC, page_to_pfn(p) | cython.cast(cython.long, order) << 40)
                local_irq_restore(flags)
                return p
        if gfp & __GFP_THISNODE:
            break
    local_irq_restore(flags)
    return cython.cast(cython.pointer(page), cython.NULL)


def alloc_pages_node(nid, order, gfp):
    """The fast path: a single page from this CPU's list of the zone that is looked at first anyway. What is not that
    simple is a call in tail position, and then nothing has happened yet."""
    c = this_cpu()
    if unlikely(
        order != 0
        or (nid != NUMA_NO_NODE and nid != c.node)
        or c.pcp == cython.NULL
        or gfp & __GFP_ZERO
        or switch_value(PCP_DRAIN) == PCP_DRAIN_REMOTE
    ):
        return __alloc_pages(nid, order, gfp)
    mine = cython.cast(cython.pointer(cpu_pagesets), c.pcp)
    classzone = gfp_zone(gfp)
    z = mine.preferred[classzone]
    if unlikely(z == cython.NULL or not zone_watermark_ok(z, 0, z.watermark[WMARK_LOW], classzone)):
        return __alloc_pages(nid, order, gfp)
    flags = irq_save(cython.address(c.hw))
    p = pcp_pop(cython.address(mine.sets[z.number]), gfpflags_to_migratetype(gfp))
    if unlikely(p == cython.NULL):
        c.hw.irq_off = flags  # what has come meanwhile is seen at the end of the next section
        return __alloc_pages(nid, order, gfp)
    p.flags = 0
    p.lru.next = cython.NULL
    p.nid = cython.cast(cython.short, z.node)
    p.slab_cache = cython.NULL
    p.mem_cgroup = cython.NULL
    p.order = 0
    p.freelist = cython.NULL
    p.active = 0
    c.counter[z.item] += 1
    barrier()
    c.hw.irq_off = flags
    barrier()
    if unlikely((c.hw.pending | switch_value(SWITCH_TRACE)) != 0):
        return alloc_exit(p, flags)
    return p


def alloc_exit(p, flags):
    trace(EV_MM_PAGE_ALLOC, page_to_pfn(p))
    local_irq_restore(flags)
    return p


def __alloc_pages(nid, order, gfp):
    """Blocks, pages of other nodes and zones, and what takes from neither without help."""
    if nid == NUMA_NO_NODE:
        nid = this_cpu().node
    p = get_page_from_freelist(nid, order, gfp, ALLOC_WMARK_LOW)
    if unlikely(p == cython.NULL):
        p = __alloc_pages_slowpath(nid, order, gfp)
    if p == cython.NULL:
        count_event(PGALLOC_FAIL)
        return p
    if unlikely(gfp & __GFP_ZERO):
        memset(page_address(p), 0, cython.cast(cython.long, PAGE_SIZE) << order)
    return p


# --- the slow path --------------------------------------------------------------------------------


def gfp_to_alloc_flags(gfp):
    flags: cython.int = ALLOC_WMARK_MIN
    if gfp & __GFP_HIGH:
        flags |= ALLOC_HIGH
    if gfp & __GFP_ATOMIC:
        flags |= ALLOC_HARDER
    return flags


def may_sleep(gfp):
    """Whether this request may reclaim and drain: it says so, and this context can wait for others' answers."""
    me = this_processor()
    return (
        gfp & __GFP_DIRECT_RECLAIM != 0
        and me.id >= 0
        and me.irq_off == 0
        and me.preempt_count == 0
        and me.in_interrupt == 0
        and this_cpu().in_softirq == 0
        and segment().ready != 0
    )


def count_stall(gfp):
    # since v4.8, mm, vmstat: per-zone allocstall (Gorman 2016); before, their sum
    index = gfp_zone(gfp)
    count_event(ALLOCSTALL if index == ZONE_NORMAL else ALLOCSTALL_DMA32 if index == ZONE_DMA32 else ALLOCSTALL_DMA)


def __alloc_pages_direct_reclaim(nid, order, gfp, alloc_flags, progress):
    """Reclaim, look, and if that was in vain empty all CPUs' lists, once, and look again."""
    start = get_cycles()
    trace(EV_RECLAIM_BEGIN, order)
    count_stall(gfp)
    progress[0] = try_to_free_pages(nid, gfp_zone(gfp), gfp & __GFP_THISNODE != 0, SWAP_CLUSTER_MAX)
    p = cython.cast(cython.pointer(page), cython.NULL)
    if progress[0] != 0:
        p = get_page_from_freelist(nid, order, gfp, alloc_flags)
        if p == cython.NULL:
            drain_all_pages(cython.cast(cython.pointer(zone), cython.NULL))
            p = get_page_from_freelist(nid, order, gfp, alloc_flags)
        # Where nothing could be reclaimed there is no latency of reclaim: here such a look is over at once.
        record_latency(LAT_RECLAIM, start)
    trace(EV_RECLAIM_END, progress[0])
    return p


def __alloc_pages_may_oom(nid, order, gfp, pending):
    """A last look, which only a zone with much room passes, and then somebody is killed."""
    pending[0] = False
    p = get_page_from_freelist(nid, order, gfp, ALLOC_WMARK_HIGH)
    if p != cython.NULL or order > PAGE_ALLOC_COSTLY_ORDER or gfp & (__GFP_NORETRY | __GFP_THISNODE):
        return p
    pending[0] = out_of_memory()
    return p


def __alloc_pages_slowpath(nid, order, gfp):
    alloc_flags = gfp_to_alloc_flags(gfp)
    p = get_page_from_freelist(nid, order, gfp, alloc_flags)
    if p != cython.NULL or not may_sleep(gfp):
        return p
    progress: cython.long = 0
    pending: cython.bint = False
    for _ in range(MAX_RECLAIM_RETRIES):
        p = __alloc_pages_direct_reclaim(nid, order, gfp, alloc_flags, cython.address(progress))
        if p != cython.NULL or gfp & __GFP_NORETRY:
            return p
        if progress == 0:
            # Who was killed gives its memory back in its own time, so this request fails: see cpus/oom_kill.
            return __alloc_pages_may_oom(nid, order, gfp, cython.address(pending))
    return p


# --- free -----------------------------------------------------------------------------------------


def bad_page(p):
    system = mm_root()
    write_once(cython.address(system.bad_pfn), page_to_pfn(p))
    atomic_fetch_add(cython.address(system.bad_pages), 1)


def free_pages_ok(p, order):
    count = cython.cast(cython.long, 1) << order
    for i in range(count):
        (p + i).flags = 0
    free_one_page(page_zone(p), p, order)


def __free_pages(p, order):
    """The fast path: a single page to this CPU's list of its zone and type. The rest is calls in tail position, as in
    alloc_pages_node()."""
    c = this_cpu()
    if unlikely(
        order != 0
        or p.flags & (PG_PCP | PG_BUDDY)
        or c.pcp == cython.NULL
        or switch_value(PCP_DRAIN) == PCP_DRAIN_REMOTE
        or switch_value(SWITCH_TRACE)
    ):
        free_pages_slowly(p, order)
        return
    flags = irq_save(cython.address(c.hw))
    pfn = page_to_pfn(p)
    # Compared and not computed, so that what follows need not wait for the page's own words.
    z = cython.cast(cython.pointer(cpu_pagesets), c.pcp).preferred[ZONE_NORMAL]
    if unlikely(pfn < z.zone_start_pfn or pfn >= z.zone_end_pfn):
        z = page_zone(p)
    migratetype = get_pageblock_migratetype(z, pfn)
    if unlikely(migratetype >= MIGRATE_PCPTYPES):
        c.hw.irq_off = flags
        free_pages_slowly(p, order)
        return
    c.counter[PGFREE] += 1
    pcp = this_pageset(c, z)
    # Three branches, not an index: the list's address must not wait for the pageblock's type to be loaded.
    if migratetype == MIGRATE_UNMOVABLE:
        full: cython.bint = pcp_push(pcp, p, MIGRATE_UNMOVABLE)
    elif migratetype == MIGRATE_MOVABLE:
        full = pcp_push(pcp, p, MIGRATE_MOVABLE)
    else:
        full = pcp_push(pcp, p, MIGRATE_RECLAIMABLE)
    if unlikely(full):
        free_batch(pcp, z, flags)
        return
    barrier()
    c.hw.irq_off = flags
    barrier()
    if unlikely(c.hw.pending != 0):
        local_irq_restore(flags)


def free_batch(pcp, z, flags):
    free_pcppages_bulk(pcp, z, pcp.batch)
    local_irq_restore(flags)


def free_pages_slowly(p, order):
    c = this_cpu()
    if unlikely(p.flags & (PG_PCP | PG_BUDDY)):
        bad_page(p)
        return
    flags = local_irq_save()
    trace(EV_MM_PAGE_FREE, page_to_pfn(p) | cython.cast(cython.long, order) << 40)
    c.counter[PGFREE] += cython.cast(cython.long, 1) << order
    if order == 0 and c.pcp != cython.NULL:
        free_unref_page(c, page_zone(p), p)
    else:
        free_pages_ok(p, order)
    local_irq_restore(flags)


def nr_cpus_node(nid):
    cpus = cython.address(mm_root().nodes[nid].cpus)
    if segment().ready == 0:  # no CPU has been started yet: all of them will be
        return cpumask_weight(cpus)
    both: cpumask
    cpumask_and(cython.address(both), cpus, cpu_online_mask())
    return cpumask_weight(cython.address(both))


def nodes() -> list:
    """Of each node: pages in all, free ones (on buddy or per-CPU lists), of those on per-CPU lists, never used yet."""
    system = mm_root()
    rows = [{"pages": 0, "free": 0, "pcp": 0, "fresh": 0} for _ in range(system.nr_nodes)]
    for i in range(system.nr_populated):
        z = system.populated[i]
        row: dict = rows[z.node]
        pcp = 0
        for id in range(segment().nr_cpus):
            pcp += pageset_of(id, z).count
        row["pages"] += z.zone_end_pfn - z.zone_start_pfn
        row["free"] += z.nr_free_pages + pcp
        row["pcp"] += pcp
        row["fresh"] += z.zone_end_pfn - z.fresh_pfn
    return rows


def alloc_pages(nid: int, order: int, gfp: int) -> int:
    """The first page frame of a new block, or -1. For tests and bodies."""
    p = alloc_pages_node(nid, order, gfp)
    return -1 if p == cython.NULL else page_to_pfn(p)


def free_pages(pfn: int, order: int) -> None:
    """Give a block back."""
    __free_pages(pfn_to_page(pfn), order)
