"""A CPU is killed: whatever it was doing, it is noticed, named, answered for, and what it held is let go."""

from __future__ import annotations

import re
import signal
import time

import pytest

from cpus import selftest, selftest_kernel, status
from emu.errors import DiedError
from tests.machines import BOTH_OFF, IRQ_OFF, MUTEX, PREEMPT_OFF, READ, SPIN, TRANSPORTS, WRITE, Log, Rig, Stuck, Words
from tests.processes import SLACK

NOTICED = 0.1 * 10  # seconds; ten times what is promised
GO_ON = {"on_cpu_death": "continue"}


def kill_and_wait(rig: Rig, cpu: int) -> float:
    """Kill a CPU; seconds until it was noticed."""
    begun = time.monotonic()
    rig.kill(cpu)
    rig.wait_for(lambda: any(death.cpu == cpu for death in rig.coordinator.deaths), f"the death of CPU {cpu}")
    return time.monotonic() - begun


def the_death(rig: Rig, cpu: int) -> str:
    return next(str(death) for death in rig.coordinator.deaths if death.cpu == cpu)


class TestNoticed:
    @pytest.mark.parametrize("ipi", TRANSPORTS)
    def test_idle(self, ipi: str) -> None:
        with Rig(4, ipi=ipi, **GO_ON) as rig:
            rig.settle()
            assert kill_and_wait(rig, 2) < NOTICED * SLACK
            assert re.match(r"CPU 2 \(pid \d+\) was killed by SIGKILL; it was in idle mode", the_death(rig, 2))
            assert status.status(2)["dead"]
            assert not status.status(2)["online"]
            assert rig.kick_all_cpus_sync() == 2

    def test_in_a_user_loop(self) -> None:
        with Rig(4, **GO_ON) as rig:
            stop = Words(1)
            rig.call("start_task", 1, stop.address, 1000, on="coordinator")
            rig.wait_for(lambda: status.status(1)["mode"] == "user", "the program to run")
            assert kill_and_wait(rig, 1) < NOTICED * SLACK
            assert "it was in user mode" in the_death(rig, 1) or "it was in kernel mode" in the_death(rig, 1)
            assert rig.kick_all_cpus_sync() == 2

    @pytest.mark.parametrize(("number", "name"), [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGTERM, "SIGTERM")])
    def test_by_another_signal(self, number: int, name: str) -> None:
        import faulthandler

        faulthandler.disable()  # pytest's, which CPUs would inherit
        try:
            with Rig(3, **GO_ON) as rig:
                rig.kill(1, number)
                rig.wait_for(lambda: rig.coordinator.deaths, "the death of CPU 1")
                assert f"was killed by {name}" in the_death(rig, 1)
        finally:
            faulthandler.enable()

    def test_the_default_is_to_stop(self) -> None:
        with Rig(4, judged=False) as rig:
            kick = 0
            with pytest.raises(DiedError, match=r"CPU 3 \(pid \d+\) was killed by SIGKILL"):  # noqa: PT012
                rig.kill(3)
                while kick < 100_000:
                    rig.kick_all_cpus_sync()
                    kick += 1

    def test_two_at_once(self) -> None:
        with Rig(6, **GO_ON) as rig:
            rig.kill(1)
            rig.kill(4)
            rig.wait_for(lambda: len(rig.coordinator.deaths) == 2, "both deaths")
            assert rig.kick_all_cpus_sync() == 3
            assert rig.kick_all_cpus_sync(on="coordinator") == 4

    def test_all_but_one(self) -> None:
        with Rig(5, **GO_ON) as rig:
            for cpu in (1, 2, 3, 4):
                rig.kill(cpu)
            rig.wait_for(lambda: len(rig.coordinator.deaths) == 4, "four deaths")
            assert rig.kick_all_cpus_sync() == 0


