"""mm/slab.c: how many objects a slab has, where its freelist lies, how it is coloured.

A freelist has one byte per object. It lies in the object that is taken last (objfreelist), in an object of a kmalloc
cache (off-slab), or in the last bytes of the slab (on-slab); the first of these that is possible is used. This is the
geometry of v4.6 and later; it is used for every modelled version, since no count depends on it.
"""

import cython
from cython.cimports.cpus.mm_types import __GFP_COMP, __GFP_RECLAIMABLE
from cython.cimports.cpus.slab import kmalloc_slab
from cython.cimports.cpus.slab_check import debug_flags, debug_layout
from cython.cimports.cpus.slab_def import (
    CFLGS_OBJFREELIST_SLAB,
    CFLGS_OFF_SLAB,
    KMALLOC_MAX_ORDER,
    SLAB_DEBUG_FLAGS,
    SLAB_NOLEAKTRACE,
    SLAB_OBJ_MAX_NUM,
    SLAB_OBJ_MIN_SIZE,
    SLAB_RECLAIM_ACCOUNT,
    SLAB_TYPESAFE_BY_RCU,
    slab_root,
)
from cython.cimports.ipc.memory import CACHE_LINE, PAGE_SIZE

if not cython.compiled:
    raise ImportError("cpus.slab_geometry is not built; run `make setup`")

E2BIG = cython.declare(cython.int, 7)
ENOMEM = cython.declare(cython.int, 12)


def cache_estimate(gfporder, size, flags, left_over):
    """Objects in a slab of this order, and the bytes left over."""
    slab_size = cython.cast(cython.long, PAGE_SIZE) << gfporder
    if flags & (CFLGS_OBJFREELIST_SLAB | CFLGS_OFF_SLAB):
        left_over[0] = slab_size % size
        return slab_size // size
    left_over[0] = slab_size % (size + 1)
    return slab_size // (size + 1)


def freelist_fits(num, size):
    """Whether there is a kmalloc cache for an off-slab freelist, itself without one, and not as large as an object."""
    freelist_cache = kmalloc_slab(num)
    if freelist_cache == cython.NULL or freelist_cache.flags & CFLGS_OFF_SLAB:
        return False
    return freelist_cache.size <= size // 2


def calculate_slab_order(cachep, size, flags):
    """Set num and gfporder to the first order that wastes no more than an eighth; the bytes left over."""
    left_over: cython.long = 0
    for gfporder in range(KMALLOC_MAX_ORDER + 1):
        remainder: cython.long = 0
        num = cache_estimate(gfporder, size, flags, cython.address(remainder))
        if num == 0:
            continue
        if num > SLAB_OBJ_MAX_NUM:
            break
        if flags & CFLGS_OFF_SLAB and not freelist_fits(num, size):
            continue
        cachep.num = num
        cachep.gfporder = gfporder
        left_over = remainder
        if flags & SLAB_RECLAIM_ACCOUNT:  # its slabs are to be freed one by one: keep them small
            break
        if gfporder >= slab_root().slab_max_order:
            break
        if left_over * 8 <= cython.cast(cython.long, PAGE_SIZE) << gfporder:
            break
    return left_over


def set_objfreelist_slab_cache(cachep, size, flags):
    # since v4.6, mm/slab: introduce new slab management type, OBJFREELIST_SLAB (Kim 2016)
    cachep.num = 0
    # A debugged object is looked at while it is free.
    if cachep.ctor != cython.NULL or flags & (SLAB_TYPESAFE_BY_RCU | SLAB_DEBUG_FLAGS):
        return False
    left = calculate_slab_order(cachep, size, flags | CFLGS_OBJFREELIST_SLAB)
    if cachep.num == 0 or cachep.num > cachep.object_size:
        return False
    cachep.colour = left // cachep.colour_off
    return True


def set_off_slab_cache(cachep, size, flags):
    cachep.num = 0
    if flags & SLAB_NOLEAKTRACE:  # the freelist's own allocation would be traced
        return False
    left = calculate_slab_order(cachep, size, flags | CFLGS_OFF_SLAB)
    if cachep.num == 0 or left >= cachep.num:  # in the latter case a freelist on the slab costs nothing
        return False
    cachep.colour = left // cachep.colour_off
    return True


def set_on_slab_cache(cachep, size, flags):
    cachep.num = 0
    left = calculate_slab_order(cachep, size, flags)
    if cachep.num == 0:
        return False
    cachep.colour = left // cachep.colour_off
    return True


def set_geometry(cachep, flags):
    align = cachep.align
    size = (cachep.object_size + 7) & ~cython.cast(cython.long, 7)
    flags = debug_flags(cachep, flags)
    if flags & SLAB_DEBUG_FLAGS:
        size = debug_layout(cachep, flags)
        if size == 0:
            return -ENOMEM
    size = (size + align - 1) & ~(align - 1)
    if size < SLAB_OBJ_MIN_SIZE:  # of smaller ones more would fit into a page than a byte can count
        size = (SLAB_OBJ_MIN_SIZE + align - 1) & ~(align - 1)
    cachep.colour_off = align if align > CACHE_LINE else CACHE_LINE
    if set_objfreelist_slab_cache(cachep, size, flags):
        flags |= CFLGS_OBJFREELIST_SLAB
    elif set_off_slab_cache(cachep, size, flags):
        flags |= CFLGS_OFF_SLAB
    elif not set_on_slab_cache(cachep, size, flags):
        return -E2BIG
    cachep.flags = flags
    cachep.size = size
    cachep.reciprocal_size = ((cython.cast(cython.long, 1) << 32) + size - 1) // size
    cachep.freelist_size = cachep.num
    cachep.allocflags = __GFP_COMP
    if flags & SLAB_RECLAIM_ACCOUNT:
        cachep.allocflags |= __GFP_RECLAIMABLE
    if flags & CFLGS_OFF_SLAB:
        cachep.freelist_cache = kmalloc_slab(cachep.freelist_size)
    return 0
