"""Structs in a running machine's memory as Python objects, in drgn's manner: an attribute is read when it is asked for.

    ac = m.cache("filp").cpu(3)
    ac.avail, ac.limit           -> (12, 54)
    ac                           -> (struct array_cache *)0x21000d40 {.avail = 12, ...}

Nothing is cached: two attributes of one struct are of two instants. Whatever is read is range-checked first; what
cannot be right raises DamagedError.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from cpus.layout import CONSTANTS, STRUCTS
from emu.live_memory import LiveMemory
from emu.machines import printable
from emu.raw_memory import BASE, HEAP, MAP, DamagedError, offset

RETRIES = 5
MOST = 1 << 20  # entries of a list; no machine has as many
NESTED_SHOWN = 8
# What the pointers of a struct point to, where that is a struct. (The layout knows that they are pointers.)
POINTERS = {
    ("kmem_cache_node", "shared"): "array_cache",
    ("memcg_cache_params", "root_cache"): "kmem_cache",
    ("memcg_cache_params", "memcg_caches"): "memcg_cache_array",
    ("memcg_cache_params", "memcg"): "mem_cgroup",
    ("mem_cgroup", "parent"): "mem_cgroup",
    ("mem_cgroup", "next"): "mem_cgroup",
    ("mem_cgroup", "prev"): "mem_cgroup",
    ("cpu", "current"): "task",
    ("cpu", "run_queue"): "task",
    ("cpu", "serving"): "call_single_data",
    ("task", "memcg"): "mem_cgroup",
    ("task", "next"): "task",
    ("page", "slab_cache"): "kmem_cache",
    ("page", "mem_cgroup"): "mem_cgroup",
}


class Struct:
    """A struct in the machine's memory. Its fields are attributes; `address_` and `type_` say where and what it is."""

    def __init__(self, memory: LiveMemory, name: str, address: int) -> None:
        if name not in STRUCTS:
            raise LookupError(f"there is no struct {name}")
        self._memory = memory
        self.type_ = name
        self.address_ = int(address)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        field = next((field for field in STRUCTS[self.type_].fields if field.name == name), None)
        if field is None:
            raise AttributeError(f"struct {self.type_} has no {name}")
        at = self.address_ + field.offset
        if field.kind == "s" and field.nested:
            step = STRUCTS[field.nested].size
            nested = [Struct(self._memory, field.nested, at + i * step) for i in range(max(field.count, 1))]
            return nested[0] if field.count == 1 else nested
        values = self._read(at, field)
        if field.kind == "p" and field.count == 1:
            target = POINTERS.get((self.type_, name))
            return Struct(self._memory, target, values[0]) if target and values[0] else values[0]
        return values[0] if field.count == 1 else values

    def _read(self, address: int, field: Any) -> list[Any]:
        size = field.size * max(field.count, 1)
        require(self._memory, self.type_, address, size)
        raw = self._memory.bytes[address - BASE : address - BASE + size].tobytes()
        if field.kind == "c":
            return [printable(raw)]
        kind = f"{'u' if field.kind == 'p' else field.kind}{field.size}"
        if field.kind == "s":
            return [raw]
        return [value.item() for value in np.frombuffer(raw, dtype=f"<{kind}")]

    def __dir__(self) -> list[str]:
        return ["address_", "type_", *(field.name for field in STRUCTS[self.type_].fields)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Struct) and (self.type_, self.address_) == (other.type_, other.address_)

    def __hash__(self) -> int:
        return hash((self.type_, self.address_))

    def __repr__(self) -> str:
        parts = []
        for field in STRUCTS[self.type_].fields:
            if field.name.startswith("_") or field.kind == "s":
                continue
            try:
                value = getattr(self, field.name)
            except DamagedError as error:
                return f"(struct {self.type_} *){self.address_:#x}: {error}"
            if isinstance(value, list):
                value = f"{{{', '.join(map(str, value[:NESTED_SHOWN]))}{', ...' if len(value) > NESTED_SHOWN else ''}}}"
            elif isinstance(value, Struct):
                value = f"(struct {value.type_} *){value.address_:#x}"
            elif field.kind == "p":
                value = f"{value:#x}"
            parts.append(f".{field.name} = {value}")
        return f"(struct {self.type_} *){self.address_:#x} {{{', '.join(parts)}}}"


def require(memory: LiveMemory, what: str, address: int, size: int) -> None:
    """Raise DamagedError unless these bytes are memory that the machine uses."""
    memory.refresh()
    where = np.array([address], dtype=np.int64)
    fixed = address >= BASE and address + size <= BASE + CONSTANTS["HEAP_OFFSET"]
    heap = address >= HEAP and address + size <= int(memory.header["heap_next"])
    page = address >= MAP and address + size <= MAP + int(memory.header["map_end"])
    if not (fixed or heap or page or memory.in_ram(where, size)[0]):
        raise DamagedError(f"struct {what} at {address:#x}: that is not memory of the machine, or was given back")


def walk(memory: LiveMemory, head: int, name: str, member: str) -> Iterator[Struct]:
    """The structs on a list_head list; those that were on it at one time or another while it was walked.

    Walking a list that others change may lead astray: an entry that is no memory of ours, a loop. Then it is walked
    again from the start, a few times, before DamagedError says that it is broken.
    """
    for attempt in range(RETRIES):
        try:
            yield from [Struct(memory, name, at - offset_of(name, member)) for at in entries(memory, head)]
            return
        except DamagedError:
            if attempt == RETRIES - 1:
                raise


def entries(memory: LiveMemory, head: int, most: int = MOST) -> list[int]:
    """Addresses of the list_heads on a list, without its head. Raises DamagedError for what is no list."""
    memory.refresh()
    end = int(memory.header["heap_next"])
    base = BASE + CONSTANTS["HEAP_OFFSET"]
    words = memory.words
    found: list[int] = []
    seen: set[int] = set()
    if not base <= head < end:
        raise DamagedError(f"a list at {head:#x}, which is outside the heap")
    at = int(words[(head - BASE) >> 3])
    while at != head:
        if not base <= at < end or at & 7 or at in seen:
            raise DamagedError(f"the list at {head:#x} is broken, or changes too fast: it leads to {at:#x}")
        if len(found) == most:
            break
        seen.add(at)
        found.append(at)
        at = int(words[(at - BASE) >> 3])
    return found


def offset_of(name: str, member: str) -> int:
    """Offset of a member that may lie in a nested struct: "memcg_params.children"."""
    total = 0
    for part in member.split("."):
        total += offset(name, part)
        nested = next(field.nested for field in STRUCTS[name].fields if field.name == part)
        name = nested or name
    return total
