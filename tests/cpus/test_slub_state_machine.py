"""SLUB against a dictionary: the state machine of SLAB's tests, run on the other allocator."""

from __future__ import annotations

import pytest

from cpus import slub_faces
from tests.cpus import test_slab_state_machine as machine
from tests.slabs import field, set_word, word


class Slub(machine.Allocator):
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
        at = field("kmem_cache_cpu", "allocs", slub_faces.addresses(self.caches[0])["cpu"][self.k.current])
        set_word(at, word(at) - 1)


def test_some_orders_of_operations() -> None:
    machine.explore(Slub, 40)


def test_planted_miscount_is_found() -> None:
    machine.check_seen(Miscounted)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_any_order_of_operations() -> None:
    machine.explore(Slub, 500)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_any_order_of_operations_at_length() -> None:
    machine.explore(Slub, 10_000, 50)
