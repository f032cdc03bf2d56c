"""mm/page_alloc.c: the per-CPU pagesets. Most single pages come from here and go back here, without the zone's lock.

A CPU's lists of a zone are touched by that CPU alone, with interrupts off: that is all the locking there is, and why
emptying another CPU's lists takes an interrupt or a work item. With pcp-drain=remote each pageset has a spinlock, and
whoever wants to may empty it.

since v6.0, mm/page_alloc: protect PCP lists with a spinlock (Gorman, Saenz Julienne 2022): a holder that finds the lock
taken goes to the buddy allocator instead of waiting
"""

import cython
from cython.cimports.cpus.buddy import __free_one_page, __rmqueue, rmqueue_bulk
from cython.cimports.cpus.cpu import count_event
from cython.cimports.cpus.events import EV_DRAIN_PAGES
from cython.cimports.cpus.list_head import INIT_LIST_HEAD, list_del, list_empty
from cython.cimports.cpus.locks import CLASS_PCP_LOCK
from cython.cimports.cpus.mm_types import page_to_pfn
from cython.cimports.cpus.mmzone import (
    MIGRATE_ISOLATE,
    MIGRATE_MOVABLE,
    MIGRATE_PCPTYPES,
    PCP_MAX_CHUNK,
    get_pageblock_migratetype,
    mm_root,
    pageset_of,
    this_pageset,
)
from cython.cimports.cpus.switches import (
    PCP_BATCH,
    PCP_BATCH_1M,
    PCP_DRAIN,
    PCP_DRAIN_REMOTE,
    PCP_ORDER,
    PCP_ORDER_MOVABLE_LAST,
)
from cython.cimports.cpus.vmstat import PCP_LOCK_CONTENDED
from cython.cimports.ipc.atomic import unlikely
from cython.cimports.ipc.lock import spin_lock, spin_lock_init, spin_trylock, spin_unlock
from cython.cimports.ipc.memory import switch_value
from cython.cimports.ipc.trace import trace

if not cython.compiled:
    raise ImportError("cpus.pcp is not built; run `make setup`")


def rmqueue_buddy(z, order, migratetype):
    spin_lock(cython.address(z.lock))
    p = __rmqueue(z, order, migratetype)
    spin_unlock(cython.address(z.lock))
    return p


def free_migratetype(z, p):
    """The type of the pageblock that a page returns to."""
    return get_pageblock_migratetype(z, page_to_pfn(p))


def free_one_page(z, p, order):
    spin_lock(cython.address(z.lock))
    __free_one_page(z, p, order, free_migratetype(z, p))
    spin_unlock(cython.address(z.lock))


def refill(pcp, z, migratetype):
    """The list is empty: a batch of single pages from the buddy allocator, the first of which is taken."""
    spin_lock(cython.address(z.lock))
    pcp.count += rmqueue_bulk(z, pcp.batch, cython.address(pcp.lists[migratetype]), migratetype)
    spin_unlock(cython.address(z.lock))
    return pcp_pop(pcp, migratetype)


def rmqueue_pcplist_locked(pcp, z, migratetype):
    p = pcp_pop(pcp, migratetype)
    return refill(pcp, z, migratetype) if p == cython.NULL else p


def rmqueue_pcplist(c, z, migratetype):
    pcp = this_pageset(c, z)
    if unlikely(switch_value(PCP_DRAIN) == PCP_DRAIN_REMOTE):
        if not spin_trylock(cython.address(pcp.lock)):
            count_event(PCP_LOCK_CONTENDED)
            return rmqueue_buddy(z, 0, migratetype)
        p = rmqueue_pcplist_locked(pcp, z, migratetype)
        spin_unlock(cython.address(pcp.lock))
        return p
    return rmqueue_pcplist_locked(pcp, z, migratetype)


def free_unref_page_locked(pcp, z, p, migratetype):
    if pcp_push(pcp, p, migratetype):
        free_pcppages_bulk(pcp, z, pcp.batch)


def free_unref_page(c, z, p):
    """free_hot_cold_page() up to 4.14. Types that have no list of their own count as MOVABLE, but for isolated ones."""
    migratetype = get_pageblock_migratetype(z, page_to_pfn(p))
    if unlikely(migratetype >= MIGRATE_PCPTYPES):
        if migratetype == MIGRATE_ISOLATE:
            free_one_page(z, p, 0)
            return
        migratetype = MIGRATE_MOVABLE
    pcp = this_pageset(c, z)
    if unlikely(switch_value(PCP_DRAIN) == PCP_DRAIN_REMOTE):
        if not spin_trylock(cython.address(pcp.lock)):
            count_event(PCP_LOCK_CONTENDED)
            free_one_page(z, p, 0)
            return
        free_unref_page_locked(pcp, z, p, migratetype)
        spin_unlock(cython.address(pcp.lock))
        return
    free_unref_page_locked(pcp, z, p, migratetype)


