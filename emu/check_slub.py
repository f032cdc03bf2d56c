"""Invariants of SLUB: caches, CPUs' slabs and partial lists, nodes' partial lists, and every object of every slab.

Where an object can be (I1). Each of a slab's objects is in exactly one of these:
 1. in the slab's own freelist, in struct page: freed by whoever does not allocate from the slab
 2. in the freelist of the CPU whose slab it is (kmem_cache_cpu.freelist)
 3. handed out: nothing points to it, so this is what is left over, and must agree with the counters (I5)

And each slab is in exactly one of these:
 1. a CPU's slab (kmem_cache_cpu.page), frozen
 2. on a CPU's partial list (kmem_cache_cpu.partial), frozen
 3. on its node's partial list: it has free objects
 4. full, and nowhere
 5. waiting for a grace period
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from cpus.layout import CONSTANTS, STRUCTS
from emu.check_pages import BUDDY, SLAB, SLAB_RCU, Pages, follow_lists
from emu.check_slab import report_bugs, walk_caches
from emu.raw_memory import RAM, Mask, RawMemory, Structs, Words, offset
from emu.validate import Findings

MOST = CONSTANTS["SLUB_MAX_OBJS"] + 1
LINE = STRUCTS["kmem_cache_cpu"].size
CPU_AT = offset("kmem_cache_slub", "cpu")


@dataclass
class Slubs:
    """What was read, for the checks that follow."""

    raw: RawMemory
    pages: Pages
    caches: Words  # addresses
    table: Structs  # struct kmem_cache of each
    state: Structs  # struct kmem_cache_slub of each
    names: list[str]
    lines: Structs  # struct kmem_cache_cpu, [cache * (CPUs + 1) + CPU + 1]
    cpus: int  # with the coordinator
    nodes: Words  # [cache, node]: address of struct slub_node, 0 where it is not sound
    buddy_pages: Words = field(default_factory=lambda: np.zeros(0, np.int64))
    buddy_lists: Words = field(default_factory=lambda: np.zeros(0, np.int64))
    # Slabs, one row each.
    pfn: Words = field(default_factory=lambda: np.zeros(0, np.int64))
    cache: Words = field(default_factory=lambda: np.zeros(0, np.int64))
    inuse: Words = field(default_factory=lambda: np.zeros(0, np.int64))
    objects: Words = field(default_factory=lambda: np.zeros(0, np.int64))
    frozen: Mask = field(default_factory=lambda: np.zeros(0, bool))

    def slab(self, row: int) -> str:
        """What slab this is."""
        return f"slab of {self.names[int(self.cache[row])]} at page frame {self.pfn[row]}"

    def owner_of(self, rows: Words) -> Words:
        """The cache of each of these slabs; -1 for row -1."""
        found: Words = np.append(self.cache, -1)[rows]
        return found

    def line(self, row: int) -> str:
        """Whose struct kmem_cache_cpu this is."""
        cache, cpu = divmod(int(row), self.cpus)
        who = f"CPU {cpu - 1}" if cpu else "the coordinator"
        return f"{who}'s slab of {self.names[cache]}"

    def row_of(self, addresses: Words) -> Words:
        """Which slab each struct page is; -1 for none."""
        numbers = self.pages_of(addresses)
        place = np.full(self.pages.limit + 1, -1)
        place[self.pfn] = np.arange(len(self.pfn))
        found: Words = np.where(numbers >= 0, place[numbers], -1)
        return found

    def pages_of(self, addresses: Words) -> Words:
        """Page frame of each struct page; -1 for what is none."""
        return self.raw.page_numbers(addresses, self.pages.limit)


def is_slub(raw: RawMemory) -> bool:
    """Whether the machine's allocator is SLUB: one of its switches."""
    return bool(raw.bytes[CONSTANTS["SWITCH_PAGE"] - CONSTANTS["SEGMENT_BASE"] + CONSTANTS["SWITCH_SLUB"]])


