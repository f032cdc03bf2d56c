"""mm/slub.c: partial lists, of CPUs and of nodes, and slabs that a CPU gives up."""

import cython
from cython.cimports.cpus.cpu import count_event
from cython.cimports.cpus.list_head import list_add, list_add_tail, list_del, list_head
from cython.cimports.cpus.mm_types import NUMA_NO_NODE
from cython.cimports.cpus.slab_def import numa_mem_id, slab_root
from cython.cimports.cpus.slub_def import (
    DEACTIVATE_TO_HEAD,
    DEACTIVATE_TO_TAIL,
    SLUB_DEFRAG_RATIO,
    TID_STEP,
    cmpxchg_slab,
    cpu_slab,
    get_freepointer,
    inuse_of,
    next_partial,
    objects_of,
    partial_objects,
    partial_pages,
    read_counters,
    set_freepointer,
    slub_of,
    with_frozen,
    with_inuse,
)
from cython.cimports.cpus.slub_grow import discard_slab
from cython.cimports.cpus.switches import DEAD_CACHES, DEAD_CACHES_NONE, DEAD_CACHES_SMP_MB_BOTH
from cython.cimports.cpus.vmstat import (
    SLUB_CPU_PARTIAL_DRAIN,
    SLUB_CPUSLAB_FLUSH,
    SLUB_DEAD_FLUSH,
)
from cython.cimports.ipc.atomic import read_once, read_once_ptr, smp_mb, unlikely
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.interrupt import local_irq_restore, local_irq_save, preempt_disable, preempt_enable
from cython.cimports.ipc.lock import spin_lock, spin_unlock
from cython.cimports.ipc.memory import switch_value
from cython.cimports.ipc.percpu import this_cpu_cmpxchg
from cython.cimports.ipc.processor import this_processor

if not cython.compiled:
    raise ImportError("cpus.slub_partial is not built; run `make setup`")


# --- a node's list --------------------------------------------------------------------------------


def add_partial(n, p, where):
    n.nr_partial += 1
    if where == DEACTIVATE_TO_TAIL:
        list_add_tail(cython.address(p.lru), cython.address(n.partial))
    else:
        list_add(cython.address(p.lru), cython.address(n.partial))


def remove_partial(n, p):
    list_del(cython.address(p.lru))
    n.nr_partial -= 1


def acquire_slab(n, p, mode, objects):
    """Freeze a slab and take it off its node's list; with `mode` take its objects too. NULL: others were faster."""
    freelist = read_once_ptr(cython.address(p.freelist))
    counters = read_counters(p)
    objects[0] = objects_of(counters) - inuse_of(counters)
    new = with_frozen(counters, True)
    left = freelist
    if mode:
        new = with_inuse(new, objects_of(counters))
        left = cython.NULL
    if not cmpxchg_slab(p, freelist, counters, left, new):
        return cython.NULL
    remove_partial(n, p)
    return freelist


def get_partial_node(cachep, n, c):
    """The first slab of a node's list becomes the CPU's slab, further ones go to its partial list, until it has half of
    what it may keep.

    Where this differs: the kernel's put_cpu_partial() would take the list_lock held here, if the cache was found
    dead in this very moment; here that look comes after the lock.
    """
    # A racy look: who comes too early makes a new slab.
    if n == cython.NULL or read_once(cython.address(n.nr_partial)) == 0:
        return cython.NULL
    s = slub_of(cachep)
    object: cython.p_void = cython.NULL
    available: cython.long = 0
    objects: cython.long = 0
    spin_lock(cython.address(n.list_lock))
    each = n.partial.next
    while each != cython.address(n.partial):
        p = cython.cast(cython.pointer(page), each)
        each = each.next
        taken = acquire_slab(n, p, object == cython.NULL, cython.address(objects))
        if taken == cython.NULL:
            break
        available += objects
        if object == cython.NULL:
            c.page = p
            object = taken
        else:
            put_cpu_partial(cachep, p, False)
        if available > read_once(cython.address(s.cpu_partial)) // 2:
            break
    spin_unlock(cython.address(n.list_lock))
    if c.partial != cython.NULL:
        flush_if_dead(cachep, c)
    return object


def get_any_partial(cachep, c):
    """Another node's slab rather than a new one, mostly (remote_node_defrag_ratio)."""
    s = slub_of(cachep)
    nodes = slab_root().nr_nodes
    if nodes == 1 or get_cycles() % 1024 > SLUB_DEFRAG_RATIO:
        return cython.NULL
    for i in range(1, nodes):
        n = s.node[(numa_mem_id() + i) % nodes]
        if n.nr_partial > read_once(cython.address(s.min_partial)):
            object = get_partial_node(cachep, n, c)
            if object != cython.NULL:
                return object
    return cython.NULL


def get_partial(cachep, nid, c):
    object = get_partial_node(cachep, slub_of(cachep).node[numa_mem_id() if nid == NUMA_NO_NODE else nid], c)
    if object != cython.NULL or nid != NUMA_NO_NODE:
        return object
    return get_any_partial(cachep, c)


# --- a CPU's slab is given up ---------------------------------------------------------------------


def return_all_but_last(cachep, p, freelist):
    """Stage one of deactivate_slab: objects go back one by one, without a lock; the last is left in *freelist."""
    s = slub_of(cachep)
    while freelist[0] != cython.NULL:
        following = get_freepointer(s, freelist[0])
        if following == cython.NULL:
            return
        while True:
            prior = read_once_ptr(cython.address(p.freelist))
            counters = read_counters(p)
            set_freepointer(s, freelist[0], prior)
            new = with_inuse(counters, inuse_of(counters) - 1)
            if cmpxchg_slab(p, prior, counters, freelist[0], new):
                break
        freelist[0] = following