def free_pcppages_bulk(pcp, z, count):
    """Give `count` pages back, from the cold ends, list after list in turn.

    Each empty list that is passed makes the next one that is not give one page more, so an odd list is not left alone
    with all the pages; the only one that is not empty gives all.
    """
    # since v4.4, mm, page_alloc: use masks and shifts when converting GFP flags to migrate types (Gorman 2015): the
    # lists come in the order UNMOVABLE, MOVABLE, RECLAIMABLE; before, MOVABLE was the last
    movable_last: cython.bint = switch_value(PCP_ORDER) == PCP_ORDER_MOVABLE_LAST
    turn: cython.int = 0
    batch_free: cython.long = 0
    if count > pcp.count:
        count = pcp.count
    spin_lock(cython.address(z.lock))
    while count > 0:
        head = cython.address(pcp.lists[0])
        while True:
            batch_free += 1
            turn = 0 if turn == MIGRATE_PCPTYPES - 1 else turn + 1
            migratetype: cython.int = MIGRATE_PCPTYPES - turn if movable_last and turn != 0 else turn
            head = cython.address(pcp.lists[migratetype])
            if not list_empty(head):
                break
        if batch_free == MIGRATE_PCPTYPES:
            batch_free = count
        while True:
            p = cython.cast(cython.pointer(page), head.prev)
            list_del(cython.address(p.lru))
            pcp.count -= 1
            type: cython.int = p.private
            if unlikely(get_pageblock_migratetype(z, page_to_pfn(p)) >= MIGRATE_PCPTYPES):
                type = free_migratetype(z, p)
            __free_one_page(z, p, 0, type)
            count -= 1
            batch_free -= 1
            if count == 0 or batch_free == 0 or list_empty(head):
                break
    spin_unlock(cython.address(z.lock))


def drain_pages_zone(cpu, z):
    """Empty a CPU's lists of one zone: this CPU's, one that is off line, or, where pagesets have locks, any."""
    pcp = pageset_of(cpu, z)
    locked: cython.bint = switch_value(PCP_DRAIN) == PCP_DRAIN_REMOTE
    if locked:
        spin_lock(cython.address(pcp.lock))
    count: cython.long = pcp.count
    if count != 0:
        free_pcppages_bulk(pcp, z, count)
    if locked:
        spin_unlock(cython.address(pcp.lock))
    return count


def drain_pages(cpu, only):
    count: cython.long = 0
    if only != cython.NULL:
        count = drain_pages_zone(cpu, only)
    else:
        system = mm_root()
        for i in range(system.nr_populated):
            count += drain_pages_zone(cpu, system.populated[i])
    trace(EV_DRAIN_PAGES, count)
    return count


def zone_batchsize(managed):
    """About a thousandth of the zone, but no more than fits into a cache, and one less than a power of two."""
    # since v4.19, mm, page_alloc: double zone's batchsize (Lu 2018): 1 MiB instead of 512 KiB
    most: cython.long = 256 if switch_value(PCP_BATCH) == PCP_BATCH_1M else 128
    batch = managed // 1024
    if batch > most:
        batch = most
    batch //= 4
    if batch < 1:
        batch = 1
    batch += batch // 2
    power: cython.long = 1
    while power * 2 <= batch:
        power *= 2
    return power - 1


def set_high_and_batch(pcp, managed, fraction):
    """fraction: percpu_pagelist_fraction=, 0 if it is not given."""
    if fraction != 0:
        pcp.high = managed // fraction
        pcp.batch = pcp.high // 4
        if pcp.batch < 1:
            pcp.batch = 1
        if pcp.batch > PCP_MAX_CHUNK:
            pcp.batch = PCP_MAX_CHUNK
        return
    batch = zone_batchsize(managed)
    pcp.high = 6 * batch
    pcp.batch = batch if batch > 1 else 1


def pageset_init(pcp, z):
    pcp.zone = z.number
    for i in range(MIGRATE_PCPTYPES):
        INIT_LIST_HEAD(cython.address(pcp.lists[i]))
    spin_lock_init(cython.address(pcp.lock), CLASS_PCP_LOCK)
    set_high_and_batch(pcp, z.zone_end_pfn - z.zone_start_pfn, mm_root().percpu_pagelist_fraction)
