"""The interrupt controller: deferral, nesting, whatever the CPU was doing, exact counts."""

from __future__ import annotations

import pytest

from cpus import selftest, status
from tests.machines import BOTH_OFF, IRQ_OFF, PREEMPT_OFF, TRANSPORTS, Log, Rig, Words


class TestOff:
    @pytest.mark.parametrize("kind", [IRQ_OFF, BOTH_OFF], ids=["irq", "irq and preempt"])
    @pytest.mark.parametrize("ipi", TRANSPORTS)
    def test_requests_wait_until_restore_and_then_run_once(self, ipi: str, kind: int) -> None:
        with Rig(4, ipi=ipi) as rig:
            section = rig.hold_irqs(1, kind)
            logs = [Log() for _ in range(3)]
            for sender, log in zip((0, 2, 3), logs, strict=True):
                rig.start("call_one", 1, 1, log.address, 1, on=sender)
            rig.wait_for(lambda: status.interrupts(1)["queued"] == 3, "three requests")
            assert [log.cpus() for log in logs] == [[], [], []]
            assert status.status(1)["irq_off"]
            assert "CALL_FUNCTION_SINGLE" in status.status(1)["pending"]
            assert rig.interrupts()["CAL"][1] == 0
            section[1] = 1
            answer = rig.finish(1)
            assert (answer & 0xFFFFFFFF, answer >> 32) == (0, 3)
            for sender in (0, 2, 3):
                rig.finish(sender)
            assert [log.cpus() for log in logs] == [[1], [1], [1]]
            assert rig.interrupts()["CAL"][1] == 1, "one interrupt for all three"

    @pytest.mark.parametrize("ipi", TRANSPORTS)
    def test_a_broadcast_waits_for_the_one_that_is_off(self, ipi: str) -> None:
        with Rig(6, ipi=ipi) as rig:
            section = rig.hold_irqs(4)
            rig.start("kick", on=0)
            rig.wait_for(lambda: status.interrupts(4)["queued"], "the kick to reach CPU 4")
            rig.wait_for(lambda: sum(rig.interrupts()["CAL"]) == 4, "the others to answer")
            assert not rig.finished(0)
            section[1] = 1
            assert rig.finish(0) == 5
            rig.finish(4)

    @pytest.mark.parametrize("ipi", TRANSPORTS)
    def test_preempt_off_takes_interrupts(self, ipi: str) -> None:
        with Rig(2, ipi=ipi) as rig:
            section = rig.hold_irqs(1, PREEMPT_OFF)
            log = Log()
            assert rig.call("call_one", 1, 1, log.address, 3, on=0) == 0
            assert log.cpus() == [1, 1, 1]
            section[1] = 1
            assert rig.finish(1) & 0xFFFFFFFF == 3

    @pytest.mark.parametrize("on", [0, 1, "coordinator"])
    def test_nesting(self, on: int | str) -> None:
        with Rig(2) as rig:
            assert rig.call("irq_nesting", on=on) == 0b11111

    @pytest.mark.parametrize(("protected", "exact"), [(1, True), (0, False)], ids=["irq off", "plant 15"])
    def test_a_counter_shared_with_ones_own_handler(self, protected: int, exact: bool) -> None:
        """Plant 15: with interrupts on, updates from the handler get lost."""
        with Rig(2) as rig:
            counter = Words(1)
            rig.start("count_own", counter.address, 300_000, protected, on=1)
            sent = rig.call("send_counts", counter.address, 1, 5000, on=0)
            own = rig.finish(1)
            assert (counter[0] == own + sent) == exact


