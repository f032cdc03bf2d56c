"""mm/slab.c: the tunables of a cache, and the replacement of its per-CPU arrays."""

import cython
from cython.cimports.cpus.cpu import count_events, cpu_of, cpu_online_mask, smp_processor_id
from cython.cimports.cpus.list_head import INIT_LIST_HEAD, list_head
from cython.cimports.cpus.slab_array import free_block
from cython.cimports.cpus.slab_check import DEBUG_LIMIT
from cython.cimports.cpus.slab_debug import WHERE_TUNE, path_enter, path_leave
from cython.cimports.cpus.slab_def import (
    BOOT_CPUCACHE_ENTRIES,
    SLAB_DEBUG_FLAGS,
    SLAB_FULL,
    SLAB_UP,
    cache_of_child_node,
    is_root_cache,
    slab_root,
)
from cython.cimports.cpus.slab_grow import slabs_destroy
from cython.cimports.cpus.slab_setup import (
    alloc_kmem_cache_cpus,
    array_in_block,
    cpu_stride,
    init_cache_node,
    setup_kmem_cache_nodes,
)
from cython.cimports.cpus.smp import kick_all_cpus_sync, on_each_cpu
from cython.cimports.cpus.switches import ARRAY_SWAP, ARRAY_SWAP_ON_EACH_CPU, SLAB_CREATE_NO_IPI
from cython.cimports.cpus.vmstat import IPIS_AVOIDED_NO_PREVIOUS
from cython.cimports.ipc.atomic import write_once_ptr
from cython.cimports.ipc.cpumask import cpumask_test_cpu, cpumask_weight
from cython.cimports.ipc.interrupt import local_irq_restore, local_irq_save
from cython.cimports.ipc.lock import spin_lock, spin_unlock
from cython.cimports.ipc.memory import PAGE_SIZE, heap_alloc, heap_free, segment, switch_on, switch_value

if not cython.compiled:
    raise ImportError("cpus.slab_tune is not built; run `make setup`")

ENOMEM = cython.declare(cython.int, 12)


def do_ccupdate_local(info):
    """On each CPU: take the new array of one's own. Interrupts off."""
    update = cython.cast(cython.pointer(ccupdate_struct), info)
    cpu = smp_processor_id()
    write_once_ptr(cython.address(update.cachep.cpu_cache[cpu + 1]), array_in_block(update.block, update.stride, cpu))


def set_arrays(cachep, block, stride, all_cpus):
    """Store the array pointers of all CPUs, or only of those that are offline."""
    for cpu in range(segment().nr_cpus):
        if all_cpus or not cpumask_test_cpu(cpu, cpu_online_mask()):
            write_once_ptr(cython.address(cachep.cpu_cache[cpu + 1]), array_in_block(block, stride, cpu))


def publish_arrays(cachep, block, stride):
    """Make the new arrays known; after it no CPU is inside an irq-off section that uses the old ones."""
    online = cpumask_weight(cpu_online_mask())
    # since v4.12, slab: avoid IPIs when creating kmem caches (Thelen 2017)
    if cachep.cpu_arrays == cython.NULL and switch_on(SLAB_CREATE_NO_IPI):
        set_arrays(cachep, block, stride, True)
        count_events(IPIS_AVOIDED_NO_PREVIOUS, online - (1 if online and smp_processor_id() >= 0 else 0))
        return 0
    # until v3.17; since v3.18, mm/slab: use percpu allocator for cpu cache (Kim 2014)
    if switch_value(ARRAY_SWAP) == ARRAY_SWAP_ON_EACH_CPU:
        # In the segment: the other CPUs, processes of their own, cannot see this one's stack.
        update = cython.cast(cython.pointer(ccupdate_struct), heap_alloc(cython.sizeof(ccupdate_struct)))
        if update == cython.NULL:
            return -ENOMEM
        update.cachep = cachep
        update.block = block
        update.stride = stride
        set_arrays(cachep, block, stride, False)
        on_each_cpu(do_ccupdate_local, update, True)
        heap_free(update)
        return 0
    set_arrays(cachep, block, stride, True)
    kick_all_cpus_sync()
    return 0


