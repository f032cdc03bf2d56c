"""mm/slub.c: allocation and free. Where an object can be is told beside the checker's sum, in emu/check_slub.py.

The fast paths take no lock and leave interrupts on. A CPU's slab is frozen: on no list, and only this CPU allocates
from it, through a freelist of its own, {freelist, tid} in struct kmem_cache_cpu. What an interrupt did between the read
of the two and their exchange shows in tid. Other CPUs free into the slab's other freelist, {freelist, counters} in
struct page; when the CPU's own is empty it takes that one whole.

A kernel task could be moved to another CPU between the two reads; here a CPU is a process, and nothing moves.
"""

import cython
from cython.cimports.cpus.cpu import count_event, cpu, kernel_enter, kernel_exit, this_cpu
from cython.cimports.cpus.events import EV_ALLOC, EV_FREE
from cython.cimports.cpus.mm_types import (
    __GFP_ACCOUNT,
    __GFP_COMP,
    __GFP_ZERO,
    NUMA_NO_NODE,
    PG_SLAB,
    page_address,
    virt_to_head_page,
)
from cython.cimports.cpus.page_alloc import alloc_pages_node
from cython.cimports.cpus.slab import enter_kernel, exit_kernel
from cython.cimports.cpus.slab_def import SLAB_ACCOUNT, kmalloc_index, slab_root
from cython.cimports.cpus.slab_exit import alloc_exit, free_exit, free_large, leaves_slowly
from cython.cimports.cpus.slub_def import (
    DEACTIVATE_TO_TAIL,
    KMALLOC_LARGE,
    SLUB_KMALLOC_MAX,
    SLUB_KMALLOC_SHIFT_LOW,
    TID_STEP,
    cmpxchg_slab,
    cpu_slab,
    get_freepointer,
    inuse_of,
    is_frozen,
    kmem_cache_cpu,
    kmem_cache_has_cpu_partial,
    next_partial,
    objects_of,
    read_counters,
    set_freepointer,
    slub_node,
    slub_of,
    with_frozen,
    with_inuse,
)
from cython.cimports.cpus.slub_grow import discard_slab, new_slab
from cython.cimports.cpus.slub_partial import (
    add_partial,
    deactivate_slab,
    flush_slab,
    get_partial,
    put_cpu_partial,
    remove_partial,
)
from cython.cimports.cpus.vmstat import (
    SLAB_ALLOC,
    SLAB_FREE,
    SLUB_ALLOC_SLOWPATH,
    SLUB_CMPXCHG_FAIL,
    SLUB_CPU_PARTIAL_FREE,
    SLUB_FREE_SLOWPATH,
)
from cython.cimports.ipc.atomic import barrier, optimizer_hide_var, read_once, read_once_ptr, unlikely
from cython.cimports.ipc.histogram import ilog2
from cython.cimports.ipc.interrupt import irq_save, local_irq_restore, local_irq_save
from cython.cimports.ipc.lock import spin_lock, spin_unlock
from cython.cimports.ipc.memory import PAGE_SHIFT
from cython.cimports.ipc.percpu import this_cpu_add, this_cpu_cmpxchg_double, this_cpu_cmpxchg_pair
from cython.cimports.ipc.processor import this_processor
from cython.cimports.ipc.trace import trace
from cython.cimports.libc.string import memset

if not cython.compiled:
    raise ImportError("cpus.slub is not built; run `make setup`")


# --- allocation -----------------------------------------------------------------------------------


