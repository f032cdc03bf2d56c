"""The operations of the ledger: how each is prepared and done on a machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from cpus import boot, buffer_head, memcg_entry, page_faces, slab_faces, slab_reap, slub_faces
from workloads import _ledger_table as table
from workloads import ipi_ledger_loop as loop
from workloads._ledger_table import Case, Cost

if TYPE_CHECKING:
    from emu.machine import Machine

GFP_KERNEL = slab_faces.GFP_KERNEL
SMALL, LARGE = 128, 8192
CHILDREN = 2
DESTROYED = 3
READ_US = 2_000_000
BY_RCU = ("SLAB_TYPESAFE_BY_RCU",)
ACCOUNT = ("SLAB_ACCOUNT",)


@dataclass
class Bench:
    """A machine, whom it works for, and what it needs to name things."""

    machine: Machine
    kernel: tuple[int, int]
    on: int | str  # the initiator
    holders: list[int]  # CPUs that hold something
    names: Iterator[int] = field(default_factory=count)

    @property
    def others(self) -> int:
        """Online CPUs beside the initiator."""
        return self.machine.cpus - (self.on == 0)

    @property
    def held(self) -> int:
        """Holders beside the initiator."""
        return len([cpu for cpu in self.holders if cpu != self.on])

    def cache(self, size: int = SMALL, flags: tuple[str, ...] = ()) -> Any:
        """A new cache, made by CPU 0."""
        return self.machine.kmem_cache_create(f"ledger-{next(self.names)}", size, flags=flags, on=0)

    def used(self, cache: Any) -> Any:
        """The same, when each holder has taken an object of it and given it back."""
        for cpu in self.holders:
            remote = self.machine.cpu(cpu)
            remote.kmem_cache_free(cache, remote.kmem_cache_alloc(cache))
        return cache

    def memcg(self, caches: list[Any], cpus: list[int]) -> tuple[int, list[tuple[Any, int]]]:
        """A memcg with a child of each cache; the CPUs have slabs of it, and one object of each is left."""
        entry, m = memcg_entry.entry_points(), self.machine
        memcg = m.call(entry["memcg_mkdir"], next(self.names), on=0)
        m.call(entry["memcg_write_kmem_limit"], memcg, 1 << 30, on=0)
        left = []
        for cache in caches:
            made = m.vmstat()["memcg_caches_created"] + 1
            m.call(entry["memcg_kmem_cache_alloc"], memcg, cache.address, GFP_KERNEL, 1, on=0)
            m.wait_until(lambda made=made: m.vmstat()["memcg_caches_created"] == made, timeout=20)  # type: ignore[misc]
            for cpu in cpus:
                obj = m.call(entry["memcg_kmem_cache_alloc"], memcg, cache.address, GFP_KERNEL, 2, on=cpu)
                left.append((cache, obj))
        return memcg, left


Act = Callable[[], Any]


@dataclass(frozen=True)
class Operation:
    """One row of the ledger. prepare() gives what is to be measured. memcg: only where there are such caches. cpu_only:
    what tasks, kworkers and callbacks do; the coordinator has none."""

    name: str
    allocator: str  # slab, slub, or any
    expect: Callable[[Case], Cost]
    prepare: Callable[[Bench], Act]
    number: int = 1
    memcg: bool = False
    cpu_only: bool = False
    since: tuple[int, int] = (3, 0)
    callbacks: bool = False


def create(b: Bench) -> Act:
    """A root cache."""
    return lambda: b.machine.kmem_cache_create(f"ledger-{next(b.names)}", SMALL, on=b.on)


def create_child(b: Bench) -> Act:
    """A child, by the work item that the first allocation queues."""
    entry, m = memcg_entry.entry_points(), b.machine
    cache = b.cache(flags=ACCOUNT)
    memcg = m.call(entry["memcg_mkdir"], next(b.names), on=0)
    m.call(entry["memcg_write_kmem_limit"], memcg, 1 << 30, on=0)
    before = m.vmstat()["memcg_caches_created"]

    def act() -> None:
        m.call(entry["memcg_kmem_cache_alloc"], memcg, cache.address, GFP_KERNEL, 1, on=0)
        m.wait_until(lambda: m.vmstat()["memcg_caches_created"] == before + 1, timeout=20)

    return act


def tune(size: int) -> Callable[[Bench], Act]:
    """One write to slabinfo."""

    def prepare(b: Bench) -> Act:
        cache = b.cache(size)
        line = f"{cache.name} 12 6 {8 if size == SMALL else 0}"
        return lambda: b.machine.write_slabinfo(line, on=b.on)

    return prepare


def tune_root(b: Bench) -> Act:
    """A root with children."""
    cache = b.cache(flags=ACCOUNT)
    for _ in range(CHILDREN):
        b.memcg([cache], [0])
    return lambda: b.machine.write_slabinfo(f"{cache.name} 12 6 8", on=b.on)


def shrink(b: Bench) -> Act:
    """kmem_cache_shrink, with something to find on the holders."""
    cache = b.used(b.cache())
    return lambda: b.machine.kmem_cache_shrink(cache, on=b.on)


def destroy(b: Bench) -> Act:
    """kmem_cache_destroy."""
    cache = b.used(b.cache())
    return lambda: b.machine.kmem_cache_destroy(cache, on=b.on)


def deactivate(children: int) -> Callable[[Bench], Act]:
    """rmdir of a memcg that is in use: so nothing is destroyed yet."""

    def prepare(b: Bench) -> Act:
        caches = [b.cache(flags=ACCOUNT) for _ in range(children)]
        memcg, _ = b.memcg(caches, b.holders)
        slub = b.machine.config["allocator"] == "slub"
        prefixes = tuple(f"{cache.name}(" for cache in caches)
        mine = [address for address, name in slab_faces.caches() if name.startswith(prefixes)]

        def act() -> None:
            b.machine.call(memcg_entry.entry_points()["memcg_rmdir"], memcg, on=0)
            if slub:
                b.machine.wait_until(lambda: all(slub_faces.state(c)["dead"] for c in mine), timeout=20)

        return act

    return prepare


def destroy_by_rcu(b: Bench) -> Act:
    """Some caches, one after the other, while every other CPU has a callback waiting."""
    m, entry = b.machine, loop.entry_points()
    caches = [b.used(b.cache(flags=BY_RCU)) for _ in range(DESTROYED)]
    m.call("nothing", on=0)
    blocks = [loop.new_callback() for _ in range(m.cpus)]
    last = m.cpus - 1
    wanted = loop.barrier_ipis_sent() + last
    boot.post_call(last, entry["read_until"], (blocks[last], wanted, READ_US, 1))
    m.wait_until(lambda: loop.callback_state(blocks[last])[1] != 0, timeout=20)
    for cpu in range(1, last):
        m.call(entry["queue_callback"], blocks[cpu], on=cpu)

    def act() -> None:
        m.call(entry["hold"], 1, on=b.on)
        for cache in caches:
            m.kmem_cache_destroy(cache, on=b.on)
            # A marker counts until it has returned: the next barrier is to find none.
            m.wait_until(lambda: loop.barrier_ipis_sent() < wanted or loop.callbacks_queued() == 0, timeout=20)
        m.call(entry["hold"], 0, on=b.on)
        m.call(entry["settle"], on=0)
        m.wait_until(lambda: boot.call_done(last), timeout=20)
        m.wait_until(lambda: all(loop.callback_state(block)[0] for block in blocks[1:]), timeout=20)
        for block in blocks:
            loop.drop_callback(block)

    return act


def reap(b: Bench) -> Act:
    """The periodic reaper, on CPU 0."""
    cache = b.used(b.cache())
    assert cache
    return lambda: b.machine.call(slab_reap.reap_address(), on=b.on)


def drain_pages(b: Bench) -> Act:
    """drain_all_pages, with a page on each holder's list and on nobody else's."""
    m, entry = b.machine, page_faces.entry_points()
    m.call(entry["drain_all_pages"], -1, on=0)
    for cpu in b.holders:
        m.call(entry["page_free"], m.call(entry["page_alloc"], 0, 0, GFP_KERNEL, on=cpu), 0, on=cpu)
    return lambda: m.call(entry["drain_all_pages"], -1, on=b.on)


def bh_lrus(b: Bench) -> Act:
    """invalidate_bh_lrus, with a buffer head in each holder's LRU."""
    m, entry = b.machine, buffer_head.entry_points()
    for cpu in b.holders:
        m.call(entry["touch_block"], cpu, on=cpu)
    return lambda: m.call(entry["invalidate_bh_lrus"], 0, on=b.on)


