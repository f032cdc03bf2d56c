"""SLAB's paths, step by step: what refill, flush, free, alien caches, fallback, drain, shrink and the reaper do."""

from __future__ import annotations

import pytest

from cpus import slab_faces, slab_hotplug, slab_reap
from cpus.layout import CONSTANTS
from emu import patches, validate
from tests.slabs import Kernel, cpu_array, field, kernel, node_address, set_word, word


def array(cache: int, cpu: int = 0) -> list[int]:
    """What a CPU's array holds, bottom first."""
    at = cpu_array(cache, cpu)
    avail = word(at) & 0xFFFFFFFF
    return [word(field("array_cache", "entry", at) + 8 * i) for i in range(avail)]


def node(cache: int, nid: int = 0) -> dict[str, int]:
    return dict(slab_faces.nodes(cache)[nid])


def shared_array(cache: int, nid: int = 0) -> list[int]:
    at = word(field("kmem_cache_node", "shared", node_address(cache, nid)))
    return [word(field("array_cache", "entry", at) + 8 * i) for i in range(word(at) & 0xFFFFFFFF)]


def create(size: int = 64, tunables: str = "") -> int:
    cache = int(slab_faces.create_cache("things", size))
    if tunables:
        line = f"things {tunables}"
        assert slab_faces.write_slabinfo(line) == len(line)
    return cache


def age(cache: int, nid: int = 0) -> None:
    """Its node is due for the reaper."""
    set_word(field("kmem_cache_node", "next_reap", node_address(cache, nid)), 0)


# --- allocation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0, 9, 10, 11])
def test_a_new_cache_takes_a_small_batch_first(level: int) -> None:
    """16 objects as long as the array was not touched, then batchcount."""
    with kernel(changes=patches.series_values(level, patches.defaults("4.12"))):
        cache = create(32)  # 124 a slab
        slab_faces.alloc(cache)
        assert len(array(cache)) == 15
        for _ in range(16):
            slab_faces.alloc(cache)
        assert len(array(cache)) == 59


def test_an_array_is_a_stack() -> None:
    with kernel():
        cache = create()
        objects = [slab_faces.alloc(cache) for _ in range(3)]
        for obj in objects:
            slab_faces.free(cache, obj)
        assert array(cache)[-3:] == objects
        assert [slab_faces.alloc(cache) for _ in range(3)] == objects[::-1]


def test_a_refill_prefers_the_shared_array_from_its_top() -> None:
    with kernel(cpus=2) as k:
        cache = create(64, "10 5 4")
        objects = [slab_faces.alloc(cache) for _ in range(40)]
        for obj in objects:
            slab_faces.free(cache, obj)
        before = shared_array(cache)
        assert len(before) == 20
        k.on(1)
        obj = slab_faces.alloc(cache)
        assert shared_array(cache) == before[:15]
        assert [*array(cache, 1), obj] == before[15:]
        assert node(cache)["free_objects"] % 64 != 0 or validate.check() == []


def test_a_refill_takes_partial_slabs_before_free_ones() -> None:
    with kernel(changes={"free-limit-at-end": "on"}):
        cache = create(1024, "4 2 0")  # 4 objects a slab
        objects = [slab_faces.alloc(cache) for _ in range(16)]
        for obj in objects:
            slab_faces.free(cache, obj)
        slab_faces.shrink_cache(cache)
        held = [slab_faces.alloc(cache) for _ in range(6)]
        slabs = {slab_faces.slab_of(obj)["pfn"] for obj in held}
        assert len(slabs) == 2
        assert validate.check() == []


def test_growing_walks_through_the_colours() -> None:
    """96 bytes: 64 bytes are left over, so one colour; 1000 bytes: several."""
    with kernel():
        cache = create(1000)
        info = slab_faces.cache_info(cache)
        assert info["colour"] >= 1
        objects = [slab_faces.alloc(cache) for _ in range(info["num"] * (info["colour"] + 1))]
        slabs = {slab_faces.slab_of(obj)["pfn"] for obj in objects}
        starts = {min(obj for obj in objects if slab_faces.slab_of(obj)["pfn"] == pfn) % 4096 for pfn in slabs}
        assert len(starts) == max(info["colour"], 1)


