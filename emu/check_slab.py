"""Invariants of the slab allocator: caches, their nodes' lists, arrays, and every object of every slab.

Where an object can be (I1). Each of a slab's objects is in exactly one of these:
 1. free in its slab: its index is in the freelist, at `active` or behind it; also of a slab that waits for RCU
 2. in the array of one CPU (kmem_cache.cpu_cache)
 3. in the shared array of its node (kmem_cache_node.shared)
 4. in an alien cache of another node (kmem_cache_node.alien), on its way home
 5. handed out: to a user, or to the kernel itself as another cache's off-slab freelist; nothing points to it, so this
    is what is left over, and must agree with the counters of allocations and frees (I5)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cpus.layout import CONSTANTS, STRUCTS
from emu.check_arrays import Arrays, read_arrays
from emu.check_debug import check_debugged
from emu.check_pages import BUDDY, SLAB, SLAB_RCU, Pages, follow_lists
from emu.raw_memory import RAM, Mask, RawMemory, Structs, Words, offset
from emu.slab_report import cache_name, report
from emu.validate import Findings

MOST = CONSTANTS["SLAB_OBJ_MAX_NUM"] + 1
KINDS = ("slabs_partial", "slabs_full", "slabs_free")
PARTIAL, FULL, FREE = range(3)
OFF_SLAB = CONSTANTS["CFLGS_OFF_SLAB"]


@dataclass
class Slabs:
    """What was read, for the checks that follow."""

    pages: Pages
    caches: Words  # addresses
    table: Structs  # struct kmem_cache of each
    names: list[str]
    nodes: Words  # [cache, node] address of struct kmem_cache_node, 0 where it is not sound
    buddy_pages: Words = field(default_factory=lambda: np.zeros(0, np.int64))
    buddy_lists: Words = field(default_factory=lambda: np.zeros(0, np.int64))

    def name(self, cache: int) -> str:
        """A cache's name."""
        return self.names[int(cache)]

    def index_of(self, addresses: Words) -> Words:
        """Which cache each address is; -1 for none."""
        order = np.argsort(self.caches)
        ordered = self.caches[order]
        if not len(ordered):
            return np.full(len(addresses), -1)
        slot = np.searchsorted(ordered, addresses).clip(max=len(ordered) - 1)
        found: Words = np.where(ordered[slot] == addresses, order[slot], -1)
        return found


def check_slab(raw: RawMemory, findings: Findings) -> Slabs | None:
    """I1, I3, I4, I5, I9 of SLAB; None if the machine has no slab allocator yet."""
    root = raw.root("AREA_SLAB")
    if root == 0:
        return None
    system = raw.structs("slab_system", np.array([root]))[0]
    report_bugs(raw, findings, system)
    slabs = _read_caches(raw, findings, root)
    on_list = _check_lists(raw, findings, slabs)
    arrays = read_arrays(raw, findings, slabs, root)
    free = _check_objects(raw, findings, slabs, arrays, on_list)
    check_debugged(raw, findings, slabs, free, MOST)
    return slabs


def report_bugs(raw: RawMemory, findings: Findings, system: Any) -> None:
    """What the allocator itself has noticed."""
    count = int(system["nr_bugs"])
    per_us, boot = int(raw.header["cycles_per_us"]), int(raw.header["boot_cycles"])
    for bug in system["bugs"][: min(count, len(system["bugs"]))]:
        findings.add(f"I{bug['invariant']}", str(report(bug, cache_name(raw, int(bug["cache"])), per_us, boot)))
    if count > len(system["bugs"]):
        findings.add("I3", f"{count - len(system['bugs'])} more found by the allocator itself")


def _read_caches(raw: RawMemory, findings: Findings, root: int) -> Slabs:
    """Walk slab_caches, bounded by what the heap can hold, and read every cache and its node pointers."""
    link = offset("kmem_cache", "list")
    head = root + offset("slab_system", "slab_caches")
    most = int(raw.header["heap_used"]) // STRUCTS["kmem_cache"].size + 1
    found: list[int] = []
    before, entry = head, raw.word(head)
    while entry != head and len(found) <= most:
        at = np.array([entry - link])
        if not raw.in_heap(at, STRUCTS["kmem_cache"].size)[0] or not raw.is_block(at)[0]:
            findings.add("I9", f"slab_caches: entry {len(found)} points to {entry:#x}, which is no allocated cache")
            break
        if raw.word(entry + 8) != before:
            findings.add("I4", f"slab_caches: the cache at {entry - link:#x} does not point back to the one before it")
        found.append(entry - link)
        before, entry = entry, raw.word(entry)
    if len(found) > most:
        findings.add("I4", "slab_caches: a cycle")
        found = list(dict.fromkeys(found))
    counted = raw.word(root + offset("slab_system", "nr_caches"))
    if counted != len(found):
        findings.add("I4", f"slab_caches: {len(found)} caches on the list, {counted} counted")
    caches = np.array(found, dtype=np.int64)
    table = raw.structs("kmem_cache", caches)
    names = [bytes(name).decode(errors="replace") for name in table["name"]]
    odd = (table["num"] < 1) | (table["num"] >= MOST) | (table["size"] < 1) | (table["gfporder"] >> 4 != 0)
    findings.add_each("I4", np.flatnonzero(odd), lambda c: f"{names[c]}: its geometry is senseless")
    nodes = _read_nodes(raw, findings, caches, table, names)
    return Slabs(Pages(raw), caches, table, names, nodes)


