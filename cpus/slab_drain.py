"""mm/slab.c: emptying array caches and free lists: shrink, shutdown, and what the reaper uses."""

import cython
from cython.cimports.cpus.cpu import LAT_DRAIN, record_latency
from cython.cimports.cpus.delay import delay_point
from cython.cimports.cpus.events import EV_DRAIN_SHARED
from cython.cimports.cpus.list_head import INIT_LIST_HEAD, list_del, list_empty
from cython.cimports.cpus.locks import locks
from cython.cimports.cpus.mm_types import page
from cython.cimports.cpus.slab import put_object
from cython.cimports.cpus.slab_array import free_block
from cython.cimports.cpus.slab_check import quarantined
from cython.cimports.cpus.slab_debug import (
    WHERE_DO_DRAIN,
    WHERE_DRAIN_ARRAY,
    WHERE_DRAIN_CPU_CACHES,
    path_enter,
    path_leave,
    replaced_meanwhile,
    slab_bug,
)
from cython.cimports.cpus.slab_def import cpu_cache_get, numa_mem_id, slab_root
from cython.cimports.cpus.slab_grow import slab_destroy, slabs_destroy
from cython.cimports.cpus.slab_node import drain_alien_cache
from cython.cimports.cpus.smp import on_each_cpu
from cython.cimports.cpus.switches import (
    DRAIN_FREE_SLABS,
    DRAIN_FREE_SLABS_ALL,
    DRAIN_SHARED_LOCKED,
)
from cython.cimports.ipc.atomic import likely, read_once, read_once_ptr
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.interrupt import local_irq_restore, local_irq_save
from cython.cimports.ipc.lock import mutex_is_locked_by_me, spin_lock, spin_unlock
from cython.cimports.ipc.memory import switch_on, switch_value
from cython.cimports.ipc.trace import trace
from cython.cimports.libc.string import memmove

if not cython.compiled:
    raise ImportError("cpus.slab_drain is not built; run `make setup`")

INT_MAX = cython.declare(cython.long, 0x7FFFFFFF)


def do_drain(info):
    """On each CPU: return all objects of one's own array to the own node. Interrupts off."""
    cachep = cython.cast(cython.pointer(kmem_cache), info)
    emptied: list_head
    INIT_LIST_HEAD(cython.address(emptied))
    was = path_enter(WHERE_DO_DRAIN)
    ac = cpu_cache_get(cachep)
    node = numa_mem_id()
    n = cachep.node[node]
    spin_lock(cython.address(n.list_lock))
    free_block(cachep, ac.entry, ac.avail, node, cython.address(emptied))
    spin_unlock(cython.address(n.list_lock))
    ac.avail = 0
    slabs_destroy(cachep, cython.address(emptied))
    path_leave(was)


def drain_array_locked(cachep, ac, node, free_all, list):
    if ac == cython.NULL or ac.avail == 0:
        return
    trace(EV_DRAIN_SHARED, cython.cast(cython.ulong, ac))
    tofree = ac.avail if free_all else (ac.limit + 4) // 5
    if tofree > ac.avail:
        tofree = (ac.avail + 1) // 2
    free_block(cachep, ac.entry, tofree, node, list)
    ac.avail -= tofree
    memmove(ac.entry, cython.address(ac.entry[tofree]), ac.avail * 8)


def drain_array(cachep, n, ac, force, node):
    """Called without the lock. What `ac` points to is safe if it is a CPU's own, or slab_mutex is held."""
    if ac == cython.NULL or ac.avail == 0:
        return
    if ac.touched and not force:
        ac.touched = 0
        return
    # since v4.7, mm/slab: fix the theoretical race by holding proper lock (Kim 2016): BUG_ON(!slab_mutex held)
    if switch_on(DRAIN_SHARED_LOCKED) and not mutex_is_locked_by_me(cython.address(locks().slab_mutex)):
        slab_bug(11, cachep, ac, "drain_array without slab_mutex")
    emptied: list_head
    INIT_LIST_HEAD(cython.address(emptied))
    was = path_enter(WHERE_DRAIN_ARRAY)
    delay_point()
    flags = local_irq_save()
    spin_lock(cython.address(n.list_lock))
    # Not the CPU's own, nor what the node has now: somebody replaced it since the caller looked.
    if likely(ac == n.shared or ac == cpu_cache_get(cachep) or not replaced_meanwhile(cachep, ac)):
        drain_array_locked(cachep, ac, node, force, cython.address(emptied))
    spin_unlock(cython.address(n.list_lock))
    local_irq_restore(flags)
    path_leave(was)
    slabs_destroy(cachep, cython.address(emptied))


