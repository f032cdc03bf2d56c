"""scftorture's mix: single and broadcast calls, waited for or not, irq-off sections, handlers that take time.

Its four errors: run on the wrong CPU, missed-in (the function does not see what the sender stored), missed-out (the
sender does not see what the function stored), and calls that were refused though the target is online.
"""

from __future__ import annotations

import pytest

from cpus import plants, selftest_calls, status
from tests.machines import DELIVERY, TRANSPORTS, Rig, Stuck, Words

FIELDS = ("cpu", "before", "after", "ran", "wrong_cpu", "missed_in", "delay_us", "missed_out", "refused", "sent")
ERRORS = ("wrong_cpu", "missed_in", "missed_out", "refused")
WORDS = selftest_calls.SIZES["check"] // 8


def torture(rig: Rig, rounds: int, handler_us: int = 5, seconds: float = 60.0) -> dict[str, int]:
    """Every CPU tortures all others. The sums of its checks. Stuck if that takes longer than `seconds`."""
    per_cpu = (rig.cpus + 3) * WORDS
    blocks = [Words(per_cpu) for _ in range(rig.cpus)]
    for cpu, block in enumerate(blocks):
        rig.start("scf_torture", block.address, rounds, 7919 * (cpu + 1), handler_us, on=cpu)
    for cpu in range(rig.cpus):
        rig.wait_for(lambda at=cpu: rig.finished(at), f"CPU {cpu} to finish", seconds)
        assert rig.finish(cpu) == rounds
    rig.settle()
    sums = dict.fromkeys((*ERRORS, "ran", "sent"), 0)
    for block in blocks:
        values = block.all()
        for first in range(0, per_cpu, WORDS):
            for name in sums:
                sums[name] += values[first + FIELDS.index(name)]
    return sums


def verdict(sums: dict[str, int]) -> list[str]:
    found = [f"{name}: {sums[name]}" for name in ERRORS if sums[name]]
    if sums["ran"] != sums["sent"]:
        found.append(f"ran {sums['ran']} of {sums['sent']}")
    return found


@pytest.mark.parametrize("delivery", DELIVERY)
@pytest.mark.parametrize("ipi", TRANSPORTS)
def test_no_errors(ipi: str, delivery: dict) -> None:
    with Rig(6, ipi=ipi, **delivery) as rig:
        sums = torture(rig, 300)
        assert verdict(sums) == []
        assert sums["sent"] > 300
        assert rig.requests()["run"] == sums["ran"]
        assert rig.vmstat()["csd_timeouts"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("delivery", DELIVERY)
@pytest.mark.parametrize("ipi", TRANSPORTS)
def test_no_errors_for_longer(ipi: str, delivery: dict) -> None:
    with Rig(24, ipi=ipi, **delivery, limit=110) as rig:
        assert verdict(torture(rig, 1500, handler_us=20)) == []


@pytest.mark.soak
@pytest.mark.parametrize("ipi", TRANSPORTS)
def test_no_errors_for_minutes(ipi: str) -> None:
    for number in range(20):
        delivery = DELIVERY[number % len(DELIVERY)].values[0]
        with Rig(8, ipi=ipi, **delivery, limit=1000) as rig:
            assert verdict(torture(rig, 50_000, handler_us=10)) == []


@pytest.mark.parametrize("ipi", TRANSPORTS)
def test_lost_doorbells_change_nothing(ipi: str) -> None:
    """Every third ring is dropped: requests are not lost, and run once."""
    with Rig(4, ipi=ipi, poll_limit_ms=20) as rig:
        for cpu in range(4):
            rig.call("plant", plants.PLANTS["lossy ring"], on=cpu)
        counted = Words(1)
        assert rig.call_on_all("call_many", 30, 1, counted.address) == [3] * 4
        assert counted[0] == 30 * 4 * 3


@pytest.mark.parametrize(
    ("fault", "expected"),
    [("ack before work", "missed_out"), ("lost request", "ran"), ("run twice", "ran"), ("unlock early", "ran")],
)
def test_planted_faults_are_found(fault: str, expected: str) -> None:
    """Plants 7 and 8, and two more: each is named by the right one of the checks.

    A request that was overwritten while it waited has not run, and whoever waits for its answer waits for ever: the
    watch's report is then the finding.
    """
    with Rig(4) as rig:
        rig.plant(fault, on=range(4))
        found: list[str] = []
        for _ in range(200):  # on a loaded host a window is seldom hit
            try:
                found = verdict(torture(rig, 60, seconds=5))
            except Stuck as stuck:
                lost = fault == "unlock early" and "waiting_for=acks" in str(stuck)
                found = ["ran less than was sent" if lost else f"stuck: {stuck}"]
            if any(line.startswith(expected) for line in found):
                break
        assert any(line.startswith(expected) for line in found), found


def test_the_mix_is_a_mix() -> None:
    """Waited for or not, single or all: a test of nothing would pass as well."""
    with Rig(4) as rig:
        sums = torture(rig, 400)
        raised = [sum(status.interrupts(cpu)["raised"][v] for cpu in range(4)) for v in (0, 1)]
        assert all(count > 50 for count in raised)
        assert sums["sent"] > 4 * 400 * 0.8
