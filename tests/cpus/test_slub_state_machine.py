"""SLUB against a dictionary: the state machine of SLAB's tests, run on the other allocator."""

from __future__ import annotations

import pytest

from cpus import slub_faces

machine = pytest.importorskip("tests.cpus.test_slab_state_machine", reason="SLAB's state machine is not in this tree")


class Slub(machine.Allocator):  # type: ignore[misc]
    """The same rules; SLUB has no tunables, no reaper, and flushes its CPUs one by one."""

    allocator = "slub"
    tunable = False

    def settle(self) -> None:
        """Whatever is left is on nodes' lists by now: nothing is."""
        super().settle()
        for cache in self.caches:
            assert all(row["nr_slabs"] == 0 for row in slub_faces.nodes(cache))


class Miscounted(Slub):
    """Planted: an allocation that nobody counts."""

    @machine.precondition(lambda self: self.caches)
    @machine.rule()
    def miscount(self) -> None:
        """One word of one CPU."""
        at = machine.field("kmem_cache_cpu", "allocs", slub_faces.addresses(self.caches[0])["cpu"][self.k.current])
        machine.set_word(at, machine.word(at) - 1)


def test_some_orders_of_operations() -> None:
    machine.explore(Slub, 40)


def test_planted_miscount_is_found() -> None:
    with pytest.raises(AssertionError):
        machine.explore(Miscounted, 20, 8)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_any_order_of_operations() -> None:
    machine.explore(Slub, 500)
