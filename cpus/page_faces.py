"""The page allocator from Python: operations to be mailed to a CPU, and zones and pagesets as plain data."""

import cython
from cython.cimports.cpus import mm_types, mmzone
from cython.cimports.cpus.buddy import set_pageblock_migratetype
from cython.cimports.cpus.cpu import cpu_of, cpu_online_mask, cpu_relax, this_cpu
from cython.cimports.cpus.locks import locks
from cython.cimports.cpus.mm_types import page, page_to_pfn, pfn_to_page
from cython.cimports.cpus.mmzone import (
    MAX_NR_ZONES,
    MIGRATE_PCPTYPES,
    NR_WMARK,
    drain_log,
    holds_pages,
    mm_root,
    oom_task,
    page_zone,
    pageset_of,
    per_cpu_pages,
    zone,
)
from cython.cimports.cpus.oom_kill import oom_task_add, oom_task_exit
from cython.cimports.cpus.page_alloc import __free_pages, alloc_pages_node
from cython.cimports.cpus.pcp import drain_pages_zone, set_high_and_batch
from cython.cimports.cpus.pcp_drain import drain_all_pages, page_alloc_cpu_dead
from cython.cimports.cpus.vmscan import lru_cache_add, mark_page_accessed, page_unmap, try_to_free_pages
from cython.cimports.ipc.atomic import vlong, write_once
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.cpumask import cpumask_weight
from cython.cimports.ipc.interrupt import local_irq_restore, local_irq_save
from cython.cimports.ipc.lock import mutex_lock, mutex_unlock
from cython.cimports.ipc.memory import heap_alloc, segment
from cython.cimports.ipc.processor import WAIT_MUTEX

if not cython.compiled:
    raise ImportError("cpus.page_faces is not built; run `make setup`")

GFP_KERNEL = mm_types.GFP_KERNEL
GFP_ATOMIC = mm_types.GFP_ATOMIC
GFP_DMA = mm_types.__GFP_DMA
GFP_DMA32 = mm_types.__GFP_DMA32
GFP_MOVABLE = mm_types.__GFP_MOVABLE
GFP_RECLAIMABLE = mm_types.__GFP_RECLAIMABLE
GFP_THISNODE = mm_types.__GFP_THISNODE
GFP_NORETRY = mm_types.__GFP_NORETRY
UNMOVABLE, MOVABLE, RECLAIMABLE = mmzone.MIGRATE_UNMOVABLE, mmzone.MIGRATE_MOVABLE, mmzone.MIGRATE_RECLAIMABLE
HIGHATOMIC, ISOLATE = mmzone.MIGRATE_HIGHATOMIC, mmzone.MIGRATE_ISOLATE
ZONES = ("DMA", "DMA32", "Normal")


def page_alloc_op(args):
    p = alloc_pages_node(args[0], args[1], args[2])
    return -1 if p == cython.NULL else page_to_pfn(p)


def page_free_op(args):
    __free_pages(pfn_to_page(args[0]), args[1])
    return 0


def pages_cycle(args):
    if args[0] < 1:
        return 0
    start = get_cycles()
    for _ in range(args[0]):
        p = alloc_pages_node(-1, 0, args[1])
        if p == cython.NULL:
            return -1
        __free_pages(p, 0)
    return (get_cycles() - start) // args[0]


def drain_all(args):
    if args[0] < 0:
        return drain_all_pages(cython.cast(cython.pointer(zone), cython.NULL))
    return drain_all_pages(mm_root().populated[args[0]])


def drain_in_kworker(args):
    c = this_cpu()
    was = c.in_kworker
    c.in_kworker = 1
    answer = drain_all_pages(cython.cast(cython.pointer(zone), cython.NULL))
    c.in_kworker = was
    return answer


def drain_under_lock(args):
    mutex_lock(cython.address(locks().slab_mutex))
    write_once(cython.cast(cython.pointer(vlong), cython.cast(cython.ulong, args[1])), 1)
    while cpu_of(args[0]).hw.waiting_for != WAIT_MUTEX and segment().shutting_down == 0:
        cpu_relax()
    answer = drain_all_pages(cython.cast(cython.pointer(zone), cython.NULL))
    mutex_unlock(cython.address(locks().slab_mutex))
    return answer


