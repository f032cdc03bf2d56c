"""Invariants of page frames: struct pages, the lists they are linked in, the buddy allocator.

Where a page can be (I6). Each page that was ever used is in exactly one of these:
 1. in a free block of the buddy allocator (zone.area)
 2. on a list of one CPU's pageset of its zone (emu/check_pcp)
 3. handed out: a slab, a page that may be reclaimed and is on its zone's LRU list (emu/check_pcp), or another owner's,
    which nothing points to, so that is what is left over, and must agree with pgalloc - pgfree
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cpus.layout import CONSTANTS
from emu.check_pcp import check_pcp
from emu.page_frames import BUDDY, HEAD, LRU, ORDERS, PCP, SLAB, SLAB_RCU, TAIL, TYPES, Pages, follow_lists
from emu.raw_memory import MAP, PAGE, Mask, RawMemory, Words, offset
from emu.validate import Findings

__all__ = ["BUDDY", "SLAB", "SLAB_RCU", "Pages", "check_pages", "follow_lists"]

PGALLOC = ("PGALLOC_DMA", "PGALLOC_DMA32", "PGALLOC")


def check_pages(raw: RawMemory, findings: Findings, slabs: Any) -> None:
    """I6, once the slabs have been looked at."""
    pages: Pages = slabs.pages
    bad = int(pages.system["bad_pages"])
    if bad:
        findings.add("I3", f"page frame {int(pages.system['bad_pfn'])}: freed while it was free; {bad} such in all")
    _check_places(findings, pages)
    check_pcp(raw, findings, pages)
    _check_buddy(findings, pages, slabs.buddy_pages, slabs.buddy_lists)
    covered = _check_cover(findings, pages)
    tails = np.flatnonzero((pages.flags & TAIL != 0) & ~covered)
    findings.add_each("I6", tails, lambda pfn: f"page frame {pfn}: part of a block that has no first page")
    _check_total(raw, findings, pages, slabs.buddy_pages)


def _check_places(findings: Findings, pages: Pages) -> None:
    """No page says of itself that it is in two places."""
    places = sum((pages.flags & bit != 0).astype(np.int64) for bit in (BUDDY, PCP, LRU, SLAB))
    twice = np.flatnonzero(pages.used & (places > 1))
    findings.add_each("I6", twice, lambda pfn: f"page frame {pfn}: in several places, by its flags {pages.flags[pfn]}")


def _check_buddy(findings: Findings, pages: Pages, free: Words, on_list: Words) -> None:
    """Free blocks: aligned, on the list of their order and zone, as many as counted."""
    order = pages.table["order"][free].astype(np.int64)
    bad = (order < 0) | (order >= ORDERS)
    findings.add_each("I6", free[bad], lambda pfn: f"page frame {pfn}: free, of an impossible order")
    size = np.int64(1) << np.where(bad, 0, order)
    findings.add_each(
        "I6", free[~bad & (free % size != 0)], lambda pfn: f"page frame {pfn}: a free block that is not aligned"
    )
    zone, kind = pages.zone_of(free), pages.table["private"][free].astype(np.int64)
    wrong = ~bad & (on_list != (zone * ORDERS + order) * TYPES + kind)
    findings.add_each("I6", free[wrong], lambda pfn: f"page frame {pfn}: free, but not on its order's free list")
    blocks = np.bincount(on_list[on_list >= 0] // TYPES, minlength=pages.nr_zones * ORDERS).reshape(-1, ORDERS)
    counted = pages.zones["area"]["nr_free"]
    for number, size_ in zip(*np.nonzero(blocks != counted), strict=True):
        findings.add(
            "I6",
            f"{pages.zone_name(int(number))}, order {size_}: {blocks[number, size_]} free blocks on the list, "
            f"{counted[number, size_]} counted",
        )
    in_lists = (blocks << np.arange(ORDERS)).sum(axis=1)
    for number in np.flatnonzero(in_lists != pages.zones["nr_free_pages"]):
        findings.add(
            "I6",
            f"{pages.zone_name(int(number))}: {in_lists[number]} free pages on the lists, "
            f"{pages.zones['nr_free_pages'][number]} counted",
        )
    _check_merged(findings, pages, free[~bad], order[~bad])


def _check_merged(findings: Findings, pages: Pages, free: Words, order: Words) -> None:
    """No two free blocks that are each other's buddy: they would have been joined."""
    low = free[order < ORDERS - 1]
    size = np.int64(1) << order[order < ORDERS - 1]
    buddy = low ^ size
    sizes = np.zeros(pages.limit, dtype=np.int64)
    sizes[free] = np.int64(1) << order
    inside = buddy < pages.limit
    both = inside & (sizes[np.where(inside, buddy, 0)] == size) & (pages.zone_of(low) == pages.zone_of(buddy))
    findings.add_each(
        "I6", low[both & (low < buddy)], lambda pfn: f"page frame {pfn}: free, and its buddy is free, but not joined"
    )


def _blocks(pages: Pages) -> tuple[Words, Words]:
    """First page and length of every block that says so of itself."""
    says_so = pages.flags & (BUDDY | HEAD | SLAB | PCP | LRU) != 0
    first = np.flatnonzero(pages.used & says_so & (pages.flags & TAIL == 0))
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
    taken = int(pages.used.sum()) - in_blocks - int((pages.flags & PCP != 0).sum())
    cpus = int(raw.header["nr_cpus"])
    at = CONSTANTS["CPU_AREA"] + CONSTANTS["CPU_STRIDE"] * np.arange(cpus + 1) + offset("cpu", "counter")
    counters = raw.gather(at, CONSTANTS["NR_COUNTERS"]).sum(axis=0)
    allocated = sum(int(counters[CONSTANTS[name]]) for name in PGALLOC) - int(counters[CONSTANTS["PGFREE"]])
    if taken != allocated and not np.any(raw.header["dead"]["bits"]):
        findings.add("I6", f"{taken} pages are neither free nor unused, but pgalloc - pgfree is {allocated}")
