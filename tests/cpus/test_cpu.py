"""A CPU's life: modes, tasks, ticks, mail."""

from __future__ import annotations

import pytest

from cpus import selftest, status
from tests.machines import TRANSPORTS, Log, Rig, Words, field


class TestTasks:
    @pytest.mark.parametrize("gate", ["off", "on"])
    def test_several_on_one_cpu_take_turns(self, gate: str) -> None:
        with Rig(2, gate=gate) as rig:
            stop = Words(1)
            programs = [rig.call("start_task", 1, stop.address, 100, on="coordinator") for _ in range(4)]
            rig.wait_for(lambda: all(rig.task(t)["steps"] for t in programs), "everybody to have begun")
            begun = {t: rig.task(t)["steps"] for t in programs}
            rig.wait_for(lambda: all(rig.task(t)["steps"] >= n + 20 for t, n in begun.items()), "twenty turns each")
            turns = [rig.task(t)["steps"] - n for t, n in begun.items()]
            assert max(turns) - min(turns) <= 3, "oldest first; each of the two looks may fall between two turns"
            stop[0] = 1
            for t in programs:
                rig.wait_for(lambda at=t: rig.task(at)["done"], "a program to end")

    def test_started_from_another_cpu(self) -> None:
        with Rig(3) as rig:
            stop = Words(1)
            t = rig.call("start_task", 2, stop.address, 100, on=0)
            rig.wait_for(lambda: rig.task(t)["steps"] > 3, "the program to run")
            assert status.status(2)["mode"] in ("user", "kernel")
            assert rig.interrupts()["RES"][2] >= 1
            stop[0] = 1
            rig.wait_for(lambda: rig.task(t)["done"], "the program to end")

    def test_started_on_this_cpu(self) -> None:
        with Rig(2) as rig:
            stop = Words(1)
            t = rig.call("start_task", 1, stop.address, 100, on=1)
            rig.wait_for(lambda: rig.task(t)["steps"] > 3, "the program to run")
            stop[0] = 1
            rig.wait_for(lambda: rig.task(t)["done"], "the program to end")

    def test_mail_is_served_on_top_of_a_program(self) -> None:
        """A step of ten seconds: the operation does not wait for its end."""
        with Rig(2) as rig:
            stop = Words(1)
            t = rig.call("start_task", 1, stop.address, 1_000_000, on="coordinator")
            rig.wait_for(lambda: status.status(1)["mode"] == "user", "the program to run")
            assert rig.call("nothing", on=1) == 0
            assert rig.call("irq_nesting", on=1) == 0b11111
            stop[0] = 1
            rig.wait_for(lambda: rig.task(t)["done"], "the program to end")


class TestTicks:
    def test_a_running_cpu_ticks_and_an_idle_one_does_not(self) -> None:
        with Rig(2, hz=250) as rig:
            stop = Words(1)
            t = rig.call("start_task", 1, stop.address, 100, on="coordinator")
            rig.wait_for(lambda: status.interrupts(1)["ticks"] >= 20, "20 ticks")
            stop[0] = 1
            rig.wait_for(lambda: rig.task(t)["done"], "the program to end")
            assert status.interrupts(0)["ticks"] <= 2

    def test_no_ticks_at_hz_0(self) -> None:
        with Rig(2, hz=0) as rig:
            rig.call("spin_for", 50_000, on=1)
            assert [status.interrupts(cpu)["ticks"] for cpu in range(2)] == [0, 0]

    def test_ticks_are_no_call_interrupts(self) -> None:
        with Rig(2, hz=1000) as rig:
            rig.call("spin_for", 30_000, on=1)
            assert sum(rig.interrupts()["CAL"]) == 0
            assert status.interrupts(1)["taken"][3] == status.interrupts(1)["ticks"] > 0


class TestModes:
    @pytest.mark.parametrize("ipi", TRANSPORTS)
    def test_idle_kernel_user(self, ipi: str) -> None:
        with Rig(2, ipi=ipi) as rig:
            rig.settle()
            assert status.status(1)["mode"] == "idle"
            words = Words(2)
            rig.start("compute_until", words.at(0), words.at(1), on=1)
            rig.wait_for(lambda: words[0], "CPU 1 to compute")
            assert status.status(1)["mode"] == "kernel"
            words[1] = 1
            rig.finish(1)
            stop = Words(1)
            t = rig.call("start_task", 1, stop.address, 1000, on="coordinator")
            rig.wait_for(lambda: status.status(1)["mode"] == "user", "the program to run")
            stop[0] = 1
            rig.wait_for(lambda: rig.task(t)["done"], "the program to end")
            rig.settle()
            assert status.status(1)["mode"] == "idle"

    def test_a_handler_in_idle_returns_to_idle(self) -> None:
        with Rig(2) as rig:
            rig.settle()
            log = Log()
            rig.call("call_one", 1, 1, log.address, 7, on=0)
            rig.settle()
            assert status.status(1)["mode"] == "idle"
            assert selftest.peek(field(1, "hw.dynticks")) % 2 == 0, "idle is even"

    def test_dynticks_is_odd_while_a_cpu_runs(self) -> None:
        with Rig(2) as rig:
            words = Words(2)
            rig.start("compute_until", words.at(0), words.at(1), on=1)
            rig.wait_for(lambda: words[0], "CPU 1 to compute")
            assert selftest.peek(field(1, "hw.dynticks")) % 2 == 1
            words[1] = 1
            rig.finish(1)


class TestMail:
    def test_answers_are_those_of_the_right_cpu(self) -> None:
        with Rig(5) as rig:
            before = [status.interrupts(cpu)["run"] for cpu in range(5)]
            assert rig.call_on_all("nothing") == [0] * 5
            assert [status.interrupts(cpu)["run"] for cpu in range(5)] == before, "mail is no cross-call"
            assert all(count >= 1 for count in rig.interrupts()["RES"])

    def test_a_thousand_in_a_row(self) -> None:
        with Rig(2) as rig:
            words = Words(1)
            for _ in range(1000):
                rig.call("count_locked", 0, 4, words.address, 1, 0, on=1)
            assert words[0] == 1000

    @pytest.mark.parametrize("on", [2, -2, 1.0, "cpu1", None])
    def test_no_such_context(self, on: object) -> None:
        from emu.errors import UsageError

        with Rig(2) as rig, pytest.raises(UsageError, match="on="):
            rig.call("nothing", on=on)  # type: ignore[arg-type]
