"""The checker of a replay: what is handed out, cache by cache, and whether each object that should live does.

An object of a slab can be in four places:
1. with its user
2. in the slab's freelist, at or behind `active`
3. in a CPU's array
4. in the shared or an alien array of a node
So a cache's users have: `active` of all its slabs, less what lies in arrays. An off-slab freelist is itself an object.
"""

import cython
from cython.cimports.cpus.mm_types import (
    PG_BUDDY,
    PG_PCP,
    PG_SLAB,
    compound_head,
    page,
    page_in_map,
    virt_to_head_page,
)
from cython.cimports.cpus.slab_def import (
    CFLGS_OFF_SLAB,
    QUARANTINE_SLOTS,
    cache_of_list,
    cpu_cache_of,
    kmem_cache,
    memcg_root_cache,
    slab_root,
)
from cython.cimports.cpus.slub_def import slub_enabled
from cython.cimports.ipc.memory import PAGE_SHIFT, ram_base, segment
from cython.cimports.workloads.replay_check_slub_loop import add_figures, slub_holds
from cython.cimports.workloads.replay_loop import the_replay

from workloads import replay_check_slub_loop

if not cython.compiled:
    raise ImportError("workloads.replay_check_loop is not built; run `make setup`")


def slabs_on(head, cachep, slabs):
    out: cython.long = 0
    each = head.next
    for _ in range(MAX_LIST):
        if each == head:
            return out
        p = cython.cast(cython.pointer(page), each)
        if not page_in_map(p) or p.slab_cache != cachep or p.active > cachep.num:
            return -1
        out += p.active
        slabs[0] += 1
        each = each.next
    return -1


def add_array(ac, into):
    for i in range(ac.avail):
        into.add(cython.cast(cython.ulong, ac.entry[i]))


def parked() -> set:
    """Addresses of all objects that lie in arrays, or are kept back from reuse, as arrays hold them."""
    found: set = set()
    system = slab_root()
    each = system.slab_caches.next
    while each != cython.address(system.slab_caches):
        s = cache_of_list(each)
        for id in range(segment().nr_cpus):
            add_array(cpu_cache_of(s, id), found)
        if s.quarantine != cython.NULL:
            for i in range(QUARANTINE_SLOTS):
                if s.quarantine.slot[i] != 0:
                    found.add(cython.cast(cython.ulong, s.quarantine.slot[i]))
        for nid in range(system.nr_nodes):
            n = s.node[nid]
            if n.shared != cython.NULL:
                add_array(n.shared, found)
            # Before v4.7 a machine of one node had a bad pointer there, on purpose.
            if system.nr_nodes > 1 and n.alien != cython.NULL:
                for other in range(system.nr_nodes):
                    if n.alien[other] != cython.NULL:
                        add_array(cython.address(n.alien[other].ac), found)
        each = each.next
    return found


def holdings() -> dict:
    """Root cache (its address) -> objects of it and of its children that users have; raises ValueError for a torn list.

    Every object in an array is subtracted one by one, from the cache that its page names.
    """
    if slub_enabled():
        return replay_check_slub_loop.holdings()
    found: dict = {}
    system = slab_root()
    each = system.slab_caches.next
    while each != cython.address(system.slab_caches):
        s = cache_of_list(each)
        root = cython.cast(cython.ulong, memcg_root_cache(s))
        for nid in range(system.nr_nodes):
            n = s.node[nid]
            slabs: cython.long = 0
            lists = (0, 1, 2)
            for which in lists:
                head = cython.address(n.slabs_partial)
                if which == 1:
                    head = cython.address(n.slabs_full)
                elif which == 2:
                    head = cython.address(n.slabs_free)
                out = slabs_on(head, s, cython.address(slabs))
                if out < 0:
                    name: bytes = s.name
                    raise ValueError(f"cache {name.decode()}, node {nid}: a list of slabs is torn")
                found[root] = found.get(root, 0) + out
            if s.flags & CFLGS_OFF_SLAB:
                manager = cython.cast(cython.ulong, memcg_root_cache(s.freelist_cache))
                found[manager] = found.get(manager, 0) - slabs
        each = each.next
    for address in parked():
        obj: cython.ulong = address
        s = cython.cast(cython.pointer(kmem_cache), virt_to_head_page(cython.cast(cython.p_void, obj)).slab_cache)
        root = cython.cast(cython.ulong, memcg_root_cache(s))
        found[root] = found.get(root, 0) - 1
    return found