def check_slub(raw: RawMemory, findings: Findings) -> Slubs | None:
    """I1, I3, I4, I5, I8, I9 of SLUB; None if the machine has no slab allocator yet."""
    root = raw.root("AREA_SLAB")
    if root == 0:
        return None
    report_bugs(raw, findings, raw.structs("slab_system", np.array([root]))[0])
    slubs = _read_caches(raw, findings, walk_caches(raw, findings, root))
    _read_slabs(findings, slubs)
    on_list = _check_lists(raw, findings, slubs)
    place = _check_places(raw, findings, slubs, on_list)
    _check_counts(raw, findings, slubs, on_list)
    _check_objects(raw, findings, slubs, place)
    _check_waiting(findings, slubs)
    return slubs


def _read_caches(raw: RawMemory, findings: Findings, caches: Words) -> Slubs:
    """Every cache with its SLUB state, one line per CPU, and its nodes."""
    table = raw.structs("kmem_cache", caches)
    names = [bytes(name).decode(errors="replace") for name in table["name"]]
    state_at = table["slub"].astype(np.int64)
    good = raw.is_block(state_at)
    odd = (table["num"] < 1) | (table["num"] >= MOST) | (table["size"] < 8) | (table["gfporder"] >> 4 != 0)
    findings.add_each("I9", np.flatnonzero(~good), lambda c: f"{names[c]}: its SLUB state is not allocated")
    findings.add_each("I4", np.flatnonzero(good & odd), lambda c: f"{names[c]}: its geometry is senseless")
    keep = good & ~odd
    caches, table, state_at = caches[keep], table[keep], state_at[keep]
    names = [name for name, kept in zip(names, keep, strict=True) if kept]
    cpus, count = int(raw.header["nr_cpus"]) + 1, int(raw.header["nr_nodes"])
    at = (state_at[:, None] + CPU_AT + LINE * np.arange(cpus)).reshape(-1)
    nodes = raw.gather(state_at + CPU_AT + LINE * cpus, count)
    sound = raw.is_block(nodes.reshape(-1)).reshape(nodes.shape)
    for cache, node in zip(*np.nonzero(~sound), strict=True):
        findings.add("I9", f"{names[cache]}: node {node} points to {nodes[cache, node]:#x}, which is not allocated")
    return Slubs(
        raw,
        Pages(raw),
        caches,
        table,
        raw.structs("kmem_cache_slub", state_at),
        names,
        raw.structs("kmem_cache_cpu", at),
        cpus,
        np.where(sound, nodes, 0),
    )


def _read_slabs(findings: Findings, slubs: Slubs) -> None:
    """All slabs but those that wait for a grace period, and their counters."""
    pages = slubs.pages
    pfn = np.flatnonzero(pages.used & (pages.flags & SLAB != 0) & (pages.flags & SLAB_RCU == 0))
    page = pages.table[pfn]
    order = np.argsort(slubs.caches)
    slot = np.searchsorted(slubs.caches[order], page["slab_cache"].astype(np.int64)).clip(max=max(len(order) - 1, 0))
    cache = np.full(len(pfn), -1)
    if len(order):
        hit = slubs.caches[order[slot]] == page["slab_cache"].astype(np.int64)
        cache = np.where(hit, order[slot], -1)
    findings.add_each(
        "I1", pfn[cache < 0], lambda p: f"slab at page frame {p}: of no cache that there is (leaked, or never one)"
    )
    pfn, page, cache = pfn[cache >= 0], page[cache >= 0], cache[cache >= 0]
    word = page["active"].astype(np.int64)
    slubs.pfn, slubs.cache = pfn, cache
    slubs.inuse, slubs.objects, slubs.frozen = word & 0xFFFF, word >> 16 & 0x7FFF, word >> 31 & 1 != 0
    table, state = slubs.table[cache], slubs.state[cache]
    usual = (page["order"] == table["gfporder"]) & (slubs.objects == table["num"])
    small = (page["order"] == state["min_order"]) & (slubs.objects == state["min_objects"])

    def report(bad: Mask, text: str) -> None:
        findings.add_each("I4", np.flatnonzero(bad), lambda i: f"{slubs.slab(i)}: {text}")

    report(~usual & ~small, "of another order, or with another number of objects, than its cache's slabs")
    report(slubs.inuse > slubs.objects, "more objects in use than it has")
    slubs.objects = np.where(usual | small, slubs.objects, 0)