WAITED = (False, True, (3, 0), True)  # memcg, cpu_only, since, callbacks
OPERATIONS = (
    Operation("create cache", "slab", table.slab_create, create),
    Operation("create memcg child", "slab", table.slab_create, create_child, memcg=True, cpu_only=True),
    Operation("retune", "slab", table.slab_tune, tune(SMALL)),
    Operation("retune, objects > 4 KiB", "slab", table.slab_tune_large, tune(LARGE)),
    Operation("retune root with 2 children", "slab", table.slab_tune, tune_root, 1 + CHILDREN, True, True),
    Operation("shrink", "slab", table.everyone, shrink),
    Operation("destroy", "slab", table.everyone, destroy),
    Operation("memcg deactivate", "slab", table.everyone, deactivate(1), memcg=True, cpu_only=True, since=(4, 0)),
    Operation("destroy 3 BY_RCU caches", "slab", table.slab_destroy_by_rcu, destroy_by_rcu, DESTROYED, *WAITED),
    Operation("cache_reap", "slab", table.nothing, reap, cpu_only=True),
    Operation("create cache", "slub", table.nothing, create),
    Operation("shrink", "slub", table.slub_flush, shrink),
    Operation("destroy", "slub", table.slub_flush, destroy),
    Operation("memcg deactivate, 2 children", "slub", table.slub_deactivate, deactivate(2), 2, True, True, (4, 0)),
    Operation("destroy 3 BY_RCU caches", "slub", table.slub_destroy_by_rcu, destroy_by_rcu, DESTROYED, *WAITED),
    Operation("drain_all_pages", "any", table.drain_all_pages, drain_pages),
    Operation("invalidate_bh_lrus", "any", table.slub_flush, bh_lrus),
)
