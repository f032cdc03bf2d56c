"""mm/slab.c: the arrays of a cache and its nodes, made, replaced and released."""

import cython
from cython.cimports.cpus.delay import delay_point
from cython.cimports.cpus.events import EV_SHARED_REPLACED
from cython.cimports.cpus.list_head import INIT_LIST_HEAD, list_head
from cython.cimports.cpus.locks import CLASS_LIST_LOCK
from cython.cimports.cpus.page_alloc import nr_cpus_node
from cython.cimports.cpus.rcu import synchronize_sched
from cython.cimports.cpus.slab_array import free_block
from cython.cimports.cpus.slab_debug import WHERE_SETUP_NODE, note_replaced, path_enter, path_leave
from cython.cimports.cpus.slab_def import (
    BAD_ALIEN_MAGIC_VALUE,
    REAPTIMEOUT_NODE_MS,
    kmem_cache_node,
    slab_root,
)
from cython.cimports.cpus.slab_grow import slabs_destroy
from cython.cimports.cpus.slab_node import alloc_alien_cache, free_alien_cache
from cython.cimports.cpus.smp import kick_all_cpus_sync
from cython.cimports.cpus.switches import (
    BAD_ALIEN_MAGIC,
    NODE_INIT,
    NODE_INIT_STUCK_FREE_LIMIT,
    NODE_SETUP,
    SHARED_ARRAY_FREE,
    SHARED_ARRAY_FREE_KICK,
    SHARED_ARRAY_FREE_SYNC,
    SHARED_ARRAY_FREE_SYNC_IF_OLD,
)
from cython.cimports.ipc.atomic import write_once_ptr
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.interrupt import local_irq_restore, local_irq_save
from cython.cimports.ipc.lock import spin_lock, spin_lock_init, spin_unlock
from cython.cimports.ipc.memory import heap_alloc, heap_free, segment, switch_on, switch_value
from cython.cimports.ipc.trace import trace

if not cython.compiled:
    raise ImportError("cpus.slab_setup is not built; run `make setup`")

ENOMEM = cython.declare(cython.int, 12)
MAX_ENTRIES = cython.declare(cython.long, 1 << 30)


def init_arraycache(ac, limit, batchcount):
    ac.avail = 0
    ac.limit = cython.cast(cython.uint, limit)
    ac.batchcount = cython.cast(cython.uint, batchcount)
    ac.touched = 0


def alloc_kmem_cache_cpus(entries, batchcount):
    stride = cpu_stride(entries)
    block = heap_alloc(segment().nr_cpus * stride)
    if block != cython.NULL:
        for cpu in range(segment().nr_cpus):
            init_arraycache(array_in_block(block, stride, cpu), entries, batchcount)
    return block


def alloc_arraycache(entries):
    if entries > MAX_ENTRIES:
        return cython.cast(cython.pointer(array_cache), cython.NULL)
    ac = cython.cast(cython.pointer(array_cache), heap_alloc(cpu_stride(entries)))
    if ac != cython.NULL:
        init_arraycache(ac, entries, 0xBAADF00D)  # never used: who shares it takes its own batches
    return ac


def node_free_limit(cachep, node):
    return (1 + nr_cpus_node(node)) * cachep.batchcount + cachep.num


def init_cache_node(cachep, node):
    """Make the node's struct. One that exists only has its free_limit brought up to date."""
    n = cachep.node[node]
    if n != cython.NULL:
        # since v4.7, mm/slab: factor out kmem_cache_node initialization code (Kim 2016); its first form forgot this
        if switch_on(NODE_SETUP) and switch_value(NODE_INIT) != NODE_INIT_STUCK_FREE_LIMIT:
            flags = local_irq_save()
            spin_lock(cython.address(n.list_lock))
            n.free_limit = node_free_limit(cachep, node)
            spin_unlock(cython.address(n.list_lock))
            local_irq_restore(flags)
        return 0
    n = cython.cast(cython.pointer(kmem_cache_node), heap_alloc(cython.sizeof(kmem_cache_node)))
    if n == cython.NULL:
        return -ENOMEM
    spin_lock_init(cython.address(n.list_lock), CLASS_LIST_LOCK)
    INIT_LIST_HEAD(cython.address(n.slabs_partial))
    INIT_LIST_HEAD(cython.address(n.slabs_full))
    INIT_LIST_HEAD(cython.address(n.slabs_free))
    timeout = REAPTIMEOUT_NODE_MS * segment().cycles_per_us * 1000
    n.next_reap = get_cycles() + timeout
    if timeout > 0:  # the caches are not to be reaped all at once
        n.next_reap += cython.cast(cython.long, cachep) % timeout
    n.free_limit = node_free_limit(cachep, node)
    write_once_ptr(cython.address(cachep.node[node]), n)
    return 0


