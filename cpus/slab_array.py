"""mm/slab.c: what moves objects between array caches and slabs: refill, flush, free_block."""

import cython
from cython.cimports.cpus.cpu import count_event, smp_processor_id
from cython.cimports.cpus.delay import delay_point
from cython.cimports.cpus.events import EV_FLUSH, EV_REFILL
from cython.cimports.cpus.list_head import INIT_LIST_HEAD, list_add, list_add_tail, list_del, list_empty
from cython.cimports.cpus.mm_types import virt_to_head_page
from cython.cimports.cpus.slab_check import note_put
from cython.cimports.cpus.slab_debug import (
    FREED,
    WHERE_REFILL,
    free_in_slab,
    object_info,
    path_enter,
    path_leave,
    report_replaced,
    slab_bug,
    slab_bug_begin,
)
from cython.cimports.cpus.slab_def import (
    BATCHREFILL_LIMIT,
    CFLGS_OBJFREELIST_SLAB,
    SLAB_CONSISTENCY_CHECKS,
    SLAB_DEBUG_FLAGS,
    cpu_cache_get,
    numa_mem_id,
    obj_to_index,
    slab_get_obj,
)
from cython.cimports.cpus.slab_grow import (
    cache_grow,
    cache_grow_begin,
    cache_grow_end,
    gfp_exact_node,
    slabs_destroy,
)
from cython.cimports.cpus.switches import FREE_LIMIT_AT_END, LOCKLESS_GROW, REFILL_PRIVATE_SLAB
from cython.cimports.cpus.vmstat import SLAB_FLUSH, SLAB_GROWING_REFILL, SLAB_REFILL
from cython.cimports.ipc.atomic import read_once, read_once_ptr, unlikely
from cython.cimports.ipc.lock import spin_lock, spin_unlock
from cython.cimports.ipc.memory import PAGE_SIZE, ram_base, segment, switch_on
from cython.cimports.ipc.trace import trace
from cython.cimports.libc.string import memcpy, memmove

if not cython.compiled:
    raise ImportError("cpus.slab_array is not built; run `make setup`")


# --- refill ---------------------------------------------------------------------------------------


def nothing_on_node(cachep, n):
    """A look without the lock: neither the shared array nor the slabs of the node have an object."""
    # since v4.7, mm/slab: lockless decision to grow cache (Kim 2016)
    # The array may be replaced meanwhile. It is freed only when no CPU is in the irq-off section it was read in.
    shared = cython.cast(cython.pointer(array_cache), read_once_ptr(cython.address(n.shared)))
    delay_point()
    if shared == cython.NULL:
        return read_once(cython.address(n.free_objects)) == 0
    if unlikely(shared.limit == FREED):  # and so it is not freed before that: see wait_for_lockless_readers()
        was = path_enter(WHERE_REFILL)
        report_replaced(cachep, shared, "shared array used after free", 0, cython.NULL)
        path_leave(was)
        return False
    return read_once(cython.address(n.free_objects)) == 0 and shared.avail == 0


def transfer_objects(to, source, max):
    """Move up to `max` objects from the top of one array to the top of another; how many."""
    nr = cython.cast(cython.long, source.avail)
    room = cython.cast(cython.long, to.limit) - cython.cast(cython.long, to.avail)
    if nr > max:
        nr = max
    if nr > room:
        nr = room
    if nr <= 0:
        return 0
    source.avail -= cython.cast(cython.uint, nr)
    memcpy(cython.address(to.entry[to.avail]), cython.address(source.entry[source.avail]), nr * 8)
    to.avail += cython.cast(cython.uint, nr)
    return nr


def get_first_slab(n):
    """A slab with free objects, partly used ones first; NULL if there is none. list_lock held."""
    if not list_empty(cython.address(n.slabs_partial)):
        return cython.cast(cython.pointer(page), n.slabs_partial.next)
    n.free_touched = 1
    if list_empty(cython.address(n.slabs_free)):
        return cython.cast(cython.pointer(page), cython.NULL)
    n.free_slabs -= 1
    return cython.cast(cython.pointer(page), n.slabs_free.next)