def slab_holds(root, obj):
    """The object lies where an object of this cache, or of a child of it, begins, and its slab has it handed out."""
    offset = cython.cast(cython.ulong, obj) - cython.cast(cython.ulong, ram_base())
    if offset >= cython.cast(cython.ulong, segment().ram_pages) << PAGE_SHIFT:
        return False
    p = virt_to_head_page(obj)
    if not page_in_map(p) or p.flags & PG_SLAB == 0 or p.slab_cache == cython.NULL:
        return False
    s = cython.cast(cython.pointer(kmem_cache), p.slab_cache)
    if memcg_root_cache(s) != root:
        return False
    at = cython.cast(cython.long, cython.cast(cython.p_char, obj) - cython.cast(cython.p_char, p.s_mem)) - s.obj_offset
    if at < 0 or at % s.size != 0 or at // s.size >= s.num:
        return False
    for i in range(p.active, s.num):
        if cython.cast(cython.p_uchar, p.freelist)[i] == at // s.size:
            return False
    return True


def kind_cache(which: int, kmalloc: list) -> int:
    """The root cache of a kind."""
    r = the_replay()
    index: cython.long = which
    address = cython.cast(cython.ulong, r.kinds[index].cache)
    return address if address else kmalloc[index]


def kmalloc_caches() -> list:
    """Address of every kmalloc cache, by its index."""
    return [cython.cast(cython.ulong, slab_root().kmalloc_caches[i]) for i in range(24)]


def live_slots(parser) -> dict:
    """Hold every slot's object against memory. parser: the TraceParser, for what each slot is.

    {kinds: {kind: objects}, pages: blocks, bad: [text]}; an object counts if it is where the trace says it is.
    """
    r = the_replay()
    slub: cython.bint = slub_enabled()
    arrays = replay_check_slub_loop.free_objects() if slub else parked()
    kmalloc = kmalloc_caches()
    seen: set = set()
    kinds: dict = {}
    pages = 0
    bad: list = []
    for i in range(r.nr_slots):
        obj = r.slots[i].object
        if obj == cython.NULL:
            continue
        address = cython.cast(cython.ulong, obj)
        info = parser.slot(i)
        which = info["kind"]
        twice = address in seen
        seen.add(address)
        if info["page"]:
            p = cython.cast(cython.pointer(page), obj)
            sound: cython.bint = page_in_map(p) and p.flags & (PG_BUDDY | PG_SLAB | PG_PCP) == 0
            if sound and not twice and compound_head(p) == p and p.order == which:
                pages += 1
            else:
                bad.append(f"slot {i}: the pages at {address:#x} are not allocated, or not with order {which}")
            continue
        root: cython.ulong = kind_cache(which, kmalloc)
        stamped: cython.bint = r.kinds[which].size < 8
        holder = cython.cast(cython.pointer(kmem_cache), root)
        good: cython.bint = slub_holds(holder, obj) if slub else slab_holds(holder, obj)
        held: cython.ulong = address
        if good:
            held -= cython.cast(cython.pointer(kmem_cache), virt_to_head_page(obj).slab_cache).obj_offset
        if good and not stamped:
            stamped = cython.cast(cython.p_ulong, obj)[0] == i
        if good and stamped and not twice and held not in arrays:
            kinds[which] = kinds.get(which, 0) + 1
        else:
            bad.append(f"slot {i}: the object at {address:#x} is not allocated, not its kind's, or was overwritten")
    return {"kinds": kinds, "pages": pages, "bad": bad}


def cache_figures() -> list:
    """Per root cache, children included, what its arrays, slabs and locks counted, for the report."""
    if slub_enabled():
        return replay_check_slub_loop.cache_figures()
    found: dict = {}
    system = slab_root()
    each = system.slab_caches.next
    while each != cython.address(system.slab_caches):
        s = cache_of_list(each)
        counts = [s.allochit, s.allocmiss, s.freehit, s.freemiss]
        for id in range(segment().nr_cpus):
            ac = cpu_cache_of(s, id)
            each_cpu = (ac.allochit, ac.allocmiss, ac.freehit, ac.freemiss)
            counts = [a + b for a, b in zip(counts, each_cpu, strict=True)]
        acquisitions = contended = slabs = 0
        for nid in range(system.nr_nodes):
            n = s.node[nid]
            slabs += n.total_slabs
            if n.list_lock.detail != cython.NULL:
                acquisitions += n.list_lock.detail.acquisitions
                contended += n.list_lock.detail.contended
        add_figures(found, s, [*counts, acquisitions, contended, slabs])
        each = each.next
    return list(found.values())
