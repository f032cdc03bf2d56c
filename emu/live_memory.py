"""The memory of a machine that is running: looked at again and again while its CPUs change it.

One look is refresh(): the header is copied once, and every range is checked against that copy. The structs of the CPUs
lie at a fixed stride and are backed from the start, so they are one array; what they point to is checked each time.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from cpus.layout import CONSTANTS, STRUCTS
from emu.dtypes import dtype
from emu.raw_memory import BASE, DamagedError, Mask, RawMemory, Structs, Words, offset

WORD = 8


class LiveMemory(RawMemory):
    """The segment behind a descriptor, which is closed by close(). Raises DamagedError for what is no segment."""

    def __init__(self, descriptor: int) -> None:
        size = CONSTANTS["SEGMENT_GIB"] << 30
        if os.fstat(descriptor).st_size != size:
            raise DamagedError("not the segment of an emulated machine: its size is another")
        try:
            super().__init__(descriptor)
        except DamagedError:
            raise
        except (ValueError, OSError) as error:
            raise DamagedError(str(error)) from None
        self._live = self._array("segment_header", BASE, 1, STRUCTS["segment_header"].size)
        first = CONSTANTS["CPU_AREA"]
        self.contexts = self._array("cpu", first, self.nr_cpus + 1, CONSTANTS["CPU_STRIDE"])
        self.cpus = self.contexts[1:]  # without the coordinator

    def _array(self, name: str, address: int, count: int, stride: int) -> Structs:
        """`count` structs in place, `stride` bytes from one to the next."""
        kind = dtype(name)
        return np.ndarray((count,), kind, buffer=self._map, offset=address - BASE, strides=(stride,))

    @property
    def nr_cpus(self) -> int:
        """Possible CPUs."""
        return int(self.header["nr_cpus"])

    def refresh(self) -> None:
        """Take a new copy of the header. Raises DamagedError if it is none any more."""
        header = self._live.copy()[0]
        if header["magic"] != CONSTANTS["SEGMENT_MAGIC"] or header["base"] != BASE:
            raise DamagedError("the segment's header is damaged: it has lost its magic number")
        if header["nr_cpus"] != self.header["nr_cpus"] or not 1 <= header["nr_nodes"] <= header["nr_cpus"]:
            raise DamagedError("the segment's header is damaged: senseless numbers of CPUs and nodes")
        self.header = header

    @property
    def cycles_per_us(self) -> int:
        """The clock's calibration. Raises DamagedError if it is none."""
        found = int(self.header["cycles_per_us"])
        if not 1 <= found <= 100_000:
            raise DamagedError(f"the segment's header is damaged: {found} cycles per microsecond")
        return found

    def mask(self, name: str) -> Mask:
        """A cpumask of the header, one truth value per CPU."""
        return bits(self.header[name]["bits"], self.nr_cpus)

    def pointed(self, addresses: Words, size: int) -> Mask:
        """Whether these point to allocated blocks that are at least so long."""
        good = self.is_block(addresses) & self.in_heap(addresses, size)
        at = np.where(good, addresses - CONSTANTS["CACHE_LINE"] + offset("heap_block", "size"), BASE)
        found: Mask = good & (self.gather(at, 1)[:, 0] >= size)
        return found

    def struct(self, name: str, address: int) -> Any:
        """One struct in an allocated block, or DamagedError."""
        where = np.array([address], dtype=np.int64)
        if not self.in_heap(where, STRUCTS[name].size // WORD * WORD)[0]:
            raise DamagedError(f"a {name} at {address:#x}, which is outside the heap")
        return self.structs(name, where)[0]

    def close(self) -> None:
        """Give up the map. Arrays that were taken out of it keep it until they are gone."""
        none = np.zeros(0, dtype=np.int64)
        self.words, self.bytes = none, none.view(np.uint8)
        self._live = self.contexts = self.cpus = none
        self._map = None  # type: ignore[assignment]


def bits(words: Any, count: int) -> Mask:
    """The first `count` bits of a mask."""
    raw = np.ascontiguousarray(words).view(np.uint8)
    found: Mask = np.unpackbits(raw, bitorder="little")[:count].astype(bool)
    return found
