"""A machine's slab operations as methods: from outside they are mailed to a CPU, inside a body they are direct.

A cache is named by a Cache, an object by its address in the segment (the same in every process).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from cpus import body, buffer_head, page_faces, slab_entry
from emu.errors import UsageError

if TYPE_CHECKING:
    from emu.machine import Machine

ENOMEM, EBUSY, EINVAL = -12, -16, -22


class Cache(NamedTuple):
    """A kmem_cache: its address in the segment and its name."""

    address: int
    name: str


def entry_points() -> dict[str, int]:
    """Address of each mailable operation on slabs, pages and buffers, by name."""
    return {**slab_entry.entry_points(), **page_faces.entry_points(), **buffer_head.entry_points()}


def find_body(name: str) -> Callable[..., Any]:
    """Import a body given as "module:function"."""
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def body_cpu(number: int) -> body.BodyCpu:
    """What a Python body gets as its first argument: the CPU it runs on, with direct kernel calls."""
    return body.BodyCpu(number)


def create_cache(
    machine: Machine, name: str, size: int, align: int = 0, flags: tuple[str, ...] = (), on: int | str = 0
) -> Cache:
    """kmem_cache_create(): size and align in bytes, flags by their kernel names ("SLAB_ACCOUNT", ...)."""
    bits = slab_entry.flag_bits(flags)
    text = slab_entry.put_text(name.encode())
    try:
        address = machine.call("kmem_cache_create", text, size, align, bits, on=on)
    finally:
        slab_entry.drop_text(text)
    if address == ENOMEM:
        raise UsageError(f"kmem_cache_create({name!r}, {size}): out of memory; raise --memory or --max-segment")
    if address < 0:
        raise UsageError(f"kmem_cache_create({name!r}, {size}, align={align}): refused as the kernel does ({address})")
    return Cache(address, name)


def write_slabinfo(machine: Machine, text: str, on: int | str) -> int:
    """Write one line to /proc/slabinfo."""
    line = text.encode()
    address = slab_entry.put_text(line)
    try:
        return machine.call("slabinfo_write", address, len(line), on=on)
    finally:
        slab_entry.drop_text(address)


class RemoteCpu:
    """One CPU as seen from outside. Each operation is mailed to it and waited for (10-30 us)."""

    def __init__(self, machine: Machine, number: int) -> None:
        self.machine = machine
        self.number = number

    def kmem_cache_alloc(self, cache: Cache, gfp: int | None = None) -> int:
        """Allocate an object; its address, or 0 when no memory is left."""
        gfp = slab_entry.GFP_KERNEL if gfp is None else gfp
        return self.machine.call("kmem_cache_alloc", cache.address, gfp, on=self.number)

    def kmem_cache_free(self, cache: Cache, obj: int) -> None:
        """Free an object, allocated on any CPU."""
        self.machine.call("kmem_cache_free", cache.address, obj, on=self.number)

    def kmalloc(self, size: int, gfp: int | None = None) -> int:
        """Allocate `size` bytes; the address, or 0."""
        return self.machine.call("kmalloc", size, slab_entry.GFP_KERNEL if gfp is None else gfp, on=self.number)

    def kfree(self, obj: int) -> None:
        """Free what kmalloc() gave; 0 is allowed."""
        self.machine.call("kfree", obj, on=self.number)