@pytest.mark.parametrize("level", [0, 7, 8, 11])
def test_other_nodes_help_out(level: int) -> None:
    """When a node has no page left, objects and then pages of the others are taken; with __GFP_THISNODE nothing."""
    with kernel(cpus=2, nodes=2, ram=8 << 20, changes=patches.series_values(level, patches.defaults("4.12"))) as k:
        cache = create(4096)
        k.on(0)
        homes = []
        while obj := slab_faces.alloc(cache):
            homes.append(slab_faces.slab_of(obj)["nid"])
        assert set(homes) == {0, 1}
        # Its own node first, as long as there is something; a few pages came to CPU 0's array before.
        assert homes.index(1) >= homes.count(0) - 24
        assert slab_faces.alloc_node(cache, 1) == 0
        assert slab_faces.alloc(cache, slab_faces.GFP_KERNEL | slab_faces.GFP_THISNODE) == 0
        assert slab_faces.cache_info(cache)["allocfail"] >= 3
        assert validate.check() == []


# --- free ----------------------------------------------------------------------------------------


def test_a_flush_takes_the_oldest_to_the_shared_array() -> None:
    with kernel(cpus=2):
        cache = create(64, "10 4 3")
        objects = [slab_faces.alloc(cache) for _ in range(30)]
        slab_faces.shrink_cache(cache)
        for obj in objects[:10]:
            slab_faces.free(cache, obj)
        assert array(cache) == objects[:10]
        slab_faces.free(cache, objects[10])
        assert shared_array(cache) == objects[:4]
        assert array(cache) == objects[4:11]


def test_a_flush_goes_to_the_shared_array_or_to_the_slabs() -> None:
    """A shared array with room for 2 takes 2, and the rest of the batch stays; a full one takes none."""
    with kernel(cpus=2):
        cache = create(64, "10 4 1")
        objects = [slab_faces.alloc(cache) for _ in range(40)]
        slab_faces.shrink_cache(cache)
        for obj in objects[:11]:
            slab_faces.free(cache, obj)
        assert (len(shared_array(cache)), len(array(cache))) == (4, 7)
        free = node(cache)["free_objects"]
        for obj in objects[11:15]:
            slab_faces.free(cache, obj)
        assert (len(shared_array(cache)), len(array(cache))) == (4, 7)
        assert node(cache)["free_objects"] == free + 4


def test_freed_slabs_are_filed_by_what_is_left_in_them() -> None:
    """Empty: on the free list, until there are too many; else at the tail of partial."""
    with kernel():
        cache = create(1024, "1 1 0")
        objects = [slab_faces.alloc(cache) for _ in range(8)]
        slab_faces.shrink_cache(cache)
        assert node(cache)["free_slabs"] == 0
        for obj in objects[:4]:
            slab_faces.free(cache, obj)
        slab_faces.shrink_cache(cache)
        assert node(cache)["total_slabs"] == 1
        assert validate.check() == []


def test_an_alien_cache_holds_twelve() -> None:
    with kernel(cpus=2, nodes=2) as k:
        cache = create()
        k.on(1)
        objects = [slab_faces.alloc(cache) for _ in range(40)]
        k.on(0)
        for number, obj in enumerate(objects, 1):
            slab_faces.free(cache, obj)
            # Drained when the next one finds it full: to the remote shared array.
            assert node(cache, 1)["shared"] == (number - 1) // CONSTANTS["ALIEN_CACHE_LIMIT"] * 12
        assert k.count("slab_alien_drain") == 3
        assert validate.check() == []


# --- drain, shrink, reap -------------------------------------------------------------------------


def test_a_shrink_gives_everything_back() -> None:
    with kernel(cpus=2, nodes=2) as k:
        cache = create()
        objects = [slab_faces.alloc_node(cache, i % 2) for i in range(300)]
        for obj in objects:
            slab_faces.free(cache, obj)
        assert slab_faces.shrink_cache(cache) == 0
        assert [node(cache, nid)["total_slabs"] for nid in (0, 1)] == [0, 0]
        obj = slab_faces.alloc(cache)
        assert slab_faces.shrink_cache(cache) == 1
        slab_faces.free(cache, obj)
        assert k.count("slab_grow") == sum(node(cache, nid)["grown"] for nid in (0, 1)) > 0


