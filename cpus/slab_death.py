"""mm/slab_common.c: what happens to the child caches of a memcg that is removed.

Each charged page keeps the memcg. SLAB shrinks its children at once and its reaper sees to what is freed later. SLUB
keeps empty slabs, on CPUs' and nodes' partial lists, so a child must be told to keep none (cpu_partial and min_partial
are zeroed), every CPU must have noticed, and what is kept by then is flushed.

A CPU that links a slab looks at cpu_partial behind the exchange. One that looked before the zeroing may link its slab
after the flush has passed it; the ways to exclude that are the values of dead-caches:

    kick                every CPU takes an interrupt: it is in no irq-off section, and the later flush interrupts those
                        that hold something
    sync-*, call-rcu    every CPU has left the preempt-off section in which it looks and links
    smp-mb              a barrier between the zeroing and the flush's look at c.partial, hoping that the exchange on the
                        other side is one: it is not, so both sides may see the old value (store buffering)
    smp-mb-both         and one behind the exchange
"""

import cython
from cython.cimports.cpus.cpu import count_event, count_events, smp_processor_id
from cython.cimports.cpus.events import EV_DEACTIVATE
from cython.cimports.cpus.list_head import INIT_LIST_HEAD
from cython.cimports.cpus.memcontrol import css_get_many, css_put_many, mem_cgroup, the_memcgs
from cython.cimports.cpus.rcu import call_rcu_sched, synchronize_sched
from cython.cimports.cpus.slab_common import lock_slab, shutdown_cache, unlock_slab
from cython.cimports.cpus.slab_debug import slab_bug
from cython.cimports.cpus.slab_def import (
    cache_of_child_node,
    cache_of_deact_head,
    cache_of_list,
    cache_of_memcg_node,
    cache_of_root_node,
    is_root_cache,
    slab_root,
)
from cython.cimports.cpus.slab_drain import __kmem_cache_shrink
from cython.cimports.cpus.slab_release import release_caches
from cython.cimports.cpus.slub_def import slub_enabled, slub_of
from cython.cimports.cpus.slub_drain import slub_shrink
from cython.cimports.cpus.smp import kick_all_cpus_sync
from cython.cimports.cpus.switches import (
    DEAD_CACHES,
    DEAD_CACHES_CALL_RCU,
    DEAD_CACHES_KICK,
    DEAD_CACHES_NONE,
    DEAD_CACHES_SMP_MB,
    DEAD_CACHES_SMP_MB_BOTH,
    DEAD_CACHES_SYNC_ONCE_OUTSIDE,
    DEAD_CACHES_SYNC_UNDER_MUTEX,
    MEMCG_CACHE_LISTS,
    MEMCG_CACHE_LISTS_OWN,
    MEMCG_CREATE_WQ,
    MEMCG_CREATE_WQ_PERCPU,
)
from cython.cimports.cpus.vmstat import MEMCG_CACHES_DEACTIVATED, MEMCG_CACHES_WALKED
from cython.cimports.cpus.workqueue import init_work, queue_work
from cython.cimports.ipc.atomic import smp_mb, smp_store_release_ptr, write_once
from cython.cimports.ipc.memory import switch_value
from cython.cimports.ipc.trace import trace

if not cython.compiled:
    raise ImportError("cpus.slab_death is not built; run `make setup`")


# --- finding a memcg's children -------------------------------------------------------------------


def all_roots(every_cache):
    """The list on which roots are looked for: that of all caches, children included, or of roots alone."""
    # since v4.11, slab: implement slab_root_caches list (Heo 2017)
    every_cache[0] = switch_value(MEMCG_CACHE_LISTS) != MEMCG_CACHE_LISTS_OWN
    return cython.address(slab_root().slab_caches) if every_cache[0] else cython.address(slab_root().slab_root_caches)


def child_in_slot(root_cache, idx):
    children = root_cache.memcg_params.memcg_caches
    if children == cython.NULL or idx >= children.size:
        return cython.cast(cython.pointer(kmem_cache), cython.NULL)
    return children.entries[idx]


def next_child(each, head, every_cache, idx):
    """The next child in slot `idx` of any root, or NULL; *each is moved on behind it."""
    walked: cython.long = 0
    found = cython.cast(cython.pointer(kmem_cache), cython.NULL)
    while found == cython.NULL and each[0] != head:
        s = cache_of_list(each[0]) if every_cache else cache_of_root_node(each[0])
        each[0] = each[0].next
        walked += 1
        if is_root_cache(s):
            found = child_in_slot(s, idx)
    count_events(MEMCG_CACHES_WALKED, walked)
    return found


# --- offline --------------------------------------------------------------------------------------


def for_each_child(idx, visit):
    """Both walks of an offline memcg: its child of every root, under slab_mutex."""
    lock_slab()
    every_cache: cython.bint = False
    head = all_roots(cython.address(every_cache))
    each = head.next
    while True:
        child = next_child(cython.address(each), head, every_cache, idx)
        if child == cython.NULL:
            break
        visit(child, idx)
    unlock_slab()


def forget_limits(child, idx):
    s = slub_of(child)
    write_once(cython.address(s.cpu_partial), 0)
    write_once(cython.address(s.min_partial), 0)


def forget_all_limits(idx):
    """since v4.10, slub: move synchronize_sched out of slab_mutex on shrink (Davydov 2016): first of its two walks"""
    for_each_child(idx, forget_limits)
    synchronize_sched()


