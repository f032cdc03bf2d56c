"""Grace periods in rcutorture's manner: no reader sees an object older than the grace period that it holds up."""

from __future__ import annotations

from typing import Any

import pytest

from cpus import rcu_torture
from tests.machines import PREEMPT_OFF, TRANSPORTS, Log, Rig, Words

ENTRY = rcu_torture.entry_points()


def torture(how: str, sections: int, **options: Any) -> dict[str, Any]:
    """A writer on CPU 0, readers of both kinds on the others."""
    with Rig(4, limit=100, **options) as rig:
        state = rcu_torture.new_state(rcu_torture.HOW[how], sections)
        for cpu in range(1, 4):
            rig.call(ENTRY["rcu_torture_reader"], state, cpu % 2, on=cpu)
        rig.call(ENTRY["rcu_torture_writer"], state, on=0)
        rig.wait_for(lambda: rcu_torture.outcome(state)["running"] == 0, "the torture to end")
        rig.call("barrier", on=0)
        return dict(rcu_torture.outcome(state))


def check(found: dict[str, Any], sections: int) -> None:
    assert found["sections"] >= sections
    assert sum(found["seen"]) == found["sections"]
    assert found["seen"][2:] == [0] * 9, "a grace period ended with a reader in its section"
    assert found["updates"] > 0


@pytest.mark.parametrize("how", ["callback", "sync", "expedited"])
@pytest.mark.parametrize("ipi", TRANSPORTS)
def test_no_reader_sees_the_third_age(ipi: str, how: str) -> None:
    check(torture(how, 30_000, ipi=ipi), 30_000)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["callback", "sync", "expedited"])
def test_not_in_a_million(how: str) -> None:
    check(torture(how, 1_000_000), 1_000_000)


def test_planted_objects_that_do_not_wait_are_seen() -> None:
    found = torture("nothing", 200_000)
    assert sum(found["seen"][2:]) > 0


@pytest.mark.parametrize("waiters", [2, 4, 6])
def test_waiters_share_grace_periods(waiters: int) -> None:
    """A reader holds the first one up until all have asked."""
    with Rig(waiters + 1) as rig:
        words = Words(3)
        rig.start("reader", PREEMPT_OFF, words.at(0), words.at(1), words.at(2), on=waiters)
        rig.wait_for(lambda: words[0], "the reader to be in")
        begun, completed = rcu_torture.grace_periods()
        asked = [Words(1) for _ in range(waiters)]
        for cpu in range(waiters):
            rig.start("grace_period", asked[cpu].address, 0, on=cpu)
        rig.wait_for(lambda: all(word[0] for word in asked), "all to ask")
        words[1] = 1
        rig.finish(waiters)
        for cpu in range(waiters):
            rig.finish(cpu)
        assert rcu_torture.grace_periods()[1] - completed <= 2
        assert begun == completed


def test_a_barrier_covers_callbacks_of_all_cpus_and_not_only_its_own() -> None:
    with Rig(4) as rig:
        for _ in range(10):
            log = Log()
            for cpu in (3, 1, 2):
                rig.call("queue_callbacks", log.address, 5, on=cpu)
            rig.call("barrier", on=0)
            assert log.get("next") == 15
