"""mm/slub.c: the geometry of a cache, its making and its end.

A free object holds the pointer to the next free one in its first word; behind its last if the object must stay as it
is: with a constructor, or when readers may still look at it (SLAB_TYPESAFE_BY_RCU). The numbers are those of v3.2 to
v5.15 for every modelled version.
"""

import cython
from cython.cimports.cpus.list_head import INIT_LIST_HEAD
from cython.cimports.cpus.locks import CLASS_LIST_LOCK
from cython.cimports.cpus.mm_types import __GFP_COMP, __GFP_RECLAIMABLE, MAX_ORDER
from cython.cimports.cpus.slab_def import (
    CFLGS_SLUB,
    SLAB_RECLAIM_ACCOUNT,
    SLAB_TYPESAFE_BY_RCU,
    SLUB_BIAS,
    slab_root,
)
from cython.cimports.cpus.slub_def import (
    SLUB_MAX_OBJS,
    SLUB_MAX_ORDER,
    SLUB_MAX_PARTIAL,
    SLUB_MIN_PARTIAL,
    kmem_cache_slub,
)
from cython.cimports.ipc.histogram import ilog2
from cython.cimports.ipc.lock import spin_lock_init
from cython.cimports.ipc.memory import PAGE_SIZE, heap_alloc, heap_free, segment

if not cython.compiled:
    raise ImportError("cpus.slub_setup is not built; run `make setup`")

ENOMEM = cython.declare(cython.long, 12)
ENOSYS = cython.declare(cython.long, 38)


# --- geometry -------------------------------------------------------------------------------------


def get_order(size):
    order: cython.long = 0
    while cython.cast(cython.long, PAGE_SIZE) << order < size:
        order += 1
    return order


def order_objects(order, size):
    return (cython.cast(cython.long, PAGE_SIZE) << order) // size


def slab_order(size, min_objects, max_order, fraction):
    """The first order for so many objects that wastes no more than 1/fraction; beyond max_order if there is none."""
    if order_objects(0, size) > SLUB_MAX_OBJS:
        return get_order(size * SLUB_MAX_OBJS) - 1
    order = get_order(min_objects * size)
    while order <= max_order:
        slab_size = cython.cast(cython.long, PAGE_SIZE) << order
        if slab_size % size <= slab_size // fraction:
            break
        order += 1
    return order


def calculate_order(size):
    """As many objects that CPUs seldom meet at the node's list, little waste, no large blocks, in this order."""
    min_objects: cython.long = 4 * (ilog2(cython.cast(cython.ulong, segment().nr_cpus)) + 2)  # fls() + 1
    most = order_objects(SLUB_MAX_ORDER, size)
    if min_objects > most:
        min_objects = most
    while min_objects > 1:
        fraction: cython.long = 16
        while fraction >= 4:
            order = slab_order(size, min_objects, SLUB_MAX_ORDER, fraction)
            if order <= SLUB_MAX_ORDER:
                return order
            fraction //= 2
        min_objects -= 1
    order = slab_order(size, 1, SLUB_MAX_ORDER, 1)
    if order <= SLUB_MAX_ORDER:
        return order
    order = slab_order(size, 1, MAX_ORDER - 1, 1)
    return order if order < MAX_ORDER else -ENOSYS


def calculate_sizes(cachep, flags, offset):
    """Set size, num and gfporder; where a free object's pointer is. 0, or -ENOSYS."""
    size = (cachep.object_size + 7) & ~cython.cast(cython.long, 7)
    offset[0] = 0
    if cachep.ctor != cython.NULL or flags & SLAB_TYPESAFE_BY_RCU:
        offset[0] = size
        size += 8
    size = (size + cachep.align - 1) & ~(cachep.align - 1)
    order = calculate_order(size)
    if order < 0:
        return order
    cachep.size = size
    cachep.gfporder = order
    cachep.num = order_objects(order, size)
    return 0


def cpu_partial_of(size):
    if size >= PAGE_SIZE:
        return 2
    if size >= 1024:
        return 6
    if size >= 256:
        return 13
    return 30


def min_partial_of(size):
    wanted: cython.long = ilog2(cython.cast(cython.ulong, size)) // 2
    if wanted < SLUB_MIN_PARTIAL:
        return SLUB_MIN_PARTIAL
    return SLUB_MAX_PARTIAL if wanted > SLUB_MAX_PARTIAL else wanted


# --- making and end -------------------------------------------------------------------------------


def slub_create(cachep, flags):
    """kmem_cache_open(): no CPU can hold anything of it yet, and none is interrupted."""
    offset: cython.long = 0
    error = calculate_sizes(cachep, flags, cython.address(offset))
    if error != 0:
        return error
    cachep.flags = flags | CFLGS_SLUB
    cachep.nr_memcg_children = SLUB_BIAS
    cachep.allocflags = __GFP_COMP if cachep.gfporder else 0
    if flags & SLAB_RECLAIM_ACCOUNT:
        cachep.allocflags |= __GFP_RECLAIMABLE
    cpus: cython.long = segment().nr_cpus
    nodes = slab_root().nr_nodes
    s = cython.cast(
        cython.pointer(kmem_cache_slub), heap_alloc(cython.sizeof(kmem_cache_slub) + cpus * 64 + nodes * 8)
    )
    if s == cython.NULL:
        return -ENOMEM
    cachep.slub = s
    s.node = cython.cast(cython.pointer(cython.pointer(slub_node)), cython.address(s.cpu[cpus + 1]))
    s.offset = offset
    s.cpu_partial = cpu_partial_of(cachep.size)
    s.min_partial = min_partial_of(cachep.size)
    s.min_order = get_order(cachep.size)
    s.min_objects = order_objects(s.min_order, cachep.size)
    for cpu in range(cpus + 1):
        s.cpu[cpu].tid = cpu
    for nid in range(nodes):
        n = cython.cast(cython.pointer(slub_node), heap_alloc(cython.sizeof(slub_node)))
        if n == cython.NULL:
            return -ENOMEM
        spin_lock_init(cython.address(n.list_lock), CLASS_LIST_LOCK)
        INIT_LIST_HEAD(cython.address(n.partial))
        s.node[nid] = n
    return 0


def slub_release(cachep):
    """Give back all that a cache without slabs has, except itself."""
    s = cython.cast(cython.pointer(kmem_cache_slub), cachep.slub)
    if s == cython.NULL:
        return
    for nid in range(slab_root().nr_nodes):
        heap_free(s.node[nid])
    heap_free(s)
    cachep.slub = cython.NULL