def slub_alloc(cachep, gfp):
    """kmem_cache_alloc: NULL when memory is out.

    Written out for the usual case; all that is unusual is a call in tail position, so that few registers are saved.
    """
    if unlikely((cachep.flags & SLAB_ACCOUNT) | (gfp & (__GFP_ACCOUNT | __GFP_ZERO))):
        return slub_alloc_special(cachep, gfp)
    me = this_processor()
    was = enter_kernel(me)
    s = slub_of(cachep)
    c = cython.cast(cython.pointer(kmem_cache_cpu), optimizer_hide_var(cython.address(s.cpu[me.id + 1])))
    tid = c.tid
    barrier()
    object = c.freelist
    if unlikely(object == cython.NULL):
        return alloc_slowly(cachep, gfp, was)
    following = get_freepointer(s, object)
    flags = irq_save(me)
    if unlikely(not this_cpu_cmpxchg_pair(cython.address(c.freelist), object, tid, following, tid + TID_STEP)):
        me.irq_off = flags
        return alloc_again(cachep, gfp, was)
    c.allocs += 1
    cython.cast(cython.pointer(cpu), me).counter[SLAB_ALLOC] += 1
    barrier()
    me.irq_off = flags
    barrier()
    if unlikely(leaves_slowly(me)):
        return alloc_exit(me, object, flags, was)
    me.mode = was
    return object


def alloc_again(cachep, gfp, was):
    """An interrupt has come between the look at the freelist and the exchange."""
    count_event(SLUB_CMPXCHG_FAIL)
    return alloc_slowly(cachep, gfp, was)


def alloc_slowly(cachep, gfp, was):
    object = slab_alloc_node(cachep, gfp, NUMA_NO_NODE)
    exit_kernel(this_processor(), was)
    return object


def slab_alloc_node(cachep, gfp, nid):
    """One object of a node, or of any. In the kernel."""
    me = this_processor()
    s = slub_of(cachep)
    c = cython.address(s.cpu[me.id + 1])
    while True:
        tid = c.tid
        barrier()
        object = c.freelist
        if object == cython.NULL or not node_match(c.page, nid):
            object = __slab_alloc(cachep, gfp, nid)
            break
        following = get_freepointer(s, object)
        if this_cpu_cmpxchg_double(me, cython.address(c.freelist), object, tid, following, tid + TID_STEP):
            break
        count_event(SLUB_CMPXCHG_FAIL)
    if object != cython.NULL:
        this_cpu_add(me, cython.address(c.allocs), 1)
        this_cpu_add(me, cython.address(cython.cast(cython.pointer(cpu), me).counter[SLAB_ALLOC]), 1)
        if gfp & __GFP_ZERO:
            memset(object, 0, cachep.object_size)
    trace(EV_ALLOC, cython.cast(cython.ulong, object))
    return object


def slub_alloc_special(cachep, gfp):
    """To be zeroed, or charged to the current task's memcg: then from that memcg's own cache, if there is one."""
    was = kernel_enter()
    accounted: cython.bint = ((cachep.flags & SLAB_ACCOUNT) | (gfp & __GFP_ACCOUNT)) != 0
    if accounted:
        accounted = slab_root().memcg_get_cache != cython.NULL
    if accounted:
        cachep = slab_root().memcg_get_cache(cachep)
    object = slab_alloc_node(cachep, gfp, NUMA_NO_NODE)
    if accounted:
        slab_root().memcg_put_cache(cachep)
    kernel_exit(was)
    return object


def slub_alloc_node(cachep, gfp, nid):
    was = kernel_enter()
    object = slab_alloc_node(cachep, gfp, nid)
    kernel_exit(was)
    return object


def __slab_alloc(cachep, gfp, nid):
    """The CPU's own freelist is empty, or of another node. Interrupts off from here."""
    me = this_processor()
    if me.id < 0:  # the coordinator allocates no slab object
        return cython.NULL
    flags = local_irq_save()
    count_event(SLUB_ALLOC_SLOWPATH)
    cpu_slab(cachep).alloc_slow += 1
    object = ___slab_alloc(cachep, gfp, nid, cpu_slab(cachep))
    local_irq_restore(flags)
    return object


def node_match(p, nid):
    return nid == NUMA_NO_NODE or (p != cython.NULL and p.nid == nid)


