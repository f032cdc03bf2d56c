"""The ledger of interrupts for SLAB (kernel-facts 13): each cell counted on a real machine, grace periods with it.

N is the number of online CPUs; the initiator is a CPU, so whoever interrupts all others interrupts N-1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from cpus import memcg_entry, slab_entry, slab_reap
from emu.faces import Cache
from tests.machines import Rig

KERNELS = ["3.13", "4.6", "4.8", "4.9", "4.11", "4.12"]
MACHINES = [(1, 1), (2, 1), (5, 1), (4, 2)]
ENTRY = memcg_entry.entry_points()
CHILDREN = 3


class Count(NamedTuple):
    """What an operation cost: call-function interrupts taken, by all CPUs, and grace periods waited for."""

    ipis: int
    grace_periods: int


class Ledger:
    """A machine whose interrupts are counted around an operation."""

    def __init__(self, rig: Rig, kernel: str) -> None:
        self.rig = rig
        self.kernel = tuple(int(part) for part in kernel.split("."))
        self.nodes = int(rig.config["nodes"])
        self.made = 0

    def reading(self) -> Count:
        """With no vector under way. What an order has queued has run when the next one is taken."""
        for cpu in range(self.rig.cpus):
            self.rig.call("nothing", on=cpu)
        self.rig.wait_for(self.nothing_under_way, "all vectors to be taken")
        return Count(sum(self.rig.interrupts()["CAL"]), self.rig.vmstat()["grace_periods"])

    def nothing_under_way(self) -> bool:
        found = self.rig.ipis()
        return found["raised"] == found["taken"] + found["merged"] and found["pending"] == 0

    def cost(self, operation: Callable[[], object]) -> Count:
        before = self.reading()
        operation()
        after = self.reading()
        return Count(after.ipis - before.ipis, after.grace_periods - before.grace_periods)

    def cache(self, size: int = 64, flags: tuple[str, ...] = ()) -> Cache:
        self.made += 1
        return self.rig.kmem_cache_create(f"cache-{self.made}", size, flags=flags, on=0)

    def with_children(self, count: int) -> tuple[Cache, list[int]]:
        """A cache with a child of each of `count` memcgs, made by CPU 0."""
        cache, memcgs = self.cache(256, ("SLAB_ACCOUNT",)), []
        for number in range(count):
            memcg = self.rig.call(ENTRY["memcg_mkdir"], number, on=0)
            # Until 4.5 a memcg accounts kernel memory once it has a limit.
            assert self.rig.call(ENTRY["memcg_write_kmem_limit"], memcg, 1 << 40, on=0) == 0
            for _ in range(2):
                obj = self.rig.call(
                    ENTRY["memcg_kmem_cache_alloc"], memcg, cache.address, slab_entry.GFP_KERNEL, 1, on=0
                )
                self.rig.call("nothing", on=0)
                self.rig.call("kmem_cache_free", cache.address, obj, on=0)
            memcgs.append(memcg)
        self.reading()
        assert self.rig.vmstat()["memcg_caches_created"] == count
        return cache, memcgs

    def retune(self, cache: Cache) -> None:
        self.made += 1
        line = f"{cache.name} {20 + self.made} 10 8"
        assert self.rig.write_slabinfo(line, on=0) == len(line)

    # --- what the table says

    def grace_periods(self, old_shared: bool) -> int:
        """Waits of one setup of all nodes: none before 4.7, then always, from 4.9 if an old shared array is freed."""
        if self.kernel < (4, 7) or self.rig.cpus == 1:
            return 0  # on one CPU a grace period is over at once
        return self.nodes if old_shared or self.kernel < (4, 9) else 0

    @property
    def others(self) -> int:
        return self.rig.cpus - 1


def machine(kernel: str, cpus: int, nodes: int) -> Rig:
    return Rig(cpus, nodes=nodes, kernel=kernel, limit=90)


def ready(rig: Rig, kernel: str) -> Ledger:
    major, minor = kernel.split(".")
    assert rig.call(ENTRY["memcg_init"], int(major) * 1000 + int(minor), on=0) == 0
    return Ledger(rig, kernel)


@pytest.mark.parametrize(("cpus", "nodes"), MACHINES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_ledger(kernel: str, cpus: int, nodes: int) -> None:
    with machine(kernel, cpus, nodes) as rig:
        ledger = ready(rig, kernel)
        each = ledger.others
        create = Count(0 if ledger.kernel >= (4, 12) else each, ledger.grace_periods(old_shared=False))
        assert ledger.cost(ledger.cache) == create, "create"
        small, large = ledger.cache(), ledger.cache(8192)
        shared = cpus > 1
        assert ledger.cost(lambda: ledger.retune(small)) == Count(each, ledger.grace_periods(shared)), "retune"
        # Objects over 4 KiB have no shared array, until a write to slabinfo gives them one.
        assert ledger.cost(lambda: ledger.retune(large)) == Count(each, ledger.grace_periods(False)), "first retune"
        assert ledger.cost(lambda: ledger.retune(large)) == Count(each, ledger.grace_periods(True)), "second retune"
        assert ledger.cost(lambda: rig.kmem_cache_shrink(small)) == Count(each, 0), "shrink of an empty cache"
        obj = rig.cpu(cpus - 1).kmem_cache_alloc(small)
        assert ledger.cost(lambda: rig.kmem_cache_shrink(small)) == Count(each, 0), "shrink"
        rig.cpu(0).kmem_cache_free(small, obj)
        assert ledger.cost(lambda: rig.kmem_cache_destroy(small)) == Count(each, 0), "destroy"
        assert ledger.cost(lambda: rig.call(slab_reap.reap_address(), on=0)) == Count(0, 0), "reap"


@pytest.mark.parametrize(("cpus", "nodes"), [(2, 1), (4, 2)])
@pytest.mark.parametrize("kernel", KERNELS)
def test_children_multiply_a_retune(kernel: str, cpus: int, nodes: int) -> None:
    with machine(kernel, cpus, nodes) as rig:
        ledger = ready(rig, kernel)
        cache, _ = ledger.with_children(CHILDREN)
        tables = 1 + CHILDREN
        expected = Count(tables * ledger.others, tables * ledger.grace_periods(old_shared=True))
        assert ledger.cost(lambda: ledger.retune(cache)) == expected


@pytest.mark.parametrize(("cpus", "nodes"), [(2, 1), (4, 2)])
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_child_is_created_as_any_cache(kernel: str, cpus: int, nodes: int) -> None:
    with machine(kernel, cpus, nodes) as rig:
        ledger = ready(rig, kernel)
        each = 0 if ledger.kernel >= (4, 12) else ledger.others
        cost = ledger.cost(lambda: ledger.with_children(CHILDREN))
        assert cost.ipis == (1 + CHILDREN) * each
        assert cost.grace_periods == (1 + CHILDREN) * ledger.grace_periods(old_shared=False)


@pytest.mark.parametrize(("cpus", "nodes"), [(2, 1), (4, 2)])
@pytest.mark.parametrize("kernel", [kernel for kernel in KERNELS if kernel != "3.13"])
def test_a_memcg_that_goes_drains_each_child_twice(kernel: str, cpus: int, nodes: int) -> None:
    """Once when it goes off line, once when the child is shut down; the second by whoever frees the memcg."""
    with machine(kernel, cpus, nodes) as rig:
        ledger = ready(rig, kernel)
        _, memcgs = ledger.with_children(CHILDREN)
        for memcg in memcgs:
            cost = ledger.cost(lambda memcg=memcg: rig.call(ENTRY["memcg_rmdir"], memcg, on=0))
            rig.wait_for(lambda: memcg_entry.memcg_counts()["dying"] == 0, "the memcg to be gone")
            assert cost.ipis == 2 * ledger.others
        assert rig.vmstat()["memcg_caches_created"] == CHILDREN


@pytest.mark.parametrize("kernel", ["4.6", "4.12"])
def test_a_memcg_that_goes_off_line_with_objects_drains_each_child_once(kernel: str) -> None:
    """What lives keeps the child, so that it is not shut down: the first half alone."""
    with machine(kernel, 4, 1) as rig:
        ledger = ready(rig, kernel)
        cache, (memcg,) = ledger.with_children(1)
        obj = rig.call(ENTRY["memcg_kmem_cache_alloc"], memcg, cache.address, slab_entry.GFP_KERNEL, 1, on=0)
        assert ledger.cost(lambda: rig.call(ENTRY["memcg_rmdir"], memcg, on=0)).ipis == 3
        assert memcg_entry.memcg_counts()["dying"] == 1
        rig.call("kmem_cache_free", cache.address, obj, on=0)


@pytest.mark.parametrize("kernel", KERNELS)
def test_destroying_a_root_destroys_its_children(kernel: str) -> None:
    with machine(kernel, 3, 1) as rig:
        ledger = ready(rig, kernel)
        cache, _ = ledger.with_children(CHILDREN)
        assert ledger.cost(lambda: rig.kmem_cache_destroy(cache)).ipis == (1 + CHILDREN) * 2


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_coordinator_interrupts_one_more(kernel: str) -> None:
    """It is no CPU: for N-1 read N."""
    with machine(kernel, 3, 1) as rig:
        ledger = ready(rig, kernel)
        cache = ledger.cache()
        create = 0 if ledger.kernel >= (4, 12) else 3
        assert ledger.cost(lambda: rig.kmem_cache_create("other", 64, on="coordinator")).ipis == create
        line = f"{cache.name} 20 10 8"
        assert ledger.cost(lambda: rig.write_slabinfo(line, on="coordinator")).ipis == 3
        assert ledger.cost(lambda: rig.kmem_cache_shrink(cache, on="coordinator")).ipis == 3
        assert ledger.cost(lambda: rig.kmem_cache_destroy(cache, on="coordinator")).ipis == 3


@pytest.mark.parametrize(
    ("switch", "value", "operation"),
    [
        ("slab-create-no-ipi", "off", "create"),
        ("shared-array-free", "sync", "create"),
        ("shared-array-free", "kick", "retune"),
        ("shared-array-free", "none", "retune"),
    ],
)
def test_a_flipped_switch_shows_in_the_ledger(switch: str, value: str, operation: str) -> None:
    """Of 4.12: no interrupts to create, N-1 and one grace period to retune."""
    changes = {switch: value} | ({"lockless-grow": "off"} if value == "none" else {})
    with Rig(4, kernel="4.12", patches=changes) as rig:
        ledger = ready(rig, "4.12")
        cache = ledger.cache()
        costs = {"create": ledger.cost(ledger.cache), "retune": ledger.cost(lambda: ledger.retune(cache))}
        usual = {"create": Count(0, 0), "retune": Count(3, 1)}
        assert costs[operation] != usual[operation]


@pytest.mark.parametrize("ipi", ["mqueue", "cluster", "doorbell"])
def test_other_transports_count_the_same(ipi: str) -> None:
    with Rig(3, kernel="4.11", ipi=ipi) as rig:
        ledger = ready(rig, "4.11")
        assert ledger.cost(ledger.cache) == Count(2, 0)
