"""Work items: per-CPU ones run on the CPU that queued them, ordered ones one at a time, flush waits for all."""

from __future__ import annotations

import pytest

from cpus import status
from tests.machines import TRANSPORTS, Log, Rig, Words

PER_CPU, ORDERED = 0, 1


def numbers(log: Log) -> list[int]:
    return [entry >> 16 for entry in log.entries()]


class TestPerCpu:
    @pytest.mark.parametrize("ipi", TRANSPORTS)
    def test_items_run_where_they_were_queued_in_order(self, ipi: str) -> None:
        with Rig(4, ipi=ipi) as rig:
            wq = rig.call("wq_new", PER_CPU)
            log = Log()
            for cpu in range(4):
                assert rig.call("wq_queue", wq, log.address, 25, 100 * cpu, 0, on=cpu) == 25
            assert rig.call("wq_flush", wq, log.address, on=2) == 100
            for cpu in range(4):
                mine = [entry >> 16 for entry in log.entries() if entry & 0xFFFF == cpu]
                assert mine == [100 * cpu + i for i in range(25)]
            assert rig.vmstat()["work_run"] == 100

    def test_what_the_coordinator_queues_runs_on_cpu_0(self) -> None:
        with Rig(3) as rig:
            wq = rig.call("wq_new", PER_CPU)
            log = Log()
            rig.call("wq_queue", wq, log.address, 5, 0, 0, on="coordinator")
            assert rig.call("wq_flush", wq, log.address, on="coordinator") == 5
            assert log.cpus() == [0] * 5

    def test_an_item_that_is_queued_already_is_not_queued_again(self) -> None:
        with Rig(2) as rig:
            wq = rig.call("wq_new", PER_CPU)
            log = Log(waits=True)
            # The second attempt comes while the item is pending: its CPU is in this very operation.
            assert rig.call("wq_queue", wq, log.address, 3, 0, 1, on=1) == 3
            log.release()
            assert rig.call("wq_flush", wq, log.address, on=0) == 3

    def test_items_run_on_top_of_a_program(self) -> None:
        """A kworker takes the CPU from a program in user mode."""
        with Rig(2) as rig:
            stop = Words(1)
            t = rig.call("start_task", 1, stop.address, 1_000_000, on="coordinator")
            rig.wait_for(lambda: status.status(1)["mode"] == "user", "the program to run")
            wq = rig.call("wq_new", PER_CPU)
            log = Log()
            rig.call("wq_queue", wq, log.address, 5, 0, 0, on=1)
            assert rig.call("wq_flush", wq, log.address, on=0) == 5
            assert log.cpus() == [1] * 5
            assert not rig.task(t)["done"]
            stop[0] = 1
            rig.wait_for(lambda: rig.task(t)["done"], "the program to end")

    def test_interrupts_are_on_in_an_item(self) -> None:
        with Rig(3) as rig:
            wq = rig.call("wq_new", PER_CPU)
            log = Log(waits=True)
            rig.call("wq_queue", wq, log.address, 1, 0, 0, on=1)
            rig.wait_for(lambda: log.get("entered"), "the item to begin")
            assert rig.kick_all_cpus_sync() == 2
            log.release()
            rig.call("wq_flush", wq, log.address, on=0)

    @pytest.mark.parametrize("gate", ["off", "on"])
    def test_all_queue_and_flush_at_once(self, gate: str) -> None:
        with Rig(4, gate=gate) as rig:
            wqs = [rig.call("wq_new", PER_CPU) for _ in range(4)]
            logs = [Log() for _ in range(4)]
            for cpu in range(4):
                rig.start("wq_queue", wqs[cpu], logs[cpu].address, 200, 0, 0, on=cpu)
            for cpu in range(4):
                assert rig.finish(cpu) == 200
            for cpu in range(4):
                rig.start("wq_flush", wqs[cpu], logs[cpu].address, on=cpu)
            assert [rig.finish(cpu) for cpu in range(4)] == [200] * 4
            assert [log.cpus() for log in logs] == [[cpu] * 200 for cpu in range(4)]