class TestReleased:
    """Who waits for a dead CPU's answer goes on."""

    @pytest.mark.parametrize("ipi", TRANSPORTS)
    @pytest.mark.parametrize("gate", ["off", "on"])
    def test_waiters_for_its_ack(self, ipi: str, gate: str) -> None:
        with Rig(6, ipi=ipi, gate=gate, **GO_ON) as rig:
            rig.hold_irqs(4)
            for sender in (0,) if gate == "on" else (0, 1):  # a second one would need a third slot
                rig.start("kick", on=sender)
            rig.wait_for(lambda: status.interrupts(4)["queued"] >= 1, "a kick to wait for CPU 4")
            rig.wait_for(lambda: status.status(0)["waiting_for"] == "acks", "CPU 0 to wait")
            assert kill_and_wait(rig, 4) < NOTICED * SLACK
            assert rig.finish(0) == 5
            if gate == "off":
                assert rig.finish(1) == 5
            assert rig.requests()["refused"] == (2 if gate == "off" else 1)
            assert rig.kick_all_cpus_sync() == 4

    def test_the_coordinator_as_a_waiter(self) -> None:
        """It waits in compiled code; the supervisor's thread releases it."""
        import threading

        with Rig(4, **GO_ON) as rig:
            rig.hold_irqs(2)
            timer = threading.Timer(0.2, rig.kill, (2,))
            timer.start()
            assert rig.kick_all_cpus_sync(on="coordinator") == 4
            timer.join()
            rig.wait_for(lambda: rig.coordinator.deaths, "the death of CPU 2")

    def test_while_it_serves_a_request(self) -> None:
        with Rig(4, **GO_ON) as rig:
            log = Log(waits=True)
            rig.start("call_one", 2, 1, log.address, 1, on=0)
            rig.wait_for(lambda: log.get("entered"), "the function to begin")
            kill_and_wait(rig, 2)
            assert rig.finish(0) == 0
            assert "serving a request" in the_death(rig, 2)
            assert log.cpus() == []

    def test_requests_behind_the_one_it_serves(self) -> None:
        """A handler takes the whole queue; all of it is answered for."""
        with Rig(6, **GO_ON) as rig:
            section = rig.hold_irqs(5)
            slow, quick = Log(waits=True), Log()
            rig.start("call_one", 5, 1, slow.address, 1, on=0)
            rig.wait_for(lambda: status.interrupts(5)["queued"] == 1, "the first request")
            for sender in (1, 2, 3):
                rig.start("call_one", 5, 1, quick.address, 1, on=sender)
            rig.wait_for(lambda: status.interrupts(5)["queued"] == 4, "all requests")
            section[1] = 1
            rig.wait_for(lambda: slow.get("entered"), "the first function to begin")
            kill_and_wait(rig, 5)
            for sender in range(4):
                assert rig.finish(sender) == 0
            assert quick.cpus() == []

    def test_the_sender_dies_while_it_waits(self) -> None:
        """Its request runs all the same, and nobody minds that there is nobody to thank."""
        with Rig(4, **GO_ON) as rig:
            section = rig.hold_irqs(2)
            log = Log()
            rig.start("call_one", 2, 1, log.address, 1, on=1)
            rig.wait_for(lambda: status.status(1)["waiting_for"] == "acks", "CPU 1 to wait")
            kill_and_wait(rig, 1)
            assert "waiting for acks" in the_death(rig, 1)
            section[1] = 1
            rig.finish(2)
            rig.settle()
            assert log.cpus() == [2]
            assert rig.kick_all_cpus_sync() == 2

    def test_a_broadcasting_sender_dies_and_the_gate_opens(self) -> None:
        with Rig(6, gate="on", **GO_ON) as rig:
            section = rig.hold_irqs(3)
            rig.start("kick", on=1)
            rig.wait_for(lambda: status.status(1)["waiting_for"] == "acks", "CPU 1 to wait")
            assert selftest_kernel.gate_state()["broadcast"] != 0
            kill_and_wait(rig, 1)
            assert selftest_kernel.gate_state()["broadcast"] == 0
            section[1] = 1
            rig.finish(3)
            assert rig.kick_all_cpus_sync() == 4

    def test_who_holds_a_slot(self) -> None:
        """Its token goes to the next, or fewer and fewer CPUs would run."""
        with Rig(6, gate="on", **GO_ON) as rig:
            stop = Words(1)
            programs = [rig.call("start_task", cpu, stop.address, 300, on="coordinator") for cpu in range(6)]
            killed = []
            for _ in range(3):
                holders = selftest_kernel.gate_state()["held"].values()
                cpu = next(c for c in [*holders, 1, 2, 3, 4, 5] if c not in (0, *killed))
                kill_and_wait(rig, cpu)
                killed.append(cpu)
            living = [t for cpu, t in enumerate(programs) if cpu not in killed]
            steps = [rig.task(t)["steps"] for t in living]
            before = dict(zip(living, steps, strict=True))
            rig.wait_for(lambda: all(rig.task(t)["steps"] > n + 3 for t, n in before.items()), "the living to run")
            stop[0] = 1
            for t in living:
                rig.wait_for(lambda at=t: rig.task(at)["done"], "a program to end")


