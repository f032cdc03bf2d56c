"""mm/slab_common.c: creation, shrinking and destruction of caches, under slab_mutex and the hotplug locks."""

import cython
from cython.cimports.cpus.cpu import LAT_CREATE, LAT_SHRINK, count_event, record_latency
from cython.cimports.cpus.events import EV_CACHE_CREATE, EV_SHRINK_BEGIN, EV_SHRINK_END
from cython.cimports.cpus.list_head import INIT_LIST_HEAD, list_add, list_del
from cython.cimports.cpus.locks import locks
from cython.cimports.cpus.slab_death import shutdown_memcg_caches
from cython.cimports.cpus.slab_debug import WHERE_DESTROY, WHERE_SHRINK, path_enter, path_leave
from cython.cimports.cpus.slab_def import (
    KMALLOC_MAX_SIZE,
    SLAB_ACCOUNT,
    SLAB_CACHE_DMA,
    SLAB_DEBUG_FLAGS,
    SLAB_HWCACHE_ALIGN,
    SLAB_NAME,
    SLAB_NOLEAKTRACE,
    SLAB_RECLAIM_ACCOUNT,
    SLAB_TYPESAFE_BY_RCU,
    cache_of_root_node,
    is_root_cache,
    kmem_cache_node,
)
from cython.cimports.cpus.slab_drain import __kmem_cache_shrink, __kmem_cache_shutdown
from cython.cimports.cpus.slab_geometry import set_geometry
from cython.cimports.cpus.slab_memcg import link_child, memcg_init_array, unlink_child
from cython.cimports.cpus.slab_release import queue_release, release_caches
from cython.cimports.cpus.slab_setup import __kmem_cache_release, free_kmem_cache
from cython.cimports.cpus.slab_tune import setup_cpu_cache
from cython.cimports.cpus.slub_def import slub_enabled
from cython.cimports.cpus.slub_drain import slub_shrink, slub_shutdown
from cython.cimports.cpus.slub_setup import slub_create, slub_release
from cython.cimports.cpus.switches import SHRINK_SLAB_MUTEX
from cython.cimports.cpus.vmstat import CACHES_CREATED
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.lock import down_read, mutex_lock, mutex_unlock, up_read
from cython.cimports.ipc.memory import CACHE_LINE, heap_alloc, segment, switch_on
from cython.cimports.ipc.trace import trace
from cython.cimports.libc.string import strncpy

if not cython.compiled:
    raise ImportError("cpus.slab_common is not built; run `make setup`")

ENOMEM = cython.declare(cython.long, 12)
EBUSY = cython.declare(cython.long, 16)
EINVAL = cython.declare(cython.long, 22)

SLAB_NEVER_MERGE = cython.declare(cython.ulong, SLAB_TYPESAFE_BY_RCU | SLAB_NOLEAKTRACE | SLAB_DEBUG_FLAGS)
SLAB_MERGE_SAME = cython.declare(cython.ulong, SLAB_RECLAIM_ACCOUNT | SLAB_CACHE_DMA | SLAB_ACCOUNT)


def lock_slab():
    down_read(cython.address(locks().cpu_hotplug))
    down_read(cython.address(locks().mem_hotplug))
    mutex_lock(cython.address(locks().slab_mutex))


def unlock_slab():
    mutex_unlock(cython.address(locks().slab_mutex))
    up_read(cython.address(locks().mem_hotplug))
    up_read(cython.address(locks().cpu_hotplug))


# --- creation -------------------------------------------------------------------------------------


def calculate_alignment(flags, align, size):
    if flags & SLAB_HWCACHE_ALIGN:
        ralign: cython.long = CACHE_LINE
        while size <= ralign // 2:
            ralign //= 2
        if align < ralign:
            align = ralign
    return align if align > 8 else 8


def mergeable(s, size, align, flags):
    """Whether objects of this kind can come from the cache `s` as well."""
    if s.refcount < 0 or s.ctor != cython.NULL or s.flags & SLAB_NEVER_MERGE:
        return False
    if size > s.size or (flags & SLAB_MERGE_SAME) != (s.flags & SLAB_MERGE_SAME):
        return False
    if s.size & (align - 1) or s.size - size >= 8:
        return False
    return s.align % align == 0


def find_mergeable(size, align, flags, ctor):
    """since v3.18, mm/slab: support slab merge (Kim 2014); here only if slab_nomerge is off"""
    system = slab_root()
    if system.slab_nomerge or ctor != cython.NULL or flags & SLAB_NEVER_MERGE:
        return cython.cast(cython.pointer(kmem_cache), cython.NULL)
    align = calculate_alignment(flags, align, size)
    size = (size + align - 1) & ~(align - 1)
    each = system.slab_root_caches.next
    while each != cython.address(system.slab_root_caches):
        s = cache_of_root_node(each)
        if mergeable(s, size, align, flags):
            return s
        each = each.next
    return cython.cast(cython.pointer(kmem_cache), cython.NULL)


def init_cache_params(s, memcg, root_cache):
    params = cython.address(s.memcg_params)
    params.root_cache = root_cache
    params.memcg = memcg
    params.kmemcg_id = -1
    INIT_LIST_HEAD(cython.address(params.children))
    INIT_LIST_HEAD(cython.address(params.root_caches_node))
    INIT_LIST_HEAD(cython.address(params.children_node))
    INIT_LIST_HEAD(cython.address(params.kmem_caches_node))
    if root_cache != cython.NULL:
        return 0
    return memcg_init_array(s, slab_root().memcg_nr_cache_ids)


