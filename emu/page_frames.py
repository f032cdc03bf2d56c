"""Page frames as an observer reads them: struct pages, populated zones, and the lists that pages are linked in."""

from __future__ import annotations

import numpy as np

from cpus.layout import CONSTANTS, STRUCTS
from emu.raw_memory import MAP, PAGE, DamagedError, RawMemory, Words, offset
from emu.validate import Findings

ORDERS = CONSTANTS["MAX_ORDER"]
TYPES = CONSTANTS["MIGRATE_TYPES"]
SLAB, HEAD, TAIL = CONSTANTS["PG_SLAB"], CONSTANTS["PG_HEAD"], CONSTANTS["PG_TAIL"]
BUDDY, SLAB_RCU = CONSTANTS["PG_BUDDY"], CONSTANTS["PG_SLAB_RCU"]
PCP, LRU = CONSTANTS["PG_PCP"], CONSTANTS["PG_LRU"]
ZONE_NAMES = ("DMA", "DMA32", "Normal")


class Pages:
    """The struct pages of all frames that were ever used, and the zones they belong to."""

    def __init__(self, raw: RawMemory) -> None:
        root = raw.root("AREA_ZONES")
        self.system = raw.structs("mm_system", np.array([root]))[0]
        self.nr_nodes = int(raw.header["nr_nodes"])
        self.total = int(self.system["totalram_pages"])
        self.zone_addresses = self._populated(raw)
        self.zones = raw.structs("zone", self.zone_addresses)
        self.nr_zones = len(self.zones)
        self.limit = max(0, min(int(self.zones["fresh_pfn"].max()), int(raw.header["map_end"]) // PAGE, self.total))
        self.table = raw.structs("page", MAP + PAGE * np.arange(self.limit))
        self.flags = self.table["flags"]
        self.used = np.zeros(self.limit, dtype=bool)  # below its zone's fresh_pfn
        for zone in self.zones:
            self.used[max(0, int(zone["zone_start_pfn"])) : max(0, int(zone["fresh_pfn"]))] = True

    def _populated(self, raw: RawMemory) -> Words:
        """Addresses of the zones that have memory, in the order of their pages."""
        count = self.nr_nodes * CONSTANTS["MAX_NR_ZONES"]
        base = int(self.system["zones"])
        if int(self.system["nr_zones"]) != count or not raw.is_block(np.array([base]))[0]:
            raise DamagedError(f"mm_system: its zones point to {base:#x}, which is not allocated")
        addresses: Words = base + STRUCTS["zone"].size * np.arange(count)
        zones = raw.structs("zone", addresses)
        found: Words = addresses[zones["zone_end_pfn"] > zones["zone_start_pfn"]]
        if len(found) != int(self.system["nr_populated"]) or not len(found):
            raise DamagedError(f"mm_system: {int(self.system['nr_populated'])} populated zones, {len(found)} found")
        return found

    def zone_of(self, frames: Words) -> Words:
        """Number of the zone of each page frame."""
        found: Words = np.searchsorted(self.zones["zone_start_pfn"], frames, side="right") - 1
        return found

    def zone_name(self, number: int) -> str:
        """As in /proc/zoneinfo."""
        zone = self.zones[int(number)]
        return f"node {zone['node']}, zone {ZONE_NAMES[int(zone['index']) % 3]}"

    def lists(self) -> Words:
        """Addresses of the buddy's list heads: zone by zone, order by order, migratetype by migratetype."""
        area, size = offset("zone", "area"), STRUCTS["free_area"].size
        rows = self.zone_addresses[:, None] + area + size * np.arange(ORDERS)
        heads: Words = (rows.reshape(-1)[:, None] + 16 * np.arange(TYPES)).reshape(-1)
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