def wait_for_lockless_readers(old_shared):
    """Before an old shared array is freed: cache_alloc_refill reads the pointer without the lock, interrupts off."""
    how = switch_value(SHARED_ARRAY_FREE)
    if how == SHARED_ARRAY_FREE_KICK:
        # v1 of: mm/slab: lockless decision to grow cache (Kim 2016)
        kick_all_cpus_sync()
    elif how == SHARED_ARRAY_FREE_SYNC:
        # since v4.7, mm/slab: lockless decision to grow cache (Kim 2016)
        synchronize_sched()
    elif how == SHARED_ARRAY_FREE_SYNC_IF_OLD and old_shared != cython.NULL:
        # since v4.9, mm/slab: fix kmemcg cache creation delayed issue (Kim 2016)
        synchronize_sched()


def swap_arrays(cachep, node, force_change, existed, shared, alien):
    """Install *shared and *alien where they are wanted; what is to be freed is left in them."""
    emptied: list_head
    INIT_LIST_HEAD(cython.address(emptied))
    n = cachep.node[node]
    flags = local_irq_save()
    spin_lock(cython.address(n.list_lock))
    old = n.shared
    old_objects: cython.long = 0
    if old != cython.NULL and force_change:
        old_objects = old.avail
        free_block(cachep, old.entry, old.avail, node, cython.address(emptied))
        # since v4.7, mm/slab: clean-up kmem_cache_node setup (Kim 2016); before, a reader could find the old count
        if switch_on(NODE_SETUP):
            old.avail = 0
    if old == cython.NULL or force_change:
        if old != cython.NULL:
            note_replaced(cachep, node, old, old_objects)
        write_once_ptr(cython.address(n.shared), shared[0])
        shared[0] = old
    if n.alien == cython.NULL:
        n.alien = alien[0]
        alien[0] = cython.cast(cython.pointer(cython.pointer(alien_cache)), cython.NULL)
    if existed and not switch_on(NODE_SETUP) and switch_value(NODE_INIT) != NODE_INIT_STUCK_FREE_LIMIT:
        n.free_limit = node_free_limit(cachep, node)
    spin_unlock(cython.address(n.list_lock))
    local_irq_restore(flags)
    slabs_destroy(cachep, cython.address(emptied))


def wanted_aliens(cachep, node, failed):
    system = slab_root()
    failed[0] = False
    if system.use_alien_caches:
        aliens = alloc_alien_cache(node, cachep.limit)
        failed[0] = aliens == cython.NULL
        return aliens
    # until v4.7, mm/slab: remove BAD_ALIEN_MAGIC again (Kim 2016): a mark in place of what a single node does not need
    if system.nr_nodes == 1 and switch_on(BAD_ALIEN_MAGIC):
        return cython.cast(
            cython.pointer(cython.pointer(alien_cache)), cython.cast(cython.ulong, BAD_ALIEN_MAGIC_VALUE)
        )
    return cython.cast(cython.pointer(cython.pointer(alien_cache)), cython.NULL)


def setup_kmem_cache_node(cachep, node, force_change):
    """Give a node its struct, shared array and alien caches. force_change: replace the shared array it has."""
    failed: cython.bint = False
    was = path_enter(WHERE_SETUP_NODE)
    shared = cython.cast(cython.pointer(array_cache), cython.NULL)
    alien = wanted_aliens(cachep, node, cython.address(failed))
    if not failed and cachep.shared:
        shared = alloc_arraycache(cachep.shared * cachep.batchcount)
        failed = shared == cython.NULL
    existed: cython.bint = cachep.node[node] != cython.NULL
    if not failed:
        failed = init_cache_node(cachep, node) != 0
    if not failed:
        fresh = shared
        swap_arrays(cachep, node, force_change, existed, cython.address(shared), cython.address(alien))
        replaced: cython.bint = shared != fresh and shared != cython.NULL
        if force_change:
            wait_for_lockless_readers(shared)
        if replaced:
            trace(EV_SHARED_REPLACED, cython.cast(cython.ulong, shared))
            delay_point()
    heap_free(shared)
    free_alien_cache(alien)
    path_leave(was)
    return -ENOMEM if failed else 0


def setup_kmem_cache_nodes(cachep):
    for node in range(slab_root().nr_nodes):
        error = setup_kmem_cache_node(cachep, node, True)
        if error != 0:
            return error
    return 0


def __kmem_cache_release(cachep):
    """Give back all that a cache without objects has, except itself."""
    heap_free(cachep.cpu_arrays)
    cachep.cpu_arrays = cython.NULL
    heap_free(cachep.quarantine)
    for node in range(slab_root().nr_nodes):
        n = cachep.node[node]
        if n == cython.NULL:
            continue
        heap_free(n.shared)
        free_alien_cache(n.alien)
        heap_free(n)
        cachep.node[node] = cython.cast(cython.pointer(kmem_cache_node), cython.NULL)


def free_kmem_cache(cachep):
    heap_free(cachep.memcg_params.memcg_caches)
    heap_free(cachep)
