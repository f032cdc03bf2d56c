"""The checker of a replay on SLUB: what is handed out, cache by cache.

All page frames are looked at, since a full slab is on no list. An object of a slab can be in three places:
1. with its user
2. in the slab's own freelist
3. in the freelist of the CPU whose slab it is
A kmalloc() of more than 8 KiB is a block of pages of no cache; it stands under the address 0.
"""

import cython
from cython.cimports.cpus.mm_types import (
    PG_BUDDY,
    PG_SLAB,
    PG_SLAB_RCU,
    PG_TAIL,
    page,
    page_address,
    page_in_map,
    virt_to_head_page,
)
from cython.cimports.cpus.slab_def import cache_of_list, kmem_cache, memcg_root_cache, slab_root
from cython.cimports.cpus.slub_def import (
    KMALLOC_LARGE,
    cpu_slab_of,
    get_freepointer,
    objects_of,
    read_counters,
    slub_of,
)
from cython.cimports.ipc.memory import PAGE_SHIFT, map_base, ram_base, segment

if not cython.compiled:
    raise ImportError("workloads.replay_check_slub_loop is not built; run `make setup`")


FIGURES = ("allochit", "allocmiss", "freehit", "freemiss", "list_lock", "list_lock_contended", "slabs")


def is_large(p):
    return p.flags & (PG_SLAB | PG_TAIL | PG_BUDDY) == 0 and p.private == KMALLOC_LARGE


def chain(cachep, first, into):
    """Objects of one freelist into a set; how many, or -1 for a list that leads out of RAM or in a circle."""
    count: cython.long = 0
    obj = first
    while obj != cython.NULL:
        offset = cython.cast(cython.ulong, obj) - cython.cast(cython.ulong, ram_base())
        if offset >= cython.cast(cython.ulong, segment().ram_pages) << PAGE_SHIFT or count > 32768:
            return -1
        into.add(cython.cast(cython.ulong, obj))
        count += 1
        obj = get_freepointer(slub_of(cachep), obj)
    return count


def walk() -> tuple:
    """(root cache -> objects with users, addresses of all free objects); ValueError for a torn freelist."""
    found: dict = {}
    free: set = set()
    system = slab_root()
    each = system.slab_caches.next
    while each != cython.address(system.slab_caches):
        s = cache_of_list(each)
        root = cython.cast(cython.ulong, memcg_root_cache(s))
        found.setdefault(root, 0)
        for id in range(segment().nr_cpus):
            got = chain(s, cpu_slab_of(s, id).freelist, free)
            if got < 0:
                name: bytes = s.name
                raise ValueError(f"cache {name.decode()}: the freelist of CPU {id} is torn")
            found[root] -= got
        each = each.next
    found[0] = 0
    # As far as there are struct pages; those of frames that were never used are zero.
    for pfn in range(min(segment().map_end // cython.sizeof(page), segment().ram_pages)):
        p = cython.cast(cython.pointer(page), cython.cast(cython.ulong, map_base() + pfn * cython.sizeof(page)))
        if is_large(p):
            found[0] += 1
        if p.flags & PG_SLAB == 0 or p.flags & (PG_TAIL | PG_SLAB_RCU):
            continue
        owner = cython.cast(cython.pointer(kmem_cache), p.slab_cache)
        own = chain(owner, p.freelist, free)
        if own < 0:
            raise ValueError(f"the slab at page frame {pfn}: its freelist is torn")
        key = cython.cast(cython.ulong, memcg_root_cache(owner))
        found[key] = found.get(key, 0) + objects_of(read_counters(p)) - own
    return found, free


def holdings() -> dict:
    """Root cache (its address) -> objects of it and of its children that users have."""
    return walk()[0]


def free_objects() -> set:
    """Addresses of all objects in freelists."""
    return walk()[1]


def slub_holds(root, obj):
    """An object of this cache, or of a child of it, begins there; whether it is free is another question."""
    offset = cython.cast(cython.ulong, obj) - cython.cast(cython.ulong, ram_base())
    if offset >= cython.cast(cython.ulong, segment().ram_pages) << PAGE_SHIFT:
        return False
    p = virt_to_head_page(obj)
    if not page_in_map(p):
        return False
    if root == cython.NULL:
        return is_large(p) and page_address(p) == obj
    if p.flags & PG_SLAB == 0 or p.slab_cache == cython.NULL:
        return False
    s = cython.cast(cython.pointer(kmem_cache), p.slab_cache)
    if memcg_root_cache(s) != root:
        return False
    at = cython.cast(cython.long, cython.cast(cython.p_char, obj) - cython.cast(cython.p_char, page_address(p)))
    return at >= 0 and at % s.size == 0 and at // s.size < objects_of(read_counters(p))


def add_figures(found, s, counts):
    """What was counted for a cache (FIGURES), to the row of its root; `found` is by the root's address."""
    root = memcg_root_cache(s)
    name: bytes = root.name
    key = cython.cast(cython.ulong, root)
    row = found.setdefault(key, {"address": key, "name": name.decode(), "children": 0} | dict.fromkeys(FIGURES, 0))
    row["children"] += root != s
    for what, value in zip(FIGURES, counts, strict=True):
        row[what] += value


def cache_figures() -> list:
    """Per root cache, children included: hits of the CPUs' freelists, locks, slabs."""
    found: dict = {}
    system = slab_root()
    found[0] = {"address": 0, "name": "kmalloc, whole pages", "children": 0} | dict.fromkeys(FIGURES, 0)
    each = system.slab_caches.next
    while each != cython.address(system.slab_caches):
        s = cache_of_list(each)
        counts = [0, 0, 0, 0]
        for id in range(segment().nr_cpus):
            c = cpu_slab_of(s, id)
            one = (c.allocs - c.alloc_slow, c.alloc_slow, c.frees - c.free_slow, c.free_slow)
            counts = [a + b for a, b in zip(counts, one, strict=True)]
        acquisitions = contended = slabs = 0
        for nid in range(system.nr_nodes):
            n = slub_of(s).node[nid]
            slabs += n.nr_slabs
            if n.list_lock.detail != cython.NULL:
                acquisitions += n.list_lock.detail.acquisitions
                contended += n.list_lock.detail.contended
        add_figures(found, s, [*counts, acquisitions, contended, slabs])
        each = each.next
    return list(found.values())