def get_freelist(p):
    """All that others have freed into the CPU's slab, or NULL: then it is full, and no CPU's any more."""
    while True:
        freelist = read_once_ptr(cython.address(p.freelist))
        counters = read_counters(p)
        new = with_frozen(with_inuse(counters, objects_of(counters)), freelist != cython.NULL)
        if cmpxchg_slab(p, freelist, counters, cython.NULL, new):
            return freelist


def ___slab_alloc(cachep, gfp, nid, c):
    s = slub_of(cachep)
    while True:
        if c.page != cython.NULL and not node_match(c.page, nid):
            deactivate_slab(cachep, c.page, c.freelist)
            c.page = cython.NULL
            c.freelist = cython.NULL
        if c.page != cython.NULL:
            freelist = c.freelist  # an interrupt may have brought a new slab meanwhile
            if freelist == cython.NULL:
                freelist = get_freelist(c.page)
            if freelist != cython.NULL:
                break
            c.page = cython.NULL
        if c.partial != cython.NULL:
            p = c.partial
            c.page = p
            c.partial = next_partial(p)
            continue
        freelist = new_slab_objects(cachep, gfp, nid, c)
        if freelist == cython.NULL:
            return cython.NULL
        break
    c.freelist = get_freepointer(s, freelist)
    c.tid += TID_STEP
    return freelist


def new_slab_objects(cachep, gfp, nid, c):
    """A slab with free objects becomes the CPU's: off a node's list, or new. Its objects, or NULL."""
    freelist = get_partial(cachep, nid, c)
    if freelist != cython.NULL:
        return freelist
    p = new_slab(cachep, gfp, nid)
    if p == cython.NULL:
        return cython.NULL
    # Interrupts may have been on.
    if c.page != cython.NULL:
        flush_slab(cachep, c)
    freelist = p.freelist
    p.freelist = cython.NULL
    c.page = p
    return freelist


# --- free -----------------------------------------------------------------------------------------


def slub_free(object):
    """kmem_cache_free, kfree: the cache is the slab's, whichever of a family was named."""
    me = this_processor()
    was = enter_kernel(me)
    p = virt_to_head_page(object)
    if unlikely(p.flags & PG_SLAB == 0):
        free_large(p, was)
        return
    cachep = cython.cast(cython.pointer(kmem_cache), p.slab_cache)
    s = slub_of(cachep)
    c = cython.cast(cython.pointer(kmem_cache_cpu), optimizer_hide_var(cython.address(s.cpu[me.id + 1])))
    tid = c.tid
    barrier()
    if unlikely(p != c.page):
        free_slowly(p, object, was)
        return
    freelist = c.freelist
    set_freepointer(s, object, freelist)
    flags = irq_save(me)
    if unlikely(not this_cpu_cmpxchg_pair(cython.address(c.freelist), freelist, tid, object, tid + TID_STEP)):
        me.irq_off = flags
        free_again(p, object, was)
        return
    c.frees += 1
    cython.cast(cython.pointer(cpu), me).counter[SLAB_FREE] += 1
    barrier()
    me.irq_off = flags
    barrier()
    if unlikely(leaves_slowly(me)):
        free_exit(me, object, flags, was)
        return
    me.mode = was


def free_again(p, object, was):
    count_event(SLUB_CMPXCHG_FAIL)
    free_slowly(p, object, was)


def free_slowly(p, object, was):
    trace(EV_FREE, cython.cast(cython.ulong, object))
    slab_free(cython.cast(cython.pointer(kmem_cache), p.slab_cache), p, object, object, 1)
    exit_kernel(this_processor(), was)