@pytest.mark.parametrize(
    ("avail", "left"),
    [(120, 96), (100, 76), (30, 6), (24, 12), (10, 5), (1, 0)],  # (limit + 4) / 5 = 24, or half, rounded up
)
def test_the_reaper_takes_a_fifth_of_an_idle_array(avail: int, left: int) -> None:
    with kernel():
        cache = create(32)
        objects = [slab_faces.alloc(cache) for _ in range(avail)]
        slab_faces.shrink_cache(cache)
        for obj in objects:
            slab_faces.free(cache, obj)
        assert len(array(cache)) == avail
        touched = slab_faces.cpu_arrays(cache)[0][3]
        assert slab_reap.reap()
        if touched:  # the first pass only forgets that it was used
            assert len(array(cache)) == avail
            assert slab_faces.cpu_arrays(cache)[0][3] == 0
            assert slab_reap.reap()
        expected = left if avail != 24 else 0
        assert len(array(cache)) == expected


def test_the_reaper_spares_free_slabs_that_were_touched() -> None:
    with kernel():
        cache = create(1024, "1 1 0")

        def use_and_drain() -> None:
            slab_faces.free(cache, slab_faces.alloc(cache))
            slab_reap.reap()
            slab_reap.reap()  # the array was touched, so only the second pass empties it

        use_and_drain()
        use_and_drain()  # out of the free slab this time
        assert (node(cache)["free_touched"], node(cache)["free_slabs"]) == (1, 1)
        age(cache)
        slab_reap.reap()
        assert (node(cache)["free_touched"], node(cache)["free_slabs"]) == (0, 1)
        age(cache)
        slab_reap.reap()
        assert node(cache)["total_slabs"] == 0


def test_the_reaper_takes_no_lock_of_a_cache_without_objects() -> None:
    with kernel() as k:
        create()
        for _ in range(3):
            slab_reap.reap()
        before = k.acquisitions("list_lock")
        slab_reap.reap()
        assert k.acquisitions("list_lock") == before


def test_a_cache_with_objects_is_not_destroyed() -> None:
    with kernel():
        cache = create()
        obj = slab_faces.alloc(cache)
        assert slab_faces.destroy_cache(cache) == -16  # EBUSY
        assert slab_faces.find_cache("things") == cache
        slab_faces.free(cache, obj)
        assert slab_faces.alloc(cache)  # it works on
        assert validate.check() == []


# --- CPUs that come and go -----------------------------------------------------------------------


def go_offline(k: Kernel, cpu: int) -> None:
    assert k.current != cpu
    slab_hotplug.dead_cpu(cpu)


def test_a_dead_cpu_leaves_nothing() -> None:
    with kernel(cpus=3) as k:
        cache = create()
        k.on(2)
        objects = [slab_faces.alloc(cache) for _ in range(5)]
        k.on(0)
        limit = node(cache)["free_limit"]
        go_offline(k, 2)
        assert slab_faces.cpu_arrays(cache)[2][0] == 0
        assert node(cache)["free_limit"] == limit - 60
        for obj in objects:
            slab_faces.free(cache, obj)
        assert validate.check() == []
        assert slab_hotplug.prepare_cpu(2) == 0
        assert node(cache)["free_limit"] == limit


def test_the_last_cpu_of_a_node_takes_its_shared_array_along() -> None:
    with kernel(cpus=2, nodes=2) as k:
        set_word(field("segment_header", "ready", CONSTANTS["SEGMENT_BASE"]), 2)
        cache = create()
        k.on(1)
        objects = [slab_faces.alloc(cache) for _ in range(200)]
        for obj in objects:
            slab_faces.free(cache, obj)
        assert node(cache, 1)["shared"] > 0
        k.on(0)
        go_offline(k, 1)
        assert (node(cache, 1)["shared"], node(cache, 1)["alien"]) == (-1, 0)
        assert validate.check() == []
        assert slab_hotplug.prepare_cpu(1) == 0
        assert node(cache, 1)["shared"] == 0
