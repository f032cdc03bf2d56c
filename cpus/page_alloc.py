"""mm/page_alloc.c: page frames. One zone per NUMA node, in it a buddy allocator of orders 0..10 under the zone's lock.

Blocks that were never used are not in the buddy's lists: fresh_pfn moves over them, so that the host need not back
their struct pages, and a frame's memory is backed, 16 MiB at a time, when its block is first handed out.
"""

import cython
from cython.cimports.cpus.cpu import count_events, cpu_of, cpu_online_mask, this_cpu
from cython.cimports.cpus.events import EV_MM_PAGE_ALLOC, EV_MM_PAGE_FREE
from cython.cimports.cpus.list_head import INIT_LIST_HEAD, list_add, list_del, list_empty
from cython.cimports.cpus.locks import CLASS_ZONE_LOCK
from cython.cimports.cpus.mm_types import (
    __GFP_THISNODE,
    __GFP_ZERO,
    NUMA_NO_NODE,
    PG_BUDDY,
    PG_HEAD,
    PG_TAIL,
    page_address,
    page_to_pfn,
    pfn_to_page,
)
from cython.cimports.cpus.vmstat import PGALLOC, PGFREE
from cython.cimports.ipc.atomic import atomic_fetch_add, unlikely
from cython.cimports.ipc.cpumask import cpumask_and, cpumask_set_cpu, cpumask_weight
from cython.cimports.ipc.interrupt import local_irq_restore, local_irq_save
from cython.cimports.ipc.lock import spin_lock, spin_lock_init, spin_unlock
from cython.cimports.ipc.memory import PAGE_SIZE, back_map, back_ram, heap_alloc, map_base
from cython.cimports.ipc.trace import trace
from cython.cimports.libc.string import memset

if not cython.compiled:
    raise ImportError("cpus.page_alloc is not built; run `make setup`")


def add_to_free_list(z, p, order):
    p.flags = PG_BUDDY
    p.order = cython.cast(cython.short, order)
    list_add(cython.address(p.lru), cython.address(z.area[order].free_list))
    z.area[order].nr_free += 1
    z.nr_free_pages += cython.cast(cython.long, 1) << order


def del_from_free_list(z, p, order):
    p.flags = 0
    list_del(cython.address(p.lru))
    z.area[order].nr_free -= 1
    z.nr_free_pages -= cython.cast(cython.long, 1) << order


def add_fresh_block(z):
    """Put the largest block at fresh_pfn into the free lists. False when none is left, or the host has no memory."""
    pfn = z.fresh_pfn
    if pfn >= z.zone_end_pfn:
        return False
    order: cython.long = MAX_ORDER - 1
    pages = cython.cast(cython.long, 1) << order
    while pfn & (pages - 1) or pfn + pages > z.zone_end_pfn:
        order -= 1
        pages >>= 1
    after = pfn + pages
    if back_map(cython.cast(cython.long, pfn_to_page(after)) - 1 - map_base()) != 0:
        atomic_fetch_add(cython.address(mm_root().backing_failures), 1)
        return False
    add_to_free_list(z, pfn_to_page(pfn), order)
    z.fresh_pfn = after
    return True


def __rmqueue(z, order):
    """A block of this order: the smallest that is large enough, split. NULL if there is none."""
    while True:
        for have in range(order, MAX_ORDER):
            if list_empty(cython.address(z.area[have].free_list)):
                continue
            p = cython.cast(cython.pointer(page), z.area[have].free_list.next)
            del_from_free_list(z, p, have)
            half = have
            while half > order:
                half -= 1
                add_to_free_list(z, p + (cython.cast(cython.long, 1) << half), half)
            return p
        if not add_fresh_block(z):
            return cython.cast(cython.pointer(page), cython.NULL)


def __free_one_page(z, p, order):
    """Give a block back, joined with its buddy as often as that is free."""
    pfn = page_to_pfn(p)
    while order < MAX_ORDER - 1:
        buddy_pfn = pfn ^ (cython.cast(cython.long, 1) << order)
        if buddy_pfn < z.zone_start_pfn or buddy_pfn >= z.fresh_pfn:
            break
        buddy = pfn_to_page(buddy_pfn)
        if buddy.flags & PG_BUDDY == 0 or buddy.order != order:
            break
        del_from_free_list(z, buddy, order)
        pfn &= buddy_pfn
        order += 1
    add_to_free_list(z, pfn_to_page(pfn), order)


def rmqueue(z, order):
    """Called with interrupts off."""
    spin_lock(cython.address(z.lock))
    p = __rmqueue(z, order)
    spin_unlock(cython.address(z.lock))
    return p


def free_one_page(z, p, order):
    """Called with interrupts off."""
    spin_lock(cython.address(z.lock))
    __free_one_page(z, p, order)
    spin_unlock(cython.address(z.lock))


