"""The slab allocator from Python, for bodies and tests: caches and objects are addresses, errors negative numbers.

Calls act as the context that the process is: a CPU inside a body, the coordinator outside.
"""

import cython
from cython.cimports.cpus import mm_types
from cython.cimports.cpus.mm_types import page_to_pfn, virt_to_head_page
from cython.cimports.cpus.slab import (
    kfree,
    kmalloc,
    kmem_cache_alloc,
    kmem_cache_alloc_bulk,
    kmem_cache_alloc_node,
    kmem_cache_free,
    kmem_cache_free_bulk,
)
from cython.cimports.cpus.slab_common import kmem_cache_create, kmem_cache_destroy, kmem_cache_shrink, slabinfo_write
from cython.cimports.cpus.slab_def import (
    CFLGS_OBJFREELIST_SLAB,
    CFLGS_OFF_SLAB,
    MAX_SLAB_BUGS,
    cache_of_list,
    cpu_cache_of,
    slab_ctor_t,
    slab_root,
)
from cython.cimports.ipc.cpumask import cpumask_clear_cpu, cpumask_set_cpu
from cython.cimports.ipc.memory import heap_alloc, heap_free, segment
from cython.cimports.ipc.processor import private, processor_of, this_processor

from cpus import slub_faces

if not cython.compiled:
    raise ImportError("cpus.slab_faces is not built; run `make setup`")

GFP_KERNEL = mm_types.GFP_KERNEL
GFP_ATOMIC = mm_types.GFP_ATOMIC
GFP_THISNODE = mm_types.__GFP_THISNODE
GFP_ZERO = mm_types.__GFP_ZERO


def cache_at(address):
    return cython.cast(cython.pointer(kmem_cache), address)


def object_at(address):
    return cython.cast(cython.p_void, address)


def count_constructed(objp):
    """A constructor for tests: it adds one to the object's first byte, so that running it twice shows."""
    cython.cast(cython.p_uchar, objp)[0] += 1


# --- caches ---------------------------------------------------------------------------------------


def create_cache(name: str, size: int, align: int = 0, flags: int = 0, ctor: bool = False) -> int:
    """kmem_cache_create(): the cache's address, or a negative errno."""
    text: bytes = name.encode()
    chars: cython.p_char = text
    error: cython.long = 0
    bytes_: cython.long = size
    alignment: cython.long = align
    bits: cython.ulong = flags
    constructor: slab_ctor_t = count_constructed
    if not ctor:
        constructor = cython.cast(slab_ctor_t, cython.NULL)
    with cython.nogil:
        cachep = kmem_cache_create(chars, bytes_, alignment, bits, constructor, cython.address(error))
    return cython.cast(cython.ulong, cachep) if cachep != cython.NULL else error


def destroy_cache(address: int) -> int:
    """kmem_cache_destroy(): 0, or -EBUSY."""
    cachep = cache_at(address)
    with cython.nogil:
        error = kmem_cache_destroy(cachep)
    return error


def shrink_cache(address: int) -> int:
    """kmem_cache_shrink(): 1 if slabs with objects are left."""
    cachep = cache_at(address)
    with cython.nogil:
        left = kmem_cache_shrink(cachep)
    return left


def write_slabinfo(line: str) -> int:
    """Write to /proc/slabinfo: the length, or a negative errno."""
    text: bytes = line.encode()
    chars: cython.p_char = text
    length: cython.long = len(text)
    with cython.nogil:
        done = slabinfo_write(chars, length)
    return done


def caches() -> list:
    """(address, name) of every cache, memcg children included."""
    system = slab_root()
    found = []
    each = system.slab_caches.next
    while each != cython.address(system.slab_caches):
        s = cache_of_list(each)
        name: bytes = s.name
        found.append((cython.cast(cython.ulong, s), name.decode()))
        each = each.next
    return found


def find_cache(name: str) -> int:
    """The address of a cache, or 0."""
    for address, found in caches():
        if found == name:
            return address
    return 0


def cache_info(address: int) -> dict:
    """Geometry, tunables and counts of one cache."""
    s = cache_at(address)
    if s.slub != cython.NULL:
        return slub_faces.state(address)
    placement = "on-slab"
    if s.flags & CFLGS_OFF_SLAB:
        placement = "off-slab"
    elif s.flags & CFLGS_OBJFREELIST_SLAB:
        placement = "objfreelist"
    counts = [s.allochit, s.allocmiss, s.allocfail, s.freehit, s.freemiss, s.old_node_frees + s.node_frees]
    for cpu in range(segment().nr_cpus):
        ac = cpu_cache_of(s, cpu)
        one = (ac.allochit, ac.allocmiss, ac.allocfail, ac.freehit, ac.freemiss, ac.node_frees)
        counts = [a + b for a, b in zip(counts, one, strict=True)]
    info = dict(zip(("allochit", "allocmiss", "allocfail", "freehit", "freemiss", "node_frees"), counts, strict=True))
    info |= {"object_size": s.object_size, "size": s.size, "align": s.align, "num": s.num, "gfporder": s.gfporder}
    info |= {"colour": s.colour, "colour_off": s.colour_off, "placement": placement, "refcount": s.refcount}
    info |= {"limit": s.limit, "batchcount": s.batchcount, "shared": s.shared}
    return info


