"""The gate: no more CPUs with a slot than there are tokens, a turn for everybody, no token lost."""

from __future__ import annotations

import os

import pytest

from cpus import selftest, selftest_kernel, status
from cpus.layout import CONSTANTS, STRUCTS
from tests.machines import MUTEX, TRANSPORTS, Rig, Words, field

LOOKS = 3000


def tasks(rig: Rig, stop: Words, spin_us: int = 300) -> list[int]:
    """A program that computes on every CPU."""
    return [rig.call("start_task", cpu, stop.address, spin_us, on="coordinator") for cpu in range(rig.cpus)]


def end(rig: Rig, stop: Words, programs: list[int]) -> None:
    stop[0] = 1
    for address in programs:
        rig.wait_for(lambda at=address: rig.task(at)["done"], "a program to end")


def look(rig: Rig, seen: Words) -> None:
    """Sample who holds a slot: seen = most at once, pairs with the same one, numbers that are none, looks with any."""
    rig.call("sample_slots", LOOKS, seen.address, on="coordinator")


@pytest.mark.parametrize("ipi", TRANSPORTS)
@pytest.mark.parametrize("kicks", [0, 10], ids=["", "closed now and then"])
def test_no_more_than_its_tokens(ipi: str, kicks: int) -> None:
    with Rig(8, ipi=ipi, gate="on") as rig:
        tokens = selftest_kernel.gate_state()["tokens"]
        stop, seen = Words(1), Words(4)
        programs = tasks(rig, stop)
        for _ in range(5):
            look(rig, seen)
            for _ in range(kicks):
                assert rig.kick_all_cpus_sync(on="coordinator") == 8
        rig.wait_for(lambda: all(rig.task(t)["steps"] >= 3 for t in programs), "everybody to have had a turn")
        look(rig, seen)
        end(rig, stop, programs)
        most, shared, strange, looks = seen.all()
        assert 0 < most <= tokens
        assert (shared, strange) == (0, 0)
        assert looks > 0
        assert [rig.task(t)["without_slot"] for t in programs] == [0] * 8
        assert all(status.interrupts(cpu)["gate_moves"] > 0 for cpu in range(8))


def test_ticks_go_on_after_closed_gates() -> None:
    """A tick that comes while a CPU waits for a broadcast's end asks for the next one, or its slice would never end."""
    with Rig(6, gate="on", slice_ms=1.0) as rig:
        stop = Words(1)
        programs = tasks(rig, stop)
        for _ in range(300):
            assert rig.kick_all_cpus_sync(on="coordinator") == 6
        for _ in range(3):
            before = [status.interrupts(cpu)["gate_moves"] for cpu in range(6)]
            rig.wait_for(
                lambda was=before: all(status.interrupts(cpu)["gate_moves"] > was[cpu] for cpu in range(6)),
                "everybody to have had a turn",
            )
        end(rig, stop, programs)


def test_a_pinned_machines_tokens_stay_on_their_cores() -> None:
    """Token t is host core t: a CPU pinned elsewhere never holds it, and everybody has a turn."""
    with Rig(6, gate="on", pin=True, slice_ms=1.0) as rig:
        tokens = selftest_kernel.gate_state()["tokens"]
        stop, held = Words(1), set()
        programs = tasks(rig, stop)
        rig.wait_for(
            lambda: held.update((cpu, status.status(cpu)["slot"]) for cpu in range(6))
            or {cpu for cpu, slot in held if slot >= 0} == set(range(6)),
            "everybody to have had a turn",
        )
        end(rig, stop, programs)
        assert {(cpu, slot) for cpu, slot in held if slot >= 0} == {(cpu, cpu % tokens) for cpu in range(6)}
        cores = sorted(os.sched_getaffinity(0))
        assert [os.sched_getaffinity(pid) for pid in rig.pids] == [{cores[cpu % len(cores)]} for cpu in range(6)]


def test_planted_second_holder_is_seen() -> None:
    """The sampling finds a CPU that believes to hold a slot that another one has."""
    with Rig(4, gate="on", judged=False) as rig:
        stop, seen = Words(1), Words(4)
        programs = [rig.call("start_task", 0, stop.address, 300, on="coordinator")]
        rig.wait_for(lambda: status.status(0)["slot"] >= 0, "CPU 0 to run")
        selftest.poke(field(3, "hw.slot"), status.status(0)["slot"])
        rig.wait_for(lambda: look(rig, seen) or seen[1], "the sampling to see it")
        selftest.poke(field(3, "hw.slot"), -1)
        end(rig, stop, programs)


