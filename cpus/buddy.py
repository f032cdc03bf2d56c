"""mm/page_alloc.c: the buddy allocator. Free blocks of orders 0..10, each on the list of its order and migratetype.

Blocks that were never used are on no list: fresh_pfn moves over them, so that the host need not back their struct
pages. To the algorithm they are MOVABLE blocks of the largest order, as all memory is at boot, behind those that are on
that list.
"""

import cython
from cython.cimports.cpus.list_head import list_add, list_add_tail, list_del, list_empty
from cython.cimports.cpus.mm_types import MAX_ORDER, PG_BUDDY, PG_PCP, page, page_to_pfn, pfn_to_page
from cython.cimports.cpus.mmzone import (
    MIGRATE_HIGHATOMIC,
    MIGRATE_MOVABLE,
    MIGRATE_RECLAIMABLE,
    MIGRATE_UNMOVABLE,
    PAGEBLOCK_ORDER,
    get_pageblock_migratetype,
    mm_root,
)
from cython.cimports.ipc.atomic import atomic_fetch_add, likely, unlikely
from cython.cimports.ipc.memory import back_map, back_ram, map_base, segment

if not cython.compiled:
    raise ImportError("cpus.buddy is not built; run `make setup`")


def add_to_free_list(z, p, order, migratetype):
    p.flags = PG_BUDDY
    p.order = cython.cast(cython.short, order)
    p.private = migratetype
    list_add(cython.address(p.lru), cython.address(z.area[order].free_list[migratetype]))
    z.area[order].nr_free += 1
    z.nr_free_pages += cython.cast(cython.long, 1) << order


def del_from_free_list(z, p, order):
    p.flags = 0
    list_del(cython.address(p.lru))
    z.area[order].nr_free -= 1
    z.nr_free_pages -= cython.cast(cython.long, 1) << order


def set_pageblock_migratetype(z, pfn, migratetype):
    block = (pfn >> PAGEBLOCK_ORDER) - (z.zone_start_pfn >> PAGEBLOCK_ORDER)
    z.pageblock_type[block] = cython.cast(cython.uchar, migratetype)


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
    add_to_free_list(z, pfn_to_page(pfn), order, get_pageblock_migratetype(z, pfn))
    z.fresh_pfn = after
    return True


def expand(z, p, order, have, migratetype):
    """Give back what is left of a block of order `have` when its first part of `order` has been taken."""
    while have > order:
        have -= 1
        add_to_free_list(z, p + (cython.cast(cython.long, 1) << have), have, migratetype)


def rmqueue_smallest(z, order, migratetype):
    for have in range(order, MAX_ORDER):
        head = cython.address(z.area[have].free_list[migratetype])
        if list_empty(head):
            continue
        p = cython.cast(cython.pointer(page), head.next)
        del_from_free_list(z, p, have)
        expand(z, p, order, have, migratetype)
        return p
    return cython.cast(cython.pointer(page), cython.NULL)


def move_freepages_block(z, pfn, migratetype):
    """Move the free blocks of a pageblock to the lists of another type; how many pages that were."""
    at = pfn >> PAGEBLOCK_ORDER << PAGEBLOCK_ORDER
    if at < z.zone_start_pfn:
        at = z.zone_start_pfn
    end = (pfn >> PAGEBLOCK_ORDER << PAGEBLOCK_ORDER) + (cython.cast(cython.long, 1) << PAGEBLOCK_ORDER)
    if end > z.fresh_pfn:
        end = z.fresh_pfn
    moved: cython.long = 0
    while at < end:
        p = pfn_to_page(at)
        if p.flags & PG_BUDDY == 0:
            at += 1
            continue
        order: cython.long = p.order
        list_del(cython.address(p.lru))
        p.private = migratetype
        list_add(cython.address(p.lru), cython.address(z.area[order].free_list[migratetype]))
        at += cython.cast(cython.long, 1) << order
        moved += cython.cast(cython.long, 1) << order
    return moved


def steal_suitable_fallback(z, p, order, migratetype, fallback):
    """Of a block of another type decide whose its pageblock is from now on. The type for what is left of the block."""
    pfn = page_to_pfn(p)
    if order >= PAGEBLOCK_ORDER:
        for i in range(cython.cast(cython.long, 1) << (order - PAGEBLOCK_ORDER)):
            set_pageblock_migratetype(z, pfn + (i << PAGEBLOCK_ORDER), migratetype)
        return migratetype
    if order < PAGEBLOCK_ORDER // 2 and migratetype == MIGRATE_MOVABLE:
        return fallback
    moved = move_freepages_block(z, pfn, migratetype) + (cython.cast(cython.long, 1) << order)
    if moved >= cython.cast(cython.long, 1) << (PAGEBLOCK_ORDER - 1):
        set_pageblock_migratetype(z, pfn, migratetype)
    return migratetype


def rmqueue_fallback(z, order, migratetype):
    """The largest block of another type, so that types mix as seldom as can be; the kernel's order of preference."""
    first: cython.int = MIGRATE_UNMOVABLE if migratetype == MIGRATE_RECLAIMABLE else MIGRATE_RECLAIMABLE
    second: cython.int = MIGRATE_UNMOVABLE if migratetype == MIGRATE_MOVABLE else MIGRATE_MOVABLE
    have: cython.long = MAX_ORDER - 1
    while have >= order:
        for turn in range(3):
            fallback: cython.int = first if turn == 0 else second if turn == 1 else MIGRATE_HIGHATOMIC
            head = cython.address(z.area[have].free_list[fallback])
            if list_empty(head):
                continue
            p = cython.cast(cython.pointer(page), head.next)
            del_from_free_list(z, p, have)
            rest = steal_suitable_fallback(z, p, have, migratetype, fallback)
            expand(z, p, order, have, rest)
            return p
        have -= 1
    return cython.cast(cython.pointer(page), cython.NULL)


def __rmqueue(z, order, migratetype):
    """A block of this order: the smallest of its type that is large enough, split. NULL if there is none of any."""
    p = rmqueue_smallest(z, order, migratetype)
    while p == cython.NULL:
        fresh: cython.bint = add_fresh_block(z)
        if migratetype == MIGRATE_MOVABLE and fresh:
            p = rmqueue_smallest(z, order, migratetype)
        if p == cython.NULL:
            p = rmqueue_fallback(z, order, migratetype)
        if not fresh:
            break
    return p


def back_pages(p):
    """Have the host back the 16 MiB around a block that is about to be used. A block never crosses such a border."""
    pfn = page_to_pfn(p)
    if likely(segment().ram_backed[pfn >> 12] != 0) or back_ram(pfn) == 0:
        return True
    atomic_fetch_add(cython.address(mm_root().backing_failures), 1)
    return False


def rmqueue_bulk(z, count, list, migratetype):
    """Single pages to the end of a list, in the order in which the buddy allocator gives them; how many."""
    for i in range(count):
        p = __rmqueue(z, 0, migratetype)
        if p == cython.NULL:
            return i
        if unlikely(not back_pages(p)):
            __free_one_page(z, p, 0, migratetype)
            return i
        p.flags = PG_PCP
        p.private = migratetype
        list_add_tail(cython.address(p.lru), list)
    return count


def __free_one_page(z, p, order, migratetype):
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
        p.flags = 0
        pfn &= buddy_pfn
        p = pfn_to_page(pfn)
        order += 1
    add_to_free_list(z, p, order, migratetype)
