"""Event rings: in order, oldest overwritten, what was overwritten is known."""

from __future__ import annotations

import pytest

from cpus import selftest, status
from tests.machines import Rig, field

OURS = 200


def head(cpu: int) -> int:
    """Records ever entered."""
    return selftest.peek(selftest.peek(field(cpu, "hw.ring")))


def ours(cpu: int) -> list[int]:
    return [argument for _, event, argument in status.last_events(cpu, 1 << 20) if event == OURS]


def test_records_are_in_order_with_rising_times() -> None:
    with Rig(2, trace_records=256) as rig:
        rig.call("trace_events", 1000, 17, on=1)
        assert ours(1) == list(range(1000, 1017))
        times = [cycles for cycles, _, _ in status.last_events(1, 256)]
        assert times == sorted(times)
        assert ours(0) == []


@pytest.mark.parametrize(("asked", "room"), [(1, 64), (64, 64), (65, 128), (1000, 1024)])
def test_the_oldest_are_overwritten_and_counted(asked: int, room: int) -> None:
    with Rig(1, trace_records=asked, hz=0) as rig:
        before = head(0)
        rig.call("trace_events", 0, 5000, on=0)
        found = status.last_events(0, 1 << 20)
        assert len(found) == room
        assert ours(0) == list(range(5000))[-len(ours(0)) :]
        dropped = head(0) - room
        assert before + 5000 - room <= dropped


def test_the_newest_few() -> None:
    with Rig(1, trace_records=256, hz=0) as rig:
        rig.call("trace_events", 0, 100, on=0)
        assert len(status.last_events(0, 10)) == 10


def test_off_by_default() -> None:
    with Rig(2) as rig:
        rig.call("trace_events", 0, 10, on=1)
        assert status.last_events(1, 100) == []
        assert selftest.peek(field(1, "hw.ring")) == 0


def test_the_coordinator_has_a_ring_of_its_own() -> None:
    with Rig(2, trace_records=64) as rig:
        rig.call("trace_events", 5, 3, on="coordinator")
        assert ours(-1) == [5, 6, 7]


def test_interrupts_enter_theirs_between_and_nothing_is_lost() -> None:
    """A handler that enters events while the program does: every record of both is there, once."""
    with Rig(2, trace_records=1 << 17) as rig:
        rig.start("trace_events", 0, 60_000, on=1)
        rig.call("call_many", 1000, 1, 0, on=0)
        rig.finish(1)
        assert ours(1) == list(range(60_000))
        entries = [event for _, event, _ in status.last_events(1, 1 << 20)]
        assert entries.count(65) == 1000, "EV_CSD_ENTRY"
        assert head(1) == len(entries)


def test_arguments_have_48_bits() -> None:
    with Rig(1, trace_records=64) as rig:
        rig.call("trace_events", (1 << 48) - 1, 1, on=0)
        rig.call("trace_events", 1 << 48, 1, on=0)
        assert ours(0) == [(1 << 48) - 1, 0]
