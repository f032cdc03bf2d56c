"""What the allocator itself finds broken is noted in slab_system.bugs, for the checker to report, and skipped.

A kernel would crash, or go on with corrupt lists. Only what costs no more than a predictable branch on a slow path is
looked for in every cache; debugged ones are looked at more closely (cpus/slab_check); the rest is the checker's
(emu/validate).

A record tells two events: the one that found it, and the one it collided with. An event is a CPU, a time, and the way
that CPU came: its stack, as far as it lies in the slow paths of the allocator.
"""

import cython
from cython.cimports.cpus.cpu import smp_processor_id
from cython.cimports.cpus.events import EV_BUG
from cython.cimports.cpus.mm_types import PG_SLAB, virt_to_head_page
from cython.cimports.cpus.slab_def import (
    MAX_REPLACED,
    MAX_SLAB_BUGS,
    SLAB_CONSISTENCY_CHECKS,
    SLAB_DEBUG_FLAGS,
    obj_to_index,
    slab_root,
)
from cython.cimports.ipc.atomic import atomic_fetch_add
from cython.cimports.ipc.memory import PAGE_SIZE, ram_base, segment
from cython.cimports.ipc.trace import trace
from cython.cimports.libc.string import memset, strncpy

if not cython.compiled:
    raise ImportError("cpus.slab_debug is not built; run `make setup`")

PATHS = (
    "",
    "kmem_cache_alloc",
    "kmem_cache_free",
    "kmem_cache_shrink",
    "slabinfo_write",
    "do_tune_cpucache",
    "setup_kmem_cache_node",
    "drain_cpu_caches",
    "drain_array",
    "do_drain",
    "cache_reap",
    "cpuup_canceled",
    "kmem_cache_destroy",
    "cache_alloc_refill",
)


def slab_bug_begin(invariant, cachep, address, what):
    system = slab_root()
    trace(EV_BUG, cython.cast(cython.ulong, address))
    n = atomic_fetch_add(cython.address(system.nr_bugs), 1)
    if n >= MAX_SLAB_BUGS:
        return cython.cast(cython.pointer(slab_bug_record), cython.NULL)
    record = cython.address(system.bugs[n])
    memset(record, 0, cython.sizeof(slab_bug_record))
    record.invariant = invariant
    record.cpu = smp_processor_id()
    record.cache = cython.cast(cython.ulong, cachep)
    record.address = cython.cast(cython.ulong, address)
    record.found = -1
    strncpy(record.what, what, 31)
    note_event(cython.address(record.now))
    return record


def slab_bug(invariant, cachep, address, what):
    slab_bug_begin(invariant, cachep, address, what)


# --- shared arrays that were replaced ---------------------------------------------------------------


def note_replaced(cachep, node, old, objects):
    system = slab_root()
    n = atomic_fetch_add(cython.address(system.nr_replaced), 1)
    record = cython.address(system.replaced[n % MAX_REPLACED])
    record.array = cython.cast(cython.ulong, old)
    record.cache = cython.cast(cython.ulong, cachep)
    record.node = node
    record.objects = objects
    note_event(cython.address(record.when))


def find_replaced(ac):
    """The last time an array with this address was replaced; NULL if that is not remembered."""
    system = slab_root()
    found = cython.cast(cython.pointer(slab_replaced), cython.NULL)
    for i in range(MAX_REPLACED):
        record = cython.address(system.replaced[i])
        if record.array != cython.cast(cython.ulong, ac):
            continue
        if found == cython.NULL or record.when.cycles > found.when.cycles:
            found = record
    return found


def report_replaced(cachep, ac, what, objects, objp):
    record = slab_bug_begin(9 if objp == cython.NULL else 3, cachep, ac, what)
    if record == cython.NULL:
        return
    replaced = find_replaced(ac)
    if replaced != cython.NULL:
        record.other = replaced.when
    record.objects = objects
    strncpy(record.fix, "array left alone", 31)
    if objp != cython.NULL and cachep.flags & SLAB_DEBUG_FLAGS:
        info = object_info(cachep, objp)
        record.allocated = info.allocated
        record.freed = info.freed


def replaced_meanwhile(cachep, ac):
    """Called only for an array that is no longer the node's. Its memory may have been freed, or not yet; in the first
    case it holds poison, in the second the objects that are in their slabs already."""
    if ac.limit == FREED or ac.avail == FREED:
        report_replaced(cachep, ac, "shared array used after free", 0, cython.NULL)
        return True
    if cachep.flags & SLAB_CONSISTENCY_CHECKS == 0:
        return False
    twice: cython.long = 0
    first = cython.cast(cython.p_void, cython.NULL)
    for i in range(ac.avail if ac.avail < ac.limit else ac.limit):
        if free_in_slab(cachep, ac.entry[i]):
            if first == cython.NULL:
                first = ac.entry[i]
            twice += 1
    if twice == 0:
        # Freed, and something else by now.
        report_replaced(cachep, ac, "shared array used after free", 0, cython.NULL)
    else:
        report_replaced(cachep, ac, "objects freed twice", twice, first)
    return True


def free_in_slab(cachep, objp):
    offset = cython.cast(cython.ulong, objp) - cython.cast(cython.ulong, ram_base())
    if offset >= cython.cast(cython.ulong, segment().ram_pages * PAGE_SIZE):
        return False
    p = virt_to_head_page(objp)
    if p.flags & PG_SLAB == 0 or p.slab_cache != cachep:
        return True  # its slab has been given back
    if p.freelist == cython.NULL:
        return p.active == 0
    index = obj_to_index(cachep, p, objp)
    freelist = cython.cast(cython.p_uchar, p.freelist)
    for i in range(p.active, cachep.num):
        if freelist[i] == index:
            return True
    return False
