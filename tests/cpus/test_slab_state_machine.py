"""The allocator against a dictionary: any order of operations on any kernel, and memory that agrees after each one.

The model knows which objects live, of which cache, and what was written into each; nothing of arrays, slabs or nodes.
The process acts as one CPU after the other, so each step is exact; what others do at the same time is tests/stress's.
"""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cpus import slab_entry, slab_faces, slab_hotplug, slab_reap
from cpus.layout import CONSTANTS
from emu import patches, validate
from tests.slabs import cpu_array, field, kernel, node_address, set_word, word

CPUS = 4
EBUSY = -16
VERSIONS = ["3.0", "3.10", "3.18", "4.4", "4.6", "4.7", "4.9", "4.12", "5.8", "6.7"]
FLAGS: list[tuple[str, ...]] = [
    (),
    ("SLAB_HWCACHE_ALIGN",),
    ("SLAB_RECLAIM_ACCOUNT",),
    ("SLAB_CONSISTENCY_CHECKS", "SLAB_RED_ZONE", "SLAB_POISON", "SLAB_STORE_USER"),
    ("SLAB_QUARANTINE",),
]
SIZES = [8, 24, 64, 100, 256, 700, 2048, 4096, 5000]
INDEX = st.integers(0, 1 << 16)


class Allocator(RuleBasedStateMachine):
    """One kernel, up to three caches, and what lives in them. `allocator` is what it runs: another may inherit."""

    allocator = "slab"
    tunable = True
    versions = VERSIONS
    ram = 16 << 20
    scarce = False  # whether an allocation may find no page

    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        self.caches: list[int] = []
        self.sizes: dict[int, int] = {}
        self.live: dict[int, tuple[int, int]] = {}  # object -> (cache, or 0 for kmalloc; what was written into it)
        self.made = 0
        self.alive = list(range(CPUS))

    @initialize(data=st.data())
    def boot(self, data: st.DataObject) -> None:
        """A kernel version, or a level of the series, and a number of nodes."""
        version = data.draw(st.sampled_from(self.versions))
        changes = {}
        if self.allocator == "slab" and data.draw(st.booleans()):
            changes = patches.series_values(data.draw(st.integers(0, 11)), patches.defaults(version))
        nodes = data.draw(st.sampled_from([1, 1, 2]))
        options: dict[str, Any] = {"noaliencache": True} if data.draw(st.booleans()) else {}
        booted = kernel(
            CPUS, nodes=nodes, version=version, changes=changes, allocator=self.allocator, ram=self.ram, **options
        )
        self.k = self.stack.enter_context(booted)
        self.nodes = nodes
        if data.draw(st.booleans()):  # then a node without an online CPU is known as one
            set_word(field("segment_header", "ready", CONSTANTS["SEGMENT_BASE"]), CPUS)
        self.pages = self.k.pages_in_use()

    # --- helpers

    def write(self, obj: int, cache: int, size: int) -> None:
        if self.scarce and obj == 0:
            return
        assert obj
        assert obj not in self.live, f"{obj:#x} was handed out twice"
        self.made += 1
        self.live[obj] = (cache, self.made)
        for address, text in reversed(self.marks(obj, size, self.made)):
            slab_faces.poke(address, text)

    @staticmethod
    def marks(obj: int, size: int, stamp: int) -> list[tuple[int, bytes]]:
        """The first bytes of an object hold its stamp, and the last ones too, as far as there are more."""
        text = stamp.to_bytes(8, "little")[: min(size, 8)]
        return [(obj, text), (obj + size - len(text), text)]

    def take(self, index: int) -> tuple[int, int]:
        """Forget one of the live objects, and see that nobody else wrote into it."""
        obj = list(self.live)[index % len(self.live)]
        cache, stamp = self.live.pop(obj)
        for address, text in self.marks(obj, self.sizes[obj if cache == 0 else cache], stamp)[:1]:
            assert slab_faces.peek(address, len(text)) == text, f"{obj:#x} was overwritten"
        return obj, cache

    def pick(self, index: int) -> int:
        return self.caches[index % len(self.caches)]

    def lives(self, cache: int) -> bool:
        return any(owner == cache for owner, _ in self.live.values())

    # --- rules

    @precondition(lambda self: len(self.caches) < 3)
    @rule(size=st.sampled_from(SIZES), flags=st.sampled_from(FLAGS), ctor=st.booleans())
    def create(self, size: int, flags: tuple[str, ...], ctor: bool) -> None:
        self.made += 1
        bits = slab_entry.flag_bits(flags)
        cache = slab_faces.create_cache(f"cache-{self.made}", size, flags=bits, ctor=ctor)
        assert cache > 0
        self.caches.append(cache)
        self.sizes[cache] = size

    @rule(number=st.integers(0, CPUS - 1))
    def go_to(self, number: int) -> None:
        """Act as another CPU from now on."""
        if number in self.alive:
            self.k.on(number)

    @precondition(lambda self: self.caches)
    @rule(index=INDEX, count=st.integers(1, 70))
    def alloc(self, index: int, count: int) -> None:
        cache = self.pick(index)
        for _ in range(count):
            self.write(slab_faces.alloc(cache), cache, self.sizes[cache])

    @precondition(lambda self: self.caches)
    @rule(index=INDEX, count=st.integers(1, 20), node=st.integers(0, 1))
    def alloc_on_node(self, index: int, count: int, node: int) -> None:
        cache = self.pick(index)
        for _ in range(count):
            self.write(slab_faces.alloc_node(cache, node % self.nodes), cache, self.sizes[cache])

    @precondition(lambda self: self.caches)
    @rule(index=INDEX, count=st.integers(1, 100))
    def alloc_bulk(self, index: int, count: int) -> None:
        cache = self.pick(index)
        objects = slab_faces.alloc_bulk(cache, count)
        assert len(objects) == count or (self.scarce and objects == [])  # all or nothing
        for obj in objects:
            self.write(obj, cache, self.sizes[cache])

    @rule(size=st.integers(1, 9000), count=st.integers(1, 20))
    def kmalloc(self, size: int, count: int) -> None:
        for _ in range(count):
            obj = slab_faces.malloc(size)
            self.sizes[obj] = size  # of nothing, too
            self.write(obj, 0, size)

    @precondition(lambda self: self.live)
    @rule(index=INDEX, count=st.integers(1, 90))
    def free(self, index: int, count: int) -> None:
        """By this CPU, whoever allocated it."""
        for _ in range(min(count, len(self.live))):
            obj, cache = self.take(index)
            if cache and index % 5:
                slab_faces.free(cache, obj)
            else:
                slab_faces.mfree(obj)

    @precondition(lambda self: self.live)
    @rule(index=INDEX, count=st.integers(1, 90))
    def free_bulk(self, index: int, count: int) -> None:
        """Objects of any caches in one call: each object's own is looked up."""
        slab_faces.free_bulk(0, [self.take(index)[0] for _ in range(min(count, len(self.live)))])

    @precondition(lambda self: self.caches)
    @rule(index=INDEX)
    def shrink(self, index: int) -> None:
        cache = self.pick(index)
        left = slab_faces.shrink_cache(cache)
        assert left == 1 or not self.lives(cache)

    @precondition(lambda self: self.caches and self.tunable)
    @rule(index=INDEX, limit=st.integers(-1, 200), batch=st.integers(-1, 210), shared=st.integers(-1, 9))
    def tune(self, index: int, limit: int, batch: int, shared: int) -> None:
        """What makes no sense is accepted, and nothing happens."""
        cache = self.pick(index)
        name = next(name for address, name in slab_faces.caches() if address == cache)
        before = slab_faces.cache_info(cache)
        line = f"{name} {limit} {batch} {shared}"
        assert slab_faces.write_slabinfo(line) == len(line)
        after = slab_faces.cache_info(cache)
        sensible = limit >= 1 and 1 <= batch <= limit and shared >= 0
        wanted = (limit, batch, shared) if sensible else tuple(before[n] for n in ("limit", "batchcount", "shared"))
        assert tuple(after[n] for n in ("limit", "batchcount", "shared")) == wanted

    @precondition(lambda self: self.tunable)
    @rule(times=st.integers(1, 3))
    def reap(self, times: int) -> None:
        for _ in range(times):
            assert slab_reap.reap()

    @precondition(lambda self: len(self.alive) > 1)
    @rule(index=INDEX)
    def offline(self, index: int) -> None:
        """CPU 0 stays; the one that goes is not the one that acts."""
        others = [number for number in self.alive if number not in (0, self.k.current)]
        if others:
            number = others[index % len(others)]
            self.alive.remove(number)
            slab_hotplug.dead_cpu(number)
            for cache in self.caches if self.allocator == "slab" else ():
                assert slab_faces.cpu_arrays(cache)[number][0] == 0

    @precondition(lambda self: len(self.alive) < CPUS)
    @rule(index=INDEX)
    def online(self, index: int) -> None:
        dead = [number for number in range(CPUS) if number not in self.alive]
        number = dead[index % len(dead)]
        assert slab_hotplug.prepare_cpu(number) == 0
        self.alive.append(number)

    @precondition(lambda self: self.caches)
    @rule(index=INDEX)
    def destroy(self, index: int) -> None:
        """Refused as long as an object lives. The others' arrays are drained one by one: nobody is interrupted."""
        cache = self.pick(index)
        here = self.k.current
        for number in self.alive:
            self.k.on(number)
            slab_faces.shrink_cache(cache)
        self.k.on(here)
        error = slab_faces.destroy_cache(cache)
        assert error == (EBUSY if self.lives(cache) else 0)
        if error == 0:
            self.caches.remove(cache)

    # --- judgement

    @invariant()
    def nothing_is_reported(self) -> None:
        if hasattr(self, "k"):
            assert slab_faces.bugs() == []

    def teardown(self) -> None:
        try:
            if hasattr(self, "k"):
                self.judge()
        finally:
            self.stack.close()

    def judge(self) -> None:
        """Memory agrees with the model; and when all is given back, as many pages are free as before."""
        assert validate.check() == []
        given, taken = self.k.count("slab_alloc"), self.k.count("slab_free")
        if not any(slab_faces.cache_info(cache)["placement"] == "off-slab" for cache in self.caches):
            assert given - taken >= len(self.live)
        while self.live:
            obj, _ = self.take(0)
            slab_faces.mfree(obj)
        self.caches += [address for address, name in slab_faces.caches() if name.startswith("kmalloc-")]
        for number in self.alive:
            self.k.on(number)
            for cache in self.caches:
                slab_faces.shrink_cache(cache)
        assert validate.check() == []
        self.settle()
        assert self.k.pages_in_use() == self.pages

    def settle(self) -> None:
        """What an allocator must do before all its pages are back."""
        self.k.on(0)
        for cache in self.caches:
            slab_faces.shrink_cache(cache)


