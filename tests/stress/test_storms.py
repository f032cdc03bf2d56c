"""All-to-all broadcasts: every CPU calls all others at once. Tests with one sender find none of the deadlocks."""

from __future__ import annotations

import pytest

from tests.machines import DELIVERY, TRANSPORTS, Rig, Words

BROADCASTS = 200


def storm(rig: Rig, waits: int = 1) -> None:
    """Every CPU broadcasts; each broadcast reaches all others once."""
    counted = Words(1)
    expected = rig.cpus - 1
    assert rig.call_on_all("call_many", BROADCASTS, waits, counted.address) == [expected] * rig.cpus
    rig.settle()
    assert counted[0] == BROADCASTS * rig.cpus * expected
    assert rig.requests()["run"] == counted[0]
    taken = sum(rig.interrupts()["CAL"])
    assert 0 < taken <= counted[0]


@pytest.mark.parametrize("cpus", [2, 8, 32])
@pytest.mark.parametrize("delivery", DELIVERY)
@pytest.mark.parametrize("ipi", TRANSPORTS)
def test_storm(ipi: str, delivery: dict, cpus: int) -> None:
    with Rig(cpus, ipi=ipi, **delivery, limit=60) as rig:
        storm(rig)


@pytest.mark.parametrize("delivery", DELIVERY)
@pytest.mark.parametrize("ipi", TRANSPORTS)
def test_storm_without_waiting(ipi: str, delivery: dict) -> None:
    with Rig(8, ipi=ipi, **delivery) as rig:
        storm(rig, waits=0)


@pytest.mark.parametrize("delivery", DELIVERY)
@pytest.mark.parametrize("ipi", TRANSPORTS)
def test_storm_with_fewer_interrupts(ipi: str, delivery: dict) -> None:
    """since v4.14 a CPU whose queue is not empty is not interrupted again."""
    with Rig(8, ipi=ipi, kernel="4.14", **delivery) as rig:
        storm(rig)


@pytest.mark.parametrize("delivery", DELIVERY)
@pytest.mark.parametrize("ipi", TRANSPORTS)
def test_the_coordinator_joins_in(ipi: str, delivery: dict) -> None:
    """It is a sender and no target, while every CPU sends too."""
    with Rig(8, ipi=ipi, **delivery) as rig:
        for cpu in range(8):
            rig.start("call_many", BROADCASTS, 1, 0, on=cpu)
        assert rig.call("call_many", BROADCASTS, 1, 0, on="coordinator") == 8
        assert [rig.finish(cpu) for cpu in range(8)] == [7] * 8
        rig.settle()
        assert rig.requests()["run"] == BROADCASTS * (8 + 8 * 7)


@pytest.mark.parametrize("delivery", DELIVERY)
@pytest.mark.parametrize("ipi", TRANSPORTS)
def test_storm_among_busy_programs(ipi: str, delivery: dict) -> None:
    """Half of the CPUs compute in user mode, the others broadcast; all answer."""
    with Rig(8, ipi=ipi, **delivery, limit=60) as rig:
        stop = Words(1)
        tasks = [rig.call("start_task", cpu, stop.address, 300, on="coordinator") for cpu in range(4, 8)]
        for cpu in range(4):
            rig.start("call_many", 40, 1, 0, on=cpu)
        assert [rig.finish(cpu) for cpu in range(4)] == [7] * 4
        stop[0] = 1
        for task in tasks:
            rig.wait_for(lambda address=task: rig.task(address)["done"], "a program to end")
        rig.settle()
        assert rig.requests()["run"] == 40 * 4 * 7


@pytest.mark.slow
@pytest.mark.parametrize("delivery", DELIVERY)
@pytest.mark.parametrize("ipi", TRANSPORTS)
def test_storm_of_128(ipi: str, delivery: dict) -> None:
    with Rig(128, ipi=ipi, **delivery, limit=100) as rig:
        counted = Words(1)
        assert rig.call_on_all("call_many", 10, 1, counted.address) == [127] * 128
        rig.settle()
        assert counted[0] == 10 * 128 * 127
