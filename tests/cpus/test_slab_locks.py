"""What a refill costs in list_lock acquisitions, at each level of the 2016 series: exact, since nobody contends."""

from __future__ import annotations

import pytest

from cpus import slab_faces
from emu import patches, validate
from tests.slabs import kernel

# By level: first look, colour, attach, second look, less what patches 7, 10 and 11 save.
EXPECTED = dict.fromkeys(range(7), 4) | dict.fromkeys(range(7, 10), 3) | {10: 2, 11: 1}
OBJECTS = 100


def series(level: int) -> dict[str, str]:
    return patches.series_values(level, patches.defaults("4.12"))


def acquisitions(changes: dict[str, str], size: int, *, nodes: int = 1) -> tuple[float, int]:
    """(acquisitions of each refill that had to grow, how many there were)."""
    with kernel(cpus=nodes, nodes=nodes, changes=changes) as k:
        cache = slab_faces.create_cache("things", size)
        before = [k.acquisitions("list_lock"), k.count("slab_refill"), k.count("slab_growing_refill")]
        objects = [slab_faces.alloc(cache) for _ in range(OBJECTS)]
        assert all(objects)
        after = [k.acquisitions("list_lock"), k.count("slab_refill"), k.count("slab_growing_refill")]
        locks, refills, growing = (b - a for a, b in zip(before, after, strict=True))
        for obj in objects:
            slab_faces.free(cache, obj)
        assert validate.check() == []
        # A refill that finds objects takes the lock once.
        return (locks - (refills - growing)) / growing, growing


@pytest.mark.parametrize("level", range(12))
@pytest.mark.parametrize("size", [32, 256, 2048, 4096])
def test_acquisitions_of_a_growing_refill(level: int, size: int) -> None:
    locks, growing = acquisitions(series(level), size)
    assert locks == EXPECTED[level]
    # A slab of 4096 bytes holds one object: each refill grows. 32 bytes: 124 of them, and a batch of 60.
    assert growing == (OBJECTS if size == 4096 else growing)
    assert growing > 0


@pytest.mark.parametrize("level", [0, 7, 10, 11])
def test_the_same_on_two_nodes(level: int) -> None:
    assert acquisitions(series(level), 4096, nodes=2)[0] == EXPECTED[level]


@pytest.mark.parametrize("name", ["racy-colour", "refill-private-slab", "lockless-grow"])
def test_each_of_the_three_saves_one(name: str) -> None:
    """Flipped alone, in both directions: so each of them is seen by this count."""
    none = patches.override(patches.defaults("4.12"), series(0))
    assert acquisitions(patches.override(none, {name: "on"}), 4096)[0] == 3
    assert acquisitions(patches.override(patches.defaults("4.12"), {name: "off"}), 4096)[0] == 2


@pytest.mark.parametrize("level", range(12))
def test_bare_grow_and_attach_are_counted_once_each(level: int) -> None:
    """What is grown is counted, by cache and by CPU."""
    with kernel(changes=series(level)) as k:
        cache = slab_faces.create_cache("things", 4096)
        before = k.count("slab_grow")
        objects = [slab_faces.alloc(cache) for _ in range(7)]
        assert k.count("slab_grow") - before == 7
        assert slab_faces.nodes(cache)[0]["grown"] == 7
        for obj in objects:
            slab_faces.free(cache, obj)