class Scarce(Allocator):
    """So little memory that refills fail, in the middle of bulks, on one node, or for an off-slab freelist."""

    ram = 40 << 12
    scarce = True

    def teardown(self) -> None:
        if hasattr(self, "k"):
            Scarce.failures += any(slab_faces.cache_info(address)["allocfail"] for address, _ in slab_faces.caches())
        super().teardown()

    failures = 0


def explore(machine: type[Allocator], examples: int, steps: int = 30) -> None:
    """Run that many random orders of operations."""
    wanted = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(machine, settings=wanted)


def test_some_orders_of_operations() -> None:
    explore(Allocator, 40)


def test_some_orders_with_scarce_memory() -> None:
    Scarce.failures = 0
    explore(Scarce, 40)
    assert Scarce.failures > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("machine", [Allocator, Scarce])
def test_any_order_of_operations(machine: type[Allocator]) -> None:
    explore(machine, 500)


@pytest.mark.soak
@pytest.mark.parametrize("machine", [Allocator, Scarce])
def test_any_order_of_operations_at_length(machine: type[Allocator]) -> None:
    explore(machine, 10_000, 50)


# --- faults that the judgement must see ----------------------------------------------------------


class DoubleFree(Allocator):
    """Frees an object twice, where the first free left it in an array."""

    @precondition(lambda self: any(cache for cache, _ in self.live.values()))
    @rule()
    def free_twice(self) -> None:
        index = next(i for i, (cache, _) in enumerate(self.live.values()) if cache)
        obj, cache = self.take(index)
        slab_faces.free(cache, obj)
        slab_faces.free(cache, obj)