def back_pages(p):
    """Have the host back the 16 MiB around a block that is about to be used. A block never crosses such a border."""
    pfn = page_to_pfn(p)
    if segment().ram_backed[pfn >> 12]:
        return True
    return back_ram(pfn) == 0


def prep_new_page(z, p, order):
    count = cython.cast(cython.long, 1) << order
    for i in range(count):
        each = p + i
        each.flags = PG_TAIL
        each.lru.next = cython.address(p.lru)
        each.nid = cython.cast(cython.short, z.node)
        each.slab_cache = cython.NULL
        each.mem_cgroup = cython.NULL
    p.flags = PG_HEAD if order else 0
    p.lru.next = cython.NULL
    p.order = cython.cast(cython.short, order)
    p.freelist = cython.NULL
    p.active = 0


def alloc_pages_node(nid, order, gfp):
    system = mm_root()
    if nid == NUMA_NO_NODE:
        nid = this_cpu().node
    p = cython.cast(cython.pointer(page), cython.NULL)
    flags = local_irq_save()
    for i in range(system.nr_nodes):
        z = node_zone((nid + i) % system.nr_nodes)
        p = rmqueue(z, order)
        if p != cython.NULL and unlikely(not back_pages(p)):
            atomic_fetch_add(cython.address(system.backing_failures), 1)
            free_one_page(z, p, order)
            p = cython.NULL
        if p != cython.NULL:
            prep_new_page(z, p, order)
            count_events(PGALLOC, cython.cast(cython.long, 1) << order)
            trace(EV_MM_PAGE_ALLOC, page_to_pfn(p) | cython.cast(cython.long, order) << 40)
            break
        if gfp & __GFP_THISNODE:
            break
    local_irq_restore(flags)
    if p != cython.NULL and unlikely(gfp & __GFP_ZERO):
        memset(page_address(p), 0, cython.cast(cython.long, PAGE_SIZE) << order)
    return p


def __free_pages(p, order):
    flags = local_irq_save()
    trace(EV_MM_PAGE_FREE, page_to_pfn(p) | cython.cast(cython.long, order) << 40)
    count = cython.cast(cython.long, 1) << order
    for i in range(count):
        (p + i).flags = 0
    free_one_page(node_zone(p.nid), p, order)
    count_events(PGFREE, count)
    local_irq_restore(flags)


def nr_cpus_node(nid):
    z = node_zone(nid)
    if segment().ready == 0:  # no CPU has been started yet: all of them will be
        return cpumask_weight(cython.address(z.cpus))
    both: cpumask
    cpumask_and(cython.address(both), cython.address(z.cpus), cpu_online_mask())
    return cpumask_weight(cython.address(both))


def init_zone(z, nid, start, end):
    spin_lock_init(cython.address(z.lock), CLASS_ZONE_LOCK)
    z.node = nid
    z.zone_start_pfn = start
    z.zone_end_pfn = end
    z.fresh_pfn = start
    for order in range(MAX_ORDER):
        INIT_LIST_HEAD(cython.address(z.area[order].free_list))


def mem_init() -> bool:
    """Split RAM evenly over the nodes. In the coordinator, before the fork; False when the segment is too small."""
    h = segment()
    nodes: cython.long = h.nr_nodes
    system = cython.cast(cython.pointer(mm_system), heap_alloc(cython.sizeof(mm_system) + nodes * cython.sizeof(zone)))
    if system == cython.NULL:
        return False
    system.nr_nodes = nodes
    system.totalram_pages = h.ram_pages
    largest: cython.long = cython.cast(cython.long, 1) << (MAX_ORDER - 1)
    share: cython.long = h.ram_pages // nodes
    if share >= largest:
        share -= share % largest
    for nid in range(nodes):
        end = h.ram_pages if nid == nodes - 1 else (nid + 1) * share
        init_zone(cython.address(system.zones[nid]), nid, nid * share, end)
    for cpu in range(h.nr_cpus):
        cpumask_set_cpu(cpu, cython.address(system.zones[cpu_of(cpu).node].cpus))
    h.area[AREA_ZONES] = cython.cast(cython.long, system)
    return True


def nodes() -> list:
    """Of each node: pages in all, free in the buddy's lists, never used yet."""
    rows = []
    for nid in range(mm_root().nr_nodes):
        z = node_zone(nid)
        total = z.zone_end_pfn - z.zone_start_pfn
        rows.append({"pages": total, "free": z.nr_free_pages, "fresh": z.zone_end_pfn - z.fresh_pfn})
    return rows


def alloc_pages(nid: int, order: int, gfp: int) -> int:
    """The first page frame of a new block, or -1. For tests and bodies."""
    p = alloc_pages_node(nid, order, gfp)
    return -1 if p == cython.NULL else page_to_pfn(p)


def free_pages(pfn: int, order: int) -> None:
    """Give a block back."""
    __free_pages(pfn_to_page(pfn), order)
