"""SLUB's state from Python, for tests and reports: what a cache's CPUs and nodes hold."""

import cython
from cython.cimports.cpus.mm_types import page_to_pfn, virt_to_head_page
from cython.cimports.cpus.slab_def import slab_root
from cython.cimports.cpus.slub_def import (
    cpu_slab_of,
    inuse_of,
    is_frozen,
    next_partial,
    objects_of,
    partial_objects,
    partial_pages,
    read_counters,
    slub_of,
)
from cython.cimports.ipc.memory import segment

if not cython.compiled:
    raise ImportError("cpus.slub_faces is not built; run `make setup`")


def cache_at(address):
    return cython.cast(cython.pointer(kmem_cache), address)


def state(address: int) -> dict:
    """Geometry, limits and counts of one cache."""
    cachep = cache_at(address)
    s = slub_of(cachep)
    allocs = frees = 0
    for cpu in range(-1, segment().nr_cpus):
        c = cpu_slab_of(cachep, cpu)
        allocs += c.allocs
        frees += c.frees
    info = {"object_size": cachep.object_size, "size": cachep.size, "align": cachep.align, "num": cachep.num}
    info |= {"gfporder": cachep.gfporder, "refcount": cachep.refcount, "offset": s.offset, "dead": s.dead}
    info |= {"cpu_partial": s.cpu_partial, "min_partial": s.min_partial, "allocs": allocs, "frees": frees}
    info |= {"min_order": s.min_order, "min_objects": s.min_objects, "rcu_pages": cachep.rcu_pages}
    return info


def cpu_slabs(address: int) -> list:
    """Of each possible CPU: page frame of its slab or -1, partial slabs, what they are said to have free, tid."""
    rows = []
    for cpu in range(segment().nr_cpus):
        c = cpu_slab_of(cache_at(address), cpu)
        pages: cython.long = 0
        p = c.partial
        while p != cython.NULL:
            pages += 1
            p = next_partial(p)
        row = {"page": -1 if c.page == cython.NULL else page_to_pfn(c.page), "partial": pages, "tid": c.tid}
        row |= {"pages": 0 if pages == 0 else partial_pages(c.partial)}
        row |= {"pobjects": 0 if pages == 0 else partial_objects(c.partial)}
        rows.append(row)
    return rows


def nodes(address: int) -> list:
    """Counters of each node of a cache."""
    rows = []
    for nid in range(slab_root().nr_nodes):
        n = slub_of(cache_at(address)).node[nid]
        rows.append({"nr_partial": n.nr_partial, "nr_slabs": n.nr_slabs, "total_objects": n.total_objects})
    return rows


def slab_of(obj: int) -> dict:
    """The slab that an object lies in."""
    p = virt_to_head_page(cython.cast(cython.p_void, cython.cast(cython.ulong, obj)))
    counters = read_counters(p)
    found = {"pfn": page_to_pfn(p), "nid": p.nid, "cache": cython.cast(cython.ulong, p.slab_cache)}
    return found | {"inuse": inuse_of(counters), "objects": objects_of(counters), "frozen": is_frozen(counters)}


def addresses(address: int) -> dict:
    """Where the state of a cache lies: what tests corrupt."""
    s = slub_of(cache_at(address))
    cpus = range(segment().nr_cpus)
    return {
        "state": cython.cast(cython.ulong, s),
        "cpu": [cython.cast(cython.ulong, cpu_slab_of(cache_at(address), cpu)) for cpu in cpus],
        "node": [cython.cast(cython.ulong, s.node[nid]) for nid in range(slab_root().nr_nodes)],
    }