def fixup_slab_list(cachep, n, p):
    """Put a slab that objects were taken from onto the list where it belongs now. list_lock held."""
    list_del(cython.address(p.lru))
    if p.active == cachep.num:
        list_add(cython.address(p.lru), cython.address(n.slabs_full))
        if cachep.flags & CFLGS_OBJFREELIST_SLAB:
            p.freelist = cython.NULL  # it lay in the object that was just taken
    else:
        list_add(cython.address(p.lru), cython.address(n.slabs_partial))


def alloc_block(cachep, ac, p, batchcount):
    """Move objects from a slab to an array until the slab is full or the batch used up; what is left of the batch."""
    while p.active < cachep.num and batchcount > 0:
        ac.entry[ac.avail] = slab_get_obj(cachep, p)
        ac.avail += 1
        batchcount -= 1
    return batchcount


def refill_from_node(cachep, n, ac, batchcount):
    """Fill an array from the node's shared array, or else from its slabs. What is left of the batch."""
    spin_lock(cython.address(n.list_lock))
    shared = n.shared
    if shared != cython.NULL and transfer_objects(ac, shared, batchcount) != 0:
        shared.touched = 1
        spin_unlock(cython.address(n.list_lock))
        return batchcount
    while batchcount > 0:
        p = get_first_slab(n)
        if p == cython.NULL:
            break
        batchcount = alloc_block(cachep, ac, p, batchcount)
        fixup_slab_list(cachep, n, p)
    n.free_objects -= ac.avail
    spin_unlock(cython.address(n.list_lock))
    return batchcount


def grow_into_array(cachep, gfp, batchcount):
    """Grow by one slab. False when memory is out and the array still empty; true otherwise, with the array perhaps
    still empty: then the caller looks at the node again."""
    node = numa_mem_id()
    # since v4.7, mm/slab: refill cpu cache through a new slab without holding a node lock (Kim 2016)
    if not switch_on(REFILL_PRIVATE_SLAB):
        grown = cache_grow(cachep, gfp_exact_node(gfp), node, cython.NULL)
        return grown >= 0 or cpu_cache_get(cachep).avail != 0
    p = cache_grow_begin(cachep, gfp_exact_node(gfp), node, cython.NULL)
    # Interrupts may have been on: the array may be another one by now, or not be empty any more.
    ac = cpu_cache_get(cachep)
    if ac.avail == 0 and p != cython.NULL:
        # The kernel fills the old array's batch even into a new, smaller array, and so may write beyond its end.
        if batchcount > ac.limit:
            batchcount = ac.limit
        alloc_block(cachep, ac, p, batchcount)
    cache_grow_end(cachep, p)
    return ac.avail != 0


def cache_alloc_refill(cachep, gfp):
    """Fill this CPU's empty array and take one object. NULL: the local node has none and cannot grow."""
    if smp_processor_id() < 0:
        return cython.NULL
    count_event(SLAB_REFILL)
    trace(EV_REFILL, cython.cast(cython.ulong, cachep))
    grew: cython.bint = False
    while True:
        ac = cpu_cache_get(cachep)
        batchcount = cython.cast(cython.long, ac.batchcount)
        if ac.touched == 0 and batchcount > BATCHREFILL_LIMIT:
            batchcount = BATCHREFILL_LIMIT  # little used since the last reap: do not take much
        n = cachep.node[numa_mem_id()]
        if not switch_on(LOCKLESS_GROW) or not nothing_on_node(cachep, n):
            batchcount = refill_from_node(cachep, n, ac, batchcount)
        if ac.avail != 0:
            break
        if not grew:
            count_event(SLAB_GROWING_REFILL)
            grew = True
        if not grow_into_array(cachep, gfp, batchcount):
            return cython.NULL
        ac = cpu_cache_get(cachep)
        if ac.avail != 0:
            break
    ac.touched = 1
    ac.avail -= 1
    return ac.entry[ac.avail]


# --- free -----------------------------------------------------------------------------------------


def debug_put(cachep, objp):
    """Note who puts an object of a debugged cache back. False, and noted, if it is free in its slab already."""
    if cachep.flags & SLAB_CONSISTENCY_CHECKS and free_in_slab(cachep, objp):
        record = slab_bug_begin(3, cachep, objp, "freed twice")
        if record != cython.NULL:
            record.other = object_info(cachep, objp).put
        return False
    note_put(cachep, objp)
    return True


