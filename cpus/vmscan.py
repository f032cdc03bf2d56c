"""mm/vmscan.c: direct reclaim, as far as the allocator's slow path needs it.

Workload tasks own pages that may be reclaimed, as a process owns page cache that it has mapped. A zone has one list of
them, newest first, under lru_lock. Reclaim takes from its end; a page that was used since it was last looked at gets a
second chance. There is no kswapd, nothing is written back, and slab caches have no shrinkers: what is measured is the
contention of reclaimers, not the disk.

An owner and a reclaimer may want the same page at once. The owner's word that holds the page's address is the truth,
and is changed under the zone's lru_lock only; a page's zone never changes, so the lock can be found before it is held.
"""

import cython
from cython.cimports.cpus.cpu import count_event, count_events
from cython.cimports.cpus.list_head import INIT_LIST_HEAD, list_add, list_del, list_empty, list_head
from cython.cimports.cpus.mm_types import PG_LRU, PG_REFERENCED
from cython.cimports.cpus.mmzone import mm_root, node_zone, page_zone, populated_zone
from cython.cimports.cpus.page_alloc import __free_pages
from cython.cimports.cpus.vmstat import PGSCAN_DIRECT, PGSTEAL_DIRECT
from cython.cimports.ipc.atomic import read_once_ptr, write_once_ptr
from cython.cimports.ipc.lock import spin_lock_irqsave, spin_unlock_irqrestore

if not cython.compiled:
    raise ImportError("cpus.vmscan is not built; run `make setup`")


def lru_cache_add(p, mapping):
    z = page_zone(p)
    flags = spin_lock_irqsave(cython.address(z.lru_lock))
    p.flags |= PG_LRU
    p.s_mem = mapping
    write_once_ptr(mapping, p)
    list_add(cython.address(p.lru), cython.address(z.lru))
    z.nr_lru += 1
    spin_unlock_irqrestore(cython.address(z.lru_lock), flags)


def zone_of_mapped(mapping):
    """The zone of the page that a word points to now, or NULL."""
    p = cython.cast(cython.pointer(page), read_once_ptr(mapping))
    return cython.cast(cython.pointer(zone), cython.NULL) if p == cython.NULL else page_zone(p)


def page_unmap(mapping):
    z = zone_of_mapped(mapping)
    if z == cython.NULL:
        return False
    flags = spin_lock_irqsave(cython.address(z.lru_lock))
    p = cython.cast(cython.pointer(page), read_once_ptr(mapping))
    if p != cython.NULL:
        list_del(cython.address(p.lru))
        p.flags &= ~(PG_LRU | PG_REFERENCED)
        p.s_mem = cython.NULL
        write_once_ptr(mapping, cython.NULL)
        z.nr_lru -= 1
    spin_unlock_irqrestore(cython.address(z.lru_lock), flags)
    if p == cython.NULL:
        return False
    __free_pages(p, 0)
    return True


def mark_page_accessed(mapping):
    z = zone_of_mapped(mapping)
    if z == cython.NULL:
        return False
    flags = spin_lock_irqsave(cython.address(z.lru_lock))
    p = cython.cast(cython.pointer(page), read_once_ptr(mapping))
    if p != cython.NULL:
        p.flags |= PG_REFERENCED
    spin_unlock_irqrestore(cython.address(z.lru_lock), flags)
    return p != cython.NULL


def isolate_one(z):
    """The oldest page that was not used lately, taken from its owner; NULL if the oldest one was used. Lock held."""
    p = cython.cast(cython.pointer(page), z.lru.prev)
    list_del(cython.address(p.lru))
    if p.flags & PG_REFERENCED:
        p.flags &= ~PG_REFERENCED
        list_add(cython.address(p.lru), cython.address(z.lru))
        return cython.cast(cython.pointer(page), cython.NULL)
    p.flags &= ~PG_LRU
    write_once_ptr(p.s_mem, cython.NULL)
    p.s_mem = cython.NULL
    z.nr_lru -= 1
    return p


def shrink_zone(z, nr_to_scan):
    """Look at some pages of a zone; how many were reclaimed. They are freed when the lock is given back."""
    taken: list_head
    INIT_LIST_HEAD(cython.address(taken))
    scanned: cython.long = 0
    flags = spin_lock_irqsave(cython.address(z.lru_lock))
    while scanned < nr_to_scan and not list_empty(cython.address(z.lru)):
        p = isolate_one(z)
        if p != cython.NULL:
            list_add(cython.address(p.lru), cython.address(taken))
        scanned += 1
    count_events(PGSCAN_DIRECT, scanned)
    spin_unlock_irqrestore(cython.address(z.lru_lock), flags)
    reclaimed: cython.long = 0
    while not list_empty(cython.address(taken)):
        p = cython.cast(cython.pointer(page), taken.next)
        list_del(cython.address(p.lru))
        __free_pages(p, 0)
        count_event(PGSTEAL_DIRECT)
        reclaimed += 1
    return reclaimed


def try_to_free_pages(nid, classzone, this_node, wanted):
    """Scan more of each zone, priority by priority, until `wanted` pages are free."""
    system = mm_root()
    reclaimed: cython.long = 0
    priority: cython.long = DEF_PRIORITY
    while priority >= 0:
        seen: cython.long = 0
        for i in range(1 if this_node else system.nr_nodes):
            index: cython.long = classzone
            while index >= 0:
                z = node_zone((nid + i) % system.nr_nodes, index)
                index -= 1
                pages: cython.long = z.nr_lru
                if not populated_zone(z) or pages == 0:
                    continue
                seen += pages
                scan = pages >> priority
                if scan < SWAP_CLUSTER_MAX:
                    scan = SWAP_CLUSTER_MAX
                reclaimed += shrink_zone(z, scan)
                if reclaimed >= wanted:
                    return reclaimed
        if seen == 0:
            break
        priority -= 1
    return reclaimed
