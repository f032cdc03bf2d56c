"""Memcgs on a running machine: when children are made, what is charged, what keeps a removed memcg."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cpus import memcg_entry, slab_entry
from emu.faces import Cache
from emu.machine import Machine

EBUSY = -16
PAGE = 4096
NO_LIMIT = 9223372036854771712
ENTRY = memcg_entry.entry_points()


class Memcgs:
    """The memcg operations of a machine, all ordered from one CPU."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def mkdir(self, name: int = 0) -> int:
        return self.machine.call(ENTRY["memcg_mkdir"], name)

    def rmdir(self, memcg: int) -> int:
        return self.machine.call(ENTRY["memcg_rmdir"], memcg)

    def limit_kmem(self, memcg: int, size: int) -> int:
        return self.machine.call(ENTRY["memcg_write_kmem_limit"], memcg, size)

    def limit(self, memcg: int, size: int) -> int:
        return self.machine.call(ENTRY["memcg_write_limit"], memcg, size)

    def alloc(self, memcg: int, cache: Cache, times: int = 1) -> int:
        """By a task of that memcg. What it queues has run when the next order is taken."""
        return self.machine.call(
            ENTRY["memcg_kmem_cache_alloc"], memcg, cache.address, slab_entry.GFP_KERNEL, times, on=0
        )

    def count(self, name: str) -> int:
        self.settle()
        return self.machine.vmstat()[name]

    def calls(self) -> int:
        self.settle()
        return sum(self.machine.interrupts()["CAL"])

    def settle(self) -> None:
        """An order is taken when the work items that the one before has queued have run."""
        self.machine.call("nothing", on=0)


@contextmanager
def booted(kernel: str = "4.11", **options: Any) -> Iterator[tuple[Machine, Memcgs]]:
    with Machine(cpus=3, kernel=kernel, memory=32 << 20, **options) as machine:
        major, minor = kernel.split(".")
        assert machine.call(ENTRY["memcg_init"], int(major) * 1000 + int(minor)) == 0
        yield machine, Memcgs(machine)


@pytest.fixture
def system() -> Iterator[tuple[Machine, Memcgs]]:
    with booted() as both:
        yield both


def account_cache(machine: Machine, name: str = "foo", size: int = 256) -> Cache:
    return machine.kmem_cache_create(name, size, flags=("SLAB_ACCOUNT",))


def kmem(memcg: int) -> dict[str, int]:
    return dict(memcg_entry.memcg_status(memcg)["kmem"])


def test_the_first_allocation_is_served_by_the_root_and_queues_the_child(system: tuple[Machine, Memcgs]) -> None:
    machine, memcgs = system
    cache, memcg = account_cache(machine), memcgs.mkdir()
    assert memcgs.alloc(memcg, cache)
    assert memcgs.count("memcg_caches_created") == 1
    assert kmem(memcg)["usage_in_bytes"] == 0
    assert memcgs.alloc(memcg, cache)
    assert kmem(memcg)["usage_in_bytes"] == PAGE
    assert memcgs.count("memcg_caches_created") == 1


def test_misses_before_the_creation_are_duplicates(system: tuple[Machine, Memcgs]) -> None:
    machine, memcgs = system
    cache, memcg = account_cache(machine), memcgs.mkdir()
    assert memcgs.alloc(memcg, cache, times=23)
    assert memcgs.alloc(memcg, cache)
    assert memcgs.count("memcg_caches_created") == 1
    assert memcgs.count("memcg_create_duplicates") == 22


def test_caches_that_are_not_accounted_have_no_children(system: tuple[Machine, Memcgs]) -> None:
    machine, memcgs = system
    cache, memcg = machine.kmem_cache_create("foo", 256), memcgs.mkdir()
    assert memcgs.alloc(memcg, cache)
    assert memcgs.alloc(memcg, cache)
    assert memcgs.count("memcg_caches_created") == 0


def test_what_is_no_task_is_not_accounted(system: tuple[Machine, Memcgs]) -> None:
    machine, memcgs = system
    cache = account_cache(machine)
    memcgs.mkdir()
    assert machine.cpu(1).kmem_cache_alloc(cache)
    assert memcgs.count("memcg_caches_created") == 0


def test_the_limit_is_on_slab_pages_and_counts_failures(system: tuple[Machine, Memcgs]) -> None:
    machine, memcgs = system
    cache, memcg = account_cache(machine, size=2048), memcgs.mkdir()
    assert memcgs.limit_kmem(memcg, PAGE + 1) == 0
    assert kmem(memcg) == {"limit_in_bytes": PAGE, "usage_in_bytes": 0, "max_usage_in_bytes": 0, "failcnt": 0}
    assert memcgs.alloc(memcg, cache)
    # Two objects a page: the third of the child does not fit.
    assert memcgs.alloc(memcg, cache)
    assert memcgs.alloc(memcg, cache)
    assert memcgs.alloc(memcg, cache) == 0
    assert kmem(memcg)["failcnt"] > 0
    assert kmem(memcg)["usage_in_bytes"] == kmem(memcg)["max_usage_in_bytes"] == PAGE


