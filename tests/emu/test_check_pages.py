"""The checker of page frames: each of its checks, with a bug that only it catches."""

import struct

import pytest

from cpus import page_alloc, slab_faces
from cpus import page_faces as pages
from cpus.layout import CONSTANTS, STRUCTS
from emu.validate import check
from tests.slabs import MIB, field, kernel, set_word, word

MAP = CONSTANTS["SEGMENT_BASE"] + (CONSTANTS["MAP_OFFSET_GIB"] << 30)
PCP, BUDDY, LRU, SLAB = (CONSTANTS[f"PG_{name}"] for name in ("PCP", "BUDDY", "LRU", "SLAB"))


def page(pfn):
    return MAP + STRUCTS["page"].size * pfn


def set_field(pfn, name, value):
    found = next(f for f in STRUCTS["page"].fields if f.name == name)
    slab_faces.poke(page(pfn) + found.offset, value.to_bytes(found.size, "little"))


def mm_system():
    header = CONSTANTS["SEGMENT_BASE"] + next(f.offset for f in STRUCTS["segment_header"].fields if f.name == "area")
    return word(header + 8 * CONSTANTS["AREA_ZONES"])


def zone_address(index):
    return word(field("mm_system", "zones", mm_system())) + STRUCTS["zone"].size * index


def parked(number=6):
    """CPU 0 with pages on its list of ZONE_DMA32: as many as a refill brings, and one more cycle."""
    pfns = [page_alloc.alloc_pages(0, 0, pages.GFP_KERNEL) for _ in range(number)]
    for pfn in pfns:
        page_alloc.free_pages(pfn, 0)
    return pages.pageset(0, 1)


def found():
    return [(v.invariant, v.text) for v in check()]


def the_one(text):
    seen = found()
    assert any(text in shown for _, shown in seen), seen
    assert seen[0][0] in ("I3", "I4", "I6", "I9")


@pytest.fixture
def k():
    with kernel(cpus=2, ram=64 * MIB) as running:
        assert check() == []
        yield running


def test_a_sound_machine(k):
    parked()
    assert found() == []


def test_count_that_is_not_the_length(k):
    pcp = parked()
    set_word(field("per_cpu_pages", "count", pcp["address"]), pcp["count"] - 1)
    the_one("pcp.count is")


def test_count_beyond_high(k):
    pcp = parked()
    set_word(field("per_cpu_pages", "high", pcp["address"]), 1)
    set_word(field("per_cpu_pages", "batch", pcp["address"]), 1)
    the_one("high 1, batch 1")


def test_a_page_that_is_on_no_list(k):
    pcp = parked()
    set_field(pcp["lists"][0][0], "flags", 0)
    the_one("a list link points to what is not on a list")


def test_a_page_that_says_it_is_on_a_list(k):
    pfn = page_alloc.alloc_pages(0, 0, pages.GFP_KERNEL)
    set_field(pfn, "flags", PCP)
    the_one(f"page frame {pfn}")


def test_a_page_on_the_list_of_another_type(k):
    pcp = parked()
    set_field(pcp["lists"][0][1], "private", 1)
    the_one("another zone or type")


def test_a_page_on_the_list_of_another_zone(k):
    """ZONE_DMA's list of CPU 0 is swapped with that of ZONE_DMA32."""
    pcp = parked()
    other = pages.pageset(0, 0)
    head, empty = (field("per_cpu_pages", "lists", each["address"]) for each in (pcp, other))
    first, last = word(head), word(head + 8)
    set_word(empty, first), set_word(empty + 8, last)
    set_word(first + 8, empty), set_word(last, empty)
    set_word(head, head), set_word(head + 8, head)
    for each, count in ((pcp, 0), (other, pcp["count"])):
        set_word(field("per_cpu_pages", "count", each["address"]), count)
        set_word(field("per_cpu_pages", "high", each["address"]), 100)
    the_one("another zone or type")


def test_a_page_in_two_places(k):
    pcp = parked()
    set_field(pcp["lists"][0][0], "flags", PCP | LRU)
    the_one("in several places")


def test_a_page_that_is_part_of_another_block(k):
    pcp = parked()
    first = min(pcp["lists"][0])
    assert first % 4 == 0
    set_field(first, "flags", PCP | CONSTANTS["PG_HEAD"])
    set_field(first, "order", 2)
    the_one("in more than one block")


