"""SLUB: geometry, cpu slabs, partial lists, flush, shrink, and load from all CPUs."""

from __future__ import annotations

from typing import Any

import pytest

from cpus import slab_entry, slab_faces, slab_hotplug, slab_info, slab_torture, slub_faces
from cpus.layout import STRUCTS
from emu.validate import check
from tests.machines import TRANSPORTS, Rig, Words
from tests.slabs import Kernel, kernel

TYPESAFE = slab_entry.FLAGS["SLAB_TYPESAFE_BY_RCU"]
ALIGN = slab_entry.FLAGS["SLAB_HWCACHE_ALIGN"]
EIO, EBUSY = -5, -16
TORTURE = slab_torture.entry_points()["slab_torture"]


def slub(cpus: int = 2, **options: Any) -> Any:
    return kernel(cpus, allocator="slub", **options)


def row(name: str) -> tuple[Any, ...]:
    return next(r for r in slab_info.rows() if r[0] == name)


def fill(cache: int, slabs: int) -> list[int]:
    """Objects of so many slabs, all taken."""
    return [slab_faces.alloc(cache) for _ in range(slabs * slub_faces.state(cache)["num"])]


def test_a_slab_keeps_its_two_words_side_by_side() -> None:
    at = {field.name: field.offset for field in STRUCTS["page"].fields}
    assert at["freelist"] % 16 == 0
    assert (at["active"], at["flags"]) == (at["freelist"] + 8, at["freelist"] + 12)
    line = {field.name: field.offset for field in STRUCTS["kmem_cache_cpu"].fields}
    assert line["tid"] == line["freelist"] + 8
    assert STRUCTS["kmem_cache_cpu"].size == 64
    assert next(f.offset for f in STRUCTS["kmem_cache_slub"].fields if f.name == "cpu") % 64 == 0


class TestGeometry:
    # Worked out by hand from the rules: at least 4 * (fls(CPUs) + 1) objects, waste 1/16, then 1/8, then 1/4.
    @pytest.mark.parametrize(
        ("cpus", "size", "order", "num"),
        [
            (1, 8, 0, 512), (4, 64, 0, 64), (4, 256, 0, 16), (4, 512, 1, 16), (4, 704, 2, 23), (4, 1024, 2, 16),
            (4, 2048, 3, 16), (4, 4096, 3, 8), (4, 8192, 3, 4), (16, 256, 1, 32), (64, 192, 1, 42), (2, 1088, 2, 15),
        ],
    )  # fmt: skip
    def test_order(self, cpus: int, size: int, order: int, num: int) -> None:
        with slub(cpus):
            found = slub_faces.state(slab_faces.create_cache("foo", size))
            assert (found["gfporder"], found["num"]) == (order, num)

    @pytest.mark.parametrize(("size", "partial"), [(8, 30), (192, 30), (256, 13), (1024, 6), (4096, 2), (8192, 2)])
    def test_cpu_partial(self, size: int, partial: int) -> None:
        with slub():
            assert slub_faces.state(slab_faces.create_cache("foo", size))["cpu_partial"] == partial

    @pytest.mark.parametrize(("size", "partial"), [(8, 5), (1024, 5), (4096, 6), (1 << 21, 10), (1 << 22, 10)])
    def test_min_partial(self, size: int, partial: int) -> None:
        with slub():
            assert slub_faces.state(slab_faces.create_cache("foo", size))["min_partial"] == partial

    def test_the_free_pointer_lies_behind_what_must_not_change(self) -> None:
        with slub():
            plain = slub_faces.state(slab_faces.create_cache("plain", 64))
            made = slub_faces.state(slab_faces.create_cache("made", 64, ctor=True))
            safe = slub_faces.state(slab_faces.create_cache("safe", 64, flags=TYPESAFE))
            assert [(s["offset"], s["size"]) for s in (plain, made, safe)] == [(0, 64), (64, 72), (64, 72)]

    def test_a_constructor_runs_once_per_object(self) -> None:
        with slub():
            cache = slab_faces.create_cache("foo", 64, ctor=True)
            for _ in range(3):
                obj = slab_faces.alloc(cache)
                assert slab_faces.peek(obj, 1) == b"\x01"
                slab_faces.free(cache, obj)

    def test_kmalloc(self) -> None:
        with slub():
            names = {r[0] for r in slab_info.rows()}
            assert {"kmalloc-8", "kmalloc-16", "kmalloc-96", "kmalloc-192", "kmalloc-8192"} <= names
            assert "kmalloc-16384" not in names
            objects = [slab_faces.malloc(size) for size in (1, 8, 9, 96, 100, 8192)]
            assert [row(name)[1] > 0 for name in ("kmalloc-8", "kmalloc-16", "kmalloc-96")] == [True] * 3
            for obj in objects:
                slab_faces.mfree(obj)
            assert slab_faces.malloc(0) == 16

    def test_large_kmalloc_is_whole_pages(self) -> None:
        with slub() as k:
            before = k.pages_in_use()
            obj = slab_faces.malloc(8193)
            assert obj % 4096 == 0
            assert k.pages_in_use() == before + 4
            slab_faces.mfree(obj)
            assert k.pages_in_use() == before
            assert check() == []


