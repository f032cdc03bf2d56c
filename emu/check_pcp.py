"""Invariants of per-CPU page lists, and of the lists of pages that may be reclaimed (I6)."""

from __future__ import annotations

import numpy as np

from cpus.layout import CONSTANTS, STRUCTS
from emu.page_frames import LRU, PCP, Pages, follow_lists
from emu.raw_memory import MAP, PAGE, DamagedError, RawMemory, Words, offset
from emu.validate import Findings

LISTS = CONSTANTS["MIGRATE_PCPTYPES"]


def check_pcp(raw: RawMemory, findings: Findings, pages: Pages) -> None:
    """Every page on a CPU's list is on one, of its zone and type, and the counts are the lists' lengths."""
    cpus, zones = int(raw.header["nr_cpus"]), pages.nr_zones
    size, first = STRUCTS["per_cpu_pages"].size, offset("cpu_pagesets", "sets")
    base, stride = int(pages.system["pagesets"]), first + zones * size
    if not raw.is_block(np.array([base]))[0] or not raw.in_heap(np.array([base]), cpus * stride)[0]:
        raise DamagedError(f"mm_system: the pagesets point to {base:#x}, which is not allocated")
    at = (base + first + stride * np.arange(cpus)[:, None] + size * np.arange(zones)).reshape(-1)
    sets = raw.structs("per_cpu_pages", at)
    heads = (at[:, None] + offset("per_cpu_pages", "lists") + 16 * np.arange(LISTS)).reshape(-1)
    linked = np.flatnonzero(pages.used & (pages.flags & PCP != 0))
    found = follow_lists(raw, findings, pages, linked, heads)

    def whose(number: int) -> str:
        return f"CPU {number // zones}, {pages.zone_name(number % zones)}"

    lost = linked[found < 0]
    findings.add_each("I6", lost, lambda pfn: f"page frame {pfn}: on no per-CPU list, though its flags say so")
    on, place = linked[found >= 0], found[found >= 0]
    wrong = (pages.zone_of(on) != place // LISTS % zones) | (pages.table["private"][on] != place % LISTS)
    findings.add_each("I6", on[wrong], lambda pfn: f"page frame {pfn}: on the per-CPU list of another zone or type")
    lengths = np.bincount(place // LISTS, minlength=cpus * zones)
    count = sets["count"].astype(np.int64)
    findings.add_each(
        "I6",
        np.flatnonzero(lengths != count),
        lambda i: f"{whose(i)}: pcp.count is {count[i]}, but {lengths[i]} pages are on the lists",
    )
    most = np.maximum(sets["high"], sets["batch"])
    findings.add_each(
        "I4",
        np.flatnonzero((sets["batch"] < 1) | (sets["high"] < 0) | (count > most)),
        lambda i: f"{whose(i)}: {count[i]} pages, high {sets['high'][i]}, batch {sets['batch'][i]}",
    )
    _check_lru(raw, findings, pages)


def _check_lru(raw: RawMemory, findings: Findings, pages: Pages) -> None:
    """Pages that may be reclaimed: on their zone's list, counted, and their owner knows them."""
    linked = np.flatnonzero(pages.used & (pages.flags & LRU != 0))
    heads = pages.zone_addresses + offset("zone", "lru")
    found = follow_lists(raw, findings, pages, linked, heads)
    stray = linked[found != pages.zone_of(linked)]
    findings.add_each("I6", stray, lambda pfn: f"page frame {pfn}: may be reclaimed, but is not on its zone's list")
    lengths = np.bincount(found[found >= 0], minlength=pages.nr_zones)
    counted = pages.zones["nr_lru"].astype(np.int64)
    findings.add_each(
        "I6",
        np.flatnonzero(lengths != counted),
        lambda i: f"{pages.zone_name(i)}: {counted[i]} reclaimable pages counted, {lengths[i]} on the list",
    )
    mapping: Words = pages.table["s_mem"][linked].astype(np.int64)
    good = raw.in_heap(mapping, 8)
    named = raw.gather(np.where(good, mapping, MAP), 1)[:, 0]
    lone = linked[~good | (named != MAP + PAGE * linked)]
    findings.add_each("I6", lone, lambda pfn: f"page frame {pfn}: may be reclaimed, but its owner does not hold it")
