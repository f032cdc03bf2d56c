"""All CPUs at one cache, with tuning, shrinking and reaping beside them: memory is sound afterwards, on every level.

Every object carries a pattern of its own address while it is allocated and is looked at when it is freed, mostly by
another CPU: an object that was handed out twice has been overwritten.
"""

from __future__ import annotations

import pytest

from cpus import slab_entry, slab_faces, slab_torture
from emu import patches, validate
from tests.machines import DELIVERY, Rig, Words

SLOTS = 512
ALL_ROLES = ("tune", "shrink", "reap")
SAFE = [level for level in range(12) if level]  # level 0 has the race of shrink and tune


def torture(
    rig: Rig, milliseconds: int, roles: tuple[str, ...] = (), *, seed: int = 1, flags: tuple[str, ...] = ()
) -> int:
    """Damaged objects and failed operations; what is left at the end is freed."""
    cache = rig.kmem_cache_create("tortured", 96, flags=flags, on=0)
    slots = Words(SLOTS)
    bits = sum(slab_torture.ROLES[role] for role in roles)
    entry = slab_torture.entry_points()["slab_torture"]
    bad = sum(rig.call_on_all(entry, cache.address, milliseconds * 1000, seed, slots.address, SLOTS, bits))
    for obj in slots.all():
        if obj:
            rig.cpu(0).kmem_cache_free(cache, obj)
    assert rig.vmstat()["slab_alloc"] > 1000
    found = [row.text for row in validate.check(rig)]
    assert found == []
    assert not rig.kmem_cache_shrink(cache)
    info = slab_faces.cache_info(cache.address)
    given = info["allochit"] + info["allocmiss"] - info["allocfail"]
    assert given == info["freehit"] + info["freemiss"] + info["node_frees"]
    assert rig.kmem_cache_destroy(cache)
    return bad


def machine(level: int, cpus: int = 4, **options: object) -> Rig:
    changes = patches.series_values(level, patches.defaults("4.12"))
    return Rig(cpus, patches=changes, memory=64 << 20, **options)


@pytest.mark.parametrize("level", [1, 6, 7, 10, 11])
def test_everything_at_once(level: int) -> None:
    with machine(level) as rig:
        assert torture(rig, 400, ALL_ROLES) == 0


@pytest.mark.parametrize("level", [0, 11])
def test_two_nodes(level: int) -> None:
    """Without tuning: objects of the other node come home through alien caches."""
    with machine(level, nodes=2) as rig:
        assert torture(rig, 400, ("reap",)) == 0
        assert rig.vmstat()["slab_remote_free"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("level", SAFE)
def test_every_level_for_longer(level: int, nodes: int) -> None:
    with machine(level, 6, nodes=nodes) as rig:
        assert torture(rig, 2000, ALL_ROLES, seed=level) == 0


@pytest.mark.slow
@pytest.mark.parametrize("delivery", DELIVERY)
@pytest.mark.parametrize("kernel", ["3.2", "3.13", "4.7", "4.12", "6.7"])
def test_versions_and_delivery(kernel: str, delivery: dict[str, str]) -> None:
    with Rig(8, kernel=kernel, memory=64 << 20, **delivery) as rig:
        assert torture(rig, 1000, ALL_ROLES) == 0


@pytest.mark.parametrize("nodes", [1, 2])
def test_debugged_caches(nodes: int) -> None:
    """The pattern fills the object, the red zones lie around it, and nothing is reported."""
    flags = ("SLAB_CONSISTENCY_CHECKS", "SLAB_RED_ZONE", "SLAB_POISON", "SLAB_STORE_USER", "SLAB_QUARANTINE")
    with machine(11, nodes=nodes) as rig:
        assert torture(rig, 400, ALL_ROLES, flags=flags) == 0


@pytest.mark.soak
@pytest.mark.parametrize("level", SAFE)
def test_every_level_for_minutes(level: int) -> None:
    with machine(level, 8, nodes=2, limit=400) as rig:
        for seed in range(10):
            assert torture(rig, 20_000, ALL_ROLES, seed=seed) == 0


def test_damage_is_seen() -> None:
    """An object that somebody else writes into while it is allocated."""
    with machine(11, 2) as rig:
        rig.judged = False
        cache = rig.kmem_cache_create("tortured", 96, on=0)
        slots = Words(4)
        obj = rig.cpu(0).kmem_cache_alloc(cache, slab_entry.GFP_KERNEL)
        slots[0] = obj  # without its pattern
        entry = slab_torture.entry_points()["slab_torture"]
        assert sum(rig.call_on_all(entry, cache.address, 20_000, 1, slots.address, 4, 0)) == 1
