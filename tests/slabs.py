"""A slab allocator in the test's own process: no CPU processes, so every step is the test's, and exact.

    with kernel(cpus=2, version="4.6") as k:
        k.on(1)
        obj = slab_faces.alloc(cache)

The process acts as one CPU at a time; that one is the only CPU online, so nothing waits for an interrupt's answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cpus import cpu, init, page_alloc, slab_faces, status, vmstat
from cpus.layout import STRUCTS
from emu import patches
from ipc import clock, lock, memory, transport

MIB = 1 << 20
KIM_SERIES = (
    "drain-shared-locked",
    "bad-alien-magic",
    "drain-free-slabs",
    "node-init",
    "node-setup",
    "free-limit-at-end",
    "racy-colour",
    "grow-any-node",
    "grow-in-two",
    "refill-private-slab",
    "lockless-grow",
)


class Kernel:
    """The running kernel, as far as it is not slab_faces."""

    def __init__(self, cpus: int) -> None:
        self.cpus = cpus
        self.current = 0
        self.on(0)

    def on(self, number: int) -> None:
        """Act as this CPU from now on."""
        slab_faces.set_online(self.current, False)
        self.current = number
        slab_faces.become(number)
        slab_faces.set_online(number, True)

    def as_coordinator(self) -> None:
        """Act as the coordinator; no CPU is online."""
        slab_faces.set_online(self.current, False)
        slab_faces.become(-1)

    def acquisitions(self, lock_class: str) -> int:
        """How often locks of a class were taken."""
        return int(status.lock_statistics()[lock_class]["acquisitions"])

    def count(self, name: str) -> int:
        """One counter, summed over all contexts."""
        index = next(i for i, found in vmstat.NAMES.items() if found == name)
        return sum(status.counters(number)[index] for number in range(-1, self.cpus))

    def pages_in_use(self) -> int:
        """Page frames that are neither free nor unused."""
        return sum(row["pages"] - row["free"] - row["fresh"] for row in page_alloc.nodes())


@contextmanager
def kernel(
    cpus: int = 1,
    *,
    nodes: int = 1,
    version: str = "4.12",
    ram: int = 64 * MIB,
    segment: int = 512 * MIB,
    changes: dict[str, str] | None = None,
    allocator: str = "slab",
    **parameters: object,
) -> Iterator[Kernel]:
    """Boot without forking, act as CPU 0, and take everything down at the end. changes: switches by name."""
    memory.create(segment, ram, cpus, nodes)
    try:
        for index, value in patches.switch_bytes(patches.override(patches.defaults(version), changes or {})).items():
            memory.set_switch(index, value)
        memory.set_switch(2, int(allocator == "slub"))
        memory.set_clock(clock.calibrate())
        transport.select("signal", 10_000_000)
        assert cpu.init_cpus(nodes)
        assert lock.allocate_statistics()
        assert init.start_kernel(parameters)
        yield Kernel(cpus)
    finally:
        slab_faces.become(-1)
        memory.destroy()


def field(struct: str, name: str, address: int = 0) -> int:
    """Address of a field of a struct at `address`."""
    return address + next(f.offset for f in STRUCTS[struct].fields if f.name == name)


def word(address: int) -> int:
    """One word of the segment."""
    return int.from_bytes(slab_faces.peek(address, 8), "little")


def set_word(address: int, value: int) -> None:
    """Overwrite one word of the segment."""
    slab_faces.poke(address, (value % (1 << 64)).to_bytes(8, "little"))


def node_address(cache: int, nid: int) -> int:
    """Address of a cache's struct kmem_cache_node."""
    return word(word(field("kmem_cache", "node", cache)) + 8 * nid)


def cpu_array(cache: int, number: int) -> int:
    """Address of a CPU's array."""
    return word(field("kmem_cache", "cpu_cache", cache) + 8 * (number + 1))