def __kmem_cache_create(s, flags):
    """The allocator's part of a creation."""
    if slub_enabled():
        return slub_create(s, flags)
    error = set_geometry(s, flags)
    return error if error != 0 else setup_cpu_cache(s)


def release_cache(s):
    """slab_kmem_cache_release(): give back a cache that has no slab any more."""
    slub_release(s)
    __kmem_cache_release(s)
    free_kmem_cache(s)


def create_cache(name, object_size, align, flags, ctor, memcg, root_cache, error):
    system = slab_root()
    cpus: cython.long = segment().nr_cpus
    s = cython.cast(cython.pointer(kmem_cache), heap_alloc(cython.sizeof(kmem_cache) + cpus * 8 + system.nr_nodes * 8))
    error[0] = -ENOMEM
    if s == cython.NULL:
        return s
    s.node = cython.cast(cython.pointer(cython.pointer(kmem_cache_node)), cython.address(s.cpu_cache[cpus + 1]))
    s.cpu_cache[0] = cython.address(system.coordinator_cache)
    strncpy(s.name, name, SLAB_NAME - 1)
    s.object_size = object_size
    s.align = align
    s.ctor = ctor
    s.requested_flags = flags
    s.refcount = 1
    error[0] = init_cache_params(s, memcg, root_cache)
    if error[0] == 0:
        error[0] = __kmem_cache_create(s, flags)
    if error[0] != 0:
        release_cache(s)
        return cython.cast(cython.pointer(kmem_cache), cython.NULL)
    list_add(cython.address(s.list), cython.address(system.slab_caches))
    if root_cache == cython.NULL:
        list_add(cython.address(s.memcg_params.root_caches_node), cython.address(system.slab_root_caches))
    else:
        link_child(s)
    system.nr_caches += 1
    trace(EV_CACHE_CREATE, cython.cast(cython.ulong, s))
    return s


def check_arguments(size, align):
    if size < 8 or size > KMALLOC_MAX_SIZE or align < 0 or align > KMALLOC_MAX_SIZE or align & (align - 1):
        return -EINVAL
    return 0


def create_locked(name, size, align, flags, ctor, error):
    s = find_mergeable(size, align, flags, ctor)
    if s != cython.NULL:
        s.refcount += 1
        # Whoever asked for the larger object must get all of it zeroed.
        if size > s.object_size:
            s.object_size = size
        return s
    return create_cache(
        name, size, calculate_alignment(flags, align, size), flags, ctor, cython.NULL, cython.NULL, error
    )


def kmem_cache_create(name, size, align, flags, ctor, error):
    start = get_cycles()
    failed: cython.long = check_arguments(size, align)
    s = cython.cast(cython.pointer(kmem_cache), cython.NULL)
    if failed == 0:
        lock_slab()
        s = create_locked(name, size, align, flags, ctor, cython.address(failed))
        unlock_slab()
    if s != cython.NULL:
        count_event(CACHES_CREATED)
        record_latency(LAT_CREATE, start)
    if error != cython.NULL:
        error[0] = failed
    return s


# --- shrinking and destruction --------------------------------------------------------------------


def kmem_cache_shrink(cachep):
    start = get_cycles()
    path = path_enter(WHERE_SHRINK)
    trace(EV_SHRINK_BEGIN, cython.cast(cython.ulong, cachep))
    down_read(cython.address(locks().cpu_hotplug))
    down_read(cython.address(locks().mem_hotplug))
    # until v3.15; since v3.16, slab: get_online_mems for kmem_cache_{create,destroy,shrink} (Davydov 2014)
    # and again in v1 of: mm/slab: hold a slab_mutex when calling __kmem_cache_shrink() (Kim 2016), never merged
    locked: cython.bint = switch_on(SHRINK_SLAB_MUTEX)
    if locked:
        mutex_lock(cython.address(locks().slab_mutex))
    left = slub_shrink(cachep) if slub_enabled() else __kmem_cache_shrink(cachep)
    if locked:
        mutex_unlock(cython.address(locks().slab_mutex))
    up_read(cython.address(locks().mem_hotplug))
    up_read(cython.address(locks().cpu_hotplug))
    trace(EV_SHRINK_END, cython.cast(cython.ulong, cachep))
    path_leave(path)
    record_latency(LAT_SHRINK, start)
    return left


def shutdown_cache(cachep, release):
    left = slub_shutdown(cachep) if slub_enabled() else __kmem_cache_shutdown(cachep)
    if left != 0:
        return -EBUSY
    if is_root_cache(cachep):
        list_del(cython.address(cachep.memcg_params.root_caches_node))
    else:
        unlink_child(cachep)
    list_del(cython.address(cachep.list))
    slab_root().nr_caches -= 1
    queue_release(cachep, release)
    return 0


def kmem_cache_destroy(cachep):
    if cachep == cython.NULL:
        return 0
    release: list_head
    INIT_LIST_HEAD(cython.address(release))
    error: cython.long = 0
    path = path_enter(WHERE_DESTROY)
    lock_slab()
    if cachep.refcount > 1:
        cachep.refcount -= 1
    else:
        error = shutdown_memcg_caches(cachep, cython.address(release))
        if error == 0:
            error = shutdown_cache(cachep, cython.address(release))
    unlock_slab()
    path_leave(path)
    release_caches(cython.address(release))
    return error