class TestLocks:
    """Who dies in a lock leaves the run broken, and the lock free; who dies waiting leaves no trace."""

    @pytest.mark.parametrize("kind", [SPIN, MUTEX, WRITE], ids=["spin", "mutex", "write"])
    def test_its_holder(self, kind: int) -> None:
        with Rig(4, judged=False, **GO_ON) as rig:
            lock = rig.new_lock(kind)
            mine, next_one = Words(2), Words(2)
            next_one[1] = 1
            rig.start("hold_lock", lock, kind, mine.at(0), mine.at(1), on=1)
            rig.wait_for(lambda: mine[0], "the lock to be taken")
            rig.start("hold_lock", lock, kind, next_one.at(0), next_one.at(1), on=2)
            rig.wait_for(lambda: len(status.status(2)["holds"]) == 1, "CPU 2 to reach for the lock")
            rig.kill(1)
            with pytest.raises(DiedError, match=r"CPU 1 .*SIGKILL.*holding workload_lock"):
                rig.wait_for(lambda: False, "the end of the run")
            assert status.header()["broken"]
            assert self.comes(next_one), "the waiter gets the lock"

    def comes(self, words: Words) -> bool:
        """A wait that goes on although the run is over."""
        deadline = time.monotonic() + 10 * SLACK
        while not words[0] and time.monotonic() < deadline:
            time.sleep(0.001)
        return bool(words[0])

    def test_the_holder_of_slab_mutex_is_named(self) -> None:
        with Rig(4, judged=False) as rig:
            words = Words(2)
            rig.start("hold_lock", selftest.slab_mutex(), MUTEX, words.at(0), words.at(1), on=3)
            rig.wait_for(lambda: words[0], "the lock to be taken")
            rig.kill(3)
            with pytest.raises(DiedError, match=r"CPU 3 .*in kernel mode, .*holding slab_mutex"):
                rig.wait_for(lambda: False, "the end of the run")

    @pytest.mark.parametrize("kind", [SPIN, MUTEX, READ, WRITE], ids=["spin", "mutex", "read", "write"])
    def test_a_waiter(self, kind: int) -> None:
        """The holder keeps the lock, nobody else gets in, and it works on."""
        held = WRITE if kind in (READ, WRITE) else kind
        with Rig(5, **GO_ON) as rig:
            lock = rig.new_lock(held)
            mine, dying, third = Words(2), Words(2), Words(2)
            third[1] = 1
            rig.start("hold_lock", lock, held, mine.at(0), mine.at(1), on=0)
            rig.wait_for(lambda: mine[0], "the lock to be taken")
            rig.start("hold_lock", lock, kind, dying.at(0), dying.at(1), on=1)
            rig.wait_for(lambda: len(status.status(1)["holds"]) == 1, "CPU 1 to reach for the lock")
            kill_and_wait(rig, 1)
            assert not status.header()["broken"], "nothing was half done"
            rig.start("hold_lock", lock, held, third.at(0), third.at(1), on=2)
            rig.wait_for(lambda: len(status.status(2)["holds"]) == 1, "CPU 2 to reach for the lock")
            assert not rig.comes(lambda: third[0], 0.2), "CPU 0 still has it"
            mine[1] = 1
            rig.finish(0)
            rig.finish(2)
            assert third[0] == 1
            counter = Words(1)
            for cpu in (0, 2, 3, 4):
                rig.start("count_locked", lock, held, counter.address, 500, 5, on=cpu)
            for cpu in (0, 2, 3, 4):
                rig.finish(cpu)
            assert counter[0] == 2000

    def test_a_waiting_writer_among_readers(self) -> None:
        with Rig(5, **GO_ON) as rig:
            lock = rig.new_lock(WRITE)
            readers, dying, writer = Words(3), Words(2), Words(2)
            for cpu in (0, 1):
                rig.start("hold_lock", lock, READ, readers.at(cpu), readers.at(2), on=cpu)
            rig.wait_for(lambda: readers[0] and readers[1], "both readers to be in")
            rig.start("hold_lock", lock, WRITE, dying.at(0), dying.at(1), on=2)
            rig.wait_for(lambda: status.status(2)["waiting_for"] == "lock", "the writer to wait")
            kill_and_wait(rig, 2)
            writer[1] = 1
            rig.start("hold_lock", lock, WRITE, writer.at(0), writer.at(1), on=3)
            rig.wait_for(lambda: status.status(3)["holds"], "the other writer to reach for it")
            assert not rig.comes(lambda: writer[0], 0.2), "the readers are still in"
            readers[2] = 1
            for cpu in (0, 1, 3):
                rig.finish(cpu)
            assert writer[0] == 1

    def test_a_reader_inside(self) -> None:
        """It changes nothing, so the run is not broken; its share of the lock is given back."""
        with Rig(4, **GO_ON) as rig:
            lock = rig.new_lock(WRITE)
            dying, other, writer = Words(2), Words(2), Words(2)
            rig.start("hold_lock", lock, READ, dying.at(0), dying.at(1), on=1)
            rig.start("hold_lock", lock, READ, other.at(0), other.at(1), on=2)
            rig.wait_for(lambda: dying[0] and other[0], "both readers to be in")
            kill_and_wait(rig, 1)
            assert not status.header()["broken"]
            writer[1] = 1
            rig.start("hold_lock", lock, WRITE, writer.at(0), writer.at(1), on=3)
            assert not rig.comes(lambda: writer[0], 0.2), "CPU 2 still reads"
            other[1] = 1
            rig.finish(2)
            rig.finish(3)
            assert writer[0] == 1

    def test_in_the_heap(self) -> None:
        """Others allocate on; the heap may be torn, so the run is broken."""
        with Rig(3, judged=False, **GO_ON) as rig:
            words = Words(2)
            from cpus import boot

            boot.post_call(1, rig._entries["heap_lock_forever"], (words.address, words.at(1)))
            rig.wait_for(lambda: words[0], "CPU 1 to hold the heap")
            rig.kill(1)
            with pytest.raises(DiedError):
                rig.wait_for(lambda: False, "the end of the run")
            assert status.header()["broken"]
            assert Words(4)[0] == 0, "the heap works"

    def test_planted_death_that_is_not_told(self) -> None:
        """Plant 18: a lock that its owner does not list is never freed. The watch finds the waiter."""
        with pytest.raises(Stuck, match=r"cpu 2: .*waiting_for=lock"):  # noqa: PT012
            with Rig(4, limit=3, **GO_ON) as rig:
                lock = rig.new_lock(MUTEX)
                words, waiter = Words(2), Words(2)
                rig.start("lock_unlisted", lock, words.at(0), words.at(1), on=1)
                rig.wait_for(lambda: words[0], "the lock to be taken")
                rig.start("hold_lock", lock, MUTEX, waiter.at(0), waiter.at(1), on=2)
                kill_and_wait(rig, 1)
                rig.finish(2)