def test_planted_leak_of_a_token_is_seen() -> None:
    with Rig(4, gate="on", judged=False) as rig:
        rig.settle()
        assert not list(rig.violations())
        token = next(f.offset for f in STRUCTS["gate"].fields if f.name == "token")
        selftest.poke(CONSTANTS["GATE_AREA"] + token, 3)
        assert any(line.startswith("gate:") for line in rig.violations())


def test_a_stopped_program_answers_interrupts() -> None:
    """With more programs than tokens some are stopped in their tick; a broadcast reaches them there."""
    with Rig(8, gate="on") as rig:
        stop = Words(1)
        programs = tasks(rig, stop, spin_us=100_000)
        rig.wait_for(lambda: all(status.status(c)["mode"] == "user" for c in range(8)), "all programs to have begun")
        assert [rig.kick_all_cpus_sync(on="coordinator") for _ in range(20)] == [8] * 20
        end(rig, stop, programs)


class TestSections:
    @pytest.mark.slow
    def test_preemption_off_keeps_the_slot_and_its_end_gives_it_away(self) -> None:
        with Rig(6, gate="on", slice_ms=1.0) as rig:
            stop = Words(1)
            programs = tasks(rig, stop)
            answers = [rig.call("preempt_hog", 30_000, on=cpu) for cpu in (0, 3)]
            end(rig, stop, programs)
            assert [answer & 0xFFFFFFFF for answer in answers] == [0, 0]
            assert all(answer >> 32 >= 1 for answer in answers), "five others were waiting"

    def test_interrupts_off_keeps_the_slot(self) -> None:
        with Rig(6, gate="on", slice_ms=1.0) as rig:
            section = rig.hold_irqs(0)
            slot = status.status(0)["slot"]
            assert slot >= 0
            stop = Words(1)
            programs = tasks(rig, stop)
            others = [rig.task(t)["steps"] for t in programs[1:]]
            rig.wait_for(lambda: sum(rig.task(t)["steps"] for t in programs[1:]) > sum(others) + 20, "others to run")
            assert status.status(0)["slot"] == slot
            section[1] = 1
            rig.finish(0)
            end(rig, stop, programs)

    def test_who_waits_for_a_mutex_gives_its_slot_away(self) -> None:
        with Rig(4, gate="on") as rig:
            lock = rig.new_lock(MUTEX)
            words = Words(2)
            rig.start("hold_lock", lock, MUTEX, words.at(0), words.at(1), on=0)
            rig.wait_for(lambda: words[0], "the lock to be taken")
            for cpu in (1, 2, 3):
                rig.start("hold_lock", lock, MUTEX, words.at(0), words.at(1), on=cpu)
                rig.wait_for(lambda c=cpu: status.status(c)["waiting_for"] == "lock", "a CPU to wait")
            rig.wait_for(lambda: all(status.status(c)["slot"] < 0 for c in (1, 2, 3)), "them to give their slots away")
            words[1] = 1
            for cpu in range(4):
                rig.finish(cpu)

    def test_who_waits_for_an_answer_gives_its_slot_away(self) -> None:
        with Rig(4, gate="on") as rig:
            section = rig.hold_irqs(1)
            rig.start("call_single", 1, 1, 0, on=0)
            rig.wait_for(lambda: status.status(0)["waiting_for"] == "acks", "CPU 0 to wait")
            rig.wait_for(lambda: status.status(0)["slot"] < 0, "it to give its slot away")
            section[1] = 1
            rig.finish(0)
            rig.finish(1)


@pytest.mark.parametrize("gate", ["on", "off"])
def test_idle_cpus_hold_nothing(gate: str) -> None:
    with Rig(8, gate=gate) as rig:
        rig.settle()
        assert [status.status(cpu)["slot"] for cpu in range(8)] == [-1] * 8
        assert selftest_kernel.gate_state()["held"] == {}


def test_gate_is_chosen_by_cores() -> None:
    import os

    from emu.plan import allowed_cores

    assert allowed_cores() <= len(os.sched_getaffinity(0))
    with Rig(allowed_cores() + 1, gate="auto"):
        assert selftest_kernel.gate_state()["on"]
    with Rig(1, gate="auto"):
        assert not selftest_kernel.gate_state()["on"]