def slab_put_obj(cachep, p, objp):
    """Put an object back into its slab. False, and noted, if it is no object of this cache, or free already."""
    offset = cython.cast(cython.ulong, cython.cast(cython.p_char, objp) - cython.cast(cython.p_char, p.s_mem))
    index = obj_to_index(cachep, p, objp)
    if unlikely(p.slab_cache != cachep or offset >= cython.cast(cython.ulong, cachep.num * cachep.size)):
        slab_bug(3, cachep, objp, "freed to a foreign cache")
        return False
    if unlikely(p.active == 0):
        slab_bug(3, cachep, objp, "freed twice")
        return False
    if unlikely(cachep.flags & SLAB_DEBUG_FLAGS) and not debug_put(cachep, objp):
        return False
    p.active -= 1
    if p.freelist == cython.NULL:
        p.freelist = objp
    cython.cast(cython.p_uchar, p.freelist)[p.active] = cython.cast(cython.uchar, index)
    return True


def free_one_object(cachep, n, objp):
    """Put one object back and its slab onto the list where it belongs now: free, or the tail of partial."""
    offset = cython.cast(cython.ulong, objp) - cython.cast(cython.ulong, ram_base())
    if unlikely(offset >= cython.cast(cython.ulong, segment().ram_pages * PAGE_SIZE)):
        slab_bug(3, cachep, objp, "freed a wild pointer")
        return False
    p = virt_to_head_page(objp)
    if not slab_put_obj(cachep, p, objp):
        return False
    list_del(cython.address(p.lru))
    if p.active == 0:
        list_add(cython.address(p.lru), cython.address(n.slabs_free))
        n.free_slabs += 1
    else:
        # Unconditionally to the tail: objects that live long gather in the slabs at the head.
        list_add_tail(cython.address(p.lru), cython.address(n.slabs_partial))
    return True


def free_block(cachep, objpp, nr_objects, node, list):
    n = cachep.node[node]
    # since v4.7, mm/slab: don't keep free slabs if free_objects exceeds free_limit (Kim 2016)
    at_end: cython.bint = switch_on(FREE_LIMIT_AT_END)
    if at_end:
        n.free_objects += nr_objects
    for i in range(nr_objects):
        good = free_one_object(cachep, n, objpp[i])
        if at_end:
            n.free_objects -= not good
            continue
        if not good:
            continue
        n.free_objects += 1
        p = virt_to_head_page(objpp[i])
        if p.active == 0 and n.free_objects > n.free_limit:
            release_free_slab(cachep, n, p, list)
    if at_end:
        while n.free_objects > n.free_limit and not list_empty(cython.address(n.slabs_free)):
            release_free_slab(cachep, n, cython.cast(cython.pointer(page), n.slabs_free.prev), list)


def release_free_slab(cachep, n, p, list):
    """Take a free slab off its node, onto the caller's list. list_lock held."""
    list_del(cython.address(p.lru))
    list_add_tail(cython.address(p.lru), list)
    n.free_objects -= cachep.num
    n.free_slabs -= 1
    n.total_slabs -= 1
    n.reaped += 1


def cache_flusharray(cachep, ac):
    """Make room in a full array: its oldest batch goes to the shared array, or, if that is full, to the slabs."""
    count_event(SLAB_FLUSH)
    trace(EV_FLUSH, cython.cast(cython.ulong, cachep))
    emptied: list_head
    INIT_LIST_HEAD(cython.address(emptied))
    batchcount = ac.batchcount
    node = numa_mem_id()
    n = cachep.node[node]
    spin_lock(cython.address(n.list_lock))
    shared = n.shared
    if shared != cython.NULL and shared.avail < shared.limit:
        room = shared.limit - shared.avail
        if batchcount > room:
            batchcount = room
        memcpy(cython.address(shared.entry[shared.avail]), ac.entry, batchcount * 8)
        shared.avail += batchcount
    else:
        free_block(cachep, ac.entry, batchcount, node, cython.address(emptied))
    spin_unlock(cython.address(n.list_lock))
    ac.avail -= batchcount
    memmove(ac.entry, cython.address(ac.entry[batchcount]), ac.avail * 8)
    slabs_destroy(cachep, cython.address(emptied))