class ForeignFree(Allocator):
    """Frees an object to another cache."""

    @precondition(lambda self: len(self.caches) > 1 and any(cache for cache, _ in self.live.values()))
    @rule()
    def free_elsewhere(self) -> None:
        index = next(i for i, (cache, _) in enumerate(self.live.values()) if cache)
        obj, cache = self.take(index)
        other = next(each for each in self.caches if each != cache)
        slab_faces.free(other, obj)


class LeakOnFailedRefill(Allocator):
    """An object leaves an array and goes to nobody, as from a refill whose error path forgets what it took."""

    @precondition(lambda self: any(slab_faces.cpu_arrays(cache)[self.k.current][0] for cache in self.caches))
    @rule()
    def leak(self) -> None:
        cache = next(each for each in self.caches if slab_faces.cpu_arrays(each)[self.k.current][0])
        at = field("array_cache", "avail", cpu_array(cache, self.k.current))
        set_word(at, word(at) - 1)


class BatchcountOffByOne(Allocator):
    """An array whose batch is larger than its limit: a flush would move more than there is."""

    @precondition(lambda self: self.caches)
    @rule()
    def miscount(self) -> None:
        cache = self.caches[0]
        at = field("array_cache", "batchcount", cpu_array(cache, 0))
        limit = slab_faces.cpu_arrays(cache)[0][1]
        set_word(at, word(at) & ~0xFFFFFFFF | limit + 1)


class LostSlab(Allocator):
    """A node's count of free objects is one too high."""

    @precondition(lambda self: self.caches)
    @rule()
    def miscount(self) -> None:
        at = field("kmem_cache_node", "free_objects", node_address(self.caches[0], 0))
        set_word(at, word(at) + 1)


def check_seen(planted: type[Allocator]) -> None:
    """The same machine with one more rule. Not shrunk: that it fails is all that is asked."""
    with pytest.raises(BaseException) as raised:  # noqa: PT011 - hypothesis may raise a group
        run_state_machine_as_test(
            planted,
            settings=settings(
                max_examples=300,
                stateful_step_count=30,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[phase for phase in settings.default.phases if phase.name in ("generate",)],
                suppress_health_check=list(HealthCheck),
            ),
        )
    text = repr(raised.value) + "".join(map(repr, getattr(raised.value, "exceptions", ())))
    assert "AssertionError" in text or isinstance(raised.value, AssertionError), text


@pytest.mark.parametrize("planted", [DoubleFree, ForeignFree, LeakOnFailedRefill, BatchcountOffByOne, LostSlab])
def test_planted_faults_are_seen(planted: type[Allocator]) -> None:
    check_seen(planted)