class TestPaths:
    def test_objects_come_in_order_and_the_last_freed_first(self) -> None:
        with slub():
            cache = slab_faces.create_cache("foo", 64)
            a, b, c = (slab_faces.alloc(cache) for _ in range(3))
            assert (b - a, c - b) == (64, 64)
            slab_faces.free(cache, a)
            slab_faces.free(cache, c)
            assert [slab_faces.alloc(cache), slab_faces.alloc(cache)] == [c, a]

    def test_the_fast_path_takes_no_lock(self) -> None:
        with slub() as k:
            cache = slab_faces.create_cache("foo", 64)
            slab_faces.free(cache, slab_faces.alloc(cache))
            locks, slow = k.acquisitions("list_lock"), k.count("slub_alloc_slowpath")
            for _ in range(100):
                slab_faces.free(cache, slab_faces.alloc(cache))
            assert (k.acquisitions("list_lock"), k.count("slub_alloc_slowpath")) == (locks, slow)
            assert k.count("slub_free_slowpath") == 0

    def test_every_operation_has_a_transaction_id(self) -> None:
        with slub():
            cache = slab_faces.create_cache("foo", 64)
            seen = set()
            for _ in range(20):
                slab_faces.free(cache, slab_faces.alloc(cache))
                seen.add(slub_faces.cpu_slabs(cache)[0]["tid"])
            assert len(seen) == 20
            assert {tid % 2048 for tid in seen} == {1}

    def test_a_cpu_slab_is_frozen_and_no_other_cpus(self) -> None:
        with slub() as k:
            cache = slab_faces.create_cache("foo", 64)
            a = slab_faces.alloc(cache)
            k.on(1)
            b = slab_faces.alloc(cache)
            slabs = [slub_faces.slab_of(a), slub_faces.slab_of(b)]
            assert slabs[0]["pfn"] != slabs[1]["pfn"]
            assert all(s["frozen"] and s["inuse"] == s["objects"] for s in slabs)

    def test_another_cpu_frees_into_the_slab_itself(self) -> None:
        with slub() as k:
            cache = slab_faces.create_cache("foo", 64)
            a = slab_faces.alloc(cache)
            k.on(1)
            slab_faces.free(cache, a)
            assert slub_faces.slab_of(a)["inuse"] == slub_faces.slab_of(a)["objects"] - 1
            assert k.count("slub_free_slowpath") == 1
            assert check() == []

    def test_what_others_freed_is_taken_whole(self) -> None:
        with slub() as k:
            cache = slab_faces.create_cache("foo", 64)
            objects = fill(cache, 1)
            k.on(1)
            for obj in objects[:10]:
                slab_faces.free(cache, obj)
            k.on(0)
            slow = k.count("slub_alloc_slowpath")
            assert {slab_faces.alloc(cache) for _ in range(10)} == set(objects[:10])
            assert k.count("slub_alloc_slowpath") == slow + 1

    def test_the_first_free_of_a_full_slab_freezes_it_without_a_lock(self) -> None:
        with slub() as k:
            cache = slab_faces.create_cache("foo", 64)
            objects = fill(cache, 4)
            slab_faces.alloc(cache)
            k.on(1)
            locks = k.acquisitions("list_lock")
            num = slub_faces.state(cache)["num"]
            for slab in range(3):
                slab_faces.free(cache, objects[slab * num])
            assert k.count("slub_cpu_partial_free") == 3
            assert k.acquisitions("list_lock") == locks
            assert slub_faces.cpu_slabs(cache)[1] | {"tid": 0} == {
                "page": -1, "partial": 3, "tid": 0, "pages": 3, "pobjects": 3,
            }  # fmt: skip
            assert check() == []

    def test_a_full_partial_list_goes_to_the_node(self) -> None:
        """cpu_partial is 30: the list is moved when it has more free objects than that."""
        with slub() as k:
            cache = slab_faces.create_cache("foo", 64)
            objects = fill(cache, 40)
            slab_faces.alloc(cache)
            num = slub_faces.state(cache)["num"]
            k.on(1)
            for slab in range(40):
                slab_faces.free(cache, objects[slab * num])
                if k.count("slub_cpu_partial_drain"):
                    break
            assert slab == 31
            assert slub_faces.nodes(cache)[0]["nr_partial"] == 31
            assert slub_faces.cpu_slabs(cache)[1]["partial"] == 1
            assert check() == []

    def test_partial_slabs_are_used_before_new_ones(self) -> None:
        with slub() as k:
            cache = slab_faces.create_cache("foo", 64)
            objects = fill(cache, 3)
            slab_faces.alloc(cache)
            for obj in objects:
                slab_faces.free(cache, obj)
            grown = slub_faces.nodes(cache)[0]["nr_slabs"]
            assert {slab_faces.alloc(cache) for _ in range(len(objects))} & set(objects)
            assert slub_faces.nodes(cache)[0]["nr_slabs"] == grown
            assert k.count("slub_cpu_partial_free") > 0

    def test_a_node_keeps_no_more_empty_slabs_than_min_partial(self) -> None:
        with slub() as k:
            cache = slab_faces.create_cache("foo", 64)
            objects = fill(cache, 100)
            k.on(1)
            for obj in objects:
                slab_faces.free(cache, obj)
            k.on(0)
            slab_faces.shrink_cache(cache)
            k.on(1)
            slab_faces.shrink_cache(cache)
            assert row("foo")[1:3] == (0, 0)

    def test_the_coordinator_frees_to_the_node(self) -> None:
        with slub() as k:
            cache = slab_faces.create_cache("foo", 64)
            objects = fill(cache, 2)
            k.as_coordinator()
            assert slab_faces.alloc(cache) == 0
            slab_faces.free(cache, objects[0])
            assert slub_faces.nodes(cache)[0]["nr_partial"] == 1
            assert check() == []
            k.on(0)

    def test_bulk(self) -> None:
        with slub() as k:
            cache = slab_faces.create_cache("foo", 64)
            objects = slab_faces.alloc_bulk(cache, 200)
            assert len(set(objects)) == 200
            other = slab_faces.create_cache("bar", 32)
            more = slab_faces.alloc_bulk(other, 50)
            k.on(1)
            slab_faces.free_bulk(0, [x for pair in zip(objects, more, strict=False) for x in pair] + objects[50:])
            assert [slub_faces.state(c)["allocs"] - slub_faces.state(c)["frees"] for c in (cache, other)] == [0, 0]
            assert check() == []

    def test_bulk_is_all_or_nothing(self) -> None:
        with slub(ram=8 << 20):
            cache = slab_faces.create_cache("foo", 4096)
            assert slab_faces.alloc_bulk(cache, 100_000) == []
            assert slub_faces.state(cache)["allocs"] == slub_faces.state(cache)["frees"]
            assert check() == []

    def test_a_smaller_order_when_memory_is_torn(self) -> None:
        """Only single pages are left: slabs of the smallest order."""
        from cpus import page_alloc

        with slub(ram=8 << 20):
            cache = slab_faces.create_cache("foo", 512)
            state = slub_faces.state(cache)
            assert (state["gfporder"], state["min_order"], state["min_objects"]) == (1, 0, 8)
            pages = []
            while (pfn := page_alloc.alloc_pages(0, 0, slab_faces.GFP_KERNEL)) >= 0:
                pages.append(pfn)
            for pfn in pages:
                if pfn % 2:
                    page_alloc.free_pages(pfn, 0)
            while page_alloc.alloc_pages(0, 1, slab_faces.GFP_KERNEL) >= 0:
                pass  # what the watermarks had kept whole
            assert slub_faces.slab_of(slab_faces.alloc(cache))["objects"] == 8
            assert check() == []

    def test_an_object_of_a_node(self) -> None:
        with slub(4, nodes=2):
            cache = slab_faces.create_cache("foo", 64)
            near, far = slab_faces.alloc(cache), slab_faces.alloc_node(cache, 1)
            assert [slub_faces.slab_of(obj)["nid"] for obj in (near, far)] == [0, 1]
            assert check() == []


