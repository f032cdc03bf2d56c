"""mm/slab.c: allocation and free: the paths that every object takes. Refill and flush are in cpus/slab_array.

Where an object can be is told beside the checker's sum, in emu/validate.py.
"""

import cython
from cython.cimports.cpus.cpu import (
    AREA_SLOW_FREE,
    count_event,
    cpu,
    kernel_enter,
    kernel_exit,
    smp_processor_id,
    this_cpu,
)
from cython.cimports.cpus.events import EV_ALLOC, EV_FREE
from cython.cimports.cpus.list_head import INIT_LIST_HEAD, list_head
from cython.cimports.cpus.mm_types import __GFP_ACCOUNT, __GFP_ZERO, NUMA_NO_NODE, virt_to_head_page
from cython.cimports.cpus.slab_array import cache_alloc_refill, cache_flusharray, free_block
from cython.cimports.cpus.slab_check import debug_alloc, debug_free
from cython.cimports.cpus.slab_def import (
    CFLGS_SLUB,
    KMALLOC_MAX_SIZE,
    KMALLOC_SHIFT_LOW,
    SLAB_ACCOUNT,
    SLAB_DEBUG_FLAGS,
    SLUB_BIAS,
    cpu_cache_get,
    kmalloc_index,
    numa_mem_id,
    slab_root,
)
from cython.cimports.cpus.slab_exit import alloc_exit, free_exit, leaves_slowly
from cython.cimports.cpus.slab_grow import slabs_destroy
from cython.cimports.cpus.slab_node import ____cache_alloc_node, cache_free_alien
from cython.cimports.cpus.slub import (
    slub_alloc,
    slub_alloc_node,
    slub_free,
    slub_kmalloc,
    slub_kmalloc_slab,
)
from cython.cimports.cpus.slub_bulk import slub_alloc_bulk, slub_free_bulk
from cython.cimports.cpus.slub_def import slub_enabled
from cython.cimports.cpus.vmstat import SLAB_ALLOC, SLAB_FREE
from cython.cimports.ipc.atomic import atomic_fetch_add, barrier, likely, unlikely
from cython.cimports.ipc.interrupt import irq_restore, irq_save, local_irq_restore, local_irq_save
from cython.cimports.ipc.lock import spin_lock, spin_unlock
from cython.cimports.ipc.memory import segment
from cython.cimports.ipc.processor import this_processor
from cython.cimports.ipc.trace import trace
from cython.cimports.libc.string import memset

if not cython.compiled:
    raise ImportError("cpus.slab is not built; run `make setup`")


# --- allocation -----------------------------------------------------------------------------------


def ____cache_alloc(cachep, gfp):
    """An object out of this CPU's array, refilled if it is empty. NULL: the local node has none and cannot grow."""
    ac = cpu_cache_get(cachep)
    if likely(ac.avail != 0):
        ac.touched = 1
        ac.allochit += 1
        ac.avail -= 1
        return ac.entry[ac.avail]
    ac.allocmiss += 1
    return cache_alloc_refill(cachep, gfp)


def refill_and_alloc(cachep, gfp):
    """The array is empty: refill it, or go to another node. Interrupts off."""
    objp = ____cache_alloc(cachep, gfp)
    if unlikely(objp == cython.NULL):
        if smp_processor_id() >= 0:  # the coordinator allocates no slab object
            objp = ____cache_alloc_node(cachep, gfp, numa_mem_id())
        if objp == cython.NULL:
            cpu_cache_get(cachep).allocfail += 1
    return objp


def kmem_cache_alloc(cachep, gfp):
    """The usual case is written out here, with the CPU looked up once; all that is unusual is a call in tail position,
    so that no register is saved. This and kmem_cache_free are what a workload measures."""
    if unlikely(
        (cachep.flags & (SLAB_ACCOUNT | SLAB_DEBUG_FLAGS | CFLGS_SLUB)) | (gfp & (__GFP_ACCOUNT | __GFP_ZERO))
    ):
        return slub_alloc(cachep, gfp) if cachep.flags & CFLGS_SLUB else alloc_special(cachep, gfp)
    me = this_processor()
    was = enter_kernel(me)
    flags = irq_save(me)
    ac = cachep.cpu_cache[me.id + 1]
    avail = ac.avail
    if unlikely(avail == 0):
        return alloc_from_elsewhere(cachep, gfp, flags, was)
    avail -= 1
    ac.avail = avail
    ac.touched = 1
    ac.allochit += 1
    objp = ac.entry[avail]
    cython.cast(cython.pointer(cpu), me).counter[SLAB_ALLOC] += 1
    barrier()
    me.irq_off = flags
    barrier()
    if unlikely(leaves_slowly(me)):
        return alloc_exit(me, objp, flags, was)
    me.mode = was
    return objp