class TestWhatever:
    """An interrupt reaches a CPU in every state that it can be in."""

    @pytest.mark.parametrize("ipi", TRANSPORTS)
    def test_idle(self, ipi: str) -> None:
        with Rig(3, ipi=ipi) as rig:
            rig.settle()
            assert [rig.kick_all_cpus_sync(on=0) for _ in range(20)] == [2] * 20
            assert rig.interrupts()["CAL"] == [0, 20, 20]

    @pytest.mark.parametrize("hz", [0, 250])
    @pytest.mark.parametrize("ipi", TRANSPORTS)
    def test_computing_in_the_kernel(self, ipi: str, hz: int) -> None:
        """The CPU looks at nothing: the signal must interrupt it. A doorbell needs its fallback, or the tick."""
        with Rig(3, ipi=ipi, hz=hz) as rig:
            words = Words(2)
            rig.start("compute_until", words.at(0), words.at(1), on=1)
            rig.wait_for(lambda: words[0], "CPU 1 to compute")
            assert [rig.kick_all_cpus_sync(on=0) for _ in range(5)] == [2] * 5
            assert not rig.finished(1)
            assert rig.interrupts()["CAL"] == [0, 5, 5]
            if ipi == "doorbell" and not hz:
                assert rig.ipis()["fallback"] > 0, "one may serve several kicks"
            words[1] = 1
            rig.finish(1)

    @pytest.mark.parametrize("ipi", TRANSPORTS)
    def test_a_program_in_user_mode(self, ipi: str) -> None:
        with Rig(3, ipi=ipi) as rig:
            stop = Words(1)
            task = rig.call("start_task", 1, stop.address, 50_000, on="coordinator")
            rig.wait_for(lambda: status.status(1)["mode"] == "user", "the program to run")
            assert [rig.kick_all_cpus_sync(on=0) for _ in range(5)] == [2] * 5
            assert not rig.task(task)["done"]
            stop[0] = 1
            rig.wait_for(lambda: rig.task(task)["done"], "the program to end")

    @pytest.mark.parametrize("ipi", TRANSPORTS)
    def test_waiting_for_answers_of_its_own(self, ipi: str) -> None:
        with Rig(3, ipi=ipi) as rig:
            section = rig.hold_irqs(2)
            log = Log()
            rig.start("call_one", 2, 1, log.address, 1, on=1)
            rig.wait_for(lambda: status.status(1)["waiting_for"] == "acks", "CPU 1 to wait")
            assert rig.call("call_one", 1, 1, log.address, 1, on=0) == 0
            assert log.cpus() == [1]
            section[1] = 1
            rig.finish(1)
            rig.finish(2)


class TestCounts:
    @pytest.mark.parametrize("ipi", TRANSPORTS)
    def test_a_prime_number_of_interrupts(self, ipi: str) -> None:
        """23 kicks of 6 targets, and as many single calls as there are primes below 100."""
        with Rig(7, ipi=ipi) as rig:
            for _ in range(23):
                assert rig.kick_all_cpus_sync(on=3) == 6
            log = Log()
            rig.call("call_one", 5, 1, log.address, 25, on=3)
            assert rig.interrupts()["CAL"] == [23, 23, 23, 0, 23, 48, 23]
            assert rig.requests() == {"enqueued": 163, "run": 163, "refused": 0, "pending": 0}
            assert rig.vmstat()["ipis_sent"] == 163

    def test_spurious_rings_count_nothing(self) -> None:
        import os
        import signal

        with Rig(2, hz=0) as rig:
            rig.settle()
            before = [status.interrupts(cpu) for cpu in range(2)]
            for _ in range(50):
                os.kill(rig.pids[1], signal.SIGRTMIN + 3)
            assert rig.kick_all_cpus_sync() == 1
            after = [status.interrupts(cpu) for cpu in range(2)]
            assert after[1]["taken"][:2] == [1, 0]
            assert sum(before[1]["taken"][:2]) == 0

    def test_raising_twice_merges(self) -> None:
        """The bit is set already: counted by the sender, and no second ring."""
        with Rig(3) as rig:
            section = rig.hold_irqs(2)
            rings = status.interrupts(0)["rings"]
            log = Log()
            rig.call("call_mask", rig.mask([1, 2]), 0, log.address, 0, on=0)
            rig.call("call_mask", rig.mask([0, 2]), 0, log.address, 0, on=1)
            assert status.interrupts(0)["rings"] == rings + 2
            assert status.interrupts(1)["merged"][1] == 1
            assert status.interrupts(1)["rings"] == 1, "for CPU 0"
            section[1] = 1
            rig.finish(2)
            rig.settle()
            assert sorted(log.cpus()) == [0, 1, 2, 2]


def test_peeks_see_what_is_stored() -> None:
    with Rig(1):
        words = Words(2)
        words[0], words[1] = -1, 1 << 62
        assert words.all() == [-1, 1 << 62]
        selftest.poke_int(words.at(1), 7)
        assert selftest.peek_int(words.at(1)) == 7
