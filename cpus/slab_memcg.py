"""mm/slab_common.c: child caches of memcgs, made on demand. Their end is in cpus/slab_death."""

import cython
from cython.cimports.cpus.cpu import LAT_CREATE, count_event, record_latency, smp_processor_id
from cython.cimports.cpus.list_head import list_add, list_del
from cython.cimports.cpus.locks import locks
from cython.cimports.cpus.memcontrol import mem_cgroup, mem_cgroup_online
from cython.cimports.cpus.rcu import call_rcu_sched, synchronize_sched
from cython.cimports.cpus.slab_common import create_cache, lock_slab, unlock_slab
from cython.cimports.cpus.slab_def import SLAB_NAME, cache_of_root_node, slab_root
from cython.cimports.cpus.vmstat import MEMCG_CACHES_CREATED, MEMCG_CREATE_DUPLICATES
from cython.cimports.ipc.atomic import smp_store_release_ptr
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.lock import mutex_lock, mutex_unlock
from cython.cimports.ipc.memory import heap_alloc, heap_free
from cython.cimports.libc.string import memcpy

if not cython.compiled:
    raise ImportError("cpus.slab_memcg is not built; run `make setup`")

ENOMEM = cython.declare(cython.long, 12)


# --- a root's array of children -------------------------------------------------------------------


def free_array(head):
    heap_free(head)


def memcg_init_array(cachep, size):
    """A new root's array of children, as long as every other root's."""
    if size == 0:
        return 0
    fresh = cython.cast(
        cython.pointer(memcg_cache_array), heap_alloc(cython.sizeof(memcg_cache_array) + (size - 1) * 8)
    )
    if fresh == cython.NULL:
        return -ENOMEM
    fresh.size = size
    smp_store_release_ptr(cython.address(cachep.memcg_params.memcg_caches), fresh)
    return 0


def grow_array(root_cache, size):
    """Replace the array by a longer one. Lock-less readers may still use the old one: freed after a grace period."""
    old = root_cache.memcg_params.memcg_caches
    if old != cython.NULL and old.size >= size:
        return 0
    fresh = cython.cast(
        cython.pointer(memcg_cache_array), heap_alloc(cython.sizeof(memcg_cache_array) + (size - 1) * 8)
    )
    if fresh == cython.NULL:
        return -ENOMEM
    fresh.size = size
    if old != cython.NULL:
        memcpy(fresh.entries, old.entries, old.size * 8)
    smp_store_release_ptr(cython.address(root_cache.memcg_params.memcg_caches), fresh)
    if old == cython.NULL:
        return 0
    if smp_processor_id() >= 0:
        call_rcu_sched(cython.address(old.rcu), free_array)
    else:  # the coordinator runs no softirqs
        synchronize_sched()
        heap_free(old)
    return 0


def memcg_update_all_caches(num_memcgs):
    system = slab_root()
    mutex_lock(cython.address(locks().slab_mutex))
    error: cython.long = 0
    each = system.slab_root_caches.next
    while error == 0 and each != cython.address(system.slab_root_caches):
        error = grow_array(cache_of_root_node(each), num_memcgs)
        each = each.next
    if error == 0 and num_memcgs > system.memcg_nr_cache_ids:
        system.memcg_nr_cache_ids = num_memcgs
    mutex_unlock(cython.address(locks().slab_mutex))
    return error


# --- creation -------------------------------------------------------------------------------------


def link_child(cachep):
    params = cython.address(cachep.memcg_params)
    root = params.root_cache
    list_add(cython.address(params.children_node), cython.address(root.memcg_params.children))
    # since v4.11, slab: link memcg kmem_caches on their associated memory cgroup (Heo 2017); used if the switch says so
    owner = cython.cast(cython.pointer(mem_cgroup), params.memcg)
    list_add(cython.address(params.kmem_caches_node), cython.address(owner.kmem_caches))
    root.nr_memcg_children += 1


def unlink_child(cachep):
    params = cython.address(cachep.memcg_params)
    list_del(cython.address(params.children_node))
    list_del(cython.address(params.kmem_caches_node))
    params.root_cache.nr_memcg_children -= 1
    # A destroyed child must not be found any more; at offline its slot was cleared already.
    children = params.root_cache.memcg_params.memcg_caches
    if params.kmemcg_id >= 0 and children != cython.NULL and params.kmemcg_id < children.size:
        if children.entries[params.kmemcg_id] == cachep:
            smp_store_release_ptr(cython.address(children.entries[params.kmemcg_id]), cython.NULL)


def make_child(memcg, root_cache, idx):
    owner = cython.cast(cython.pointer(mem_cgroup), memcg)
    name = cython.declare(cython.char[128])  # SLAB_NAME
    snprintf(name, SLAB_NAME, "%.71s(%ld:%.31s)", root_cache.name, owner.serial_nr, owner.name)
    error: cython.long = 0
    child = create_cache(
        name,
        root_cache.object_size,
        root_cache.align,
        root_cache.requested_flags,
        root_cache.ctor,
        memcg,
        root_cache,
        cython.address(error),
    )
    if child != cython.NULL:
        child.memcg_params.kmemcg_id = idx
        # Last, with a barrier: who finds it locklessly must find it whole.
        smp_store_release_ptr(cython.address(root_cache.memcg_params.memcg_caches.entries[idx]), child)
    return child


def memcg_create_kmem_cache(memcg, root_cache):
    """Make a memcg's own cache. Without success nothing is said: the root cache goes on serving."""
    start = get_cycles()
    owner = cython.cast(cython.pointer(mem_cgroup), memcg)
    child = cython.cast(cython.pointer(kmem_cache), cython.NULL)
    lock_slab()
    idx = owner.kmemcg_id
    children = root_cache.memcg_params.memcg_caches
    if mem_cgroup_online(owner) and children != cython.NULL and 0 <= idx < children.size:
        if children.entries[idx] != cython.NULL:
            count_event(MEMCG_CREATE_DUPLICATES)
        else:
            child = make_child(memcg, root_cache, idx)
    unlock_slab()
    if child != cython.NULL:
        count_event(MEMCG_CACHES_CREATED)
        record_latency(LAT_CREATE, start)
    return child