class TestOrdered:
    @pytest.mark.parametrize("gate", ["off", "on"])
    @pytest.mark.parametrize("senders", [1, 4])
    def test_one_at_a_time(self, senders: int, gate: str) -> None:
        with Rig(4, gate=gate) as rig:
            wq = rig.call("wq_new", ORDERED)
            log = Log(delay_us=20)
            for cpu in range(senders):
                rig.start("wq_queue", wq, log.address, 50, 1000 * cpu, 0, on=cpu)
            for cpu in range(senders):
                assert rig.finish(cpu) == 50
            assert rig.call("wq_flush", wq, log.address, on=0) == 50 * senders
            assert log.get("overlaps") == 0
            for cpu in range(senders):
                mine = [n for n in numbers(log) if n // 1000 == cpu]
                assert mine == [1000 * cpu + i for i in range(50)], "in the order of queuing"

    def test_planted_overlap_is_seen(self) -> None:
        """The oracle of the test above: a per-CPU workqueue in its place runs items side by side."""
        with Rig(4) as rig:
            wq = rig.call("wq_new", PER_CPU)
            log = Log(waits=True)
            for cpu in range(4):
                rig.call("wq_queue", wq, log.address, 1, cpu, 0, on=cpu)
            rig.wait_for(lambda: log.get("inside") == 4, "all to be inside")
            log.release()
            rig.call("wq_flush", wq, log.address, on=0)
            assert log.get("overlaps") == 3

    def test_the_next_time_another_cpu(self) -> None:
        """Each time the queue becomes busy, the next online CPU after the last works it off."""
        with Rig(4) as rig:
            wq = rig.call("wq_new", ORDERED)
            log = Log()
            for number in range(8):
                rig.call("wq_queue", wq, log.address, 1, number, 0, on=3)
                rig.call("wq_flush", wq, log.address, on=3)
            assert log.cpus() == [0, 1, 2, 3, 0, 1, 2, 3]


class TestFlush:
    @pytest.mark.parametrize("kind", [PER_CPU, ORDERED])
    @pytest.mark.parametrize("on", [0, 1, "coordinator"])
    def test_waits_for_what_is_running(self, kind: int, on: int | str) -> None:
        with Rig(3) as rig:
            wq = rig.call("wq_new", kind)
            log = Log(waits=True)
            rig.call("wq_queue", wq, log.address, 3, 0, 0, on=2)
            rig.wait_for(lambda: log.get("entered"), "the first item to begin")
            if on == "coordinator":
                import threading

                timer = threading.Timer(0.1, log.release)
                timer.start()
                assert rig.call("wq_flush", wq, log.address, on=on) == 3
                timer.join()
                return
            runner = next(c for c in range(3) if status.status(c)["mode"] == "kernel")
            assert isinstance(on, int)
            flusher = on if on != runner else 2
            rig.start("wq_flush", wq, log.address, on=flusher)
            assert not rig.comes(lambda: rig.finished(flusher), 0.05)
            log.release()
            assert rig.finish(flusher) == 3

    def test_of_nothing(self) -> None:
        with Rig(2) as rig:
            wq = rig.call("wq_new", PER_CPU)
            assert rig.call("wq_flush", wq, Log().address, on=0) == 0

    def test_two_flushers(self) -> None:
        with Rig(4) as rig:
            wq = rig.call("wq_new", PER_CPU)
            log = Log(waits=True)
            rig.call("wq_queue", wq, log.address, 2, 0, 0, on=3)
            rig.wait_for(lambda: log.get("entered"), "the first item to begin")
            for cpu in (0, 1):
                rig.start("wq_flush", wq, log.address, on=cpu)
            log.release()
            assert [rig.finish(cpu) for cpu in (0, 1)] == [2, 2]