def shrink_dead(child):
    slub_shrink(child)
    slub_of(child).dead = 1


def slub_deactivate(child, how):
    if how == DEAD_CACHES_NONE:
        return
    forget_limits(child, child.memcg_params.kmemcg_id)
    if how == DEAD_CACHES_CALL_RCU and smp_processor_id() >= 0:
        # since v4.11, slab: remove synchronous synchronize_sched() from memcg cache deactivation path (Heo 2017)
        css_get_many(cython.cast(cython.pointer(mem_cgroup), child.memcg_params.memcg), 1)
        call_rcu_sched(cython.address(child.memcg_params.deact_rcu_head), kmemcg_deactivate_rcufn)
        return
    if how == DEAD_CACHES_KICK:
        # since v4.0, slub: make dead caches discard free slabs immediately (Davydov 2015)
        kick_all_cpus_sync()
    elif how == DEAD_CACHES_SYNC_UNDER_MUTEX or how == DEAD_CACHES_CALL_RCU:
        # since v4.7, slub: replace kick_all_cpus_sync() with synchronize_sched() in kmem_cache_shrink (Davydov 2016)
        synchronize_sched()
    elif how == DEAD_CACHES_SMP_MB or how == DEAD_CACHES_SMP_MB_BOTH:
        smp_mb()  # proposed in 2016, never merged
    shrink_dead(child)


def kmemcg_deactivate_rcufn(head):
    """A callback must not sleep, and the shrinking takes mutexes: so a work item."""
    child = cache_of_deact_head(head)
    work = cython.address(child.memcg_params.deact_work)
    init_work(work, kmemcg_deactivate_workfn)
    work.data[0] = cython.cast(cython.long, child)
    # since v4.11, slab: use memcg_kmem_cache_wq for slab destruction operations (Heo 2017)
    own: cython.bint = switch_value(MEMCG_CREATE_WQ) == MEMCG_CREATE_WQ_PERCPU
    queue_work(the_memcgs().memcg_kmem_cache_wq if own else the_memcgs().system_wq, work)


def kmemcg_deactivate_workfn(work):
    child = cython.cast(cython.pointer(kmem_cache), cython.cast(cython.ulong, work.data[0]))
    memcg = cython.cast(cython.pointer(mem_cgroup), child.memcg_params.memcg)
    lock_slab()
    shrink_dead(child)
    unlock_slab()
    css_put_many(memcg, 1)


def kmemcg_cache_deactivate(child):
    """since v4.11, slab: introduce __kmemcg_cache_deactivate() (Heo 2017); before, a flag of the shrinking"""
    trace(EV_DEACTIVATE, cython.cast(cython.ulong, child))
    count_event(MEMCG_CACHES_DEACTIVATED)
    how = switch_value(DEAD_CACHES)
    if not slub_enabled():
        __kmem_cache_shrink(child)
    elif how == DEAD_CACHES_SYNC_ONCE_OUTSIDE:
        shrink_dead(child)
    else:
        slub_deactivate(child, how)


def leave_slot(child, idx):
    """The child is deactivated, and its root finds it no more."""
    kmemcg_cache_deactivate(child)
    child.memcg_params.kmemcg_id = -1
    smp_store_release_ptr(
        cython.address(child.memcg_params.root_cache.memcg_params.memcg_caches.entries[idx]), cython.NULL
    )


def memcg_deactivate_kmem_caches(memcg):
    idx = cython.cast(cython.pointer(mem_cgroup), memcg).kmemcg_id
    if idx < 0:
        return
    if slub_enabled() and switch_value(DEAD_CACHES) == DEAD_CACHES_SYNC_ONCE_OUTSIDE:
        forget_all_limits(idx)
    for_each_child(idx, leave_slot)


# --- end ------------------------------------------------------------------------------------------


def shutdown_child(child, release):
    if shutdown_cache(child, release) != 0:
        slab_bug(1, child, child, "memcg freed with objects")


def memcg_destroy_kmem_caches(memcg):
    release: list_head
    INIT_LIST_HEAD(cython.address(release))
    own = cython.address(cython.cast(cython.pointer(mem_cgroup), memcg).kmem_caches)
    walked: cython.long = 0
    lock_slab()
    # since v4.11, slab: link memcg kmem_caches on their associated memory cgroup (Heo 2017)
    only_own: cython.bint = switch_value(MEMCG_CACHE_LISTS) == MEMCG_CACHE_LISTS_OWN
    head = own if only_own else cython.address(slab_root().slab_caches)
    each = head.next
    while each != head:
        child = cache_of_memcg_node(each) if only_own else cache_of_list(each)
        each = each.next
        walked += 1
        if child.memcg_params.memcg == memcg:
            shutdown_child(child, cython.address(release))
    unlock_slab()
    count_events(MEMCG_CACHES_WALKED, walked)
    release_caches(cython.address(release))


def shutdown_memcg_caches(root_cache, release):
    """Shut down all children of a root that is to be destroyed; -EBUSY if one has objects: that and the root stay."""
    error: cython.long = 0
    children = cython.address(root_cache.memcg_params.children)
    each = children.next
    while each != children:
        child = cache_of_child_node(each)
        each = each.next
        failed = shutdown_cache(child, release)
        if failed != 0:
            error = failed
    return error
