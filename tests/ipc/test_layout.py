"""What the compiled layout must have: who writes what on which cache line, and areas that do not overlap."""

from __future__ import annotations

import itertools

import pytest

from cpus import cpu
from cpus.layout import CONSTANTS, STRUCTS

LINE = CONSTANTS["CACHE_LINE"]
PAGE = CONSTANTS["PAGE_SIZE"]
BASE = CONSTANTS["SEGMENT_BASE"]

# Written by the owner only; by others; by the gate; read by the supervisor.
PROCESSOR_GROUPS = [
    ("id", "irq_off", "preempt_count", "mode", "need_resched", "in_interrupt", "blocked", "ring"),
    ("pending", "event", "sleeping", "dead", "mq", "pid", "boost", "idle"),
    ("want", "slot", "slot_since", "sending", "timer_armed", "gate_moves"),
    ("waiting_for", "held_count", "waiting_since", "waiting_on", "heartbeat", "dynticks"),
    ("held",),
]


def offset(struct: str, field: str) -> int:
    return next(f.offset for f in STRUCTS[struct].fields if f.name == field)


def lines(struct: str, fields: tuple[str, ...]) -> set[int]:
    found = set()
    for field in STRUCTS[struct].fields:
        if field.name in fields:
            end = field.offset + field.size * field.count
            found |= set(range(field.offset // LINE, (end - 1) // LINE + 1))
    return found


def test_groups_of_writers_share_no_cache_line() -> None:
    groups = [lines("processor", group) for group in PROCESSOR_GROUPS]
    for i, one in enumerate(groups):
        for other in groups[i + 1 :]:
            assert not one & other


@pytest.mark.parametrize("first", ["id", "pending", "want", "waiting_for", "held"])
def test_each_group_starts_a_cache_line(first: str) -> None:
    assert offset("processor", first) % LINE == 0


def test_what_a_fast_path_stores_is_on_one_line() -> None:
    assert len(lines("processor", ("irq_off", "preempt_count", "mode", "need_resched"))) == 1


def test_queues_of_others_are_apart_from_the_owners_words() -> None:
    """In struct cpu: what senders push to does not share a line with what the sender's own acks are counted in."""
    queues = lines("cpu", ("call_single_queue", "wake_list", "work_list"))
    assert len(queues) == 1
    assert not queues & lines("cpu", ("acks", "acked_at"))
    assert not queues & lines("cpu", ("hw",))


def test_a_cpu_fits_its_stride() -> None:
    assert cpu.struct_size() == STRUCTS["cpu"].size <= CONSTANTS["CPU_STRIDE"]
    assert CONSTANTS["CPU_STRIDE"] % LINE == 0
    assert CONSTANTS["CPU_STRIDE"] % PAGE, "neighbours in different cache sets"
    assert offset("cpu", "hw") == 0


def test_areas_do_not_overlap() -> None:
    areas = {
        "header": (BASE, STRUCTS["segment_header"].size),
        "switches": (CONSTANTS["SWITCH_PAGE"], PAGE),
        "gate": (CONSTANTS["GATE_AREA"], STRUCTS["gate"].size),
        "clusters": (
            CONSTANTS["CLUSTER_AREA"],
            STRUCTS["cluster_word"].size * (CONSTANTS["MAX_CPUS"] // CONSTANTS["CLUSTER_CPUS"]),
        ),
        "cpus": (CONSTANTS["CPU_AREA"], CONSTANTS["CPU_STRIDE"] * (CONSTANTS["MAX_CPUS"] + 1)),
        "heap": (BASE + CONSTANTS["HEAP_OFFSET"], (CONSTANTS["MAP_OFFSET_GIB"] << 30) - CONSTANTS["HEAP_OFFSET"]),
        "map": (BASE + (CONSTANTS["MAP_OFFSET_GIB"] << 30), (CONSTANTS["MAX_RAM_GIB"] << 18) * 64),
        "ram": (BASE + (CONSTANTS["RAM_OFFSET_GIB"] << 30), CONSTANTS["MAX_RAM_GIB"] << 30),
    }
    ordered = sorted((start, start + length, name) for name, (start, length) in areas.items())
    for (_, end, name), (start, _, following) in itertools.pairwise(ordered):
        assert end <= start, (name, following)
    assert ordered[-1][1] <= BASE + (CONSTANTS["SEGMENT_GIB"] << 30)


def test_the_header_fits_its_page() -> None:
    assert STRUCTS["segment_header"].size <= CONSTANTS["SWITCH_PAGE"] - BASE


def test_the_private_page_is_outside() -> None:
    assert STRUCTS["private_page"].size <= PAGE
    assert CONSTANTS["PRIVATE_PAGE"] + PAGE <= BASE


def test_everything_before_the_heap_is_backed_from_the_start() -> None:
    assert CONSTANTS["CPU_AREA"] - BASE + CONSTANTS["CPU_STRIDE"] * (CONSTANTS["MAX_CPUS"] + 1) <= CONSTANTS["STEP"]
    assert CONSTANTS["HEAP_OFFSET"] <= CONSTANTS["STEP"]


@pytest.mark.parametrize("struct", ["heap_block", "cluster_word", "call_single_data"])
def test_whole_cache_lines(struct: str) -> None:
    assert STRUCTS[struct].size % LINE == 0


def test_futex_words_are_32_bits() -> None:
    for struct, name in (("processor", "event"), ("spinlock", "word"), ("gate", "broadcast"), ("cluster_word", "word")):
        assert next(f.size for f in STRUCTS[struct].fields if f.name == name) == 4
        assert offset(struct, name) % 4 == 0


def test_a_request_starts_with_its_link() -> None:
    """llist_add() takes the first word of an entry for its link."""
    assert offset("call_single_data", "next") == 0
    assert offset("work_struct", "next") == 0
    assert offset("task", "next") == 0


def test_switches_that_the_hardware_uses_are_below_the_kernels() -> None:
    from cpus.patch_table import FIRST_INDEX, SWITCHES

    assert CONSTANTS["SWITCH_TRACE"] != CONSTANTS["SWITCH_BOOST"]
    assert max(CONSTANTS["SWITCH_TRACE"], CONSTANTS["SWITCH_BOOST"]) < FIRST_INDEX
    assert FIRST_INDEX + len(SWITCHES) <= CONSTANTS["NR_SWITCHES"] <= PAGE