class TestInSections:
    @pytest.mark.parametrize("kind", [IRQ_OFF, PREEMPT_OFF, BOTH_OFF], ids=["irq", "preempt", "both"])
    def test_a_grace_period_does_not_wait_for_the_dead(self, kind: int) -> None:
        with Rig(4, **GO_ON) as rig:
            words = Words(4)
            rig.start("reader", kind, words.at(0), words.at(1), words.at(2), on=2)
            rig.wait_for(lambda: words[0], "the reader to be in")
            rig.start("grace_period", words.at(3), 0, on=0)
            rig.wait_for(lambda: words[3], "the grace period to begin")
            assert not rig.comes(lambda: rig.finished(0), 0.1)
            kill_and_wait(rig, 2)
            assert rig.finish(0) > 0


class TestOrders:
    """What the coordinator has ordered of a CPU that is dead."""

    def test_an_operation_in_progress(self) -> None:
        """Its answer never came: that is an error, and no number."""
        import threading

        with Rig(4, judged=False) as rig:
            words = Words(2)
            timer = threading.Timer(0.2, rig.kill, (2,))
            timer.start()
            with pytest.raises(DiedError, match=r"CPU 2 \(pid \d+\) was killed by SIGKILL"):
                rig.call("compute_until", words.at(0), words.at(1), on=2)
            timer.join()

    @pytest.mark.parametrize("policy", ["stop", "continue"])
    def test_one_of_many_in_progress(self, policy: str) -> None:
        import threading

        with Rig(4, judged=False, on_cpu_death=policy) as rig:
            words = Words(2)
            timer = threading.Timer(0.2, rig.kill, (2,))
            timer.start()
            with pytest.raises(DiedError, match="CPU 2"):
                rig.call_on_all("spin_for", 600_000)
            timer.join()
            assert words[0] == 0

    def test_a_new_one_to_the_dead(self) -> None:
        with Rig(4, **GO_ON) as rig:
            kill_and_wait(rig, 2)
            with pytest.raises(DiedError, match="CPU 2"):
                rig.call("nothing", on=2)
            assert rig.call("nothing", on=1) == 0

    def test_after_one_that_it_died_in(self) -> None:
        with Rig(4, **GO_ON) as rig:
            words = Words(2)
            rig.start("compute_until", words.at(0), words.at(1), on=2)
            rig.wait_for(lambda: words[0], "CPU 2 to compute")
            kill_and_wait(rig, 2)
            with pytest.raises(DiedError, match="CPU 2"):
                rig.call("nothing", on=2)

    def test_work_items(self) -> None:
        """flush_workqueue() does not wait for what a CPU died in; another CPU runs what was queued behind it."""
        with Rig(4, **GO_ON) as rig:
            wq = rig.call("wq_new", 0)
            log = Log(waits=True)
            assert rig.call("wq_queue", wq, log.address, 3, 0, 0, on=2) == 3
            rig.wait_for(lambda: log.get("entered"), "the first item to begin")
            kill_and_wait(rig, 2)
            log.release()
            assert rig.call("wq_flush", wq, log.address, on=1) == 2
            assert [(entry >> 16, entry & 0xFFFF) for entry in log.entries()] == [(1, 0), (2, 0)]

    def test_ordered_work_items(self) -> None:
        """The CPU that ran the queue is dead: another one runs what is left."""
        with Rig(4, **GO_ON) as rig:
            wq = rig.call("wq_new", 1)
            log = Log(waits=True)
            assert rig.call("wq_queue", wq, log.address, 3, 0, 0, on=3) == 3
            rig.wait_for(lambda: log.get("entered"), "the first item to begin")
            runner = next(c for c in range(4) if status.status(c)["mode"] != "idle")
            log.release()
            if runner != 0:
                kill_and_wait(rig, runner)
            rig.call("wq_flush", wq, log.address, on=0 if runner != 0 else 1)

    def test_a_barrier_does_not_wait_for_callbacks_of_the_dead(self) -> None:
        with Rig(4, **GO_ON) as rig:
            words, log = Words(2), Log()
            rig.start("reader", PREEMPT_OFF, words.at(0), words.at(1), words.at(1), on=3)
            rig.wait_for(lambda: words[0], "the reader to be in")
            rig.call("queue_callbacks", log.address, 5, on=2)
            rig.start("barrier", on=0)
            rig.wait_for(lambda: status.status(0)["waiting_for"] == "grace period", "the barrier to wait")
            kill_and_wait(rig, 2)
            words[1] = 1
            rig.finish(3)
            rig.finish(0)