# --- where slabs are ------------------------------------------------------------------------------


def _check_lists(raw: RawMemory, findings: Findings, slubs: Slubs) -> Words:
    """Per slab: [cache, node] of the partial list that it is on, as one number, or -1."""
    pages = slubs.pages
    listed = ~slubs.frozen & (slubs.inuse < slubs.objects)
    free = np.flatnonzero(pages.used & (pages.flags & BUDDY != 0))
    linked = np.sort(np.concatenate([slubs.pfn[listed], free]))
    cache, node = np.nonzero(slubs.nodes)
    heads = slubs.nodes[cache, node] + offset("slub_node", "partial")
    found = follow_lists(raw, findings, pages, linked, np.concatenate([heads, pages.lists()]))
    is_free = pages.flags[linked] & BUDDY != 0
    slubs.buddy_pages = linked[is_free]
    slubs.buddy_lists = np.where(found >= len(heads), found - len(heads), -1)[is_free]
    by_page = np.full(pages.limit + 1, -1)
    mine = ~is_free & (found >= 0) & (found < len(heads))
    by_page[linked[mine]] = (cache * pages.nr_nodes + node)[found[mine]]
    on_list: Words = np.where(listed, by_page[slubs.pfn], -1)
    home = slubs.cache * pages.nr_nodes + pages.table["nid"][slubs.pfn]
    lost = np.flatnonzero(listed & (on_list != home))
    findings.add_each("I1", lost, lambda i: f"{slubs.slab(i)}: has free objects, but is not on its node's partial list")
    return on_list


def _check_places(raw: RawMemory, findings: Findings, slubs: Slubs, on_list: Words) -> Words:
    """Frozen slabs are in one CPU's hands, others in none's. Per slab the line of the CPU whose slab it is, or -1."""
    lines = slubs.lines
    owner = np.repeat(np.arange(len(slubs.caches)), slubs.cpus)
    has = lines["page"] != 0
    row = np.where(has, slubs.row_of(lines["page"].astype(np.int64)), -1)
    wild = has & (row < 0)
    findings.add_each("I1", np.flatnonzero(wild), lambda i: f"{slubs.line(i)}: {int(lines['page'][i]):#x} is no slab")
    foreign = has & ~wild & (slubs.owner_of(row) != owner)
    findings.add_each("I3", np.flatnonzero(foreign), lambda i: f"{slubs.line(i)}: is another cache's")
    idle = np.flatnonzero(~has & (lines["freelist"] != 0))
    findings.add_each("I1", idle, lambda i: f"{slubs.line(i)}: a freelist without a slab")
    holders = np.bincount(row[row >= 0], minlength=len(slubs.pfn))
    place = np.full(len(slubs.pfn), -1)
    place[row[row >= 0]] = np.flatnonzero(row >= 0)
    holders += _follow_partial_lists(findings, slubs, owner)
    findings.add_each(
        "I1", np.flatnonzero(holders > 1), lambda i: f"{slubs.slab(i)}: in the hands of {holders[i]} CPUs"
    )
    loose = np.flatnonzero(slubs.frozen & (holders == 0))
    findings.add_each("I1", loose, lambda i: f"{slubs.slab(i)}: frozen, but in no CPU's hands")
    thawed = np.flatnonzero(~slubs.frozen & (holders > 0))
    findings.add_each("I4", thawed, lambda i: f"{slubs.slab(i)}: in a CPU's hands, but not frozen")
    return place