def release_quarantine(cachep):
    """Free at last what a debugged cache has kept back."""
    flags = local_irq_save()
    objp = quarantined(cachep)
    while objp != cython.NULL:
        put_object(cachep, objp)
        objp = quarantined(cachep)
    local_irq_restore(flags)


def drain_cpu_caches(cachep):
    """Empty the arrays of all CPUs (IPIs to all, empty or not), alien caches and shared arrays."""
    start = get_cycles()
    was = path_enter(WHERE_DRAIN_CPU_CACHES)
    if cachep.quarantine != cython.NULL:
        release_quarantine(cachep)
    on_each_cpu(do_drain, cachep, True)
    nodes = slab_root().nr_nodes
    for node in range(nodes):
        drain_alien_cache(cachep, cachep.node[node])
    for node in range(nodes):
        n = cachep.node[node]
        # since v4.7, mm/slab: fix the theoretical race by holding proper lock (Kim 2016)
        if switch_on(DRAIN_SHARED_LOCKED):
            emptied: list_head
            INIT_LIST_HEAD(cython.address(emptied))
            flags = local_irq_save()
            spin_lock(cython.address(n.list_lock))
            drain_array_locked(cachep, n.shared, node, True, cython.address(emptied))
            spin_unlock(cython.address(n.list_lock))
            local_irq_restore(flags)
            slabs_destroy(cachep, cython.address(emptied))
        else:
            # The race: the pointer is read here, and used when somebody may have freed what it points to.
            shared = cython.cast(cython.pointer(array_cache), read_once_ptr(cython.address(n.shared)))
            drain_array(cachep, n, shared, True, node)
    path_leave(was)
    record_latency(LAT_DRAIN, start)


def drain_freelist(cachep, n, tofree):
    """Free up to `tofree` free slabs of a node, one lock acquisition each; how many were freed."""
    freed: cython.long = 0
    while freed < tofree and not list_empty(cython.address(n.slabs_free)):
        flags = local_irq_save()
        spin_lock(cython.address(n.list_lock))
        last = n.slabs_free.prev
        if last == cython.address(n.slabs_free):
            spin_unlock(cython.address(n.list_lock))
            local_irq_restore(flags)
            break
        list_del(last)
        n.free_slabs -= 1
        n.total_slabs -= 1
        n.reaped += 1
        n.free_objects -= cachep.num
        spin_unlock(cython.address(n.list_lock))
        local_irq_restore(flags)
        slab_destroy(cachep, cython.cast(cython.pointer(page), last))
        freed += 1
    return freed


def slabs_tofree(cachep, n):
    """How many slabs a shrink frees at most."""
    # since v4.7, mm/slab: drain the free slab as much as possible (Kim 2016)
    if switch_value(DRAIN_FREE_SLABS) == DRAIN_FREE_SLABS_ALL:
        return INT_MAX
    return (read_once(cython.address(n.free_objects)) + cachep.num - 1) // cachep.num


def __kmem_cache_shrink(cachep):
    drain_cpu_caches(cachep)
    left: cython.bint = False
    for node in range(slab_root().nr_nodes):
        n = cachep.node[node]
        drain_freelist(cachep, n, slabs_tofree(cachep, n))
        if not list_empty(cython.address(n.slabs_full)) or not list_empty(cython.address(n.slabs_partial)):
            left = True
    return left


def __kmem_cache_shutdown(cachep):
    return __kmem_cache_shrink(cachep)