def test_kmem_counts_in_memory_too(system: tuple[Machine, Memcgs]) -> None:
    machine, memcgs = system
    cache, memcg = account_cache(machine), memcgs.mkdir()
    memcgs.alloc(memcg, cache)
    memcgs.alloc(memcg, cache)
    status = memcg_entry.memcg_status(memcg)
    assert status["memory"]["usage_in_bytes"] == status["kmem"]["usage_in_bytes"] == PAGE
    assert memcgs.limit(memcg, 0) == EBUSY
    assert memcgs.limit(memcg, -1) == 0
    assert memcg_entry.memcg_status(memcg)["memory"]["limit_in_bytes"] == NO_LIMIT


def test_removing_an_empty_memcg_drains_each_child_twice(system: tuple[Machine, Memcgs]) -> None:
    machine, memcgs = system
    caches, memcg = [account_cache(machine, f"foo-{i}", 128 << i) for i in range(3)], memcgs.mkdir()
    for cache in caches:
        assert memcgs.alloc(memcg, cache)
    assert memcgs.count("memcg_caches_created") == len(caches)
    before = memcgs.calls()
    assert memcgs.rmdir(memcg) == 0
    assert machine.wait_until(lambda: memcg_entry.memcg_counts() == {"online": 0, "dying": 0}, timeout=5)
    assert memcgs.calls() - before == 2 * len(caches) * (machine.cpus - 1)
    assert memcgs.count("caches_destroyed") == len(caches)


def test_a_charged_page_keeps_a_removed_memcg(system: tuple[Machine, Memcgs]) -> None:
    machine, memcgs = system
    cache, memcg = account_cache(machine), memcgs.mkdir()
    memcgs.alloc(memcg, cache)
    assert memcgs.alloc(memcg, cache)
    before = memcgs.calls()
    assert memcgs.rmdir(memcg) == 0
    assert memcg_entry.memcg_counts() == {"online": 0, "dying": 1}
    assert memcg_entry.memcg_status(memcg)["kmemcg_id"] == -1
    assert memcgs.calls() - before == machine.cpus - 1


def test_ids_are_reused_and_serial_numbers_are_not(system: tuple[Machine, Memcgs]) -> None:
    _, memcgs = system
    made = [memcgs.mkdir(i) for i in range(11)]
    status = [memcg_entry.memcg_status(memcg) for memcg in made]
    assert [s["kmemcg_id"] for s in status] == list(range(11))
    assert [s["name"] for s in status] == [str(i) for i in range(11)]
    assert memcgs.rmdir(made[4]) == 0
    fresh = memcg_entry.memcg_status(memcgs.mkdir(99))
    assert fresh["kmemcg_id"] == 4
    assert fresh["serial_nr"] == 1 + max(s["serial_nr"] for s in status)


def test_children_are_found_when_the_arrays_have_grown(system: tuple[Machine, Memcgs]) -> None:
    machine, memcgs = system
    cache = account_cache(machine)
    made = [memcgs.mkdir(i) for i in range(23)]
    for memcg in made:
        assert memcgs.alloc(memcg, cache)
        assert memcgs.alloc(memcg, cache)
    assert memcgs.count("memcg_caches_created") == len(made)
    assert [kmem(memcg)["usage_in_bytes"] for memcg in made] == [PAGE] * len(made)


@pytest.mark.parametrize(("kernel", "at_once"), [("4.5", False), ("4.6", True)])
def test_when_the_accounting_begins(kernel: str, at_once: bool) -> None:
    with booted(kernel) as (machine, memcgs):
        cache, memcg = account_cache(machine), memcgs.mkdir()
        assert memcg_entry.memcg_status(memcg)["online"] is at_once
        assert memcgs.alloc(memcg, cache)
        assert memcgs.alloc(memcg, cache)
        assert memcgs.count("memcg_caches_created") == int(at_once)
        assert memcgs.limit_kmem(memcg, 1 << 30) == 0
        assert memcg_entry.memcg_status(memcg)["online"] is True


@pytest.mark.parametrize("wq", ["system", "ordered", "percpu"])
def test_every_workqueue_makes_the_child_once(wq: str) -> None:
    with booted(patches={"memcg-create-wq": wq}) as (machine, memcgs):
        cache, memcg = account_cache(machine), memcgs.mkdir()
        assert memcgs.alloc(memcg, cache, times=7)

        def ran() -> bool:
            return memcgs.count("memcg_caches_created") + memcgs.count("memcg_create_duplicates") == 7

        assert machine.wait_until(ran, timeout=5)
        assert memcgs.count("memcg_caches_created") == 1
