"""mm/slab_common.c: the release of caches that were shut down.

Pages of a SLAB_TYPESAFE_BY_RCU cache are freed by callbacks that use its kmem_cache, so that must outlive all of them,
on all CPUs: rcu_barrier(), and not a grace period. A callback of one's own would not do either: it is queued on one CPU
and says nothing of the others' queues (call-rcu-each, withdrawn for that).
"""

import cython
from cython.cimports.cpus.cpu import count_event, smp_processor_id
from cython.cimports.cpus.events import (
    EV_CACHE_DESTROY,
    EV_CACHE_RELEASE,
    EV_RELEASE_BATCH,
    EV_RELEASE_DONE,
    EV_RELEASE_QUEUE,
)
from cython.cimports.cpus.list_head import INIT_LIST_HEAD, list_add_tail, list_del, list_empty, list_splice_init
from cython.cimports.cpus.locks import locks
from cython.cimports.cpus.mm_types import page as struct_page
from cython.cimports.cpus.rcu import call_rcu_sched, rcu_barrier_sched, synchronize_sched
from cython.cimports.cpus.slab_common import release_cache
from cython.cimports.cpus.slab_debug import slab_bug
from cython.cimports.cpus.slab_def import (
    KMALLOC_MAX_ORDER,
    SLAB_TYPESAFE_BY_RCU,
    cache_of_deact_head,
    cache_of_list,
    slab_root,
)
from cython.cimports.cpus.switches import (
    RELEASE_BARRIER,
    RELEASE_BARRIER_ASYNC_BATCHED,
    RELEASE_BARRIER_NONE,
    RELEASE_BARRIER_PER_CALL,
    RELEASE_BARRIER_PER_MEMCG,
)
from cython.cimports.cpus.vmstat import CACHES_DESTROYED, RELEASE_BATCHES
from cython.cimports.cpus.workqueue import WQ_PERCPU, alloc_workqueue, init_work, queue_work_on
from cython.cimports.ipc.atomic import atomic_fetch_add, read_once
from cython.cimports.ipc.lock import mutex_lock, mutex_unlock
from cython.cimports.ipc.memory import segment, switch_value
from cython.cimports.ipc.trace import trace

if not cython.compiled:
    raise ImportError("cpus.slab_release is not built; run `make setup`")


def release_is_synchronous():
    how = switch_value(RELEASE_BARRIER)
    return how == RELEASE_BARRIER_PER_CALL or how == RELEASE_BARRIER_PER_MEMCG


def release_now(cachep):
    trace(EV_CACHE_RELEASE, cython.cast(cython.ulong, cachep))
    count_event(CACHES_DESTROYED)
    release_cache(cachep)


def queue_release(cachep, release):
    trace(EV_CACHE_DESTROY, cython.cast(cython.ulong, cachep))
    how = switch_value(RELEASE_BARRIER)
    if release_is_synchronous():
        list_add_tail(cython.address(cachep.list), release)
    elif cachep.flags & SLAB_TYPESAFE_BY_RCU == 0 or how == RELEASE_BARRIER_NONE:
        release_now(cachep)
    elif how == RELEASE_BARRIER_ASYNC_BATCHED:
        # since v4.11, slab: remove synchronous rcu_barrier() call in memcg cache release path (Heo 2017)
        queue_async(cachep)
    elif smp_processor_id() >= 0:
        # v1 of the same, withdrawn
        call_rcu_sched(cython.address(cachep.memcg_params.deact_rcu_head), release_by_callback)
    else:  # the coordinator runs no softirqs
        synchronize_sched()
        release_now(cachep)


def release_caches(release):
    """The synchronous forms: one barrier per cache, or one for all of the call."""
    # since v4.0, slab: embed memcg_cache_params to kmem_cache and its kin (Davydov 2015): one per memcg
    each_one: cython.bint = switch_value(RELEASE_BARRIER) == RELEASE_BARRIER_PER_CALL
    waited: cython.bint = False
    while not list_empty(release):
        s = cache_of_list(release.next)
        list_del(cython.address(s.list))
        if s.flags & SLAB_TYPESAFE_BY_RCU and (each_one or not waited):
            rcu_barrier_sched()
            waited = True
        release_now(s)