def take_slab_mutex(args):
    mutex_lock(cython.address(locks().slab_mutex))
    mutex_unlock(cython.address(locks().slab_mutex))
    return 0


def drain_storm(args):
    asked: cython.long = 0
    for _ in range(args[0]):
        for _ in range(3):
            p = alloc_pages_node(-1, 0, mm_types.GFP_ATOMIC)
            if p != cython.NULL:
                __free_pages(p, 0)
        asked += drain_all_pages(cython.cast(cython.pointer(zone), cython.NULL))
        cpu_relax()
    return asked


def cpu_dead(args):
    page_alloc_cpu_dead(args[0])
    return 0


def entry_points() -> dict:
    """Address of each operation, by name."""
    return {
        "page_alloc": cython.cast(cython.long, cython.cast(cython.p_void, page_alloc_op)),
        "page_free": cython.cast(cython.long, cython.cast(cython.p_void, page_free_op)),
        "pages_cycle": cython.cast(cython.long, cython.cast(cython.p_void, pages_cycle)),
        "drain_all_pages": cython.cast(cython.long, cython.cast(cython.p_void, drain_all)),
        "drain_in_kworker": cython.cast(cython.long, cython.cast(cython.p_void, drain_in_kworker)),
        "drain_under_lock": cython.cast(cython.long, cython.cast(cython.p_void, drain_under_lock)),
        "take_slab_mutex": cython.cast(cython.long, cython.cast(cython.p_void, take_slab_mutex)),
        "drain_storm": cython.cast(cython.long, cython.cast(cython.p_void, drain_storm)),
        "page_alloc_cpu_dead": cython.cast(cython.long, cython.cast(cython.p_void, cpu_dead)),
    }


# --- state ----------------------------------------------------------------------------------------


def zones() -> list:
    """Every zone, populated or not: where it is, what is free in it, its watermarks and reserves, in pages."""
    system = mm_root()
    rows = []
    for i in range(system.nr_zones):
        z = cython.address(system.zones[i])
        rows.append(
            {
                "node": z.node,
                "name": ZONES[z.index],
                "start": z.zone_start_pfn,
                "end": z.zone_end_pfn,
                "number": z.number if z.zone_end_pfn > z.zone_start_pfn else None,
                "free": z.nr_free_pages,
                "fresh": z.zone_end_pfn - z.fresh_pfn,
                "watermark": [z.watermark[k] for k in range(NR_WMARK)],
                "reserve": [z.lowmem_reserve[k] for k in range(MAX_NR_ZONES)],
                "lru": z.nr_lru,
            }
        )
    return rows


def list_pages(head, most):
    pages = []
    each = head.next
    while each != head and len(pages) < most:
        pages.append(page_to_pfn(cython.cast(cython.pointer(page), each)))
        each = each.next
    return pages


def pageset(cpu: int, number: int) -> dict:
    """A CPU's pageset of a populated zone: count, high, batch, and the page frames of its lists, hottest first."""
    pcp = pageset_of(cpu, mm_root().populated[number])
    most = pcp.count + 1
    return {
        "count": pcp.count,
        "high": pcp.high,
        "batch": pcp.batch,
        "lists": [list_pages(cython.address(pcp.lists[i]), most) for i in range(MIGRATE_PCPTYPES)],
        "address": cython.cast(cython.ulong, pcp),
    }


def counts() -> list:
    """Pages on each CPU's lists, over all zones: a racy look at all CPUs."""
    system = mm_root()
    found = []
    for cpu in range(segment().nr_cpus):
        count = 0
        for i in range(system.nr_populated):
            count += pageset_of(cpu, system.populated[i]).count
        found.append(count)
    return found


def holders() -> int:
    """How many CPUs have pages on their lists now."""
    found = 0
    for cpu in range(segment().nr_cpus):
        found += holds_pages(cpu, cython.cast(cython.pointer(zone), cython.NULL))
    return found


def sizing(managed: int, fraction: int) -> tuple:
    """(high, batch) that a pageset of a zone of `managed` pages gets with the switches as they are."""
    pcp: per_cpu_pages
    set_high_and_batch(cython.address(pcp), managed, fraction)
    return pcp.high, pcp.batch


def drain_zone(cpu: int, number: int) -> int:
    """drain_pages_zone(); how many pages it gave back."""
    flags = local_irq_save()
    count = drain_pages_zone(cpu, mm_root().populated[number])
    local_irq_restore(flags)
    return count


