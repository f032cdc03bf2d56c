"""Debugged caches: each planted fault gives exactly one report, which names what, where and who."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cpus import slab_entry, slab_faces
from emu import validate
from emu.slab_report import Report, reports
from ipc import memory
from tests.slabs import Kernel, kernel

ALL = ("SLAB_CONSISTENCY_CHECKS", "SLAB_RED_ZONE", "SLAB_POISON", "SLAB_STORE_USER")
ALLOC, FREE = ("kmem_cache_alloc",), ("kmem_cache_free",)


def create(size: int = 100, flags: tuple[str, ...] = ALL, name: str = "things", **options: object) -> int:
    return int(slab_faces.create_cache(name, size, flags=slab_entry.flag_bits(flags), **options))


def found() -> list[Report]:
    return reports(memory.descriptor())


def the_one_report() -> Report:
    """Exactly one, and the checker tells the same and no more."""
    (only,) = found()
    assert [row.text for row in validate.check()] == [str(only)]
    return only


@contextmanager
def quiet_kernel(**options: object) -> Iterator[Kernel]:
    """A kernel in which nothing may be reported."""
    with kernel(**options) as k:
        yield k
        assert found() == []
        assert validate.check() == []


# --- what is right is silent ---------------------------------------------------------------------


@pytest.mark.parametrize("size", [8, 13, 64, 100, 192, 1000, 4000])
@pytest.mark.parametrize("letters", [ALL, (*ALL, "SLAB_QUARANTINE"), ALL[:1], ALL[1:2], ALL[2:3], ALL[3:]])
def test_use_within_bounds_is_silent(size: int, letters: tuple[str, ...]) -> None:
    with quiet_kernel(cpus=2) as k:
        cache = create(size, letters)
        for _ in range(3):
            objects = [slab_faces.alloc(cache) for _ in range(150)]
            assert len(set(objects)) == 150
            for obj in objects:
                slab_faces.poke(obj, b"\xff" * size)
            k.on(1)
            for obj in objects[::2]:
                slab_faces.free(cache, obj)
            k.on(0)
            slab_faces.free_bulk(cache, objects[1::2])
        # The process is one CPU at a time, so each has to drain its own array.
        k.on(1)
        slab_faces.shrink_cache(cache)
        k.on(0)
        assert slab_faces.shrink_cache(cache) == 0
        assert slab_faces.destroy_cache(cache) == 0


def test_every_cache_can_be_debugged_by_a_boot_parameter() -> None:
    with quiet_kernel(cpus=2, nodes=2, slab_debug="FZPUQ") as k:
        for size in (1, 30, 32, 96, 200, 1024, 4000, 9000, 70000, 4 << 20):
            obj = slab_faces.malloc(size)
            assert obj
            slab_faces.poke(obj, b"\x01" * size)
            k.on(1)
            slab_faces.mfree(obj)
            k.on(0)
        info = slab_faces.cache_info(slab_faces.find_cache("kmalloc-256"))
        assert info["placement"] != "objfreelist"
        assert (info["limit"], info["batchcount"]) == (32, 16)
        # What would not fit into twice the memory is left alone.
        assert slab_faces.cache_info(slab_faces.find_cache("kmalloc-4194304"))["size"] == 4 << 20


def test_one_cache_can_be_chosen() -> None:
    with quiet_kernel(slab_debug="Z,kmalloc-64"):
        assert slab_faces.cache_info(slab_faces.find_cache("kmalloc-64"))["size"] > 64
        assert slab_faces.cache_info(slab_faces.find_cache("kmalloc-32"))["size"] == 32


def test_constructors_and_rcu_caches() -> None:
    with quiet_kernel():
        cache = create(64, ctor=True)
        obj = slab_faces.alloc(cache)
        # Poisoned, the object is constructed at each allocation, on top of 0x5a.
        assert slab_faces.peek(obj, 2) == b"\x5b\x5a"
        slab_faces.free(cache, obj)
        bits = ("SLAB_TYPESAFE_BY_RCU", *ALL)
        rcu = create(64, bits, "rcu")
        obj = slab_faces.alloc(rcu)
        slab_faces.poke(obj, b"\x77" * 64)
        slab_faces.free(rcu, obj)
        assert slab_faces.peek(obj, 64) == b"\x77" * 64  # readers may still look at it


def test_zeroed_objects_are_zero() -> None:
    with quiet_kernel():
        cache = create(100)
        obj = slab_faces.alloc(cache, slab_faces.GFP_KERNEL | slab_faces.GFP_ZERO)
        assert slab_faces.peek(obj, 100) == bytes(100)
        slab_faces.free(cache, obj)


def test_delayed_reuse() -> None:
    with quiet_kernel():
        late, soon = create(64, (*ALL, "SLAB_QUARANTINE"), "late"), create(64, ALL, "soon")
        for cache, same in ((late, False), (soon, True)):
            first = slab_faces.alloc(cache)
            slab_faces.free(cache, first)
            assert (slab_faces.alloc(cache) == first) is same
        # 64 frees later it comes back.
        held = [slab_faces.alloc(late) for _ in range(80)]
        for obj in held:
            slab_faces.free(late, obj)
        assert slab_faces.shrink_cache(late) == 1  # the one that lives


# --- planted faults ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [8, 13, 64, 100])
@pytest.mark.parametrize("side", ["left", "right"])
def test_an_overflow_of_one_byte(size: int, side: str) -> None:
    with kernel(cpus=2) as k:
        cache = create(size)
        obj = slab_faces.alloc(cache)
        at = obj - 1 if side == "left" else obj + size
        slab_faces.poke(at, b"\x01")
        assert found() == []  # nobody has looked
        k.on(1)
        slab_faces.free(cache, obj)
        report = the_one_report()
        assert report.what == f"{side.title()} Redzone overwritten"
        assert (report.address, report.found, report.wanted) == (at, 0x01, 0xCC)
        assert report.allocated is not None
        assert (report.allocated.cpu, report.allocated.path) == (0, ALLOC)
        assert report.now is not None
        assert (report.now.cpu, report.now.path) == (1, FREE)
        assert report.fix == "Restoring it"
        # It was put right: no second report when it is used again.
        again = slab_faces.alloc(cache)
        slab_faces.free(cache, again)
        assert len(found()) == 1


@pytest.mark.parametrize("offset", [0, 50, 99])
def test_a_write_after_free(offset: int) -> None:
    with kernel() as k:
        cache = create(100)
        obj = slab_faces.alloc(cache)
        slab_faces.free(cache, obj)
        assert slab_faces.peek(obj, 100) == b"\x6b" * 99 + b"\xa5"
        slab_faces.poke(obj + offset, b"\x00")
        assert slab_faces.alloc(cache) == obj
        report = the_one_report()
        assert report.what == "Poison overwritten"
        assert (report.address, report.found) == (obj + offset, 0)
        assert report.wanted == (0xA5 if offset == 99 else 0x6B)
        assert report.freed is not None
        assert report.freed.path == FREE
        assert "freed by CPU 0 (kmem_cache_free)" in str(report)
        assert k.current == 0


@pytest.mark.parametrize("at", ["body", "end", "left", "right"])
@pytest.mark.parametrize("where", ["array", "slab"])
def test_the_checker_sees_writes_into_free_objects(where: str, at: str) -> None:
    """Whether they lie in an array or in their slab; nobody had to touch them again."""
    with kernel():
        cache = create(100)
        keep, obj = slab_faces.alloc(cache), slab_faces.alloc(cache)
        slab_faces.free(cache, obj)
        if where == "slab":
            slab_faces.shrink_cache(cache)
        assert validate.check() == []
        slab_faces.poke({"body": obj + 7, "end": obj + 99, "left": obj - 8, "right": obj + 100}[at], b"\x01")
        (row,) = validate.check()
        assert row.invariant == "I12"
        assert ("Poison" if at in ("body", "end") else "Redzone") in row.text
        assert found() == []
        assert keep


def test_a_write_after_free_is_found_when_the_slab_goes() -> None:
    with kernel():
        cache = create(100)
        obj = slab_faces.alloc(cache)
        slab_faces.free(cache, obj)
        slab_faces.poke(obj + 3, b"\x07")
        slab_faces.shrink_cache(cache)
        assert the_one_report().what == "Poison overwritten"


def test_a_write_after_free_is_found_in_quarantine() -> None:
    with kernel():
        cache = create(100, (*ALL, "SLAB_QUARANTINE"))
        obj = slab_faces.alloc(cache)
        slab_faces.free(cache, obj)
        slab_faces.poke(obj, b"\x07")
        for _ in range(64):
            slab_faces.free(cache, slab_faces.alloc(cache))
        assert the_one_report().what == "Poison overwritten"


@pytest.mark.parametrize("how", ["single", "bulk", "kfree"])
def test_a_double_free(how: str) -> None:
    with kernel(cpus=2) as k:
        cache = create()
        obj = slab_faces.alloc(cache)
        slab_faces.free(cache, obj)
        k.on(1)
        if how == "single":
            slab_faces.free(cache, obj)
        elif how == "bulk":
            slab_faces.free_bulk(cache, [obj])
        else:
            slab_faces.mfree(obj)
        report = the_one_report()
        assert (report.invariant, report.what, report.fix) == ("I3", "freed twice", "Object not freed")
        first, second = report.other, report.now
        assert first is not None
        assert second is not None
        assert (first.cpu, first.path, second.cpu, second.path) == (0, FREE, 1, FREE)
        assert first.time_ns <= second.time_ns
        # It was not taken back a second time: it is handed out once.
        k.on(0)
        objects = [slab_faces.alloc(cache) for _ in range(100)]
        assert len(set(objects)) == 100


def test_a_free_to_a_foreign_cache() -> None:
    with kernel():
        mine, other = create(100, ALL, "mine"), create(100, ALL, "other")
        obj = slab_faces.alloc(mine)
        slab_faces.free(other, obj)
        report = the_one_report()
        assert (report.cache, report.what, report.address) == ("other", "freed to a foreign cache", obj)
        slab_faces.free(mine, obj)  # it is still its own cache's
        assert len(found()) == 1
        assert slab_faces.destroy_cache(mine) == 0


@pytest.mark.parametrize("off", [1, 8])
def test_a_free_of_what_is_no_object(off: int) -> None:
    with kernel():
        cache = create(100)
        obj = slab_faces.alloc(cache)
        slab_faces.free(cache, obj + off)
        assert the_one_report().what == "Invalid object pointer"


def test_a_wild_free() -> None:
    with kernel():
        cache = create(100)
        slab_faces.alloc(cache)
        slab_faces.free(cache, 0x1000)
        assert the_one_report().what == "Invalid object pointer"


def test_more_faults_than_records_are_counted() -> None:
    with kernel():
        cache = create(64)
        obj = slab_faces.alloc(cache)
        slab_faces.free(cache, obj)
        for _ in range(20):
            slab_faces.free(cache, obj)
        assert len(found()) == 16
        texts = [row.text for row in validate.check()]
        assert len(texts) == 17
        assert texts[-1] == "4 more found by the allocator itself"


# --- without debugging ---------------------------------------------------------------------------


def test_off_it_is_off() -> None:
    """No byte more, and the same placement and arrays as ever."""
    with quiet_kernel(cpus=2):
        plain = slab_faces.cache_info(create(100, (), "plain"))
        debugged = slab_faces.cache_info(create(100, ALL, "debugged"))
        assert (plain["size"], plain["placement"], plain["limit"]) == (104, "objfreelist", 120)
        assert debugged["size"] >= 104 + 16 + 8
        assert debugged["limit"] == 32


def test_counts_are_the_same_with_and_without() -> None:
    """The switch changes what is looked at, never what is counted."""
    seen = []
    for flags in ((), ALL):
        with quiet_kernel() as k:
            cache = create(100, flags)
            slab_faces.write_slabinfo("things 20 10 8")
            objects = [slab_faces.alloc(cache) for _ in range(33)]
            for obj in objects:
                slab_faces.free(cache, obj)
            info = slab_faces.cache_info(cache)
            seen.append([info[name] for name in ("allochit", "allocmiss", "freehit", "freemiss")])
            seen[-1] += [k.count("slab_alloc"), k.count("slab_free")]
    assert seen[0] == seen[1]