def _read_nodes(raw: RawMemory, findings: Findings, caches: Words, table: Structs, names: list[str]) -> Words:
    cpus, count = int(raw.header["nr_cpus"]), int(raw.header["nr_nodes"])
    at = caches + offset("kmem_cache", "cpu_cache") + 8 * (cpus + 1)
    moved = np.flatnonzero(table["node"].astype(np.int64) != at)
    findings.add_each("I4", moved, lambda c: f"{names[c]}: its table of nodes is not where it was made")
    nodes = raw.gather(at, count)
    good = raw.is_block(nodes.reshape(-1)).reshape(nodes.shape)
    for cache, node in zip(*np.nonzero(~good), strict=True):
        findings.add("I9", f"{names[cache]}: node {node} points to {nodes[cache, node]:#x}, which is not allocated")
    return np.where(good, nodes, 0)


# --- lists ----------------------------------------------------------------------------------------


def _check_lists(raw: RawMemory, findings: Findings, slabs: Slabs) -> Words:
    """Each slab is on the list that fits it, and the lists are as long as counted. Per page: [cache, node, kind] as
    one number, or -1."""
    pages = slabs.pages
    waits = pages.flags & SLAB_RCU != 0
    linked = np.flatnonzero(pages.used & ((pages.flags & SLAB != 0) & ~waits | (pages.flags & BUDDY != 0)))
    cache, node = np.nonzero(slabs.nodes)
    at = slabs.nodes[cache, node]
    heads = np.concatenate([at[:, None] + [offset("kmem_cache_node", kind) for kind in KINDS]]).reshape(-1)
    owner = ((cache[:, None] * pages.nr_nodes + node[:, None]) * 3 + np.arange(3)).reshape(-1)
    buddy = pages.lists()
    found = follow_lists(raw, findings, pages, linked, np.concatenate([heads, buddy]))
    is_slab = pages.flags[linked] & SLAB != 0
    slabs.buddy_pages = linked[~is_slab]
    slabs.buddy_lists = np.where(found >= len(heads), found - len(heads), -1)[~is_slab]
    on_list = np.full(pages.limit, -1)
    good = is_slab & (found >= 0) & (found < len(heads))
    on_list[linked[good]] = owner[found[good]]
    lost = linked[is_slab & ~good]
    findings.add_each("I1", lost, lambda pfn: f"slab at page frame {pfn}: on no list of any cache")
    _check_slabs(findings, slabs, on_list)
    _check_counts(raw, findings, slabs, on_list, at, cache, node)
    return on_list


def _check_slabs(findings: Findings, slabs: Slabs, on_list: Words) -> None:
    """Each slab against its cache and its list."""
    pages = slabs.pages
    pfn = np.flatnonzero(on_list >= 0)
    own = on_list[pfn]
    cache, node, kind = own // 3 // pages.nr_nodes, own // 3 % pages.nr_nodes, own % 3
    page = pages.table[pfn]
    table = slabs.table[cache]
    active, num = page["active"].astype(np.int64), table["num"]

    def report(invariant: str, bad: Mask, text: str) -> None:
        where = np.flatnonzero(bad)
        findings.add_each(invariant, where, lambda i: f"slab of {slabs.name(cache[i])} at page frame {pfn[i]}: {text}")

    report("I1", page["slab_cache"].astype(np.int64) != slabs.caches[cache], "on this cache's list, but another's")
    report("I4", page["nid"] != node, "on the list of a node that its pages do not belong to")
    report("I4", active > num, "more objects handed out than it has")
    report("I4", (kind == FULL) & (active < num), "on the full list, but it has free objects")
    report("I4", (kind == FREE) & (active != 0), "on the free list, but objects are handed out")
    report("I4", (kind == PARTIAL) & ((active == 0) | (active >= num)), "on the partial list, but full or empty")
    report("I4", page["order"] != table["gfporder"], "of another order than its cache's slabs")
    start = RAM + 4096 * pfn
    first = page["s_mem"].astype(np.int64) - start
    room = (np.int64(4096) << table["gfporder"].clip(0, 10)) - num * table["size"]
    report("I4", (first < 0) | (first > room) | (first % table["colour_off"].clip(1) != 0), "its first object is off")


