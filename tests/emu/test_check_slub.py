"""The checker of SLUB: each of its checks finds what is planted for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from cpus import slab_faces, slub_faces
from emu.raw_memory import MAP, PAGE, offset
from emu.validate import check
from tests.slabs import Kernel, field, kernel, set_word, word


class Scene(NamedTuple):
    """A cache with something in every place: CPU 1 has a slab, CPU 0 one and partial ones, the node some."""

    kernel: Kernel
    cache: int
    objects: list[int]  # in use
    freed: int  # in the freelist of CPU 0's slab
    at: dict[str, list[int]]

    def page(self, obj: int) -> int:
        """The struct page of an object's slab."""
        return MAP + PAGE * int(slub_faces.slab_of(obj)["pfn"])

    def line(self, name: str, cpu: int = 0) -> int:
        """A word of a CPU's struct kmem_cache_cpu."""
        return field("kmem_cache_cpu", name, self.at["cpu"][cpu])

    def partial(self) -> int:
        """The first slab of CPU 0's partial list."""
        return word(self.line("partial"))


@pytest.fixture
def scene() -> Iterator[Scene]:
    with kernel(2, allocator="slub") as k:
        cache = slab_faces.create_cache("foo", 64)
        objects = [slab_faces.alloc(cache) for _ in range(64 * 40)]
        k.on(1)
        objects.append(slab_faces.alloc(cache))
        k.on(0)
        objects += [slab_faces.alloc(cache) for _ in range(3)]
        for slab in range(38):
            slab_faces.free(cache, objects[slab * 64])
            objects[slab * 64] = 0
        freed = objects.pop()
        slab_faces.free(cache, freed)
        yield Scene(k, cache, [obj for obj in objects if obj], freed, slub_faces.addresses(cache))


def found() -> set[str]:
    return {violation.invariant for violation in check()}


def test_the_scene_is_sound_and_full(scene: Scene) -> None:
    assert check() == []
    assert slub_faces.nodes(scene.cache)[0]["nr_partial"] > 0
    assert slub_faces.cpu_slabs(scene.cache)[0]["partial"] > 1
    assert [row["page"] >= 0 for row in slub_faces.cpu_slabs(scene.cache)] == [True, True]


def set_counters(page: int, change: Callable[[int], int]) -> None:
    at = page + offset("page", "active")
    set_word(at, change(word(at)))


PLANTS: dict[str, tuple[str, Callable[[Scene], None]]] = {
    # Places of objects.
    "double free": ("I1", lambda s: slab_faces.free(s.cache, s.freed)),
    "an object in two freelists": (
        "I1",
        lambda s: (set_word(s.page(s.freed) + offset("page", "freelist"), s.freed),
                   set_word(s.freed, 0), set_counters(s.page(s.freed), lambda w: w - 1))[0],
    ),
    "a lost object": ("I1", lambda s: set_word(s.partial() + offset("page", "freelist"), 0)),
    "a freelist that leads away": ("I3", lambda s: set_word(s.freed, s.objects[0] - 640000)),
    "a freelist into the middle of an object": ("I3", lambda s: set_word(s.line("freelist"), s.freed + 8)),
    "a freelist that is a cycle": ("I1", lambda s: set_word(s.freed, s.freed)),
    "an object of another cache": (
        "I3", lambda s: set_word(s.line("freelist"), slab_faces.alloc(slab_faces.create_cache("bar", 64))),
    ),
    "uncounted alloc": ("I5", lambda s: set_word(s.line("allocs"), word(s.line("allocs")) - 1)),
    "uncounted free": ("I5", lambda s: set_word(s.line("frees"), word(s.line("frees")) - 1)),
    # Places of slabs.
    "a slab that is no slab": ("I1", lambda s: set_word(s.line("page"), word(s.line("page")) + PAGE // 2)),
    "a slab of two CPUs": (
        "I1", lambda s: (set_word(s.line("page", 1), word(s.line("page"))), set_word(s.line("freelist", 1), 0))[0],
    ),
    "a freelist without a slab": ("I1", lambda s: set_word(s.line("page"), 0)),
    "a frozen slab that nobody has": ("I1", lambda s: set_word(s.line("partial"), 0)),
    "a CPU's slab that is not frozen": ("I4", lambda s: set_counters(s.page(s.freed), lambda w: w & ~(1 << 31))),
    "a partial list that is a cycle": (
        "I4", lambda s: set_word(s.partial() + offset("page", "lru"), s.partial()),
    ),
    "a partial list of a wrong length": (
        "I4", lambda s: set_word(s.partial() + offset("page", "lru") + 8, word(s.partial() + 8) + 1),
    ),
    "a partial slab of a dead cache": ("I8", lambda s: set_word(field("kmem_cache_slub", "dead", s.at["state"]), 1)),
    "a wrong nr_partial": ("I4", lambda s: set_word(field("slub_node", "nr_partial", s.at["node"][0]), 1)),
    "a wrong nr_slabs": ("I4", lambda s: set_word(field("slub_node", "nr_slabs", s.at["node"][0]), 1)),
    "wrong total_objects": ("I4", lambda s: set_word(field("slub_node", "total_objects", s.at["node"][0]), 1)),
    "a node list cut off": ("I4", lambda s: set_word(field("slub_node", "partial", s.at["node"][0]), 0)),
    # Counters, geometry, memory.
    "more in use than there are": ("I4", lambda s: set_counters(s.page(s.freed), lambda w: w | 0xFFFF)),
    "another number of objects": ("I4", lambda s: set_counters(s.page(s.freed), lambda w: w ^ 1 << 16)),
    "a slab of no cache": ("I1", lambda s: set_word(s.page(s.freed) + offset("page", "slab_cache"), 4096)),
    "freed SLUB state": ("I9", lambda s: set_word(field("kmem_cache", "slub", s.cache), s.cache + 64)),
    "a freed node": ("I9", lambda s: set_word(s.at["cpu"][1] + 64, s.at["node"][0] + 64)),
    "senseless geometry": ("I4", lambda s: set_word(field("kmem_cache", "num", s.cache), 0)),
    "a wrong rcu_pages": ("I1", lambda s: set_word(field("kmem_cache", "rcu_pages", s.cache), 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTS)
def test_finds(scene: Scene, name: str) -> None:
    invariant, plant = PLANTS[name]
    plant(scene)
    assert invariant in found()


def test_slabs_that_wait_for_a_cache_that_is_gone(scene: Scene) -> None:
    flags = scene.page(scene.freed) + offset("page", "active")
    set_word(flags, word(flags) | 16 << 32)  # PG_SLAB_RCU
    assert "I9" in found()