def deactivate_slab(cachep, p, freelist):
    """Give the CPU's freelist back to the slab, unfreeze it, and put it where it belongs: to the node's list, nowhere
    if it is full, to the page allocator if it is empty and the node has enough."""
    s = slub_of(cachep)
    count_event(SLUB_CPUSLAB_FLUSH)
    # Objects that others have freed are wanted soon: then to the tail.
    where = DEACTIVATE_TO_TAIL if read_once_ptr(cython.address(p.freelist)) != cython.NULL else DEACTIVATE_TO_HEAD
    return_all_but_last(cachep, p, cython.address(freelist))
    n = s.node[p.nid]
    locked: cython.bint = False
    while True:
        prior = read_once_ptr(cython.address(p.freelist))
        counters = read_counters(p)
        new = with_frozen(counters, False)
        first = prior
        if freelist != cython.NULL:
            new = with_inuse(new, inuse_of(new) - 1)
            set_freepointer(s, freelist, prior)
            first = freelist
        empty: cython.bint = inuse_of(new) == 0 and n.nr_partial >= read_once(cython.address(s.min_partial))
        # Locked before it is unfrozen: whoever empties it then must find it on the list.
        if not empty and first != cython.NULL and not locked:
            spin_lock(cython.address(n.list_lock))
            locked = True
        if cmpxchg_slab(p, prior, counters, first, new):
            break
    if not empty and first != cython.NULL:
        add_partial(n, p, where)
    if locked:
        spin_unlock(cython.address(n.list_lock))
    if empty:
        discard_slab(cachep, p)


def flush_slab(cachep, c):
    deactivate_slab(cachep, c.page, c.freelist)
    c.page = cython.NULL
    c.freelist = cython.NULL
    c.tid += TID_STEP


# --- a CPU's partial list -------------------------------------------------------------------------


def unfreeze_partials(cachep, c):
    """Move all of a CPU's partial slabs to their nodes; those that are empty and not wanted there are freed."""
    s = slub_of(cachep)
    discard = cython.cast(cython.pointer(page), cython.NULL)
    n = cython.cast(cython.pointer(slub_node), cython.NULL)
    while c.partial != cython.NULL:
        p = c.partial
        c.partial = next_partial(p)
        if n != s.node[p.nid]:
            if n != cython.NULL:
                spin_unlock(cython.address(n.list_lock))
            n = s.node[p.nid]
            spin_lock(cython.address(n.list_lock))
        while True:
            freelist = read_once_ptr(cython.address(p.freelist))
            counters = read_counters(p)
            new = with_frozen(counters, False)
            if cmpxchg_slab(p, freelist, counters, freelist, new):
                break
        if inuse_of(new) == 0 and n.nr_partial >= read_once(cython.address(s.min_partial)):
            p.lru.next = cython.cast(cython.pointer(list_head), discard)
            discard = p
        else:
            add_partial(n, p, DEACTIVATE_TO_TAIL)
    if n != cython.NULL:
        spin_unlock(cython.address(n.list_lock))
    while discard != cython.NULL:
        p = discard
        discard = next_partial(p)
        discard_slab(cachep, p)


def put_cpu_partial(cachep, p, drain):
    """Link a frozen slab into this CPU's partial list; the first one's lru.prev holds the list's length.

    The look at cpu_partial behind the exchange is what a dead memcg's cache depends on, see cpus/slub_dead.
    """
    s = slub_of(cachep)
    c = cpu_slab(cachep)
    me = this_processor()
    preempt_disable()
    while True:
        pages: cython.long = 0
        objects: cython.long = 0
        old = cython.cast(cython.pointer(page), read_once_ptr(cython.address(c.partial)))
        if old != cython.NULL:
            pages = partial_pages(old)
            objects = partial_objects(old)
            if drain and objects > read_once(cython.address(s.cpu_partial)):
                flags = local_irq_save()
                unfreeze_partials(cachep, c)
                local_irq_restore(flags)
                count_event(SLUB_CPU_PARTIAL_DRAIN)
                old = cython.cast(cython.pointer(page), cython.NULL)
                pages = 0
                objects = 0
        counters = read_counters(p)
        pages += 1
        objects += objects_of(counters) - inuse_of(counters)
        p.lru.next = cython.cast(cython.pointer(list_head), old)
        p.lru.prev = cython.cast(cython.pointer(list_head), cython.cast(cython.ulong, pages | objects << 32))
        if this_cpu_cmpxchg(me, cython.address(c.partial), old, p) == old:
            break
    if drain:
        flush_if_dead(cachep, c)
    preempt_enable()


def flush_if_dead(cachep, c):
    """Behind the exchange that links a slab: a dead memcg's cache keeps none.

    since v4.0, slub: make dead caches discard free slabs immediately (Davydov 2015)
    """
    dead_caches = switch_value(DEAD_CACHES)
    if dead_caches == DEAD_CACHES_NONE:
        return
    if dead_caches == DEAD_CACHES_SMP_MB_BOTH:
        smp_mb()  # the exchange is none
    if unlikely(read_once(cython.address(slub_of(cachep).cpu_partial)) == 0):
        flags = local_irq_save()
        unfreeze_partials(cachep, c)
        local_irq_restore(flags)
        count_event(SLUB_DEAD_FLUSH)