# --- by a work item -------------------------------------------------------------------------------


def events_workqueue():
    system = slab_root()
    if system.system_wq == cython.NULL:
        system.system_wq = alloc_workqueue("events", WQ_PERCPU)
    return cython.cast(cython.pointer(workqueue_struct), system.system_wq)


def queue_async(cachep):
    list_add_tail(cython.address(cachep.list), cython.address(slab_root().slab_caches_to_rcu_destroy))
    trace(EV_RELEASE_QUEUE, cython.cast(cython.ulong, cachep))
    if slab_root().rcu_destroy_held == 0:
        start_release_work()


def start_release_work():
    """With slab_mutex, which keeps those who queue apart. While the item runs it is queued where it runs, since a work
    item never runs on two CPUs at once."""
    system = slab_root()
    work = cython.address(system.slab_caches_to_rcu_destroy_work)
    wq = events_workqueue()
    if wq == cython.NULL:
        return
    if read_once(cython.address(system.rcu_destroy_running)) == 0:
        init_work(work, slab_caches_to_rcu_destroy_workfn)
        system.rcu_destroy_cpu = smp_processor_id() if smp_processor_id() >= 0 else 0
        if system.rcu_destroy_apart:
            system.rcu_destroy_cpu = (system.rcu_destroy_cpu + 1) % segment().nr_cpus
    atomic_fetch_add(cython.address(system.rcu_destroy_running), 1)
    if not queue_work_on(system.rcu_destroy_cpu, wq, work):
        atomic_fetch_add(cython.address(system.rcu_destroy_running), -1)


def slab_caches_to_rcu_destroy_workfn(work):
    """One barrier for all that are queued now. What is queued while it waits is the next batch."""
    system = slab_root()
    batch: list_head
    INIT_LIST_HEAD(cython.address(batch))
    mutex_lock(cython.address(locks().slab_mutex))
    list_splice_init(cython.address(system.slab_caches_to_rcu_destroy), cython.address(batch))
    count: cython.long = 0
    each = batch.next
    while each != cython.address(batch):
        count += 1
        each = each.next
    # Inside the mutex, so that in the event rings what is queued is either before it or after.
    trace(EV_RELEASE_BATCH, count)
    mutex_unlock(cython.address(locks().slab_mutex))
    if count:
        count_event(RELEASE_BATCHES)
        rcu_barrier_sched()
    trace(EV_RELEASE_DONE, count)
    while not list_empty(cython.address(batch)):
        s = cache_of_list(batch.next)
        list_del(cython.address(s.list))
        release_now(s)
    atomic_fetch_add(cython.address(system.rcu_destroy_running), -1)


def hold_releases(hold):
    mutex_lock(cython.address(locks().slab_mutex))
    slab_root().rcu_destroy_held = hold
    if not hold and not list_empty(cython.address(slab_root().slab_caches_to_rcu_destroy)):
        start_release_work()
    mutex_unlock(cython.address(locks().slab_mutex))


# --- planted --------------------------------------------------------------------------------------


def release_by_callback(head):
    release_now(cache_of_deact_head(head))


def cache_is_alive(cachep, page):
    """Freed metadata is poisoned; where it is another cache's already, that one has no page that waits; and something
    else has hardly an order there that fits."""
    order: cython.long = cython.cast(cython.pointer(struct_page), page).order
    fits: cython.bint = order <= cachep.gfporder <= KMALLOC_MAX_ORDER
    freed: cython.bint = cachep.flags & 0xFFFF == POISONED_LOW or not fits
    if not freed and atomic_fetch_add(cython.address(cachep.rcu_pages), -1) > 0:
        return True
    if not freed:
        atomic_fetch_add(cython.address(cachep.rcu_pages), 1)
    slab_bug(13, cachep, page, "kmem_cache used after free")
    return False
