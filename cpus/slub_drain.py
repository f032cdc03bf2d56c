"""mm/slub.c: emptying CPUs' slabs and node lists: flush, shrink, shutdown; a CPU that goes; the numbers of slabinfo."""

import cython
from cython.cimports.cpus.cpu import LAT_DRAIN, count_events, record_latency
from cython.cimports.cpus.list_head import INIT_LIST_HEAD, list_add, list_add_tail, list_del
from cython.cimports.cpus.locks import locks
from cython.cimports.cpus.mm_types import page
from cython.cimports.cpus.slab_def import cache_of_list, slab_root
from cython.cimports.cpus.slub_def import (
    SHRINK_PROMOTE_MAX,
    cpu_slab,
    cpu_slab_of,
    inuse_of,
    objects_of,
    read_counters,
    slub_of,
)
from cython.cimports.cpus.slub_grow import discard_slab
from cython.cimports.cpus.slub_partial import flush_slab, remove_partial, unfreeze_partials
from cython.cimports.cpus.smp import on_each_cpu, on_each_cpu_cond
from cython.cimports.cpus.switches import SLUB_FLUSH, SLUB_FLUSH_COND
from cython.cimports.cpus.vmstat import SLUB_FLUSH_IPIS
from cython.cimports.ipc.atomic import read_once, read_once_ptr
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.interrupt import local_irq_restore, local_irq_save
from cython.cimports.ipc.lock import mutex_lock, mutex_unlock, spin_lock, spin_unlock
from cython.cimports.ipc.memory import switch_value

if not cython.compiled:
    raise ImportError("cpus.slub_drain is not built; run `make setup`")


# --- CPUs' slabs ----------------------------------------------------------------------------------


def has_cpu_slab(cpu, info):
    """A look from outside, without a lock or a barrier: what comes later is not missed, it was not there."""
    c = cpu_slab_of(cython.cast(cython.pointer(kmem_cache), info), cpu)
    page_ = read_once_ptr(cython.address(c.page))
    return page_ != cython.NULL or read_once_ptr(cython.address(c.partial)) != cython.NULL


def __flush_cpu_slab(cachep, c):
    if c.page != cython.NULL:
        flush_slab(cachep, c)
    unfreeze_partials(cachep, c)


def flush_cpu_slab(info):
    """On a CPU, interrupts off: its slab and its partial slabs go to their nodes."""
    cachep = cython.cast(cython.pointer(kmem_cache), info)
    __flush_cpu_slab(cachep, cpu_slab(cachep))


def flush_all(cachep):
    start = get_cycles()
    # since v3.4, slub: only IPI CPUs that have per cpu obj to flush (Ben-Yossef 2012)
    if switch_value(SLUB_FLUSH) == SLUB_FLUSH_COND:
        called = on_each_cpu_cond(has_cpu_slab, flush_cpu_slab, cachep, True, False)
    else:
        called = on_each_cpu(flush_cpu_slab, cachep, True)
    count_events(SLUB_FLUSH_IPIS, called)
    record_latency(LAT_DRAIN, start)


def slub_dead_cpu(cpu):
    """A CPU is gone: another one gives back what it had. The cpu-hotplug lock is held for writing."""
    system = slab_root()
    mutex_lock(cython.address(locks().slab_mutex))
    each = system.slab_caches.next
    while each != cython.address(system.slab_caches):
        cachep = cache_of_list(each)
        flags = local_irq_save()
        __flush_cpu_slab(cachep, cpu_slab_of(cachep, cpu))
        local_irq_restore(flags)
        each = each.next
    mutex_unlock(cython.address(locks().slab_mutex))


# --- node lists -----------------------------------------------------------------------------------


def sort_partial(n, discard):
    """With the lock held: take out the empty slabs, and put those with few free objects first, the fullest before all:
    they are filled up, and the others have a chance to become empty."""
    buckets: list_head[33]  # SHRINK_PROMOTE_MAX, and 0
    for i in range(SHRINK_PROMOTE_MAX + 1):
        INIT_LIST_HEAD(cython.address(buckets[i]))
    each = n.partial.next
    while each != cython.address(n.partial):
        p = cython.cast(cython.pointer(page), each)
        each = each.next
        counters = read_counters(p)
        free = objects_of(counters) - inuse_of(counters)
        if inuse_of(counters) == 0:
            remove_partial(n, p)
            list_add(cython.address(p.lru), discard)
        elif free <= SHRINK_PROMOTE_MAX:
            list_del(cython.address(p.lru))
            list_add_tail(cython.address(p.lru), cython.address(buckets[free]))
    for i in range(SHRINK_PROMOTE_MAX, -1, -1):
        bucket = cython.address(buckets[i])
        while bucket.prev != bucket:
            last = bucket.prev
            list_del(last)
            list_add(last, cython.address(n.partial))


def discard_list(cachep, discard):
    while discard.next != discard:
        p = cython.cast(cython.pointer(page), discard.next)
        list_del(cython.address(p.lru))
        discard_slab(cachep, p)


def slub_shrink(cachep):
    """__kmem_cache_shrink: no slab_mutex is needed."""
    flush_all(cachep)
    left: cython.long = 0
    for node in range(slab_root().nr_nodes):
        n = slub_of(cachep).node[node]
        discard: list_head
        INIT_LIST_HEAD(cython.address(discard))
        flags = local_irq_save()
        spin_lock(cython.address(n.list_lock))
        sort_partial(n, cython.address(discard))
        spin_unlock(cython.address(n.list_lock))
        local_irq_restore(flags)
        discard_list(cachep, cython.address(discard))
        left += read_once(cython.address(n.nr_slabs))
    return left != 0


def slub_shutdown(cachep):
    """__kmem_cache_shutdown: 1 if slabs with objects are left."""
    return slub_shrink(cachep)


# --- numbers --------------------------------------------------------------------------------------


def count_partial(n):
    free: cython.long = 0
    flags = local_irq_save()
    spin_lock(cython.address(n.list_lock))
    each = n.partial.next
    while each != cython.address(n.partial):
        counters = read_counters(cython.cast(cython.pointer(page), each))
        free += objects_of(counters) - inuse_of(counters)
        each = each.next
    spin_unlock(cython.address(n.list_lock))
    local_irq_restore(flags)
    return free


def slub_get_slabinfo(cachep, sinfo):
    """What CPUs' slabs have free counts as active. There are no tunables."""
    slabs: cython.long = 0
    objects: cython.long = 0
    free: cython.long = 0
    for node in range(slab_root().nr_nodes):
        n = slub_of(cachep).node[node]
        slabs += read_once(cython.address(n.nr_slabs))
        objects += read_once(cython.address(n.total_objects))
        free += count_partial(n)
    sinfo.num_objs += objects
    sinfo.active_objs += objects - free
    sinfo.active_slabs += slabs
    sinfo.num_slabs += slabs
    sinfo.objects_per_slab = cachep.num
    sinfo.cache_order = cachep.gfporder