def _follow_partial_lists(findings: Findings, slubs: Slubs, owner: Words) -> Words:
    """All CPUs' partial lists, one step of all of them at a time. How many hold each slab."""
    pages, count = slubs.pages, len(slubs.pfn)
    holders = np.zeros(count, dtype=np.int64)
    line = np.flatnonzero(slubs.lines["partial"] != 0)
    at = slubs.lines["partial"][line].astype(np.int64)
    length = np.zeros(len(slubs.lines), dtype=np.int64)
    said = np.zeros(len(slubs.lines), dtype=np.int64)
    for step in range(count + 1):
        if not len(line):
            break
        row = slubs.row_of(at)
        bad = (row < 0) | (slubs.owner_of(row) != owner[line])
        findings.add_each("I1", line[bad], lambda i: f"{slubs.line(i)}: its partial list leads to what is no such slab")
        line, row = line[~bad], row[~bad]
        if step == 0:
            said[line] = pages.table["lru"]["prev"][slubs.pfn[row]].astype(np.int64) & 0xFFFFFFFF
        holders += np.bincount(row, minlength=count)
        length[line] += 1
        dead = slubs.state["dead"][owner[line]] != 0
        findings.add_each("I8", line[dead], lambda i: f"{slubs.line(i)}: a dead memcg's cache keeps a partial slab")
        at = pages.table["lru"]["next"][slubs.pfn[row]].astype(np.int64)
        line, at = line[at != 0], at[at != 0]
    findings.add_each("I4", line, lambda i: f"{slubs.line(i)}: its partial list is a cycle")
    wrong = np.flatnonzero((length != said) & ~np.isin(np.arange(len(length)), line))
    findings.add_each(
        "I4", wrong, lambda i: f"{slubs.line(i)}: {length[i]} partial slabs, but {said[i]} are said to be there"
    )
    return holders


def _check_counts(raw: RawMemory, findings: Findings, slubs: Slubs, on_list: Words) -> None:
    """Nodes' counters against what is there."""
    pages = slubs.pages
    size = len(slubs.caches) * pages.nr_nodes
    home = slubs.cache * pages.nr_nodes + pages.table["nid"][slubs.pfn].clip(0, pages.nr_nodes - 1)
    cache, node = np.nonzero(slubs.nodes)
    slot = cache * pages.nr_nodes + node
    n = raw.structs("slub_node", slubs.nodes[cache, node])
    objects = np.bincount(home, weights=slubs.objects, minlength=size).astype(np.int64)
    for what, real in (
        ("nr_partial", np.bincount(on_list[on_list >= 0], minlength=size)),
        ("nr_slabs", np.bincount(home, minlength=size)),
        ("total_objects", objects),
    ):
        wrong = np.flatnonzero(real[slot] != n[what])
        findings.add_each(
            "I4",
            wrong,
            lambda i, what=what, real=real: (  # type: ignore[misc]
                f"{slubs.names[int(cache[i])]}, node {node[i]}: {what} is {n[what][i]}, but {real[slot[i]]} were found"
            ),
        )


def _check_waiting(findings: Findings, slubs: Slubs) -> None:
    """RCU's slabs against their caches' count."""
    pages = slubs.pages
    waiting = np.flatnonzero(pages.used & (pages.flags & SLAB != 0) & (pages.flags & SLAB_RCU != 0))
    owners = pages.table["s_mem"][waiting].astype(np.int64)
    found = np.array([int((owners == address).sum()) for address in slubs.caches[slubs.table["rcu_pages"] != 0]])
    some = np.flatnonzero(slubs.table["rcu_pages"] != 0)
    for cache, real in zip(some, found, strict=True):
        if real != slubs.table["rcu_pages"][cache]:
            said = slubs.table["rcu_pages"][cache]
            findings.add("I1", f"{slubs.names[cache]}: {said} slabs are said to wait for a grace period, {real} do")
    strays = int((~np.isin(owners, slubs.caches)).sum())
    if strays:
        findings.add("I9", f"{strays} slabs wait for a grace period whose cache is gone")


# --- objects --------------------------------------------------------------------------------------


