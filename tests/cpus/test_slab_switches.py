"""What each patch of the 2016 series changes, one at a time: flipped alone, each is seen in a count.

Three of the eleven change no count of one CPU: 3 (drain-free-slabs: more is freed only where others free meanwhile), 8
(grow-any-node) and 9 (grow-in-two), which prepare 10; `refill-private-slab` without `grow-in-two` is refused. What 3
and 8 do change, and all other switches, is tests/workloads/test_every_switch.py's.
"""

from __future__ import annotations

import pytest

from cpus import slab_faces
from emu import patches, validate
from emu.errors import UsageError
from tests.slabs import KIM_SERIES, Kernel, kernel


def shrink_locks(k: Kernel) -> int:
    """list_lock acquisitions of a shrink that finds nothing: 1 reads and drains the shared array under the lock."""
    cache = slab_faces.create_cache("things", 64)
    before = k.acquisitions("list_lock")
    slab_faces.shrink_cache(cache)
    return k.acquisitions("list_lock") - before


def alien(k: Kernel) -> int:
    """What stands for alien caches on a machine of one node: 2 removes the magic pointer."""
    return int(slab_faces.nodes(slab_faces.create_cache("things", 64))[0]["alien"])


def free_limit(k: Kernel) -> int:
    """free_limit after a retune: 4's first form forgets it."""
    cache = slab_faces.create_cache("things", 64)
    slab_faces.write_slabinfo("things 20 10 2")
    return int(slab_faces.nodes(cache)[0]["free_limit"])


def retune_locks(k: Kernel) -> int:
    """list_lock acquisitions of a retune: with 5, free_limit is refreshed in a section of its own."""
    slab_faces.create_cache("things", 64)
    before = k.acquisitions("list_lock")
    slab_faces.write_slabinfo("things 20 10 2")
    return k.acquisitions("list_lock") - before


def slabs_kept(k: Kernel) -> int:
    """Free slabs that are left when free_objects crosses free_limit with a slab that is not empty: 6 frees one.

    Four objects a slab, no arrays to speak of, and a limit of (1 + 1 CPU) x 1 + 4 = 6 free objects.
    """
    cache = slab_faces.create_cache("things", 1024)
    slab_faces.write_slabinfo("things 1 1 0")
    objects = [slab_faces.alloc(cache) for _ in range(16)]
    by_slab: dict[int, list[int]] = {}
    for obj in objects:
        by_slab.setdefault(slab_faces.slab_of(obj)["pfn"], []).append(obj)
    slabs = [slab for slab in by_slab.values() if len(slab) == 4]
    # A whole slab: 4 free, kept. Then one object each of the others: 5, 6, 7 free, the last crosses the limit.
    for obj in [*slabs[0], slabs[1][0], slabs[2][0], slabs[1][1], slabs[2][1]]:
        slab_faces.free(cache, obj)
    return int(slab_faces.nodes(cache)[0]["free_slabs"])


def growing_locks(k: Kernel) -> int:
    """list_lock acquisitions of 50 refills that grow: 7, 10 and 11 save one each."""
    cache = slab_faces.create_cache("things", 4096)
    before = k.acquisitions("list_lock")
    assert all(slab_faces.alloc(cache) for _ in range(50))
    return k.acquisitions("list_lock") - before


OBSERVED = {
    "drain-shared-locked": shrink_locks,
    "bad-alien-magic": alien,
    "node-init": free_limit,
    "node-setup": retune_locks,
    "free-limit-at-end": slabs_kept,
    "racy-colour": growing_locks,
    "refill-private-slab": growing_locks,
    "lockless-grow": growing_locks,
}
OTHER = {"node-init": "stuck-free-limit"}
UNSEEN = {"drain-free-slabs", "grow-any-node", "grow-in-two"}


def observe(name: str, changes: dict[str, str]) -> int:
    with kernel(changes=changes) as k:
        found = OBSERVED[name](k)
        assert validate.check() == []
        return found


@pytest.mark.parametrize("name", OBSERVED)
def test_a_flipped_patch_is_seen(name: str) -> None:
    defaults = patches.defaults("4.12")
    switch = patches.find_switch(name)
    other = OTHER.get(name, switch.reverted)
    assert other != defaults[name]
    assert observe(name, {}) != observe(name, {name: other})


def test_the_exact_counts() -> None:
    assert [observe("drain-shared-locked", {"drain-shared-locked": value}) for value in ("on", "off")] == [2, 1]
    assert (observe("free-limit-at-end", {}), observe("free-limit-at-end", {"free-limit-at-end": "off"})) == (0, 1)
    assert observe("node-setup", {}) - observe("node-setup", {"node-setup": "off"}) == 1
    assert observe("lockless-grow", {}) == 50
    assert observe("lockless-grow", {"lockless-grow": "off"}) == 100


def test_every_patch_of_the_series_is_accounted_for() -> None:
    assert set(OBSERVED) | UNSEEN == set(KIM_SERIES)


def test_patch_10_needs_patch_9() -> None:
    with pytest.raises(UsageError, match="refill-private-slab needs it"):
        patches.override(patches.defaults("4.12"), {"grow-in-two": "off"})


@pytest.mark.parametrize("name", sorted(UNSEEN))
@pytest.mark.parametrize("level", [0, 11])
def test_those_that_are_not_seen_change_nothing_else_either(name: str, level: int) -> None:
    """Flipped at both ends of the series, the same operations leave the same counts."""

    def run(changes: dict[str, str]) -> list[object]:
        with kernel(cpus=2, nodes=2, changes=changes) as k:
            cache = slab_faces.create_cache("things", 256)
            objects = [slab_faces.alloc_node(cache, i % 2) for i in range(200)]
            for obj in objects:
                slab_faces.free(cache, obj)
            slab_faces.shrink_cache(cache)
            assert validate.check() == []
            return [k.acquisitions("list_lock"), k.count("slab_grow"), k.count("slabs_freed"), slab_faces.nodes(cache)]

    values = patches.override(patches.defaults("4.12"), patches.series_values(level, patches.defaults("4.12")))
    switch = patches.find_switch(name)
    flipped = switch.reverted if values[name] == switch.applied else switch.applied
    if name == "grow-in-two" and level == 11:
        values |= {"refill-private-slab": "off"}
    assert run(values) == run(values | {name: flipped})