def alloc_from_elsewhere(cachep, gfp, flags, was):
    """The array was empty: the rest of kmem_cache_alloc()."""
    me = this_processor()
    objp = alloc_one(cachep, gfp)
    irq_restore(me, flags)
    exit_kernel(me, was)
    return objp


def alloc_special(cachep, gfp):
    """An allocation that is to be zeroed, or charged to the current task's memcg: then it comes from that memcg's own
    cache, if there is one. Or one from a debugged cache."""
    was = kernel_enter()
    accounted: cython.bint = ((cachep.flags & SLAB_ACCOUNT) | (gfp & __GFP_ACCOUNT)) != 0
    if accounted:
        accounted = slab_root().memcg_get_cache != cython.NULL
    if accounted:
        cachep = slab_root().memcg_get_cache(cachep)
    flags = local_irq_save()
    objp = alloc_one(cachep, gfp)
    local_irq_restore(flags)
    if gfp & __GFP_ZERO and objp != cython.NULL:
        memset(objp, 0, cachep.object_size)
    if accounted:
        slab_root().memcg_put_cache(cachep)
    kernel_exit(was)
    return objp


def alloc_one(cachep, gfp):
    """One object, counted. Interrupts off."""
    objp = refill_and_alloc(cachep, gfp)
    if unlikely(cachep.flags & SLAB_DEBUG_FLAGS) and objp != cython.NULL:
        objp = debug_alloc(cachep, objp)
    this_cpu().counter[SLAB_ALLOC] += objp != cython.NULL
    trace(EV_ALLOC, cython.cast(cython.ulong, objp))
    return objp


def kmem_cache_alloc_node(cachep, gfp, nid):
    if nid == NUMA_NO_NODE or nid == numa_mem_id():
        return kmem_cache_alloc(cachep, gfp)
    if cachep.flags & CFLGS_SLUB:
        return slub_alloc_node(cachep, gfp, nid)
    was = kernel_enter()
    flags = local_irq_save()
    cpu_cache_get(cachep).allocmiss += 1
    objp = ____cache_alloc_node(cachep, gfp, nid)
    if objp == cython.NULL:
        cpu_cache_get(cachep).allocfail += 1
    else:
        if cachep.flags & SLAB_DEBUG_FLAGS:
            objp = debug_alloc(cachep, objp)
        count_event(SLAB_ALLOC)
    trace(EV_ALLOC, cython.cast(cython.ulong, objp))
    local_irq_restore(flags)
    if gfp & __GFP_ZERO and objp != cython.NULL:
        memset(objp, 0, cachep.object_size)
    kernel_exit(was)
    return objp


def kmem_cache_alloc_bulk(cachep, gfp, n, objects):
    """since v4.3, slab: infrastructure for bulk object allocation and freeing (Lameter 2015); all or nothing."""
    if cachep.flags & CFLGS_SLUB:
        return slub_alloc_bulk(cachep, gfp, n, objects)
    was = kernel_enter()
    put = slab_root().memcg_put_cache
    accounted: cython.bint = put != cython.NULL and ((cachep.flags & SLAB_ACCOUNT) | (gfp & __GFP_ACCOUNT)) != 0
    if accounted:
        cachep = slab_root().memcg_get_cache(cachep)
    done: cython.long = 0
    flags = local_irq_save()
    while done < n:
        objp = alloc_one(cachep, gfp)
        if objp == cython.NULL:
            break
        objects[done] = objp
        done += 1
    local_irq_restore(flags)
    if done < n:
        kmem_cache_free_bulk(cachep, done, objects)
        done = 0
    elif gfp & __GFP_ZERO:
        for i in range(n):
            memset(objects[i], 0, cachep.object_size)
    if accounted:
        put(cachep)
    kernel_exit(was)
    return done


# --- free -----------------------------------------------------------------------------------------


def free_by_coordinator(cachep, objp):
    """The coordinator has no array: straight back to the object's slab."""
    emptied: list_head
    INIT_LIST_HEAD(cython.address(emptied))
    node = virt_to_head_page(objp).nid
    n = cachep.node[node]
    objects: cython.p_void = objp
    atomic_fetch_add(cython.address(cachep.node_frees), 1)
    spin_lock(cython.address(n.list_lock))
    free_block(cachep, cython.address(objects), 1, node, cython.address(emptied))
    spin_unlock(cython.address(n.list_lock))
    slabs_destroy(cachep, cython.address(emptied))


def put_in_array(cachep, objp):
    ac = cpu_cache_get(cachep)
    if likely(ac.avail < ac.limit):
        ac.freehit += 1
    elif unlikely(smp_processor_id() < 0):
        free_by_coordinator(cachep, objp)
        return
    else:
        ac.freemiss += 1
        cache_flusharray(cachep, ac)
    ac.entry[ac.avail] = objp
    ac.avail += 1


