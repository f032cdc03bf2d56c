"""Goal P4's guard: instructions of an alloc and a free on the fast path. Ticks depend on the host, these do not."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable

import pytest

from cpus import slab_entry, slab_faces
from tests.slabs import kernel
from tests.stepping import instructions
from workloads import slab_pair_loop as loop

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="counts are those of x86-64")
# Measured, and a tenth for other compilers. A pair within the array or slab, with its loop; of 512 objects.
FAST = {"slab": 95, "slub": 145}
DEEP = {"slab": 205, "slub": 245}
KEPT: list[contextlib.ExitStack] = []


def pair(depth: int, repeats: int, *, flags: tuple[str, ...] = (), **options: object) -> float:
    """Instructions per pair: what `repeats` more repeats need, so that everything around the loop cancels out."""

    def counted(times: int) -> int:
        def prepare() -> Callable[[], object]:
            KEPT.append(contextlib.ExitStack())  # its process ends without leaving it
            KEPT[0].enter_context(kernel(**options))
            cache = slab_faces.create_cache("pairs", 64, flags=slab_entry.flag_bits(flags))
            loop.run_here(cache, depth, 2)
            return lambda: loop.run_here(cache, depth, times)

        return instructions(prepare)

    return (counted(2 * repeats) - counted(repeats)) / (repeats * depth)


@pytest.mark.parametrize("depth", [1, 32])
@pytest.mark.parametrize("allocator", FAST)
def test_the_fast_path(allocator: str, depth: int) -> None:
    assert pair(depth, 64 // depth + 1, allocator=allocator) <= FAST[allocator]


@pytest.mark.slow
@pytest.mark.parametrize("allocator", DEEP)
def test_beyond_the_array(allocator: str) -> None:
    """Refills, flushes and slabs have their share."""
    assert pair(512, 1, allocator=allocator) <= DEEP[allocator]


@pytest.mark.slow
def test_the_fast_path_is_the_same_in_every_version() -> None:
    """Switches are read on slow paths only. The interpreter around the loop is not the same to the instruction."""
    assert pair(32, 6, version="3.0") == pytest.approx(pair(32, 6, version="6.7"), abs=4)


@pytest.mark.slow
def test_debugging_costs_only_debugged_caches() -> None:
    """Another cache's debugging may send a free the long way, but a plain object is not looked at."""
    plain, debugged = pair(16, 2), pair(16, 2, flags=("SLAB_RED_ZONE", "SLAB_POISON"))
    assert debugged > 3 * plain