class TestQueueOfAnother:
    def test_a_request_that_was_used_again(self) -> None:
        """CPU 1 dies in a function whose request was given back and queued elsewhere since.

        A call that is not waited for unlocks its request before the function runs. CPU 0 uses it again, for CPU 3,
        where CPU 2 waits for an answer behind it. The death of CPU 1 must not answer for CPU 3.
        """
        with Rig(4, **GO_ON) as rig:
            slow, waited, again = Log(waits=True), Log(), Log()
            rig.call("call_one", 1, 0, slow.address, 1, on=0)
            rig.wait_for(lambda: slow.get("entered"), "the function to begin on CPU 1")
            section = rig.hold_irqs(3)
            rig.start("call_one", 3, 1, waited.address, 1, on=2)
            rig.wait_for(lambda: status.interrupts(3)["queued"] == 1, "the request of CPU 2")
            rig.call("call_one", 3, 0, again.address, 1, on=0)
            assert status.interrupts(3)["queued"] == 2
            kill_and_wait(rig, 1)
            assert not rig.comes(lambda: rig.finished(2), 0.2), "CPU 3 has not run it"
            assert waited.cpus() == []
            section[1] = 1
            rig.finish(3)
            rig.finish(2)
            rig.settle()
            assert (waited.cpus(), again.cpus()) == ([3], [3])
