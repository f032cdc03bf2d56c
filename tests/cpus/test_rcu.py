"""RCU-sched: a grace period outlasts every reader that began before it."""

from __future__ import annotations

import pytest

from cpus import status
from tests.machines import BOTH_OFF, IRQ_OFF, PREEMPT_OFF, TRANSPORTS, Log, Rig, Stuck, Words

KINDS = {IRQ_OFF: "irq", PREEMPT_OFF: "preempt", BOTH_OFF: "both"}


def wait_out_a_reader(rig: Rig, kind: int, *, on: int | str = 0, skip: int = 0) -> tuple[int, int]:
    """A grace period that begins while CPU 2 reads: (when the reader ended, when the grace period did)."""
    words = Words(4)
    rig.start("reader", kind, words.at(0), words.at(1), words.at(2), on=2)
    rig.wait_for(lambda: words[0], "the reader to be in")
    assert isinstance(on, int)
    rig.start("grace_period", words.at(3), skip, on=on)
    rig.wait_for(lambda: words[3], "the grace period to be asked for")
    early = rig.comes(lambda: rig.finished(on), 0.2)
    ended = rig.finish(on) if early else 0
    words[1] = 1
    rig.finish(2)
    return words[2], ended or rig.finish(on)


class TestReaders:
    @pytest.mark.parametrize("kind", KINDS, ids=KINDS.get)
    @pytest.mark.parametrize("ipi", TRANSPORTS)
    def test_are_waited_for(self, ipi: str, kind: int) -> None:
        with Rig(4, ipi=ipi) as rig:
            read, waited = wait_out_a_reader(rig, kind)
            assert read <= waited

    def test_planted_grace_period_that_does_not_wait(self) -> None:
        with Rig(4) as rig:
            read, waited = wait_out_a_reader(rig, IRQ_OFF, skip=1)
            assert waited < read

    @pytest.mark.parametrize("kind", [IRQ_OFF, PREEMPT_OFF], ids=KINDS.get)
    def test_objects_live_as_long_as_their_readers(self, kind: int) -> None:
        with Rig(4) as rig:
            shared = Words(200)
            for cpu in (1, 2, 3):
                rig.start("rcu_read_loop", shared.address, 100_000, kind, on=cpu)
            rig.call("rcu_update_loop", shared.address, 30, 0, on=0)
            assert [rig.finish(cpu) for cpu in (1, 2, 3)] == [0, 0, 0]

    def test_planted_update_that_does_not_wait(self) -> None:
        """The oracle of the test above."""
        with Rig(3) as rig:
            found = 0
            for _ in range(50):
                shared = Words(2100)
                for cpu in (1, 2):
                    rig.start("rcu_read_loop", shared.address, 100_000, PREEMPT_OFF, on=cpu)
                rig.call("rcu_update_loop", shared.address, 2000, 1, on=0)
                found += sum(rig.finish(cpu) for cpu in (1, 2))
                if found:
                    break
            assert found > 0


class TestWaiters:
    def test_idle_cpus_cost_nothing_but_time(self) -> None:
        with Rig(8) as rig:
            rig.settle()
            assert rig.synchronize_sched() > 0
            assert rig.vmstat()["grace_periods"] == 1
            assert sum(rig.interrupts()["CAL"]) == 0, "a grace period sends no call interrupt"

    def test_with_one_cpu_there_is_nothing_to_wait_for(self) -> None:
        with Rig(1) as rig:
            rig.synchronize_sched()
            assert rig.vmstat()["grace_periods"] == 0

    @pytest.mark.parametrize("gate", ["off", "on"])
    def test_several_at_once(self, gate: str) -> None:
        """Each waits for the others, who are asleep, and so in no section."""
        with Rig(6, gate=gate) as rig:
            for _ in range(5):
                rig.call_on_all("sync_sched")
            assert rig.vmstat()["grace_periods"] == 30

    def test_from_the_coordinator(self) -> None:
        with Rig(4) as rig:
            assert rig.synchronize_sched(on="coordinator") > 0

    @pytest.mark.parametrize("ipi", TRANSPORTS)
    def test_programs_in_user_mode_do_not_hold_it_up(self, ipi: str) -> None:
        with Rig(4, ipi=ipi) as rig:
            stop = Words(1)
            programs = [rig.call("start_task", cpu, stop.address, 500_000, on="coordinator") for cpu in (1, 2, 3)]
            rig.wait_for(lambda: all(status.status(c)["mode"] == "user" for c in (1, 2, 3)), "the programs to run")
            rig.synchronize_sched()
            assert not any(rig.task(t)["done"] for t in programs)
            stop[0] = 1
            for t in programs:
                rig.wait_for(lambda at=t: rig.task(at)["done"], "a program to end")

    def test_who_waits_for_a_lock_does_not_hold_it_up(self) -> None:
        """A grace period under a mutex, with others asleep for that mutex."""
        from tests.machines import MUTEX

        with Rig(4) as rig:
            lock = rig.new_lock(MUTEX)
            words = Words(2)
            rig.start("hold_lock", lock, MUTEX, words.at(0), words.at(1), on=1)
            rig.wait_for(lambda: words[0], "the lock to be taken")
            rig.start("hold_lock", lock, MUTEX, words.at(0), words.at(1), on=2)
            rig.wait_for(lambda: status.status(2)["waiting_for"] == "lock", "CPU 2 to wait")
            rig.start("grace_period", Words(1).address, 0, on=3)
            words[1] = 1
            rig.finish(1)
            rig.finish(2)
            rig.finish(3)

    def test_a_reader_that_never_ends_is_reported(self) -> None:
        with pytest.raises(Stuck, match="waiting_for=grace period"):  # noqa: PT012
            with Rig(3, limit=2) as rig:
                rig.hold_irqs(1)
                rig.synchronize_sched(on=0)


class TestCallbacks:
    @pytest.mark.parametrize("hz", [100, 1000])
    def test_run_once_each_in_order_on_their_cpu(self, hz: int) -> None:
        with Rig(3, hz=hz) as rig:
            log = Log()
            assert rig.call("queue_callbacks", log.address, 35, on=1) == 35
            rig.wait_for(lambda: log.get("next") == 35, "the callbacks")
            assert [entry >> 16 for entry in log.entries()] == list(range(35))
            assert set(log.cpus()) == {1}

    def test_not_before_a_reader_has_ended(self) -> None:
        with Rig(3) as rig:
            words, log = Words(3), Log()
            rig.start("reader", PREEMPT_OFF, words.at(0), words.at(1), words.at(2), on=2)
            rig.wait_for(lambda: words[0], "the reader to be in")
            rig.call("queue_callbacks", log.address, 3, on=1)
            assert not rig.comes(lambda: log.get("next"), 0.2)
            words[1] = 1
            rig.finish(2)
            rig.wait_for(lambda: log.get("next") == 3, "the callbacks")

    @pytest.mark.parametrize("on", [0, 1, 2])
    def test_a_barrier_waits_for_all_of_them(self, on: int) -> None:
        with Rig(3) as rig:
            log = Log()
            for cpu in (0, 1, 2):
                rig.call("queue_callbacks", log.address, 20, on=cpu)
            rig.call("barrier", on=on)
            assert log.get("next") == 60
