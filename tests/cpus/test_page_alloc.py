"""Zones, the buddy allocator and the per-CPU pagesets, against plain models, in the test's own process."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpus import page_alloc, vmstat
from cpus import page_faces as pages
from emu.validate import check
from tests.slabs import MIB, kernel

LARGEST = 1 << 10


def lists(cpu=0, number=1):
    return pages.pageset(cpu, number)["lists"]


def zone(name, node=0):
    return next(row for row in pages.zones() if (row["name"], row["node"]) == (name, node))


def drain_every_list(k):
    for cpu in range(k.cpus):
        for row in pages.zones():
            if row["number"] is not None:
                pages.drain_zone(cpu, row["number"])


# --- sizes ----------------------------------------------------------------------------------------


def kernel_sizing(managed, most, fraction):
    """zone_batchsize() and pageset_set_high_and_batch(), written from the kernel's formulas."""
    if fraction:
        high = managed // fraction
        return high, min(max(1, high // 4), 12 * 8)
    batch = max(1, min(managed // 1024, most // 4096) // 4)
    batch = 2 ** int(math.log2(batch + batch // 2)) - 1
    return 6 * batch, max(1, batch)


@pytest.mark.parametrize(("version", "most"), [("3.13", 512 << 10), ("4.18", 512 << 10), ("4.19", 1 << 20)])
def test_high_and_batch(version, most):
    @settings(max_examples=300, deadline=None)
    @given(st.integers(1, 1 << 24), st.sampled_from([0, 0, 8, 100, 1000, 1 << 20]))
    def check_sizing(managed, fraction):
        assert pages.sizing(managed, fraction) == kernel_sizing(managed, most, fraction)

    with kernel(version=version):
        check_sizing()


def test_high_and_batch_of_large_and_tiny_zones():
    with kernel(version="4.19"):
        assert pages.sizing(1 << 20, 0) == (378, 63)
        assert pages.sizing(1000, 0) == (0, 1)
    with kernel(version="3.13"):
        assert pages.sizing(1 << 20, 0) == (186, 31)


def test_fraction_of_the_command_line():
    with kernel(ram=64 * MIB, percpu_pagelist_fraction=8):
        assert pages.pageset(0, 1)["high"] == 12288 // 8
        assert pages.pageset(0, 1)["batch"] == 96


def test_zones_of_a_small_machine():
    with kernel(cpus=2, nodes=2, ram=256 * MIB):
        rows = [(z["node"], z["name"], z["start"], z["end"]) for z in pages.zones() if z["number"] is not None]
    assert rows == [(0, "DMA", 0, 4096), (0, "DMA32", 4096, 32768), (1, "DMA32", 32768, 65536)]


def test_zones_beyond_4_gib():
    with kernel(ram=5 << 30):
        rows = [(z["name"], z["start"], z["end"]) for z in pages.zones()]
        assert rows == [("DMA", 0, 4096), ("DMA32", 4096, 1 << 20), ("Normal", 1 << 20, 5 << 18)]
        pfn = page_alloc.alloc_pages(0, 0, pages.GFP_KERNEL)
        assert pfn >= 1 << 20
        page_alloc.free_pages(pfn, 0)
        assert [z["number"] for z in pages.zones()] == [0, 1, 2]
        assert zone("DMA")["reserve"] == [0, ((1 << 20) - 4096) // 256, ((5 << 18) - 4096) // 256]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 200), st.integers(1, 4))
def test_zones_cover_ram_once(mib, nodes):
    with kernel(cpus=4, nodes=nodes, ram=mib * MIB):
        rows = [z for z in pages.zones() if z["number"] is not None]
        assert rows[0]["start"] == 0
        assert rows[-1]["end"] == mib * 256
        assert all(a["end"] == b["start"] for a, b in itertools.pairwise(rows))
        assert [z["number"] for z in rows] == list(range(len(rows)))
        assert sum(row["pages"] for row in page_alloc.nodes()) == mib * 256


# --- buddy ----------------------------------------------------------------------------------------


class Blocks:
    """A model: the set of pages that are handed out."""

    def __init__(self):
        self.held = {}
        self.taken = set()

    def take(self, pfn, order):
        block = set(range(pfn, pfn + (1 << order)))
        assert pfn % (1 << order) == 0
        assert not block & self.taken
        self.held[pfn] = order
        self.taken |= block

    def give(self, pfn):
        order = self.held.pop(pfn)
        self.taken -= set(range(pfn, pfn + (1 << order)))
        return order


GFPS = [pages.GFP_ATOMIC, pages.GFP_ATOMIC | pages.GFP_MOVABLE, pages.GFP_ATOMIC | pages.GFP_RECLAIMABLE]
GFPS += [pages.GFP_ATOMIC | pages.GFP_DMA, pages.GFP_KERNEL]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("alloc"), st.sampled_from([0, 0, 0, 0, 1, 2, 3, 5, 9, 10]), st.sampled_from(GFPS)),
        st.tuples(st.just("free"), st.integers(0, 1 << 30), st.just(0)),
        st.tuples(st.just("cpu"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("drain"), st.integers(0, 2), st.integers(0, 1)),
    ),
    max_size=120,
)


@pytest.mark.parametrize(
    "options",
    [
        {"version": "3.13", "ram": 24 * MIB},
        {"version": "4.19", "ram": 48 * MIB, "nodes": 2},
        {"version": "6.0", "ram": 24 * MIB},
        {"version": "4.12", "ram": 40 * MIB, "percpu_pagelist_fraction": 64},
    ],
    ids=["3.13", "4.19-numa", "6.0", "fraction"],
)
def test_pages_are_never_lost_and_never_handed_out_twice(options):
    @settings(max_examples=40, deadline=None)
    @given(STEPS)
    def run(steps):
        with kernel(cpus=3, **options) as k:
            model = Blocks()
            for what, a, b in steps:
                if what == "alloc":
                    pfn = page_alloc.alloc_pages(-1, a, b)
                    if pfn >= 0:
                        model.take(pfn, a)
                elif what == "free" and model.held:
                    pfn = sorted(model.held)[a % len(model.held)]
                    page_alloc.free_pages(pfn, model.give(pfn))
                elif what == "cpu":
                    k.on(a)
                elif what == "drain":
                    pages.drain_zone(a, b)
                assert k.pages_in_use() == len(model.taken)
            assert check() == []
            for pfn in sorted(model.held):
                page_alloc.free_pages(pfn, model.give(pfn))
            drain_every_list(k)
            everything_is_merged()
            assert check() == []

    run()


def everything_is_merged():
    """All that was ever used lies in blocks as large as its zone allows."""
    for row in pages.zones():
        if row["number"] is None:
            continue
        index = ("DMA", "DMA32", "Normal").index(row["name"])
        found = sorted((pfn, order) for (order, _), list_ in pages.free_blocks(row["node"], index).items()
                       for pfn in list_)
        assert found == maximal_blocks(row["start"], row["end"] - row["fresh"])


def maximal_blocks(start, end):
    blocks = []
    while start < end:
        order = 10
        while start % (1 << order) or start + (1 << order) > end:
            order -= 1
        blocks.append((start, order))
        start += 1 << order
    return blocks


def test_a_block_is_split_and_joined():
    with kernel(ram=64 * MIB):
        pfn = page_alloc.alloc_pages(0, 3, pages.GFP_KERNEL)
        orders = {order for order, _ in pages.free_blocks(0, 1)}
        assert orders == set(range(3, 10))
        page_alloc.free_pages(pfn, 3)
        assert list(pages.free_blocks(0, 1)) == [(10, pages.UNMOVABLE)]


def test_types_do_not_mix():
    """The first unmovable page claims whole pageblocks, so movable ones come from elsewhere."""
    with kernel(ram=64 * MIB):
        unmovable = [page_alloc.alloc_pages(0, 0, pages.GFP_ATOMIC) for _ in range(600)]
        movable = [page_alloc.alloc_pages(0, 0, pages.GFP_ATOMIC | pages.GFP_MOVABLE) for _ in range(600)]
        assert {pfn >> 9 for pfn in unmovable}.isdisjoint({pfn >> 9 for pfn in movable})


def test_exhaustion_keeps_the_watermarks_and_gives_everything_back():
    with kernel(ram=32 * MIB) as k:
        taken = []
        while (pfn := page_alloc.alloc_pages(0, 0, pages.GFP_KERNEL)) >= 0:
            taken.append(pfn)
        assert len(set(taken)) == len(taken)
        for row in pages.zones():
            if row["number"] is not None:
                left = row["free"] + row["fresh"]
                low, reserve = row["watermark"][0], row["reserve"][2]
                # A refill takes a batch; the look is before it.
                assert low + reserve - 40 <= left <= low + reserve
        assert k.count("pgalloc_fail") == 1
        atomic = page_alloc.alloc_pages(0, 0, pages.GFP_ATOMIC)
        assert atomic >= 0
        page_alloc.free_pages(atomic, 0)
        for pfn in taken:
            page_alloc.free_pages(pfn, 0)
        assert k.pages_in_use() == 0
        assert check() == []


def test_a_page_that_is_freed_twice_is_found():
    with kernel(ram=32 * MIB):
        pfn = page_alloc.alloc_pages(0, 0, pages.GFP_KERNEL)
        page_alloc.free_pages(pfn, 0)
        page_alloc.free_pages(pfn, 0)
        assert pages.bad_pages() == 1
        assert [v.invariant for v in check()] == ["I3"]


# --- pagesets -------------------------------------------------------------------------------------


def test_alloc_takes_the_hottest_and_refills_by_a_batch():
    with kernel(ram=64 * MIB, version="4.12"):
        batch = pages.pageset(0, 1)["batch"]
        first = page_alloc.alloc_pages(0, 0, pages.GFP_KERNEL)
        rest = lists()[pages.UNMOVABLE]
        # Appended at the tail in the order of the buddy allocator.
        assert [first, *rest] == list(range(first, first + batch))
        second = page_alloc.alloc_pages(0, 0, pages.GFP_KERNEL)
        assert second == rest[0]
        page_alloc.free_pages(first, 0)
        page_alloc.free_pages(second, 0)
        assert lists()[pages.UNMOVABLE][:2] == [second, first]


def test_a_free_that_reaches_high_gives_a_batch_of_cold_pages_back():
    with kernel(ram=64 * MIB) as k:
        first = pages.pageset(0, 1)
        high, batch = first["high"], first["batch"]
        taken = [page_alloc.alloc_pages(0, 0, pages.GFP_KERNEL) for _ in range(high * 2)]
        drain_every_list(k)
        for pfn in taken[: high - 1]:
            page_alloc.free_pages(pfn, 0)
        assert pages.pageset(0, 1)["count"] == high - 1
        page_alloc.free_pages(taken[high - 1], 0)
        assert pages.pageset(0, 1)["count"] == high - batch
        # The first that were freed lay at the cold end.
        assert lists()[pages.UNMOVABLE] == taken[batch:high][::-1]


def test_a_tiny_zone_keeps_nothing():
    with kernel(ram=2 * MIB):
        assert (pages.pageset(0, 0)["high"], pages.pageset(0, 0)["batch"]) == (0, 1)
        pfn = page_alloc.alloc_pages(0, 0, pages.GFP_ATOMIC)
        assert pages.pageset(0, 0)["count"] == 0
        page_alloc.free_pages(pfn, 0)
        assert pages.pageset(0, 0)["count"] == 0


def bulk_order(lengths, count, order):
    """free_pcppages_bulk() of the kernel: which list each page leaves, in turn. lengths: by type."""
    left = dict(enumerate(lengths))
    taken, at, batch_free = [], 0, 0
    while count:
        while True:
            batch_free += 1
            at = (at + 1) % 3
            if left[order[at]]:
                break
        if batch_free == 3:
            batch_free = count
        while True:
            left[order[at]] -= 1
            taken.append(order[at])
            count -= 1
            if not count:
                break
            batch_free -= 1
            if not batch_free or not left[order[at]]:
                break
    return taken


@pytest.mark.parametrize(("version", "order"), [("3.13", (0, 2, 1)), ("4.4", (0, 1, 2))])
def test_round_robin_from_the_cold_end(version, order):
    """A free that reaches `high` takes a batch off the three lists as the kernel does."""

    @settings(max_examples=60, deadline=None)
    @given(st.tuples(*[st.integers(0, 30)] * 3))
    def run(lengths):
        # A fraction, so that high and batch are large enough to be interesting: high 48, batch 12.
        with kernel(ram=48 * MIB, version=version, percpu_pagelist_fraction=170) as k:
            high, batch = pages.pageset(0, 1)["high"], pages.pageset(0, 1)["batch"]
            assert (high, batch) == (48, 12)
            wanted = list(lengths)
            if sum(wanted) >= high:
                wanted = [n * (high - 1) // sum(wanted) for n in wanted]
            wanted[0] += high - 1 - sum(wanted)
            taken = [[page_alloc.alloc_pages(0, 0, gfp) for _ in range(high)] for gfp in GFPS[:3]]
            drain_every_list(k)
            for kind, number in enumerate(wanted):
                for pfn in taken[kind][:number]:
                    page_alloc.free_pages(pfn, 0)
            before = lists()
            assert [len(each) for each in before] == wanted
            last = taken[0][high - 1]
            page_alloc.free_pages(last, 0)
            before[0].insert(0, last)
            leave = bulk_order([len(each) for each in before], batch, order)
            expected = [each[: len(each) - leave.count(kind)] for kind, each in enumerate(before)]
            assert lists() == expected

    run()


def test_types_without_a_list():
    """HIGHATOMIC counts as MOVABLE; ISOLATE goes straight to the buddy allocator."""
    with kernel(ram=64 * MIB) as k:
        a, b = (page_alloc.alloc_pages(0, 0, pages.GFP_KERNEL) for _ in range(2))
        drain_every_list(k)
        pages.set_pageblock_type(a, pages.HIGHATOMIC)
        page_alloc.free_pages(a, 0)
        assert lists() == [[], [a], []]
        pages.set_pageblock_type(b, pages.ISOLATE)
        page_alloc.free_pages(b, 0)
        assert lists() == [[], [a], []]
        assert (0, pages.ISOLATE) in pages.free_blocks(0, 1)


def test_order_above_zero_goes_past_the_lists():
    with kernel(ram=64 * MIB):
        pfn = page_alloc.alloc_pages(0, 1, pages.GFP_KERNEL)
        page_alloc.free_pages(pfn, 1)
        assert lists() == [[], [], []]


def test_the_coordinator_has_no_pageset():
    with kernel(ram=64 * MIB) as k:
        k.as_coordinator()
        pfn = page_alloc.alloc_pages(0, 0, pages.GFP_KERNEL)
        page_alloc.free_pages(pfn, 0)
        assert pages.counts() == [0]


def test_offline_drains():
    with kernel(cpus=2, ram=64 * MIB) as k:
        k.on(1)
        page_alloc.free_pages(page_alloc.alloc_pages(0, 0, pages.GFP_KERNEL), 0)
        k.on(0)
        assert pages.counts()[1] > 0
        pages.cpu_is_dead(1)
        assert pages.counts() == [0, 0]
        everything_is_merged()


def test_counters_are_by_zone():
    names = ("pgalloc_dma", "pgalloc_dma32", "pgalloc_normal", "pgfree")
    with kernel(ram=64 * MIB) as k:
        for gfp in (pages.GFP_KERNEL, pages.GFP_KERNEL, pages.GFP_KERNEL | pages.GFP_DMA):
            page_alloc.free_pages(page_alloc.alloc_pages(0, 1, gfp), 1)
        assert [k.count(name) for name in names] == [2, 4, 0, 6]
    assert len(set(vmstat.NAMES.values())) == len(vmstat.NAMES)
