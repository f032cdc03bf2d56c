"""mm/slub.c: slabs, from the page allocator (new_slab) and back to it (discard_slab)."""

import cython
from cython.cimports.cpus.cpu import count_event, smp_processor_id
from cython.cimports.cpus.events import EV_GROW, EV_SLAB_FREED
from cython.cimports.cpus.mm_types import (
    __GFP_ACCOUNT,
    __GFP_NORETRY,
    __GFP_NOWARN,
    __GFP_THISNODE,
    __GFP_ZERO,
    NUMA_NO_NODE,
    PG_SLAB,
    PG_SLAB_RCU,
    gfpflags_allow_blocking,
    page_address,
    page_to_pfn,
)
from cython.cimports.cpus.page_alloc import __free_pages, alloc_pages_node
from cython.cimports.cpus.rcu import call_rcu_sched, synchronize_sched
from cython.cimports.cpus.slab_def import SLAB_TYPESAFE_BY_RCU, slab_root
from cython.cimports.cpus.slab_release import cache_is_alive
from cython.cimports.cpus.slub_def import (
    FROZEN_SHIFT,
    OBJECTS_SHIFT,
    objects_of,
    read_counters,
    set_freepointer,
    slub_of,
)
from cython.cimports.cpus.vmstat import SLAB_GROW, SLABS_FREED
from cython.cimports.ipc.atomic import atomic_fetch_add
from cython.cimports.ipc.interrupt import local_irq_disable, local_irq_enable, local_irq_restore, local_irq_save
from cython.cimports.ipc.trace import trace

if not cython.compiled:
    raise ImportError("cpus.slub_grow is not built; run `make setup`")


def alloc_slab_page(cachep, gfp, nid, order):
    """Pages of one slab, charged to the cache's memcg if it has one."""
    if nid != NUMA_NO_NODE:
        gfp |= __GFP_THISNODE
    p = alloc_pages_node(nid, order, (gfp | cachep.allocflags) & ~(__GFP_ACCOUNT | __GFP_ZERO))
    if p == cython.NULL:
        return p
    charge = slab_root().memcg_charge_slab
    memcg = cachep.memcg_params.memcg
    if memcg != cython.NULL and charge != cython.NULL:
        if not charge(memcg, order):
            __free_pages(p, order)
            return cython.cast(cython.pointer(page), cython.NULL)
        p.mem_cgroup = memcg
    return p


def init_slab(cachep, p):
    """Link all objects, first to last; the slab is handed to the CPU that asked with all of them taken."""
    s = slub_of(cachep)
    order = cython.cast(cython.long, p.order)
    num = cachep.num if order == cachep.gfporder else s.min_objects
    address = cython.cast(cython.p_char, page_address(p))
    for i in range(num):
        object = address + i * cachep.size
        if cachep.ctor != cython.NULL:
            cachep.ctor(object)
        set_freepointer(s, object, object + cachep.size if i + 1 < num else cython.NULL)
    p.s_mem = address
    p.slab_cache = cachep
    p.freelist = address
    p.flags |= PG_SLAB
    frozen: cython.long = 1
    p.active = cython.cast(cython.uint, num | num << OBJECTS_SHIFT | frozen << FROZEN_SHIFT)


def new_slab(cachep, gfp, nid):
    s = slub_of(cachep)
    blocking: cython.bint = gfpflags_allow_blocking(gfp)
    if blocking:
        local_irq_enable()
    p = alloc_slab_page(cachep, gfp | __GFP_NOWARN | __GFP_NORETRY, nid, cachep.gfporder)
    if p == cython.NULL and s.min_order < cachep.gfporder:
        p = alloc_slab_page(cachep, gfp, nid, s.min_order)
    if p != cython.NULL:
        init_slab(cachep, p)
    if blocking:
        local_irq_disable()
    if p == cython.NULL:
        return p
    n = s.node[p.nid]
    atomic_fetch_add(cython.address(n.nr_slabs), 1)
    atomic_fetch_add(cython.address(n.total_objects), objects_of(read_counters(p)))
    count_event(SLAB_GROW)
    trace(EV_GROW, cython.cast(cython.ulong, cachep))
    return p


def free_slab_page(cachep, p):
    memcg = p.mem_cgroup
    order = cython.cast(cython.long, p.order)
    p.slab_cache = cython.NULL
    p.mem_cgroup = cython.NULL
    __free_pages(p, order)
    # Last: the reference it gives back may be the one that keeps the cache.
    if memcg != cython.NULL:
        slab_root().memcg_uncharge_slab(memcg, order)


def rcu_free_slab(head):
    p = cython.cast(cython.pointer(page), head)
    cachep = cython.cast(cython.pointer(kmem_cache), p.s_mem)
    cache_is_alive(cachep, p)
    free_slab_page(cachep, p)


def discard_slab(cachep, p):
    """An empty slab that is on no list."""
    n = slub_of(cachep).node[p.nid]
    atomic_fetch_add(cython.address(n.nr_slabs), -1)
    atomic_fetch_add(cython.address(n.total_objects), -objects_of(read_counters(p)))
    flags = local_irq_save()
    count_event(SLABS_FREED)
    trace(EV_SLAB_FREED, page_to_pfn(p))
    local_irq_restore(flags)
    if cachep.flags & SLAB_TYPESAFE_BY_RCU == 0:
        free_slab_page(cachep, p)
        return
    atomic_fetch_add(cython.address(cachep.rcu_pages), 1)
    # The rcu_head lies over lru and slab_cache, so the cache's address moves to a field that is free by now.
    p.s_mem = cachep
    p.flags |= PG_SLAB_RCU
    if smp_processor_id() >= 0:
        call_rcu_sched(cython.cast(cython.pointer(rcu_head), p), rcu_free_slab)
    else:  # the coordinator runs no softirqs
        synchronize_sched()
        rcu_free_slab(cython.cast(cython.pointer(rcu_head), p))
