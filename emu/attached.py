"""A read-only view of a running machine, for notebooks and scripts: `emu.attach()`.

    import emu
    m = emu.attach("memcg-create")             # or a process number; without one the only machine there is
    m.cache("filp").cpu(3).avail
    m.cpu(3).mode, m.vmstat()["kicks"]
    m.lock("slab_mutex").holder

It maps the machine's memory read-only and takes no lock, so it disturbs nothing and may see a struct half changed.
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any

import numpy as np

from cpus import vmstat as counters
from cpus.cpu import LATENCIES
from cpus.layout import CONSTANTS, STRUCTS
from cpus.status import MODES, WAITS
from emu import machines
from emu.errors import ResourceError, UsageError, did_you_mean, one_line
from emu.live_memory import LiveMemory
from emu.raw_memory import DamagedError, RawMemory, offset
from emu.structs import Struct, offset_of, walk

MUTEXES = ("slab_mutex", "cgroup_mutex", "rcu_barrier_mutex", "pcpu_drain_mutex")
SEMAPHORES = ("cpu_hotplug", "mem_hotplug")
CHILDREN = "memcg_params.children_node"


class AttachedCpu(Struct):
    """A CPU: struct cpu, with what its words mean."""

    def __init__(self, memory: LiveMemory, number: int) -> None:
        super().__init__(memory, "cpu", CONSTANTS["CPU_AREA"] + (number + 1) * CONSTANTS["CPU_STRIDE"])
        self.number = number

    @property
    def mode(self) -> str:
        """user, kernel, idle or dead; "?" for a word that is none of them."""
        found = self.hw.mode
        return MODES[found] if 0 <= found < len(MODES) else "?"

    @property
    def waiting_for(self) -> str:
        """What it waits for: nothing, acks, lock, slot, completion, grace period, broadcast."""
        found = self.hw.waiting_for
        return WAITS[found] if 0 <= found < len(WAITS) else "?"

    @property
    def counters(self) -> dict[str, int]:
        """Its own counters, by the names of `emu explain`."""
        row = self.counter
        return {name: row[index] for index, name in counters.NAMES.items()}


class AttachedCache(Struct):
    """A cache: struct kmem_cache, with its arrays and nodes."""

    @property
    def name(self) -> str:
        """The name in /proc/slabinfo."""
        return str(self.__getattr__("name"))

    def cpu(self, number: int) -> Struct:
        """The array cache of a CPU: .avail, .limit, .batchcount, .touched; of SLUB its kmem_cache_cpu: .page, .tid."""
        self._memory.refresh()
        if not 0 <= number < self._memory.nr_cpus:
            raise UsageError(f"cpu({number}): the machine has CPUs 0 to {self._memory.nr_cpus - 1}")
        if self.slub:
            first = self.slub + offset("kmem_cache_slub", "cpu")
            at = first + STRUCTS["kmem_cache_cpu"].size * (number + 1)
            return Struct(self._memory, "kmem_cache_cpu", at)
        at = self.address_ + offset("kmem_cache", "cpu_cache") + 8 * (number + 1)
        return Struct(self._memory, "array_cache", _word(self._memory, at, "kmem_cache.cpu_cache"))

    def node(self, number: int = 0) -> Struct:
        """A NUMA node's lists and counters: .total_slabs, .free_objects, .shared; SLUB: .nr_partial, .nr_slabs."""
        if not 0 <= number < int(self._memory.header["nr_nodes"]):
            raise UsageError(f"node({number}): the machine has nodes 0 to {int(self._memory.header['nr_nodes']) - 1}")
        if self.slub:
            table, kind = Struct(self._memory, "kmem_cache_slub", self.slub).node, "slub_node"
        else:
            table, kind = self.__getattr__("node"), "kmem_cache_node"
        return Struct(self._memory, kind, _word(self._memory, table + 8 * number, f"the table of {kind}s"))

    @property
    def children(self) -> list[AttachedCache]:
        """Its memcgs' caches."""
        head = self.address_ + offset_of("kmem_cache", "memcg_params.children")
        return [AttachedCache(self._memory, "kmem_cache", s.address_) for s in _on(self._memory, head, CHILDREN)]


class AttachedLock(Struct):
    """A named lock: struct mutex or struct rwsem."""

    @property
    def holder(self) -> int | None:
        """The CPU that holds it, -1 for the coordinator, None for nobody; readers of a semaphore have no names."""
        owner = self.owner if self.type_ == "mutex" else self.writer
        return owner - CONSTANTS["OWNER_BIAS"] if owner else None