def slab_free(cachep, p, head, tail, cnt):
    """Objects of one slab, linked from head to tail."""
    me = this_processor()
    s = slub_of(cachep)
    c = cython.address(s.cpu[me.id + 1])
    this_cpu_add(me, cython.address(c.frees), cnt)
    this_cpu_add(me, cython.address(cython.cast(cython.pointer(cpu), me).counter[SLAB_FREE]), cnt)
    while True:
        tid = c.tid
        barrier()
        if p != c.page:
            __slab_free(cachep, p, head, tail, cnt)
            break
        freelist = c.freelist
        set_freepointer(s, tail, freelist)
        if this_cpu_cmpxchg_double(me, cython.address(c.freelist), freelist, tid, head, tid + TID_STEP):
            break
        count_event(SLUB_CMPXCHG_FAIL)


def __slab_free(cachep, p, head, tail, cnt):
    """Into a slab that is not this CPU's own.

    A full slab is on no list. The first free freezes it for this CPU's partial list, without a lock; the last one finds
    it empty, and takes the lock of its node in case it must go.
    """
    s = slub_of(cachep)
    count_event(SLUB_FREE_SLOWPATH)
    this_cpu_add(this_processor(), cython.address(cpu_slab(cachep).free_slow), cnt)
    n = cython.cast(cython.pointer(slub_node), cython.NULL)
    flags: cython.int = 0
    has_cpu_partial: cython.bint = kmem_cache_has_cpu_partial()
    while True:
        if n != cython.NULL:
            spin_unlock(cython.address(n.list_lock))
            local_irq_restore(flags)
            n = cython.cast(cython.pointer(slub_node), cython.NULL)
        prior = read_once_ptr(cython.address(p.freelist))
        counters = read_counters(p)
        set_freepointer(s, tail, prior)
        was_frozen: cython.bint = is_frozen(counters)
        new = with_inuse(counters, inuse_of(counters) - cnt)
        if (inuse_of(new) == 0 or prior == cython.NULL) and not was_frozen:
            if has_cpu_partial and prior == cython.NULL:
                new = with_frozen(new, True)
            else:
                n = s.node[p.nid]
                flags = local_irq_save()
                spin_lock(cython.address(n.list_lock))
        if cmpxchg_slab(p, prior, counters, head, new):
            break
    if n == cython.NULL:
        if is_frozen(new) and not was_frozen:
            put_cpu_partial(cachep, p, True)
            count_event(SLUB_CPU_PARTIAL_FREE)
        return
    if inuse_of(new) == 0 and n.nr_partial >= read_once(cython.address(s.min_partial)):
        if prior != cython.NULL:
            remove_partial(n, p)
        spin_unlock(cython.address(n.list_lock))
        local_irq_restore(flags)
        discard_slab(cachep, p)
        return
    if not has_cpu_partial and prior == cython.NULL:
        add_partial(n, p, DEACTIVATE_TO_TAIL)
    spin_unlock(cython.address(n.list_lock))
    local_irq_restore(flags)


# --- kmalloc --------------------------------------------------------------------------------------


def slub_kmalloc_slab(size):
    if size > SLUB_KMALLOC_MAX:
        return cython.cast(cython.pointer(kmem_cache), cython.NULL)
    return slab_root().kmalloc_caches[kmalloc_index(size, SLUB_KMALLOC_SHIFT_LOW)]


def kmalloc_large(size, gfp):
    """Whole pages, in no cache."""
    order: cython.long = ilog2(cython.cast(cython.ulong, size - 1)) + 1 - PAGE_SHIFT
    if this_processor().id < 0:
        return cython.NULL
    was = kernel_enter()
    p = alloc_pages_node(NUMA_NO_NODE, order, gfp | __GFP_COMP)
    kernel_exit(was)
    if p == cython.NULL:
        return cython.NULL
    p.private = KMALLOC_LARGE
    this_cpu_add(this_processor(), cython.address(this_cpu().counter[SLAB_ALLOC]), 1)
    return page_address(p)


def slub_kmalloc(size, gfp):
    if size > SLUB_KMALLOC_MAX:
        return kmalloc_large(size, gfp)
    return slub_alloc(slub_kmalloc_slab(size), gfp)