def lru_page(nid: int) -> int:
    """A page that may be reclaimed; the address of its owner's word, or 0 without memory."""
    slot = cython.cast(cython.pointer(cython.p_void), heap_alloc(8))
    p = alloc_pages_node(nid, 0, mm_types.GFP_HIGHUSER_MOVABLE)
    if slot == cython.NULL or p == cython.NULL:
        return 0
    lru_cache_add(p, slot)
    return cython.cast(cython.ulong, slot)


def unmap(slot: int) -> bool:
    """The owner gives it back; False if it was reclaimed."""
    return page_unmap(cython.cast(cython.pointer(cython.p_void), cython.cast(cython.ulong, slot)))


def touch(slot: int) -> bool:
    """The owner uses it; False if it was reclaimed."""
    return mark_page_accessed(cython.cast(cython.pointer(cython.p_void), cython.cast(cython.ulong, slot)))


def reclaim(nid: int, wanted: int) -> int:
    """try_to_free_pages(); pages reclaimed."""
    return try_to_free_pages(nid, 2, False, wanted)


def cpu_is_dead(cpu: int) -> None:
    """page_alloc_cpu_dead()"""
    page_alloc_cpu_dead(cpu)


def set_pageblock_type(pfn: int, migratetype: int) -> None:
    """Change a pageblock's type, as memory isolation does."""
    set_pageblock_migratetype(page_zone(pfn_to_page(pfn)), pfn, migratetype)


def free_blocks(node: int, index: int) -> dict:
    """(order, migratetype) -> first page frames of the free blocks of a zone, in the order of the list."""
    at: cython.long = node * MAX_NR_ZONES + index
    z = cython.address(mm_root().zones[at])
    found = {}
    for order in range(mm_types.MAX_ORDER):
        for kind in range(mmzone.MIGRATE_TYPES):
            pages = list_pages(cython.address(z.area[order].free_list[kind]), z.area[order].nr_free + 1)
            if pages:
                found[order, kind] = pages
    return found


def bad_pages() -> int:
    """Frees of pages that were free already."""
    return mm_root().bad_pages


def watch_drains() -> bool:
    """Have drains logged from now on. False when the segment is full."""
    if mm_root().log == cython.NULL:
        mm_root().log = cython.cast(cython.pointer(drain_log), heap_alloc(cython.sizeof(drain_log)))
    return mm_root().log != cython.NULL


def watched_drains() -> dict:
    """What was logged: drains that were not skipped, by how many CPUs they asked, and by how many had been at pages."""
    log = mm_root().log
    cpus = range(segment().nr_cpus + 1)
    return {
        "drains": log.drains,
        "skipped": log.skipped,
        "rescued": log.rescued,
        "weights": [log.weight[i] for i in cpus],
        "ran": [log.ran[i] for i in cpus],
    }


def cycle(count: int) -> int:
    """Ticks of an alloc and free pair of single pages, the mean of `count`, in this context."""
    args: cython.long[2]
    args[0] = count
    args[1] = mm_types.GFP_KERNEL
    with cython.nogil:
        ticks = pages_cycle(args)
    return ticks


def oom_add(held: int) -> int:
    """Register something that can be killed and holds so many pages; its number."""
    task = oom_task_add()
    task.pages = held
    return (cython.cast(cython.long, task) - cython.cast(cython.long, mm_root().oom_tasks)) // cython.sizeof(oom_task)


def oom_killed() -> list:
    """Numbers of those that were killed."""
    system = mm_root()
    return [i for i in range(system.nr_oom_tasks) if system.oom_tasks[i].killed]


def oom_exit(number: int) -> None:
    """One of them has given everything back."""
    index: cython.long = number
    oom_task_exit(cython.address(mm_root().oom_tasks[index]))


def drain_cost(rounds: int) -> float:
    """Cycles that drain_all_pages takes for each online CPU that holds nothing; the least of so many calls."""
    least = 1 << 40
    online = cpumask_weight(cpu_online_mask())
    for _ in range(rounds):
        start = get_cycles()
        drain_all_pages(cython.cast(cython.pointer(zone), cython.NULL))
        least = min(least, get_cycles() - start)
    return least / max(online, 1)