def test_a_page_that_was_lost(k):
    """It is taken off its list, but nobody was given it."""
    pcp = parked()
    pfn = pcp["lists"][0][1]
    before, after = word(page(pfn) + 8), word(page(pfn))
    set_word(before, after), set_word(after + 8, before)
    set_field(pfn, "flags", 0)
    set_word(field("per_cpu_pages", "count", pcp["address"]), pcp["count"] - 1)
    the_one("pgalloc - pgfree")


def test_links_that_do_not_agree(k):
    pcp = parked()
    a, b = pcp["lists"][0][:2]
    set_word(page(b) + 8, page(b))
    the_one("do not point back")
    assert a != b


def test_a_cycle_without_a_head(k):
    pcp = parked()
    a, b = pcp["lists"][0][:2]
    before, after = word(page(a) + 8), word(page(b))
    set_word(before, after), set_word(after + 8, before)
    set_word(page(a) + 8, page(b)), set_word(page(b), page(a))
    set_word(field("per_cpu_pages", "count", pcp["address"]), pcp["count"] - 2)
    the_one("in a cycle")


def test_free_blocks_that_were_not_joined(k):
    pfn = page_alloc.alloc_pages(0, 0, pages.GFP_KERNEL)
    page_alloc.free_pages(pfn, 0)
    pages.drain_zone(0, 1)
    # One block of order 10 is cut into two of order 9 behind the allocator's back.
    (block,) = pages.free_blocks(0, 1)[10, 0]
    half = block + 512
    area = field("zone", "area", zone_address(1))
    size = STRUCTS["free_area"].size
    nr_free = next(f.offset for f in STRUCTS["free_area"].fields if f.name == "nr_free")
    head10, head9 = area + 10 * size, area + 9 * size
    set_word(head10, head10), set_word(head10 + 8, head10)
    set_word(head9, page(block)), set_word(head9 + 8, page(half))
    set_word(page(block), page(half)), set_word(page(block) + 8, head9)
    set_word(page(half), head9), set_word(page(half) + 8, page(block))
    for pfn in (block, half):
        set_field(pfn, "flags", BUDDY)
        set_field(pfn, "order", 9)
        set_field(pfn, "private", 0)
    set_word(head10 + nr_free, 0), set_word(head9 + nr_free, 2)
    assert [text for _, text in found()] == [f"page frame {block}: free, and its buddy is free, but not joined"]


def test_a_free_block_on_the_list_of_another_order(k):
    parked()
    block = next(pfn for (order, _), found in pages.free_blocks(0, 1).items() if order == 4 for pfn in found)
    set_field(block, "order", 3)
    the_one("not on its order's free list")


def test_free_pages_that_are_not_counted(k):
    parked()
    at = field("zone", "nr_free_pages", zone_address(1))
    set_word(at, word(at) - 1)
    the_one("free pages on the lists")


def test_pagesets_that_are_nowhere(k):
    set_word(field("mm_system", "pagesets", mm_system()), 0x1234567)
    assert [(v.invariant, "pagesets" in v.text) for v in check()] == [("I9", True)]


def test_zones_that_are_nowhere(k):
    set_word(field("mm_system", "zones", mm_system()), 8)
    assert [(v.invariant, "zones" in v.text) for v in check()] == [("I9", True)]


def test_a_reclaimable_page_that_its_owner_does_not_hold(k):
    slot = pages.lru_page(0)
    assert slot
    assert found() == []
    held = word(slot)
    set_word(slot, 0)
    the_one("its owner does not hold it")
    set_word(slot, held)
    assert found() == []


def test_reclaimable_pages_that_are_not_counted(k):
    assert pages.lru_page(0)
    set_word(field("zone", "nr_lru", zone_address(1)), 7)
    the_one("7 reclaimable pages counted, 1 on the list")


def test_a_reclaimable_page_on_no_list(k):
    pfn = page_alloc.alloc_pages(0, 0, pages.GFP_KERNEL)
    slot = pages.lru_page(0)
    set_field(pfn, "flags", LRU)
    set_field(pfn, "s_mem", slot)
    the_one("not on its zone's list")


def test_struct_page_is_64_bytes():
    """The checker and page_to_pfn() both rely on it."""
    assert STRUCTS["page"].size == 64
    assert struct.calcsize("P") == 8
