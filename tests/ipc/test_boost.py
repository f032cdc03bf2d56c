"""Boosted delivery: raised while an interrupt is pending, and never left so."""

from __future__ import annotations

import os

import pytest

from cpus import status
from ipc import boost
from tests.machines import TRANSPORTS, Rig, needs_boost

pytestmark = needs_boost


def left_raised(rig: Rig) -> list[int]:
    return [cpu for cpu, pid in enumerate(rig.pids) if os.sched_getscheduler(pid) == os.SCHED_FIFO]


@pytest.mark.parametrize("ipi", TRANSPORTS)
def test_single_sends_leave_nobody_raised(ipi: str) -> None:
    """A target that answers before it is raised must not stay so: looked at after every few sends."""
    with Rig(2, ipi=ipi, boost="on") as rig:
        found = 0
        for _ in range(60):
            rig.call("call_many", 20, 1, 0)
            rig.settle()
            found += bool(left_raised(rig)) and not rig.comes(lambda: not left_raised(rig), 0.02)
        assert found == 0


def test_planted_leak_is_seen() -> None:
    """The judge of every quiet machine looks at the scheduling class."""
    with Rig(2, boost="on", judged=False) as rig:
        rig.settle()
        assert left_raised(rig) == []
        os.sched_setscheduler(rig.pids[1], os.SCHED_FIFO, os.sched_param(1))
        assert "boost: CPU 1 is left SCHED_FIFO" in list(rig.violations())


def policy() -> tuple[int, int]:
    return os.sched_getscheduler(0), os.sched_getparam(0).sched_priority


def test_sender_is_raised_for_a_broadcast_or_kept_so() -> None:
    """After a broadcast the coordinator is what it was; inside a series it stays above its targets."""
    with Rig(3, boost="on") as rig:
        assert rig.kick_all_cpus_sync(on="coordinator") == 3
        assert policy() == (os.SCHED_OTHER, 0)
        boost.keep_raised(True)
        for _ in range(3):
            assert rig.kick_all_cpus_sync(on="coordinator") == 3
            assert policy() == (os.SCHED_FIFO, 2)
        boost.keep_raised(False)
        assert policy() == (os.SCHED_OTHER, 0)
        rig.settle()
        assert left_raised(rig) == []


def test_answers_do_not_nest_without_end() -> None:
    """Who lowers itself is switched away, and signals come meanwhile: 32 senders must not use up the stack."""
    with Rig(32, boost="on") as rig:
        for _ in range(3):
            assert rig.call_on_all("call_many", 200, 1, 0) == [31] * 32
        rig.settle()
        assert left_raised(rig) == []
        assert all(not status.status(cpu)["dead"] for cpu in range(32))


def test_gate_and_boost_are_not_combined() -> None:
    with Rig(3, gate="on", boost="on") as rig:
        assert rig.coordinator.plan.delivery == "gated"
        assert rig.kick_all_cpus_sync() == 2