def cpu_arrays(address: int) -> list:
    """(avail, limit, batchcount, touched) of each possible CPU's array."""
    s = cache_at(address)
    arrays = []
    for cpu in range(segment().nr_cpus):
        ac = cpu_cache_of(s, cpu)
        arrays.append((ac.avail, ac.limit, ac.batchcount, ac.touched))
    return arrays


def nodes(address: int) -> list:
    """State of each node of a cache."""
    s = cache_at(address)
    rows = []
    for nid in range(slab_root().nr_nodes):
        n = s.node[nid]
        row = {"total_slabs": n.total_slabs, "free_slabs": n.free_slabs, "free_objects": n.free_objects}
        row |= {"free_limit": n.free_limit, "colour_next": n.colour_next, "free_touched": n.free_touched}
        row |= {"grown": n.grown, "reaped": n.reaped, "alien": cython.cast(cython.ulong, n.alien)}
        row["shared"] = -1 if n.shared == cython.NULL else n.shared.avail
        row["shared_limit"] = 0 if n.shared == cython.NULL else n.shared.limit
        rows.append(row)
    return rows


def slab_of(obj: int) -> dict:
    """The slab that an object lies in."""
    p = virt_to_head_page(object_at(obj))
    return {"pfn": page_to_pfn(p), "nid": p.nid, "active": p.active, "cache": cython.cast(cython.ulong, p.slab_cache)}


def bugs() -> list:
    """What the allocator itself found broken: (invariant, cpu, cache, address, what); at most the first few."""
    system = slab_root()
    found = []
    for i in range(min(system.nr_bugs, MAX_SLAB_BUGS)):
        record = system.bugs[i]
        what: bytes = record.what
        found.append((record.invariant, record.cpu, record.cache, record.address, what.decode()))
    return found


# --- objects --------------------------------------------------------------------------------------


def alloc(address: int, gfp: int = GFP_KERNEL) -> int:
    """kmem_cache_alloc(): the object's address, or 0."""
    return cython.cast(cython.ulong, kmem_cache_alloc(cache_at(address), gfp))


def alloc_node(address: int, node: int, gfp: int = GFP_KERNEL) -> int:
    """kmem_cache_alloc_node(): the object's address, or 0."""
    return cython.cast(cython.ulong, kmem_cache_alloc_node(cache_at(address), gfp, node))


def free(address: int, obj: int) -> None:
    """kmem_cache_free()"""
    kmem_cache_free(cache_at(address), object_at(obj))


def alloc_bulk(address: int, count: int, gfp: int = GFP_KERNEL) -> list:
    """kmem_cache_alloc_bulk(): all objects, or none."""
    block = cython.cast(cython.pointer(cython.p_void), heap_alloc(count * 8 + 8))
    if block == cython.NULL:
        return []
    done = kmem_cache_alloc_bulk(cache_at(address), gfp, count, block)
    objects = []
    for i in range(done):
        objects.append(cython.cast(cython.ulong, block[i]))
    heap_free(block)
    return objects


def free_bulk(address: int, objects: list) -> None:
    """kmem_cache_free_bulk(); address 0: each object's own cache."""
    count: cython.long = len(objects)
    block = cython.cast(cython.pointer(cython.p_void), heap_alloc(count * 8 + 8))
    if block == cython.NULL:
        raise MemoryError("the segment is full")
    for i in range(count):
        block[i] = object_at(objects[i])
    kmem_cache_free_bulk(cache_at(address), count, block)
    heap_free(block)


def malloc(size: int, gfp: int = GFP_KERNEL) -> int:
    """kmalloc(): the address, 0, or 16 for a size of 0."""
    return cython.cast(cython.ulong, kmalloc(size, gfp))


def caches_ready() -> bool:
    """Whether the allocator has been started."""
    return slab_root() != cython.NULL


def mfree(obj: int) -> None:
    """kfree()"""
    kfree(object_at(obj))


# --- contexts, for tests in one process -----------------------------------------------------------


def become(cpu: int) -> int:
    """Make this process act as another context (-1: the coordinator); the one it was before.

    For tests without CPU processes. Nobody answers interrupts then, so no other CPU may be online.
    """
    before = this_processor().id
    private().this_processor = processor_of(cpu)
    return before


def set_online(cpu: int, online: bool) -> None:
    """Put a CPU into the mask of those that are online, or take it out. For tests in one process: see become()."""
    if online:
        cpumask_set_cpu(cpu, cython.address(segment().online))
    else:
        cpumask_clear_cpu(cpu, cython.address(segment().online))


def peek(address: int, length: int) -> bytes:
    """Bytes of the segment."""
    return cython.cast(cython.p_char, object_at(address))[:length]


def poke(address: int, text: bytes) -> None:
    """Overwrite bytes of the segment: how tests plant corruption."""
    target = cython.cast(cython.p_char, object_at(address))
    for i in range(len(text)):
        target[i] = text[i]
