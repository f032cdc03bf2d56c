"""mm/slab.c, mm/slab_common.c: the allocator's own start, in the coordinator, before the CPUs are forked.

As at a real boot the kmalloc caches are made for one CPU, with arrays of one entry, and get their real arrays when all
CPUs are known. No other CPU runs then, so that costs no interrupts.
"""

import cython
from cython.cimports.cpus import slab_def
from cython.cimports.cpus.cpu import AREA_SLAB, AREA_SLOW_FREE
from cython.cimports.cpus.list_head import INIT_LIST_HEAD
from cython.cimports.cpus.mmzone import mm_root
from cython.cimports.cpus.slab_common import create_cache, lock_slab, unlock_slab
from cython.cimports.cpus.slab_def import (
    KMALLOC_SHIFT_HIGH,
    KMALLOC_SHIFT_LOW,
    SLAB_DOWN,
    SLAB_FULL,
    SLAB_NAME,
    SLAB_PARTIAL,
    SLAB_UP,
    cache_of_list,
    slab_root,
    slab_system,
)
from cython.cimports.cpus.slab_tune import enable_cpucache
from cython.cimports.cpus.slub_def import SLUB_KMALLOC_SHIFT_HIGH, SLUB_KMALLOC_SHIFT_LOW, slub_enabled
from cython.cimports.ipc.memory import CACHE_LINE, heap_alloc, segment
from cython.cimports.libc.string import strncpy

if not cython.compiled:
    raise ImportError("cpus.slab_boot is not built; run `make setup`")


DEBUG_LETTERS = {
    "F": slab_def.SLAB_CONSISTENCY_CHECKS,
    "Z": slab_def.SLAB_RED_ZONE,
    "P": slab_def.SLAB_POISON,
    "U": slab_def.SLAB_STORE_USER,
    "Q": slab_def.SLAB_QUARANTINE,
}


def create_kmalloc_cache(index, size):
    system = slab_root()
    name = cython.declare(cython.char[32])
    snprintf(name, 32, "kmalloc-%ld", size)
    error: cython.long = 0
    # Aligned to a cache line, or, if smaller, to the size, as far as that is a power of two.
    align: cython.long = CACHE_LINE
    while size % align:
        align //= 2
    if align > size:
        align = size
    system.kmalloc_caches[index] = create_cache(
        name, size, align, 0, cython.NULL, cython.NULL, cython.NULL, cython.address(error)
    )
    return error


def create_kmalloc_caches():
    low: cython.long = SLUB_KMALLOC_SHIFT_LOW if slub_enabled() else KMALLOC_SHIFT_LOW
    high: cython.long = SLUB_KMALLOC_SHIFT_HIGH if slub_enabled() else KMALLOC_SHIFT_HIGH
    for index in range(low, high + 1):
        error = create_kmalloc_cache(index, cython.cast(cython.long, 1) << index)
        if error == 0 and index == 6:
            error = create_kmalloc_cache(1, 96)
        elif error == 0 and index == 7:
            error = create_kmalloc_cache(2, 192)
        if error != 0:
            return error
    return 0


def enable_all():
    """kmem_cache_init_late(): real arrays for all caches."""
    system = slab_root()
    each = system.slab_caches.next
    while each != cython.address(system.slab_caches):
        error = enable_cpucache(cache_of_list(each))
        if error != 0:
            return error
        each = each.next
    return 0


def set_debug(text: str) -> None:
    """slab_debug=FLAGS[,CACHE]: letters F, Z, P, U and Q."""
    system = slab_root()
    letters, _, name = text.partition(",")
    for letter in list(letters):
        system.debug_flags |= DEBUG_LETTERS[letter]
    encoded: bytes = name.encode()[: SLAB_NAME - 1]
    strncpy(system.debug_cache, encoded, SLAB_NAME - 1)


def kmem_cache_init(
    slab_max_order: int = -1, noaliencache: bool = False, slab_nomerge: bool = True, slab_debug: str = ""
) -> bool:
    """Start the allocator; the parameters are the kernel's boot parameters. False when the segment is too small.

    slab_max_order: -1 for the kernel's choice. slab_nomerge is on by default, unlike in the kernel: an alias is no
    cache, and creating one costs nothing that could be measured.
    slab_debug: set_debug()'s; ours, after SLUB's slub_debug=.
    """
    h = segment()
    system = cython.cast(cython.pointer(slab_system), heap_alloc(cython.sizeof(slab_system)))
    if system == cython.NULL:
        return False
    h.area[AREA_SLAB] = cython.cast(cython.long, system)
    INIT_LIST_HEAD(cython.address(system.slab_caches))
    INIT_LIST_HEAD(cython.address(system.slab_root_caches))
    INIT_LIST_HEAD(cython.address(system.slab_caches_to_rcu_destroy))
    system.slab_state = SLAB_DOWN
    system.nr_nodes = h.nr_nodes
    system.use_alien_caches = h.nr_nodes > 1 and not noaliencache
    large: cython.bint = mm_root().totalram_pages > 8192  # 32 MiB
    system.slab_max_order = large if slab_max_order < 0 else slab_max_order
    system.slab_nomerge = slab_nomerge
    h.area[AREA_SLOW_FREE] = h.nr_nodes > 1
    set_debug(slab_debug)
    with cython.nogil:
        lock_slab()
        system.slab_state = SLAB_PARTIAL
        error = create_kmalloc_caches()
        system.slab_state = SLAB_UP
        if error == 0 and not slub_enabled():
            error = enable_all()
        system.slab_state = SLAB_FULL
        unlock_slab()
    return error == 0
