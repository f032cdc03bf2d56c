"""mm/slab.c: slabs, from the page allocator (cache_grow) and back to it (slab_destroy)."""

import cython
from cython.cimports.cpus.cpu import count_event, smp_processor_id
from cython.cimports.cpus.events import EV_GROW, EV_SLAB_FREED
from cython.cimports.cpus.list_head import INIT_LIST_HEAD, list_add_tail, list_del
from cython.cimports.cpus.mm_types import (
    __GFP_ACCOUNT,
    __GFP_ZERO,
    PG_SLAB,
    PG_SLAB_RCU,
    gfpflags_allow_blocking,
    page_address,
    page_to_pfn,
)
from cython.cimports.cpus.page_alloc import __free_pages, alloc_pages_node
from cython.cimports.cpus.rcu import call_rcu_sched, synchronize_sched
from cython.cimports.cpus.slab import kmem_cache_alloc_node, kmem_cache_free
from cython.cimports.cpus.slab_array import fixup_slab_list
from cython.cimports.cpus.slab_check import check_slab_gone, init_object
from cython.cimports.cpus.slab_def import (
    CFLGS_OBJFREELIST_SLAB,
    CFLGS_OFF_SLAB,
    SLAB_DEBUG_FLAGS,
    SLAB_TYPESAFE_BY_RCU,
    index_to_obj,
    slab_root,
)
from cython.cimports.cpus.slab_release import cache_is_alive
from cython.cimports.cpus.switches import GROW_ANY_NODE, RACY_COLOUR
from cython.cimports.cpus.vmstat import SLAB_GROW, SLABS_FREED
from cython.cimports.ipc.atomic import atomic_fetch_add, read_once, write_once
from cython.cimports.ipc.interrupt import local_irq_disable, local_irq_enable, local_irq_restore, local_irq_save
from cython.cimports.ipc.lock import spin_lock, spin_unlock
from cython.cimports.ipc.memory import PAGE_SIZE, switch_on
from cython.cimports.ipc.trace import trace

if not cython.compiled:
    raise ImportError("cpus.slab_grow is not built; run `make setup`")


def kmem_getpages(cachep, gfp, nodeid):
    """Pages of one slab, charged to the cache's memcg if it has one."""
    p = alloc_pages_node(nodeid, cachep.gfporder, gfp)
    if p == cython.NULL:
        return p
    charge = slab_root().memcg_charge_slab
    memcg = cachep.memcg_params.memcg
    if memcg != cython.NULL and charge != cython.NULL:
        if not charge(memcg, cachep.gfporder):
            __free_pages(p, cachep.gfporder)
            return cython.cast(cython.pointer(page), cython.NULL)
        p.mem_cgroup = memcg
    p.flags |= PG_SLAB
    p.slab_cache = cachep
    return p


def kmem_freepages(cachep, p):
    memcg = p.mem_cgroup
    p.slab_cache = cython.NULL
    p.mem_cgroup = cython.NULL
    order = p.order
    __free_pages(p, order)
    # Last: the reference it gives back may be the one that keeps the cache.
    if memcg != cython.NULL:
        slab_root().memcg_uncharge_slab(memcg, order)


def next_colour(cachep, node):
    """The offset of the next slab's first object, and one lock for it."""
    n = cachep.node[node]
    spin_lock(cython.address(n.list_lock))
    colour = read_once(cython.address(n.colour_next))
    write_once(cython.address(n.colour_next), 0 if colour + 1 >= cachep.colour else colour + 1)
    spin_unlock(cython.address(n.list_lock))
    return colour * cachep.colour_off


def next_colour_racy(cachep, node):
    # since v4.7, mm/slab: racy access/modify the slab color (Kim 2016)
    n = cachep.node[node]
    write_once(cython.address(n.colour_next), read_once(cython.address(n.colour_next)) + 1)
    if read_once(cython.address(n.colour_next)) >= cachep.colour:
        write_once(cython.address(n.colour_next), 0)
    colour = read_once(cython.address(n.colour_next))
    if colour >= cachep.colour:
        colour = 0
    return colour * cachep.colour_off


def alloc_slabmgmt(cachep, p, offset, gfp, node):
    """Place the first object and the freelist. False when there is no memory for one of its own."""
    address = cython.cast(cython.p_char, page_address(p))
    p.s_mem = address + offset
    p.active = 0
    if cachep.flags & CFLGS_OBJFREELIST_SLAB:
        p.freelist = cython.NULL
    elif cachep.flags & CFLGS_OFF_SLAB:
        p.freelist = kmem_cache_alloc_node(cachep.freelist_cache, gfp & ~(__GFP_ACCOUNT | __GFP_ZERO), node)
        return p.freelist != cython.NULL
    else:
        p.freelist = address + (cython.cast(cython.long, PAGE_SIZE) << cachep.gfporder) - cachep.freelist_size
    return True