class TestShrink:
    def test_the_fullest_come_first(self) -> None:
        with slub() as k:
            cache = slab_faces.create_cache("foo", 64)
            num = slub_faces.state(cache)["num"]
            objects = fill(cache, 5)
            slab_faces.alloc(cache)
            for slab, freed in enumerate((20, 3, num, 11, 7)):
                for i in range(freed):
                    slab_faces.free(cache, objects[slab * num + i])
            assert slab_faces.shrink_cache(cache) == 1
            k.on(1)
            # The first slab has 3 objects; 3 + 7 + 11 are enough, and a CPU's partial list is a stack.
            got = [slub_faces.slab_of(slab_faces.alloc(cache))["pfn"] for _ in range(21)]
            slabs = [slub_faces.slab_of(objects[slab * num + num - 1])["pfn"] for slab in (1, 3, 4)]
            assert got == slabs[:1] * 3 + slabs[1:2] * 11 + slabs[2:] * 7
            assert check() == []

    def test_slabinfo_has_no_tunables(self) -> None:
        with slub():
            cache = slab_faces.create_cache("foo", 64)
            fill(cache, 2)
            assert row("foo") == ("foo", 128, 128, 64, 64, 1, 0, 0, 0, 2, 2, 0)
            assert slab_faces.write_slabinfo("foo 10 5 1") == EIO

    def test_destroy(self) -> None:
        with slub() as k:
            before = k.pages_in_use()
            cache = slab_faces.create_cache("foo", 64)
            obj = slab_faces.alloc(cache)
            assert slab_faces.destroy_cache(cache) == EBUSY
            slab_faces.free(cache, obj)
            assert slab_faces.destroy_cache(cache) == 0
            assert k.pages_in_use() == before
            assert check() == []

    def test_a_dead_cpus_slabs_go_to_the_node(self) -> None:
        with slub() as k:
            cache = slab_faces.create_cache("foo", 64)
            objects = fill(cache, 3)
            for obj in objects[::10]:
                slab_faces.free(cache, obj)
            k.on(1)
            slab_hotplug.dead_cpu(0)
            assert slub_faces.cpu_slabs(cache)[0]["page"] == -1
            assert slub_faces.cpu_slabs(cache)[0]["partial"] == 0
            assert check() == []