def put_object(cachep, objp):
    if segment().nr_nodes > 1 and cache_free_alien(cachep, objp):
        return
    put_in_array(cachep, objp)


def ___cache_free(cachep, objp):
    if likely(segment().area[AREA_SLOW_FREE] == 0):
        put_in_array(cachep, objp)
        return
    if cachep.flags & SLAB_DEBUG_FLAGS:
        objp = debug_free(cachep, objp)
        if objp == cython.NULL:
            return
    put_object(cachep, objp)


def cache_from_obj(cachep, objp):
    """A root cache may be named for an object that came from one of its children."""
    real = cython.cast(cython.pointer(kmem_cache), virt_to_head_page(objp).slab_cache)
    if unlikely(real == cython.NULL or (real != cachep and real.memcg_params.root_cache != cachep)):
        if cachep != cython.NULL and cachep.flags & SLAB_DEBUG_FLAGS:
            return cachep  # a foreign free: debug_free() reports it
    return real


def __cache_free(cachep, objp):
    flags = local_irq_save()
    count_event(SLAB_FREE)
    trace(EV_FREE, cython.cast(cython.ulong, objp))
    ___cache_free(cachep, objp)
    local_irq_restore(flags)


def kmem_cache_free(cachep, objp):
    if unlikely(cachep.nr_memcg_children != 0):
        if cachep.nr_memcg_children >= SLUB_BIAS:
            slub_free(objp)
        else:
            free_of_family(cachep, objp)
        return
    me = this_processor()
    was = enter_kernel(me)
    flags = irq_save(me)
    ac = cachep.cpu_cache[me.id + 1]
    avail = ac.avail
    if unlikely(avail >= ac.limit or segment().area[AREA_SLOW_FREE] != 0):
        free_to_elsewhere(cachep, objp, flags, was)
        return
    ac.avail = avail + 1
    ac.freehit += 1
    ac.entry[avail] = objp
    cython.cast(cython.pointer(cpu), me).counter[SLAB_FREE] += 1
    barrier()
    me.irq_off = flags
    barrier()
    if unlikely(leaves_slowly(me)):
        free_exit(me, objp, flags, was)
        return
    me.mode = was


def free_of_family(cachep, objp):
    """It may be of a child of its cache."""
    was = kernel_enter()
    __cache_free(cache_from_obj(cachep, objp), objp)
    kernel_exit(was)


def free_to_elsewhere(cachep, objp, flags, was):
    """The array is full, or the object may be another node's or a debugged one: the rest of kmem_cache_free()."""
    me = this_processor()
    count_event(SLAB_FREE)
    trace(EV_FREE, cython.cast(cython.ulong, objp))
    ___cache_free(cachep, objp)
    irq_restore(me, flags)
    exit_kernel(me, was)


def kmem_cache_free_bulk(cachep, n, objects):
    """With cachep NULL each object's own cache is looked up."""
    if slub_enabled():
        slub_free_bulk(n, objects)
        return
    was = kernel_enter()
    flags = local_irq_save()
    for i in range(n):
        each = cachep
        if each == cython.NULL or each.nr_memcg_children != 0:
            each = cache_from_obj(cachep, objects[i])
        count_event(SLAB_FREE)
        trace(EV_FREE, cython.cast(cython.ulong, objects[i]))
        ___cache_free(each, objects[i])
    local_irq_restore(flags)
    kernel_exit(was)


# --- kmalloc --------------------------------------------------------------------------------------


def kmalloc_slab(size):
    """The general cache for a size; NULL if there is none (yet)."""
    if slub_enabled():
        return slub_kmalloc_slab(size)
    if size > KMALLOC_MAX_SIZE:
        return cython.cast(cython.pointer(kmem_cache), cython.NULL)
    return slab_root().kmalloc_caches[kmalloc_index(size, KMALLOC_SHIFT_LOW)]


def kmalloc(size, gfp):
    if size <= 0:
        return cython.cast(cython.p_void, ZERO_SIZE_PTR)
    if slub_enabled():
        return slub_kmalloc(size, gfp)
    cachep = kmalloc_slab(size)
    if cachep == cython.NULL:
        return cython.NULL
    return kmem_cache_alloc(cachep, gfp)


def kfree(objp):
    if cython.cast(cython.ulong, objp) <= ZERO_SIZE_PTR:
        return
    if slub_enabled():
        slub_free(objp)
        return
    was = kernel_enter()
    __cache_free(cython.cast(cython.pointer(kmem_cache), virt_to_head_page(objp).slab_cache), objp)
    kernel_exit(was)
