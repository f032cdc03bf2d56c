"""mm/slub.c: allocation and free of many objects at once."""

import cython
from cython.cimports.cpus.cpu import kernel_enter, kernel_exit
from cython.cimports.cpus.events import EV_FREE
from cython.cimports.cpus.mm_types import __GFP_ACCOUNT, NUMA_NO_NODE, PG_SLAB, virt_to_head_page
from cython.cimports.cpus.slab_def import SLAB_ACCOUNT, slab_root
from cython.cimports.cpus.slub import slab_alloc_node, slab_free, slub_free
from cython.cimports.cpus.slub_def import set_freepointer, slub_of
from cython.cimports.ipc.trace import trace

if not cython.compiled:
    raise ImportError("cpus.slub_bulk is not built; run `make setup`")


def slub_alloc_bulk(cachep, gfp, n, objects):
    """since v4.3, slub: support for bulk free with SLUB freelists (Brouer 2015); all or nothing."""
    was = kernel_enter()
    put = slab_root().memcg_put_cache
    accounted: cython.bint = put != cython.NULL and ((cachep.flags & SLAB_ACCOUNT) | (gfp & __GFP_ACCOUNT)) != 0
    if accounted:
        cachep = slab_root().memcg_get_cache(cachep)
    done: cython.long = 0
    while done < n:
        objects[done] = slab_alloc_node(cachep, gfp, NUMA_NO_NODE)
        if objects[done] == cython.NULL:
            break
        done += 1
    if done < n:
        slub_free_bulk(done, objects)
        done = 0
    if accounted:
        put(cachep)
    kernel_exit(was)
    return done


def slub_free_bulk(n, objects):
    """Neighbours of one slab are linked and freed as one (build_detached_freelist)."""
    was = kernel_enter()
    i: cython.long = 0
    while i < n:
        head = objects[i]
        p = virt_to_head_page(head)
        if p.flags & PG_SLAB == 0:
            slub_free(head)
            i += 1
            continue
        cachep = cython.cast(cython.pointer(kmem_cache), p.slab_cache)
        tail = head
        cnt: cython.long = 1
        trace(EV_FREE, cython.cast(cython.ulong, head))
        while i + cnt < n and virt_to_head_page(objects[i + cnt]) == p:
            trace(EV_FREE, cython.cast(cython.ulong, objects[i + cnt]))
            set_freepointer(slub_of(cachep), objects[i + cnt], head)
            head = objects[i + cnt]
            cnt += 1
        slab_free(cachep, p, head, tail, cnt)
        i += cnt
    kernel_exit(was)