def _follow_objects(findings: Findings, slubs: Slubs, slab: Words, first: Words, limit: Words, what: str) -> Words:
    """Freelists, one step of all of them at a time: ids of the objects. `limit`: most objects each may have."""
    raw = slubs.raw
    ids = []
    slab, at = slab[first != 0], first[first != 0]
    limit = limit[first != 0] if len(limit) == len(first) else limit
    for step in range(MOST + 1):
        if not len(slab):
            break
        cache = slubs.cache[slab]
        size, start = slubs.table["size"][cache], RAM + 4096 * slubs.pfn[slab]
        index, rest = np.divmod(at - start, size)
        bad = (rest != 0) | (index < 0) | (index >= slubs.objects[slab])
        findings.add_each(
            "I3",
            np.flatnonzero(bad),
            lambda i, slab=slab, at=at: f"{slubs.slab(slab[i])}: {what} leads to {at[i]:#x}, which is no object of it",  # type: ignore[misc]
        )
        over = ~bad & (step >= limit)
        findings.add_each(
            "I1",
            np.flatnonzero(over),
            lambda i, slab=slab: f"{slubs.slab(slab[i])}: {what} has more objects than are free, or is a cycle",  # type: ignore[misc]
        )
        keep = ~bad & ~over
        slab, at, limit, index, cache = slab[keep], at[keep], limit[keep], index[keep], cache[keep]
        ids.append(slubs.pfn[slab] * MOST + index)
        at = raw.gather(at + slubs.state["offset"][cache], 1)[:, 0]
        slab, at, limit = slab[at != 0], at[at != 0], limit[at != 0]
    return np.concatenate(ids) if ids else np.zeros(0, np.int64)


def _check_objects(raw: RawMemory, findings: Findings, slubs: Slubs, place: Words) -> None:
    """Each object in one place, and as many in use as the counters say."""
    every = np.arange(len(slubs.pfn))
    start = RAM + 4096 * slubs.pfn
    size = np.int64(4096) << slubs.pages.table["order"][slubs.pfn].astype(np.int64).clip(0, 10)
    backed = raw.in_ram(start, size)
    findings.add_each("I9", np.flatnonzero(~backed), lambda i: f"{slubs.slab(i)}: its memory was never backed")
    freelist = np.where(backed, slubs.pages.table["freelist"][slubs.pfn].astype(np.int64), 0)
    own = _follow_objects(findings, slubs, every, freelist, slubs.objects - slubs.inuse, "its freelist")
    held = np.flatnonzero(place >= 0)
    first = np.where(backed[held], slubs.lines["freelist"][place[held]].astype(np.int64), 0)
    cpus = _follow_objects(findings, slubs, held, first, slubs.inuse[held], "its CPU's freelist")
    lengths = np.bincount(np.searchsorted(slubs.pfn, own // MOST), minlength=len(slubs.pfn))
    short = np.flatnonzero(lengths < slubs.objects - slubs.inuse)
    findings.add_each(
        "I1",
        short,
        lambda i: f"{slubs.slab(i)}: {slubs.objects[i] - slubs.inuse[i]} objects are free, {lengths[i]} were found",
    )
    ids = np.sort(np.concatenate([own, cpus]))
    twice = ids[1:][ids[1:] == ids[:-1]]
    findings.add_each(
        "I1", twice, lambda i: f"object {i % MOST} of the slab at page frame {i // MOST} is in two freelists"
    )
    count = len(slubs.caches)
    cpu_slab = slubs.cache[np.searchsorted(slubs.pfn, cpus // MOST)]
    in_use = np.bincount(slubs.cache, weights=slubs.inuse, minlength=count).astype(np.int64)
    in_use -= np.bincount(cpu_slab, minlength=count)
    given = (slubs.lines["allocs"] - slubs.lines["frees"]).reshape(count, slubs.cpus).sum(axis=1)
    findings.add_each(
        "I5",
        np.flatnonzero(in_use != given),
        lambda c: (
            f"{slubs.names[c]}: {in_use[c]} objects in use, but {given[c]} were handed out and not taken back"
        ),
    )
