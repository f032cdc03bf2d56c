"""mm/slab.c and slub.c with debugging: what is done to the objects of a cache whose flags ask for it.

A debugged cache takes the slow path of kmem_cache_alloc() by a flag that is tested there anyway, and that of
kmem_cache_free() by a word that says that some free must look further; so the others pay nothing. What is found is
reported, put right, and the machine goes on, as with slub_debug.
"""

import cython
from cython.cimports.cpus.cpu import AREA_SLOW_FREE
from cython.cimports.cpus.mm_types import PG_SLAB, virt_to_head_page
from cython.cimports.cpus.slab_debug import (
    WHERE_ALLOC,
    WHERE_FREE,
    note_event,
    object_info,
    path_enter,
    path_leave,
    slab_bug_begin,
)
from cython.cimports.cpus.slab_def import (
    QUARANTINE_SLOTS,
    SLAB_DEBUG_FLAGS,
    SLAB_POISON,
    SLAB_QUARANTINE,
    SLAB_RED_ZONE,
    SLAB_STORE_USER,
    SLAB_TYPESAFE_BY_RCU,
    index_to_obj,
    slab_quarantine,
    slab_root,
)
from cython.cimports.ipc.atomic import atomic_fetch_add, cmpxchg, unlikely, write_once, xchg
from cython.cimports.ipc.histogram import ilog2
from cython.cimports.ipc.memory import PAGE_SIZE, POISON_FREE, heap_alloc, ram_base, segment
from cython.cimports.libc.string import memset, strcmp, strncpy

if not cython.compiled:
    raise ImportError("cpus.slab_check is not built; run `make setup`")


# --- layout ---------------------------------------------------------------------------------------


def debug_flags(cachep, flags):
    system = slab_root()
    if system.debug_cache[0] == 0 or strcmp(system.debug_cache, cachep.name) == 0:
        flags |= system.debug_flags
    if flags & SLAB_TYPESAFE_BY_RCU:  # readers may still look at a free object
        flags &= ~cython.cast(cython.ulong, SLAB_POISON | SLAB_QUARANTINE)
    size = cachep.object_size
    more = 2 * cachep.align + 16 + cython.cast(cython.long, cython.sizeof(slab_object_info))
    if size >= PAGE_SIZE and ilog2(cython.cast(cython.ulong, size - 1)) != ilog2(
        cython.cast(cython.ulong, size - 1 + more)
    ):
        flags &= ~cython.cast(cython.ulong, SLAB_DEBUG_FLAGS)
    return flags


def debug_layout(cachep, flags):
    at = cachep.object_size
    cachep.obj_offset = 0
    if flags & SLAB_RED_ZONE:
        cachep.obj_offset = cachep.align if cachep.align > 8 else 8
        at += cachep.obj_offset + 8
    cachep.info_offset = (at + 7) & ~cython.cast(cython.long, 7)
    if flags & SLAB_QUARANTINE and cachep.quarantine == cython.NULL:
        cachep.quarantine = cython.cast(
            cython.pointer(slab_quarantine), heap_alloc(cython.sizeof(slab_quarantine))
        )
        if cachep.quarantine == cython.NULL:
            return 0
    segment().area[AREA_SLOW_FREE] |= 2
    return cachep.info_offset + cython.cast(cython.long, cython.sizeof(slab_object_info))


# --- reports --------------------------------------------------------------------------------------


def object_bug(invariant, cachep, objp, address, what, fix):
    """Note what is wrong with an object, and the last that happened to it."""
    record = slab_bug_begin(invariant, cachep, address, what)
    if record == cython.NULL:
        return record
    strncpy(record.fix, fix, 31)
    if objp != cython.NULL and cachep.flags & SLAB_STORE_USER:
        info = object_info(cachep, objp)
        record.allocated = info.allocated
        record.freed = info.freed
    return record


def check_bytes(cachep, objp, at, count, wanted, what, fix):
    """Whether `count` bytes hold what they should; the first that does not is reported, and all are put right."""
    for i in range(count):
        if unlikely(at[i] != wanted):
            record = object_bug(12, cachep, objp, at + i, what, fix)
            if record != cython.NULL:
                record.found = at[i]
                record.wanted = wanted
            memset(at + i, wanted, count - i)
            return False
    return True


def red_zones(cachep, objp, wanted):
    if cachep.flags & SLAB_RED_ZONE == 0:
        return True
    start = cython.cast(cython.p_uchar, objp)
    end = cachep.obj_offset + cachep.object_size
    left = check_bytes(cachep, objp, start, cachep.obj_offset, wanted, "Left Redzone overwritten", "Restoring it")
    right = check_bytes(
        cachep, objp, start + end, cachep.info_offset - end, wanted, "Right Redzone overwritten", "Restoring it"
    )
    return left and right


def check_free_object(cachep, objp):
    """Nobody has written into it, nor beside it, since it was freed."""
    good = red_zones(cachep, objp, RED_FREE)
    if cachep.flags & SLAB_POISON == 0:
        return good
    body = cython.cast(cython.p_uchar, objp) + cachep.obj_offset
    last = cachep.object_size - 1
    if not check_bytes(cachep, objp, body, last, POISON_FREE, "Poison overwritten", "Restoring it"):
        body[last] = POISON_END
        return False
    return check_bytes(cachep, objp, body + last, 1, POISON_END, "Poison overwritten", "Restoring it") and good


