"""The machine's memory as an observer sees it: mapped read-only, every address range-checked before it is followed.

Reads are gathers: many structs at a time, so that a check of a million arrays takes seconds. numpy is needed, so this
is imported when the machine is up.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpus.layout import CONSTANTS, STRUCTS
from emu.dtypes import dtype

Words = NDArray[np.int64]
Mask = NDArray[np.bool_]
Structs = NDArray[Any]

BASE = CONSTANTS["SEGMENT_BASE"]
HEAP = BASE + CONSTANTS["HEAP_OFFSET"]
MAP = BASE + (CONSTANTS["MAP_OFFSET_GIB"] << 30)
RAM = BASE + (CONSTANTS["RAM_OFFSET_GIB"] << 30)
PAGE = STRUCTS["page"].size
LINE = CONSTANTS["CACHE_LINE"]
STEP = CONSTANTS["STEP"]
HEAP_MAGIC = 0x48454150
ROWS_AT_ONCE = 1 << 16


def offset(struct: str, field: str) -> int:
    """Offset of a field of a struct."""
    return int(dtype(struct).fields[field][1])  # type: ignore[index]


class DamagedError(ValueError):
    """The segment is one, but what is needed to read it is damaged."""


class RawMemory:
    """The segment behind a descriptor. Addresses are those that the machine itself uses."""

    def __init__(self, descriptor: int) -> None:
        size = CONSTANTS["SEGMENT_GIB"] << 30
        self._map = mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
        self.words: Words = np.frombuffer(self._map, dtype="<i8")
        self.bytes: NDArray[np.uint8] = np.frombuffer(self._map, dtype=np.uint8)
        self.header = self.structs("segment_header", np.array([BASE]))[0]
        if self.header["magic"] != CONSTANTS["SEGMENT_MAGIC"]:
            raise ValueError("not the segment of an emulated machine")
        if self.header["base"] != BASE or self.header["version"] != CONSTANTS["SEGMENT_VERSION"]:
            raise DamagedError("a segment of another version, or damaged")
        if not 1 <= self.header["nr_nodes"] <= self.header["nr_cpus"] <= CONSTANTS["MAX_CPUS"]:
            raise DamagedError("the segment's header is damaged: senseless numbers of CPUs and nodes")

    def activity(self) -> tuple[int, ...]:
        """Numbers of which one moves whenever a CPU does something to memory."""
        cpus = int(self.header["nr_cpus"])
        at = CONSTANTS["CPU_AREA"] + CONSTANTS["CPU_STRIDE"] * np.arange(cpus + 1)
        fields = (("counter", CONSTANTS["NR_COUNTERS"]), ("csd_run", 1), ("rcu_done", 1), ("rcu_count", 1))
        moved = [self.gather(at + offset("cpu", name), count).sum() for name, count in fields]
        return (*(int(number) for number in moved), self.word(BASE + offset("segment_header", "heap_used")))

    def word(self, address: int) -> int:
        """One word; the caller has checked the address."""
        return int(self.words[(address - BASE) >> 3])

    def root(self, area: str) -> int:
        """Address of the struct that a subsystem's others are found by; 0: none. DamagedError if it is bad."""
        address = int(self.header["area"][CONSTANTS[area]])
        if address and not self.is_block(np.array([address]))[0]:
            raise DamagedError(f"the header's {area} points to {address:#x}, which is not allocated")
        return address

    def gather(self, addresses: Words, count: int) -> Words:
        """`count` words from each of the addresses, one row each."""
        first = (np.asarray(addresses, dtype=np.int64) - BASE) >> 3
        rows = np.empty((len(first), count), dtype=np.int64)
        for start in range(0, len(first), ROWS_AT_ONCE):
            part = first[start : start + ROWS_AT_ONCE, None] + np.arange(count)
            rows[start : start + ROWS_AT_ONCE] = self.words[part]
        return rows

    def structs(self, name: str, addresses: Words) -> Structs:
        """The structs of one kind at these addresses, each of whole words."""
        kind = dtype(name)
        return self.gather(addresses, kind.itemsize // 8).view(kind).reshape(-1)

    def ragged_words(self, addresses: Words, counts: Words) -> Words:
        """counts[i] words from addresses[i], all in one row."""
        found: Words = self.words[(np.repeat(addresses - BASE, counts) >> 3) + ragged_index(counts)]
        return found

    def ragged_bytes(self, addresses: Words, counts: Words) -> NDArray[np.uint8]:
        """counts[i] bytes from addresses[i], all in one row."""
        return self.bytes[np.repeat(addresses - BASE, counts) + ragged_index(counts)]

    def in_heap(self, addresses: Words, sizes: Words | int) -> Mask:
        """Whether these ranges lie in the part of the metadata heap that was ever handed out; word-aligned."""
        end = int(self.header["heap_next"])
        last = np.asarray(sizes, dtype=np.int64) + addresses
        good: Mask = (addresses >= HEAP) & (last >= addresses) & (last <= end) & (addresses % 8 == 0)
        return good

    def is_block(self, addresses: Words) -> Mask:
        """Whether these addresses begin heap blocks that are allocated."""
        good = self.in_heap(addresses - LINE, LINE + 8)
        safe = np.where(good, addresses - LINE, BASE)
        found: Mask = good & ((self.gather(safe, 1)[:, 0] & 0xFFFFFFFF) == HEAP_MAGIC)
        return found

    def in_ram(self, addresses: Words, sizes: Words | int = 1) -> Mask:
        """Whether these ranges lie in page frames that the host has backed, each range in one 16 MiB step."""
        last = np.asarray(sizes, dtype=np.int64) + addresses - 1
        good = (addresses >= RAM) & (last >= addresses) & (last < RAM + int(self.header["ram_pages"]) * 4096)
        backed = np.asarray(self.header["ram_backed"])
        steps = np.where(good, (addresses - RAM) // STEP, 0)
        found: Mask = good & (backed[steps] != 0) & (np.where(good, (last - RAM) // STEP, 0) == steps)
        return found

    def page_numbers(self, addresses: Words, limit: int) -> Words:
        """The page frame of each struct page; -1 for what is none, or is beyond `limit`."""
        numbers = (addresses - MAP) // PAGE
        good = (addresses >= MAP) & (numbers < limit) & (addresses % PAGE == MAP % PAGE)
        return np.where(good, numbers, -1)


def ragged_index(counts: Words) -> Words:
    """0 .. counts[0]-1, 0 .. counts[1]-1, and so on, in one row."""
    ends = np.cumsum(counts)
    return np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - counts, counts)
