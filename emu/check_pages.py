"""Invariants of page frames: struct pages, the lists they are linked in, the buddy allocator."""

from __future__ import annotations

from typing import Any

import numpy as np

from cpus.layout import CONSTANTS, STRUCTS
from emu.raw_memory import MAP, PAGE, Mask, RawMemory, Words, offset
from emu.validate import Findings

ORDERS = CONSTANTS["MAX_ORDER"]
SLAB, HEAD, TAIL = CONSTANTS["PG_SLAB"], CONSTANTS["PG_HEAD"], CONSTANTS["PG_TAIL"]
BUDDY, SLAB_RCU = CONSTANTS["PG_BUDDY"], CONSTANTS["PG_SLAB_RCU"]


class Pages:
    """The struct pages of all frames that were ever used, and the zones they belong to."""

    def __init__(self, raw: RawMemory) -> None:
        root = raw.root("AREA_ZONES")
        system = raw.structs("mm_system", np.array([root]))[0]
        size = STRUCTS["zone"].size
        self.nr_nodes = int(raw.header["nr_nodes"])
        self.total = int(system["totalram_pages"])
        self.zone_addresses = root + offset("mm_system", "zones") + size * np.arange(self.nr_nodes)
        self.zones = raw.structs("zone", self.zone_addresses)
        self.limit = max(0, min(int(self.zones["fresh_pfn"].max()), int(raw.header["map_end"]) // PAGE, self.total))
        self.table = raw.structs("page", MAP + PAGE * np.arange(self.limit))
        self.flags = self.table["flags"]
        self.used = np.zeros(self.limit, dtype=bool)  # below its zone's fresh_pfn
        for zone in self.zones:
            self.used[max(0, int(zone["zone_start_pfn"])) : max(0, int(zone["fresh_pfn"]))] = True

    def lists(self) -> Words:
        """Addresses of the buddy's list heads: zone by zone, order by order."""
        area, size = offset("zone", "area"), STRUCTS["free_area"].size
        heads: Words = (self.zone_addresses[:, None] + area + size * np.arange(ORDERS)).reshape(-1)
        return heads


def follow_lists(raw: RawMemory, findings: Findings, pages: Pages, linked: Words, heads: Words) -> Words:
    """For each of the `linked` pages the number of the head whose list it is on, or -1.

    Every link is looked at from both sides, and the heads are found by doubling jumps: no walk, so nothing to hang in.
    """
    count = len(linked)
    order = np.argsort(heads)
    in_order = heads[order]
    place = np.full(pages.limit + 1, -1)
    place[linked] = np.arange(count)

    def number(addresses: Words) -> Words:
        page = raw.page_numbers(addresses, pages.limit)
        slot = np.searchsorted(in_order, addresses).clip(max=max(len(heads) - 1, 0))
        head = np.where(in_order[slot] == addresses, count + order[slot], -1)
        return np.where(page >= 0, place[page], head)

    at_head = raw.gather(heads, 2)
    lru = pages.table["lru"][linked]
    next_ = number(np.concatenate([lru["next"].astype(np.int64), at_head[:, 0]]))
    prev = number(np.concatenate([lru["prev"].astype(np.int64), at_head[:, 1]]))
    lost = (next_ < 0) | (prev < 0)
    own = np.arange(len(next_))
    torn = ~lost & ((prev[np.where(lost, 0, next_)] != own) | (next_[np.where(lost, 0, prev)] != own))

    def name(entry: int) -> str:
        if entry < count:
            return f"page frame {int(linked[entry])}"
        return f"list head {int(heads[entry - count]):#x}"

    findings.add_each("I4", np.flatnonzero(lost), lambda e: f"{name(e)}: a list link points to what is not on a list")
    findings.add_each("I4", np.flatnonzero(torn), lambda e: f"{name(e)}: its neighbours on the list do not point back")
    jump = np.where(lost, own, next_)
    jump[count:] = own[count:]
    for _ in range(max(count, 1).bit_length() + 1):
        jump = jump[jump]
    found = np.where(jump[:count] >= count, jump[:count] - count, -1)
    circling = np.flatnonzero((found < 0) & ~lost[:count] & ~lost[jump[:count]])
    findings.add_each("I4", circling, lambda e: f"{name(e)}: in a cycle that no list head is part of")
    return found


def check_pages(raw: RawMemory, findings: Findings, slabs: Any) -> None:
    """I6, once the slabs have been looked at."""
    pages: Pages = slabs.pages
    _check_buddy(findings, pages, slabs.buddy_pages, slabs.buddy_lists)
    covered = _check_cover(findings, pages)
    tails = np.flatnonzero((pages.flags & TAIL != 0) & ~covered)
    findings.add_each("I6", tails, lambda pfn: f"page frame {pfn}: part of a block that has no first page")
    _check_total(raw, findings, pages, slabs.buddy_pages)


def _check_buddy(findings: Findings, pages: Pages, free: Words, on_list: Words) -> None:
    """Free blocks: aligned, on the list of their order and zone, as many as counted."""
    order = pages.table["order"][free].astype(np.int64)
    bad = (order < 0) | (order >= ORDERS)
    findings.add_each("I6", free[bad], lambda pfn: f"page frame {pfn}: free, of an impossible order")
    size = np.int64(1) << np.where(bad, 0, order)
    findings.add_each(
        "I6", free[~bad & (free % size != 0)], lambda pfn: f"page frame {pfn}: a free block that is not aligned"
    )
    zone = np.searchsorted(pages.zones["zone_start_pfn"], free, side="right") - 1
    wrong = ~bad & (on_list != zone * ORDERS + order)
    findings.add_each("I6", free[wrong], lambda pfn: f"page frame {pfn}: free, but not on its order's free list")
    blocks = np.bincount(on_list[on_list >= 0], minlength=pages.nr_nodes * ORDERS).reshape(-1, ORDERS)
    counted = pages.zones["area"]["nr_free"]
    for node, number in zip(*np.nonzero(blocks != counted), strict=True):
        findings.add(
            "I6",
            f"node {node}, order {number}: {blocks[node, number]} free blocks on the list, "
            f"{counted[node, number]} counted",
        )
    in_lists = (blocks << np.arange(ORDERS)).sum(axis=1)
    for node in np.flatnonzero(in_lists != pages.zones["nr_free_pages"]):
        findings.add(
            "I6",
            f"node {node}: {in_lists[node]} free pages on the lists, {pages.zones['nr_free_pages'][node]} counted",
        )


def _blocks(pages: Pages) -> tuple[Words, Words]:
    """First page and length of every block that says so of itself."""
    first = np.flatnonzero(pages.used & (pages.flags & (BUDDY | HEAD | SLAB) != 0) & (pages.flags & TAIL == 0))
    order = pages.table["order"][first].astype(np.int64).clip(0, ORDERS)
    order[pages.flags[first] & (BUDDY | HEAD) == 0] = 0
    return first, np.int64(1) << order


def _check_cover(findings: Findings, pages: Pages) -> Mask:
    """No page in two blocks, tail pages point to their first. Which pages are in a block."""
    first, length = _blocks(pages)
    depth = np.zeros(pages.limit + 1, dtype=np.int64)
    np.add.at(depth, first, 1)
    np.add.at(depth, np.minimum(first + length, pages.limit), -1)
    depth = np.cumsum(depth[:-1])
    findings.add_each("I6", np.flatnonzero(depth > 1), lambda pfn: f"page frame {pfn}: in more than one block")
    beyond = first + length > pages.limit
    findings.add_each("I6", first[beyond], lambda pfn: f"page frame {pfn}: a block that reaches beyond used memory")
    compound = (pages.flags[first] & HEAD != 0) & ~beyond
    heads, sizes = first[compound], length[compound]
    inner = np.repeat(heads, sizes - 1)
    tail = inner + 1 + _inside(sizes - 1)
    wrong = (pages.flags[tail] & TAIL == 0) | (pages.table["lru"]["next"][tail].astype(np.int64) != MAP + PAGE * inner)
    findings.add_each("I6", tail[wrong], lambda pfn: f"page frame {pfn}: a tail page that does not point to its first")
    covered: Mask = depth > 0
    return covered


def _inside(counts: Words) -> Words:
    ends = np.cumsum(counts)
    return np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - counts, counts)


def _check_total(raw: RawMemory, findings: Findings, pages: Pages, free: Words) -> None:
    """Used pages that are not free are those that were allocated and not freed."""
    in_blocks = int((np.int64(1) << pages.table["order"][free].astype(np.int64).clip(0, ORDERS)).sum())
    taken = int(pages.used.sum()) - in_blocks
    cpus = int(raw.header["nr_cpus"])
    at = CONSTANTS["CPU_AREA"] + CONSTANTS["CPU_STRIDE"] * np.arange(cpus + 1) + offset("cpu", "counter")
    counters = raw.gather(at, CONSTANTS["NR_COUNTERS"]).sum(axis=0)
    allocated = int(counters[CONSTANTS["PGALLOC"]] - counters[CONSTANTS["PGFREE"]])
    if taken != allocated and not np.any(raw.header["dead"]["bits"]):
        findings.add("I6", f"{taken} pages are neither free nor unused, but pgalloc - pgfree is {allocated}")