def drain_old_arrays(cachep, block, stride):
    """Return what the replaced arrays hold, and keep their counts."""
    for cpu in range(segment().nr_cpus):
        ac = array_in_block(block, stride, cpu)
        if ac.avail != 0 or cpumask_test_cpu(cpu, cpu_online_mask()):
            emptied: list_head
            INIT_LIST_HEAD(cython.address(emptied))
            node = cpu_of(cpu).node
            n = cachep.node[node]
            flags = local_irq_save()
            spin_lock(cython.address(n.list_lock))
            free_block(cachep, ac.entry, ac.avail, node, cython.address(emptied))
            spin_unlock(cython.address(n.list_lock))
            local_irq_restore(flags)
            slabs_destroy(cachep, cython.address(emptied))
        cachep.allochit += ac.allochit
        cachep.freehit += ac.freehit
        cachep.allocmiss += ac.allocmiss
        cachep.freemiss += ac.freemiss
        cachep.allocfail += ac.allocfail
        cachep.old_node_frees += ac.node_frees


def __do_tune_cpucache(cachep, limit, batchcount, shared):
    block = alloc_kmem_cache_cpus(limit, batchcount)
    if block == cython.NULL:
        return -ENOMEM
    prev = cachep.cpu_arrays
    prev_stride: cython.long = cpu_stride(cachep.limit)
    if publish_arrays(cachep, block, cpu_stride(limit)) != 0:
        heap_free(block)
        return -ENOMEM
    cachep.cpu_arrays = block
    cachep.batchcount = batchcount
    cachep.limit = limit
    cachep.shared = shared
    if prev != cython.NULL:
        drain_old_arrays(cachep, prev, prev_stride)
        heap_free(prev)
    return setup_kmem_cache_nodes(cachep)


def do_tune_cpucache(cachep, limit, batchcount, shared):
    """Tune a cache and, if it is a root, all its children; their failures do not count."""
    was = path_enter(WHERE_TUNE)
    error = __do_tune_cpucache(cachep, limit, batchcount, shared)
    if slab_root().slab_state >= SLAB_FULL and error == 0 and is_root_cache(cachep):
        children = cython.address(cachep.memcg_params.children)
        each = children.next
        while each != children:
            __do_tune_cpucache(cache_of_child_node(each), limit, batchcount, shared)
            each = each.next
    path_leave(was)
    return error


def enable_cpucache(cachep):
    """The tunables for a cache's object size; a child has those of its root."""
    if not is_root_cache(cachep):
        root = cachep.memcg_params.root_cache
        if root.limit and root.shared and root.batchcount:
            return do_tune_cpucache(cachep, root.limit, root.batchcount, root.shared)
    limit: cython.long = 120
    if cachep.size > 131072:
        limit = 1
    elif cachep.size > PAGE_SIZE:
        limit = 8
    elif cachep.size > 1024:
        limit = 24
    elif cachep.size > 256:
        limit = 54
    if cachep.flags & SLAB_DEBUG_FLAGS and limit > DEBUG_LIMIT:
        limit = DEBUG_LIMIT
    # A shared array is for objects that one CPU allocates and another frees: small ones, as in the network stack.
    shared = 8 if cachep.size <= PAGE_SIZE and segment().nr_cpus > 1 else 0
    return do_tune_cpucache(cachep, limit, (limit + 1) // 2, shared)


def boot_cpu_cache(cachep):
    """Arrays of one entry and bare nodes, as one CPU at boot needs them; kmem_cache_init_late() replaces them."""
    block = alloc_kmem_cache_cpus(BOOT_CPUCACHE_ENTRIES, 1)
    if block == cython.NULL:
        return -ENOMEM
    set_arrays(cachep, block, cpu_stride(BOOT_CPUCACHE_ENTRIES), True)
    cachep.cpu_arrays = block
    cachep.batchcount = 1
    cachep.limit = BOOT_CPUCACHE_ENTRIES
    cachep.shared = 0
    for node in range(slab_root().nr_nodes):
        if init_cache_node(cachep, node) != 0:
            return -ENOMEM
        cachep.node[node].free_limit = 2 + cachep.num
    return 0


def setup_cpu_cache(cachep):
    return enable_cpucache(cachep) if slab_root().slab_state >= SLAB_UP else boot_cpu_cache(cachep)