def cache_init_objs(cachep, p):
    if cachep.flags & CFLGS_OBJFREELIST_SLAB:
        # The freelist lies in the object that is taken last, and when that is taken there is none.
        p.freelist = index_to_obj(cachep, p, cachep.num - 1)
    freelist = cython.cast(cython.p_uchar, p.freelist)
    for i in range(cachep.num):
        if cachep.flags & SLAB_DEBUG_FLAGS:
            init_object(cachep, index_to_obj(cachep, p, i))
        elif cachep.ctor != cython.NULL:
            cachep.ctor(index_to_obj(cachep, p, i))
        freelist[i] = cython.cast(cython.uchar, i)


def cache_grow_begin(cachep, gfp, nodeid, p):
    """A slab of fresh pages (or of `p`) that nobody else can see yet; NULL when memory is out.

    since v4.7, mm/slab: separate cache_grow() to two parts (Kim 2016)
    """
    blocking: cython.bint = gfpflags_allow_blocking(gfp)
    racy: cython.bint = switch_on(RACY_COLOUR)
    offset: cython.long = 0
    if not racy:
        offset = next_colour(cachep, nodeid)
    if blocking:
        local_irq_enable()
    if p == cython.NULL:
        p = kmem_getpages(cachep, gfp, nodeid)
    if p != cython.NULL:
        # since v4.7, mm/slab: make cache_grow() handle the page allocated on arbitrary node (Kim 2016)
        node = cython.cast(cython.long, p.nid) if switch_on(GROW_ANY_NODE) else nodeid
        if racy:
            offset = next_colour_racy(cachep, node)
        if alloc_slabmgmt(cachep, p, offset, gfp, node):
            cache_init_objs(cachep, p)
        else:
            kmem_freepages(cachep, p)
            p = cython.cast(cython.pointer(page), cython.NULL)
    if blocking:
        local_irq_disable()
    return p


def cache_grow_end(cachep, p):
    """Attach a slab to its node's lists. NULL is a no-op."""
    if p == cython.NULL:
        return
    n = cachep.node[p.nid]
    INIT_LIST_HEAD(cython.address(p.lru))
    spin_lock(cython.address(n.list_lock))
    n.total_slabs += 1
    n.grown += 1
    if p.active == 0:
        list_add_tail(cython.address(p.lru), cython.address(n.slabs_free))
        n.free_slabs += 1
    else:
        fixup_slab_list(cachep, n, p)
    n.free_objects += cachep.num - p.active
    spin_unlock(cython.address(n.list_lock))
    count_event(SLAB_GROW)
    trace(EV_GROW, cython.cast(cython.ulong, cachep))


def cache_grow(cachep, gfp, nodeid, p):
    p = cache_grow_begin(cachep, gfp, nodeid, p)
    if p == cython.NULL:
        return -1
    cache_grow_end(cachep, p)
    return p.nid


def kmem_rcu_free(head):
    p = cython.cast(cython.pointer(page), head)
    cachep = cython.cast(cython.pointer(kmem_cache), p.s_mem)
    if cache_is_alive(cachep, p):
        kmem_freepages(cachep, p)
    else:  # reported; the pages say enough of themselves
        __free_pages(p, p.order)


def slab_destroy(cachep, p):
    flags = local_irq_save()
    count_event(SLABS_FREED)
    trace(EV_SLAB_FREED, page_to_pfn(p))
    local_irq_restore(flags)
    freelist = p.freelist
    if cachep.flags & SLAB_DEBUG_FLAGS:
        check_slab_gone(cachep, p)
    if cachep.flags & SLAB_TYPESAFE_BY_RCU:
        atomic_fetch_add(cython.address(cachep.rcu_pages), 1)
        # The rcu_head lies over lru and slab_cache, so the cache's address moves to a field that is free by now.
        p.s_mem = cachep
        p.flags |= PG_SLAB_RCU
        if smp_processor_id() >= 0:
            call_rcu_sched(cython.cast(cython.pointer(rcu_head), p), kmem_rcu_free)
        else:  # the coordinator runs no softirqs
            synchronize_sched()
            kmem_rcu_free(cython.cast(cython.pointer(rcu_head), p))
    else:
        kmem_freepages(cachep, p)
    if cachep.flags & CFLGS_OFF_SLAB:
        kmem_cache_free(cachep.freelist_cache, freelist)


def slabs_destroy(cachep, list):
    while list.next != list:
        p = cython.cast(cython.pointer(page), list.next)
        list_del(cython.address(p.lru))
        slab_destroy(cachep, p)