def slab_of_object(cachep, objp, address):
    """The slab of an object that is freed; NULL, and reported, if it is none of this cache's objects."""
    offset = cython.cast(cython.ulong, objp) - cython.cast(cython.ulong, ram_base())
    none = cython.cast(cython.pointer(page), cython.NULL)
    if offset >= cython.cast(cython.ulong, segment().ram_pages * PAGE_SIZE):
        object_bug(3, cachep, cython.NULL, address, "Invalid object pointer", "Object not freed")
        return none
    p = virt_to_head_page(objp)
    if p.flags & PG_SLAB == 0:
        object_bug(3, cachep, cython.NULL, address, "Invalid object pointer", "Object not freed")
        return none
    if p.slab_cache != cachep:
        object_bug(3, cachep, cython.NULL, address, "freed to a foreign cache", "Object not freed")
        return none
    inside = cython.cast(cython.p_char, objp) - cython.cast(cython.p_char, p.s_mem)
    if inside < 0 or inside % cachep.size != 0 or inside // cachep.size >= cachep.num:
        object_bug(3, cachep, cython.NULL, address, "Invalid object pointer", "Object not freed")
        return none
    return p


# --- an object's life -----------------------------------------------------------------------------


def set_red_zones(cachep, objp, value):
    if cachep.flags & SLAB_RED_ZONE:
        start = cython.cast(cython.p_uchar, objp)
        end = cachep.obj_offset + cachep.object_size
        memset(start, value, cachep.obj_offset)
        memset(start + end, value, cachep.info_offset - end)


def poison(cachep, objp):
    if cachep.flags & SLAB_POISON:
        body = cython.cast(cython.p_uchar, objp) + cachep.obj_offset
        memset(body, POISON_FREE, cachep.object_size - 1)
        body[cachep.object_size - 1] = POISON_END


def init_object(cachep, objp):
    info = object_info(cachep, objp)
    memset(info, 0, cython.sizeof(slab_object_info))
    write_once(cython.address(info.state), OBJECT_FREE)
    set_red_zones(cachep, objp, RED_FREE)
    if cachep.ctor != cython.NULL and cachep.flags & SLAB_POISON == 0:
        cachep.ctor(cython.cast(cython.p_char, objp) + cachep.obj_offset)
    poison(cachep, objp)


def debug_alloc(cachep, objp):
    was = path_enter(WHERE_ALLOC)
    info = object_info(cachep, objp)
    if cmpxchg(cython.address(info.state), OBJECT_FREE, OBJECT_IN_USE) != OBJECT_FREE:
        record = object_bug(2, cachep, objp, objp, "handed out twice", "none")
        if record != cython.NULL:
            record.other = info.allocated
        write_once(cython.address(info.state), OBJECT_IN_USE)
    else:
        check_free_object(cachep, objp)
    set_red_zones(cachep, objp, RED_IN_USE)
    body = cython.cast(cython.p_char, objp) + cachep.obj_offset
    if cachep.flags & SLAB_POISON:
        memset(body, POISON_INUSE, cachep.object_size)
        if cachep.ctor != cython.NULL:
            cachep.ctor(body)
    note_event(cython.address(info.allocated))
    path_leave(was)
    return body


def debug_free(cachep, objp):
    held = cython.cast(cython.p_void, cython.cast(cython.p_char, objp) - cachep.obj_offset)
    was = path_enter(WHERE_FREE)
    result = cython.cast(cython.p_void, cython.NULL)
    if slab_of_object(cachep, held, objp) != cython.NULL:
        info = object_info(cachep, held)
        state = cmpxchg(cython.address(info.state), OBJECT_IN_USE, OBJECT_FREE)
        if state == OBJECT_FREE:
            record = object_bug(3, cachep, held, objp, "freed twice", "Object not freed")
            if record != cython.NULL:
                record.other = info.freed
        else:
            if state != OBJECT_IN_USE:
                object_bug(12, cachep, held, info, "Object info overwritten", "Restoring it")
                memset(info, 0, cython.sizeof(slab_object_info))
                write_once(cython.address(info.state), OBJECT_FREE)
            red_zones(cachep, held, RED_IN_USE)
            note_event(cython.address(info.freed))
            set_red_zones(cachep, held, RED_FREE)
            poison(cachep, held)
            result = held
    if result != cython.NULL and cachep.flags & SLAB_QUARANTINE:
        q = cachep.quarantine
        slot = atomic_fetch_add(cython.address(q.next), 1) % QUARANTINE_SLOTS
        result = cython.cast(
            cython.p_void,
            cython.cast(cython.ulong, xchg(cython.address(q.slot[slot]), cython.cast(cython.long, held))),
        )
        if result != cython.NULL:
            check_free_object(cachep, result)
    path_leave(was)
    return result


def quarantined(cachep):
    q = cachep.quarantine
    if q == cython.NULL:
        return cython.NULL
    for i in range(QUARANTINE_SLOTS):
        objp = xchg(cython.address(q.slot[i]), 0)
        if objp != 0:
            return cython.cast(cython.p_void, cython.cast(cython.ulong, objp))
    return cython.NULL


def note_put(cachep, objp):
    note_event(cython.address(object_info(cachep, objp).put))


def check_slab_gone(cachep, p):
    for i in range(cachep.num):
        check_free_object(cachep, index_to_obj(cachep, p, i))