def _check_counts(
    raw: RawMemory, findings: Findings, slabs: Slabs, on_list: Words, at: Words, cache: Words, node: Words
) -> None:
    """The nodes' counters against what is on their lists, and RCU's pages against their caches' count."""
    pages = slabs.pages
    size = len(slabs.caches) * pages.nr_nodes
    own = on_list[on_list >= 0]
    lengths = np.bincount(own, minlength=size * 3).reshape(-1, 3)
    pfn = np.flatnonzero(on_list >= 0)
    free = slabs.table["num"][own // 3 // pages.nr_nodes] - pages.table["active"][pfn].astype(np.int64)
    free_objects = np.bincount(own // 3, weights=free, minlength=size).astype(np.int64)
    slot = cache * pages.nr_nodes + node
    n = raw.structs("kmem_cache_node", at)
    facts: tuple[tuple[str, Words, Words], ...] = (
        ("total_slabs", lengths[slot].sum(axis=1), n["total_slabs"]),
        ("free_slabs", lengths[slot, FREE], n["free_slabs"]),
        ("free_objects", free_objects[slot], n["free_objects"]),
        ("grown - reaped", n["grown"] - n["reaped"], n["total_slabs"]),
    )
    for what, real, counted in facts:
        wrong = np.flatnonzero(real != counted)
        findings.add_each(
            "I4" if what != "free_objects" else "I1",
            wrong,
            lambda i, what=what, real=real, counted=counted: (  # type: ignore[misc]
                f"{slabs.name(int(cache[i]))}, node {node[i]}: {what} is {counted[i]}, but {real[i]} were found"
            ),
        )
    waiting = np.flatnonzero(pages.used & (pages.flags & SLAB != 0) & (pages.flags & SLAB_RCU != 0))
    whose = slabs.index_of(pages.table["s_mem"][waiting].astype(np.int64))
    found = np.bincount(whose[whose >= 0], minlength=len(slabs.caches))
    wrong = np.flatnonzero(found != slabs.table["rcu_pages"])
    findings.add_each(
        "I1",
        wrong,
        lambda c: (
            f"{slabs.name(c)}: {slabs.table['rcu_pages'][c]} slabs are said to wait for a grace period, {found[c]} do"
        ),
    )


# --- objects --------------------------------------------------------------------------------------


def _check_objects(raw: RawMemory, findings: Findings, slabs: Slabs, arrays: Arrays, on_list: Words) -> Words:
    """Each object in one place, and as many in use as the counters say. The ids of those that are free."""
    parked, source = _parked(raw, findings, slabs, arrays)
    free = _free_in_slabs(raw, findings, slabs, on_list)
    ids = np.concatenate([parked, free])
    places = np.concatenate([source, np.full(len(free), -1)])
    order = np.argsort(ids, kind="stable")
    ids, places = ids[order], places[order]
    twice = np.flatnonzero(ids[1:] == ids[:-1])

    def text(i: int) -> str:
        pfn, index = divmod(int(ids[i]), MOST)
        cache = slabs.index_of(slabs.pages.table["slab_cache"][pfn : pfn + 1].astype(np.int64))[0]
        where = " and ".join(arrays.describe(int(place)) for place in (places[i], places[i + 1]))
        owner = slabs.name(cache) if cache >= 0 else "?"
        return f"object {index} of the slab of {owner} at page frame {pfn} is in two places: {where}"

    findings.add_each("I1", twice, text)
    _check_in_use(findings, slabs, arrays, parked, on_list)
    return ids


def _parked(raw: RawMemory, findings: Findings, slabs: Slabs, arrays: Arrays) -> tuple[Words, Words]:
    """Ids of the objects in arrays, and the array of each. What is no object of that cache and node is reported."""
    pages = slabs.pages
    objects = raw.ragged_words(arrays.address + offset("array_cache", "entry"), arrays.avail)
    source = np.repeat(np.arange(len(arrays.avail)), arrays.avail)
    cache = arrays.cache[source]
    good = raw.in_ram(objects)
    pfn = np.where(good, (objects - RAM) >> 12, 0)
    good &= pfn < pages.limit
    pfn = np.where(good, pfn, 0)
    head = raw.page_numbers(pages.table["lru"]["next"].astype(np.int64)[pfn], pages.limit)
    pfn = np.where(pages.flags[pfn] & CONSTANTS["PG_TAIL"] != 0, head, pfn)
    good &= pfn >= 0
    pfn = np.where(good, pfn, 0)
    wild = np.flatnonzero(~good)
    findings.add_each("I1", wild, lambda i: f"{arrays.describe(source[i])}: holds {objects[i]:#x}, which is no object")
    page = pages.table[pfn]
    mine = good & (page["slab_cache"].astype(np.int64) == slabs.caches[cache]) & (page["flags"] & SLAB != 0)
    foreign = np.flatnonzero(good & ~mine)
    findings.add_each(
        "I3", foreign, lambda i: f"{arrays.describe(source[i])}: holds {objects[i]:#x}, an object of another cache"
    )
    index, rest = np.divmod(objects - page["s_mem"].astype(np.int64), slabs.table["size"][cache].clip(1))
    whole = (rest == 0) & (index >= 0) & (index < slabs.table["num"][cache])
    torn = np.flatnonzero(mine & ~whole)
    findings.add_each(
        "I3", torn, lambda i: f"{arrays.describe(source[i])}: holds {objects[i]:#x}, which is inside an object"
    )
    mine &= whole
    abroad = np.flatnonzero(mine & (page["nid"] != arrays.node[source]))
    findings.add_each(
        "I4", abroad, lambda i: f"{arrays.describe(source[i])}: holds {objects[i]:#x}, an object of another node"
    )
    return pfn[mine] * MOST + index[mine], source[mine]


def _free_in_slabs(raw: RawMemory, findings: Findings, slabs: Slabs, on_list: Words) -> Words:
    """Ids of the objects in the slabs' freelists."""
    pages = slabs.pages
    pfn = np.flatnonzero(on_list >= 0)
    cache = on_list[pfn] // 3 // pages.nr_nodes
    num = slabs.table["num"][cache]
    active = pages.table["active"][pfn].astype(np.int64)
    some = (active < num) & (num < MOST)
    pfn, cache, num, active = pfn[some], cache[some], num[some], active[some]
    freelist = pages.table["freelist"][pfn].astype(np.int64)
    start = RAM + 4096 * pfn
    size = np.int64(4096) << slabs.table["gfporder"][cache].clip(0, 10)
    off = slabs.table["flags"][cache] & OFF_SLAB != 0
    inside = (freelist >= start) & (freelist + num <= start + size)
    good = np.where(off, raw.in_ram(freelist, num), inside & raw.in_ram(start, size))
    lost = np.flatnonzero(~good)
    findings.add_each(
        "I1", lost, lambda i: f"slab of {slabs.name(cache[i])} at page frame {pfn[i]}: its freelist is nowhere"
    )
    pfn, cache, num, active, freelist = pfn[good], cache[good], num[good], active[good], freelist[good]
    index = raw.ragged_bytes(freelist + active, num - active).astype(np.int64)
    slab = np.repeat(np.arange(len(pfn)), num - active)
    bad = np.flatnonzero(index >= num[slab])
    findings.add_each(
        "I1",
        bad,
        lambda i: f"slab of {slabs.name(cache[slab[i]])} at page frame {pfn[slab[i]]}: freelist entry {index[i]}",
    )
    sound = index < num[slab]
    ids: Words = pfn[slab[sound]] * MOST + index[sound]
    return ids


def _check_in_use(findings: Findings, slabs: Slabs, arrays: Arrays, parked: Words, on_list: Words) -> None:
    """I5: objects that are neither free nor parked are those that were handed out and not taken back."""
    pages, count = slabs.pages, len(slabs.caches)
    pfn = np.flatnonzero(on_list >= 0)
    cache = on_list[pfn] // 3 // pages.nr_nodes
    active = np.bincount(cache, weights=pages.table["active"][pfn], minlength=count)
    home = np.full(pages.limit, -1)
    home[pfn] = cache
    whose = home[parked // MOST]
    in_arrays = np.bincount(whose[whose >= 0], minlength=count)
    in_use = active.astype(np.int64) - in_arrays
    table = slabs.table
    given = table["allochit"] + table["allocmiss"] - table["allocfail"]
    taken = table["freehit"] + table["freemiss"] + table["old_node_frees"] + table["node_frees"]
    expected = given - taken + arrays.handed_out(count)
    wrong = np.flatnonzero(in_use != expected)
    findings.add_each(
        "I5",
        wrong,
        lambda c: f"{slabs.name(c)}: {in_use[c]} objects in use, but {expected[c]} were handed out and not taken back",
    )