class TestFlush:
    @pytest.mark.parametrize(("flush", "ipis"), [("all", 4), ("cond", 2)])
    def test_whom_it_interrupts(self, flush: str, ipis: int) -> None:
        with Rig(5, allocator="slub", patches={"slub-flush": flush}) as rig:
            cache = rig.kmem_cache_create("foo", 64)
            for cpu in (1, 3):
                assert rig.cpu(cpu).kmem_cache_alloc(cache)
            before = sum(rig.interrupts()["CAL"])
            rig.kmem_cache_shrink(cache, on=0)
            rig.settle()
            assert sum(rig.interrupts()["CAL"]) - before == ipis

    def test_from_the_coordinator(self) -> None:
        with Rig(3, allocator="slub") as rig:
            cache = rig.kmem_cache_create("foo", 64)
            objects = [rig.cpu(cpu).kmem_cache_alloc(cache) for cpu in range(3)]
            for cpu, obj in enumerate(objects):
                rig.cpu(cpu).kmem_cache_free(cache, obj)
            assert rig.kmem_cache_shrink(cache, on="coordinator") is False
            assert check() == []

    def test_typesafe_slabs_wait_for_a_grace_period(self) -> None:
        with Rig(3, allocator="slub") as rig:
            cache = rig.kmem_cache_create("foo", 64, flags=("SLAB_TYPESAFE_BY_RCU",))
            rig.cpu(1).kmem_cache_free(cache, rig.cpu(1).kmem_cache_alloc(cache))
            words = Words(3)
            rig.start("reader", 1, words.at(0), words.at(1), words.at(2), on=2)
            rig.wait_for(lambda: words[0], "the reader to be in")
            rig.kmem_cache_shrink(cache, on=0)
            assert slub_faces.state(cache.address)["rcu_pages"] == 1
            words[1] = 1
            rig.finish(2)
            rig.wait_for(lambda: slub_faces.state(cache.address)["rcu_pages"] == 0, "the slab to be freed")


class TestLoad:
    @pytest.mark.parametrize("ipi", TRANSPORTS)
    @pytest.mark.parametrize("nodes", [1, 2])
    def test_objects_stay_whole(self, ipi: str, nodes: int) -> None:
        with Rig(4, nodes=nodes, ipi=ipi, allocator="slub") as rig:
            for name, size, flags in (("foo", 64, ()), ("bar", 704, ()), ("safe", 128, ("SLAB_TYPESAFE_BY_RCU",))):
                cache = rig.kmem_cache_create(name, size, flags=flags)
                slots = Words(500)
                args = (cache.address, 100_000, 7, slots.address, 500, slab_torture.ROLES["shrink"])
                assert rig.call_on_all(TORTURE, *args) == [0] * 4
                assert check() == []


def test_kernel_is_the_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    """The helper boots the allocator it is asked for."""
    with kernel(1) as k:
        assert isinstance(k, Kernel)
        assert "limit" in slab_faces.cache_info(slab_faces.create_cache("foo", 64))
    with slub(1):
        assert "cpu_partial" in slab_faces.cache_info(slab_faces.create_cache("foo", 64))
