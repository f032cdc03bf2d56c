"""Tuning through /proc/slabinfo: which writes the kernel takes, which do nothing, and what they change."""

from __future__ import annotations

import pytest

from cpus import slab_faces
from emu import validate
from tests.slabs import kernel

EINVAL = -22
TUNABLES = ("limit", "batchcount", "shared")


def tunables(cache: int) -> tuple[int, ...]:
    info = slab_faces.cache_info(cache)
    return tuple(info[name] for name in TUNABLES)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("things 30 15 4", (30, 15, 4)),
        ("things 30 15 4\n", (30, 15, 4)),
        ("things   30\t15   4", (30, 15, 4)),  # %d skips blanks
        ("things 30 15 4 and so on", (30, 15, 4)),  # sscanf stops after the third
        ("things 1 1 0", (1, 1, 0)),
        ("things 30 30 0", (30, 30, 0)),
        ("things +30 15 4", (30, 15, 4)),
        # Taken, and nothing happens.
        ("things 0 1 0", None),
        ("things 30 0 0", None),
        ("things 30 31 0", None),
        ("things 30 15 -1", None),
        ("things -5 -5 -5", None),
    ],
)
def test_what_is_taken(line: str, expected: tuple[int, ...] | None) -> None:
    with kernel(cpus=2) as k:
        cache = slab_faces.create_cache("things", 100)
        before = (tunables(cache), k.acquisitions("list_lock"))
        assert slab_faces.write_slabinfo(line) == len(line)
        assert tunables(cache) == (expected or before[0])
        if expected is None:  # not even looked at
            assert k.acquisitions("list_lock") == before[1]
        assert [row[1:3] for row in slab_faces.cpu_arrays(cache)] == [tunables(cache)[:2]] * 2
        shared = tunables(cache)[2] * tunables(cache)[1]
        assert slab_faces.nodes(cache)[0]["shared_limit"] == shared
        assert validate.check() == []


@pytest.mark.parametrize(
    "line",
    [
        "",
        "things",
        "things 30 15",
        "things 30 15 x",
        "things thirty 15 4",
        "nothing 30 15 4",
        "thing 30 15 4",
        "thingsx 30 15 4",
        " things 30 15 4",
        "things\t30 15 4",  # the name ends at a blank
        "things 30 15 4" + " " * 115,  # 129 bytes
        "things 99999999999 1 1",
    ],
)
def test_what_is_refused(line: str) -> None:
    with kernel(cpus=2):
        cache = slab_faces.create_cache("things", 100)
        before = tunables(cache)
        assert slab_faces.write_slabinfo(line) == EINVAL
        assert tunables(cache) == before


def test_128_bytes_are_not_too_much() -> None:
    with kernel():
        slab_faces.create_cache("things", 100)
        line = "things 30 15 4".ljust(128)
        assert slab_faces.write_slabinfo(line) == 128


def test_what_arrays_held_is_given_back() -> None:
    """Replaced arrays return their objects to the slabs, the shared one too; counts go on."""
    with kernel(cpus=2, version="4.6") as k:
        cache = slab_faces.create_cache("things", 64)
        objects = [slab_faces.alloc(cache) for _ in range(200)]
        for obj in objects:
            slab_faces.free(cache, obj)
        before = slab_faces.cache_info(cache)
        assert slab_faces.nodes(cache)[0]["shared"] > 0
        assert slab_faces.cpu_arrays(cache)[0][0] > 0
        assert slab_faces.write_slabinfo("things 20 10 2") == 14
        node = slab_faces.nodes(cache)[0]
        assert (node["shared"], slab_faces.cpu_arrays(cache)[0][0]) == (0, 0)
        slabs = node["total_slabs"]
        assert node["free_objects"] == slabs * before["num"]
        for name in ("allochit", "allocmiss", "freehit", "freemiss"):
            assert slab_faces.cache_info(cache)[name] == before[name]
        assert k.cpus == 2
        assert validate.check() == []


@pytest.mark.parametrize(
    ("changes", "refreshed"),
    [({}, True), ({"node-init": "stuck-free-limit"}, False)],
)
def test_free_limit_follows_the_tunables(changes: dict[str, str], refreshed: bool) -> None:
    """(1 + CPUs of the node) x batchcount + objects of a slab; the first form of patch 4 forgot it."""
    with kernel(cpus=3, changes=changes):
        cache = slab_faces.create_cache("things", 64)
        num = slab_faces.cache_info(cache)["num"]
        assert slab_faces.nodes(cache)[0]["free_limit"] == 4 * 60 + num
        slab_faces.write_slabinfo("things 20 10 2")
        assert slab_faces.nodes(cache)[0]["free_limit"] == (4 * 10 if refreshed else 4 * 60) + num


def test_one_cpu_has_no_shared_array() -> None:
    with kernel(cpus=1):
        cache = slab_faces.create_cache("things", 64)
        assert tunables(cache) == (120, 60, 0)
        assert slab_faces.nodes(cache)[0]["shared"] == -1


# --- boot parameters -----------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "expected"), [(0, 0), (1, 1), (2, 2), (3, 2), (10, 2)])
def test_slab_max_order(order: int, expected: int) -> None:
    """1400 bytes waste more than an eighth of one page and of two; four hold 11 objects and waste 984 bytes."""
    with kernel(slab_max_order=order):
        assert slab_faces.cache_info(slab_faces.create_cache("things", 1400))["gfporder"] == expected


def test_noaliencache() -> None:
    """Frees of another node's objects go straight to its slabs, under its lock, one by one."""
    found = {}
    for off in (False, True):
        options = {"noaliencache": True} if off else {}
        with kernel(cpus=2, nodes=2, **options) as k:
            cache = slab_faces.create_cache("things", 64)
            k.on(1)
            objects = [slab_faces.alloc(cache) for _ in range(30)]
            k.on(0)
            before = k.acquisitions("alien_lock")
            for obj in objects:
                slab_faces.free(cache, obj)
            found[off] = (k.acquisitions("alien_lock") - before, k.count("slab_alien_drain"))
            assert k.count("slab_remote_free") == 30
            assert (slab_faces.nodes(cache)[0]["alien"] == 0) is off
            assert validate.check() == []
    assert found[True] == (0, 0)
    assert found[False] == (30, 2)  # 12 fit


@pytest.mark.parametrize(("version", "magic"), [("4.6", True), ("4.7", False)])
def test_bad_alien_magic(version: str, magic: bool) -> None:
    with kernel(version=version):
        cache = slab_faces.create_cache("things", 64)
        assert slab_faces.nodes(cache)[0]["alien"] == (0x01020304 if magic else 0)