class Attached:
    """A running machine, seen from outside. Also a context manager; close() gives the map up."""

    def __init__(self, machine: machines.Running) -> None:
        self.machine = machine
        descriptor = machines.open_segment(machine)
        try:
            self.memory = LiveMemory(descriptor)
        except DamagedError as error:
            raise ResourceError(f"machine {machine.title()}: {error}") from None
        finally:
            os.close(descriptor)

    def __enter__(self) -> Attached:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<machine {self.machine.title()}>"

    def close(self) -> None:
        """Give the machine's memory up."""
        self.memory.close()

    @property
    def alive(self) -> bool:
        """Whether the machine still runs: it is not shutting down, and its coordinator has not died."""
        return not self._header("shutting_down") and os.path.exists(f"/proc/{self.machine.pid}")  # noqa: PTH110

    def _header(self, name: str) -> int:
        self.memory.refresh()
        return int(self.memory.header[name])

    def cpu(self, number: int) -> AttachedCpu:
        """A CPU; -1 is the coordinator's own context."""
        if not -1 <= number < self.memory.nr_cpus:
            raise UsageError(f"cpu({number}): the machine has CPUs 0 to {self.memory.nr_cpus - 1}")
        return AttachedCpu(self.memory, number)

    @property
    def cpus(self) -> list[AttachedCpu]:
        """All CPUs."""
        return [AttachedCpu(self.memory, number) for number in range(self.memory.nr_cpus)]

    def caches(self) -> list[AttachedCache]:
        """The root caches, as /proc/slabinfo lists them; their children are .children of each."""
        root = self._root("AREA_SLAB", "the slab allocator")
        head = root + offset("slab_system", "slab_root_caches")
        found = _on(self.memory, head, "memcg_params.root_caches_node")
        return [AttachedCache(self.memory, "kmem_cache", struct.address_) for struct in found]

    def cache(self, name: str) -> AttachedCache:
        """A root cache by its name. UsageError if there is none."""
        known = self.caches()
        for cache in known:
            if cache.name == name:
                return cache
        hint = did_you_mean(name, [cache.name for cache in known])
        raise UsageError(f"no cache is called {one_line(name)!r}{hint}")

    def memcgs(self) -> list[Struct]:
        """All memcgs that are not yet freed, oldest first, without the root; none where nothing uses memcgs."""
        found: list[Struct] = []
        self.memory.refresh()
        if not self.memory.root("AREA_MEMCG"):
            return found
        root = self.memcg_root()
        at = root.next
        while at != root:
            if not isinstance(at, Struct) or len(found) > CONSTANTS["MEM_CGROUP_ID_MAX"]:
                raise DamagedError("the ring of memcgs is broken, or changes too fast")
            found.append(at)
            at = at.next
        return found

    def memcg_root(self) -> Struct:
        """The root memcg."""
        return Struct(self.memory, "memcg_system", self._root("AREA_MEMCG", "memory cgroups")).root  # type: ignore[no-any-return]

    def lock(self, name: str) -> AttachedLock:
        """A named lock: slab_mutex, cgroup_mutex, rcu_barrier_mutex, pcpu_drain_mutex, cpu_hotplug, mem_hotplug."""
        if name not in MUTEXES + SEMAPHORES:
            raise UsageError(f"no lock is called {one_line(name)!r}{did_you_mean(name, MUTEXES + SEMAPHORES)}")
        at = self._root("AREA_LOCKS", "locks") + offset("kernel_locks", name)
        return AttachedLock(self.memory, "mutex" if name in MUTEXES else "rwsem", at)

    def struct(self, name: str, address: int) -> Struct:
        """Any struct at an address of the machine's."""
        return Struct(self.memory, name, address)

    def vmstat(self) -> dict[str, int]:
        """The counters, summed over all contexts."""
        total = self.memory.contexts["counter"].sum(axis=0)
        return {name: int(total[index]) for index, name in counters.NAMES.items()}

    def interrupts(self) -> dict[str, list[int]]:
        """Interrupts taken by each CPU since boot, as /proc/interrupts counts them."""
        taken = self.memory.cpus["hw"]["irqs"]["taken"]
        return {"CAL": [int(n) for n in taken[:, 0] + taken[:, 1]], "RES": [int(n) for n in taken[:, 2]]}

    def latency(self, name: str) -> dict[str, Any]:
        """A latency's histogram, summed over all contexts: count, total and max in cycles, bucket."""
        if name not in LATENCIES:
            raise UsageError(f"no latency is called {one_line(name)!r}{did_you_mean(name, LATENCIES)}")
        self.memory.refresh()
        size = STRUCTS["histogram"].size
        at = self.memory.contexts["latency"].astype(np.int64)
        at = at[self.memory.pointed(at, size * CONSTANTS["NR_LATENCIES"])] + size * LATENCIES.index(name)
        found = self.memory.structs("histogram", at)
        return {
            "count": int(found["count"].sum()),
            "total": int(found["total"].sum()),
            "max": int(found["max"].max(initial=0)),
            "bucket": [int(n) for n in found["bucket"].sum(axis=0)],
        }

    def _root(self, area: str, what: str) -> int:
        self.memory.refresh()
        address = self.memory.root(area)
        if not address:
            raise UsageError(f"the machine has no {what}, or not yet")
        return address


def attach(which: str | int | None = None) -> Attached:
    """Attach to a running machine: its name, its coordinator's process number, or nothing for the only one.

    Raises UsageError if there is none, or several; ResourceError if it is gone or another user's.
    """
    return Attached(machines.find(None if which is None else str(which)))


def _on(memory: LiveMemory, head: int, member: str) -> list[Struct]:
    return list(walk(memory, head, "kmem_cache", member))


def _word(memory: RawMemory, address: int, what: str) -> int:
    where = np.array([address], dtype=np.int64)
    if not memory.in_heap(where, 8)[0]:
        raise DamagedError(f"{what} at {address:#x} is outside the heap")
    return memory.word(address)
