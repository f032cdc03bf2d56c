"""A CPU that does not run, or keeps its interrupts off: real interrupts wait for it, and are not lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cpus import status
from tests.machines import TRANSPORTS, Rig

MS = 1_000_000


def kick_ns(rig: Rig) -> int:
    """The longest kick so far."""
    from emu import observe

    assert rig.coordinator
    return observe.latency()["kick"]["max_ns"]


@pytest.mark.parametrize("gate", ["off", "on"])
@pytest.mark.parametrize("ipi", TRANSPORTS)
def test_a_stopped_cpu_is_waited_for(ipi: str, gate: str) -> None:
    """SIGSTOP for a second: the kick takes as long, and ends once the CPU goes on."""
    with Rig(8, ipi=ipi, gate=gate) as rig:
        rig.settle()
        os.kill(rig.pids[5], signal.SIGSTOP)
        begun = time.monotonic_ns()
        rig.start("kick", on=0)
        rig.wait_for(lambda: status.interrupts(5)["queued"] == 1, "the kick to be sent")
        sent = time.monotonic_ns()
        while time.monotonic_ns() - sent < 1000 * MS:
            rig.comes(lambda: False, 0.05)
            assert not rig.finished(0)
        assert sum(rig.interrupts()["CAL"]) == 6, "all others have answered"
        gone_on = time.monotonic_ns()
        os.kill(rig.pids[5], signal.SIGCONT)
        assert rig.finish(0) == 7
        ended = time.monotonic_ns()
        assert gone_on - sent <= kick_ns(rig) <= (ended - begun) * 1.01
        assert kick_ns(rig) >= 1000 * MS
        assert rig.interrupts()["CAL"][5] == 1


@pytest.mark.parametrize("ipi", TRANSPORTS)
def test_interrupts_off_for_50_ms(ipi: str) -> None:
    with Rig(8, ipi=ipi) as rig:
        section = rig.hold_irqs(5)
        rig.start("kick", on=0)
        rig.wait_for(lambda: status.interrupts(5)["queued"] == 1, "the kick to be sent")
        sent = time.monotonic_ns()
        while time.monotonic_ns() - sent < 50 * MS:
            rig.comes(lambda: False, 0.005)
        assert not rig.finished(0)
        section[1] = 1
        assert rig.finish(0) == 7
        rig.finish(5)
        assert kick_ns(rig) >= 50 * MS


def test_a_stopped_cpu_is_rung_for_again_and_not_counted_twice() -> None:
    """Stopped for longer than a request may take: the waiter rings again, the interrupt is one."""
    with Rig(3) as rig:
        rig.settle()
        os.kill(rig.pids[1], signal.SIGSTOP)
        rig.start("kick", on=0)
        rig.wait_for(lambda: status.interrupts(0)["repokes"] >= 1, "the second ring")
        os.kill(rig.pids[1], signal.SIGCONT)
        assert rig.finish(0) == 2
        assert rig.interrupts()["CAL"] == [0, 1, 1]


def test_a_stopped_sender() -> None:
    """Its requests are answered; it finds the answers when it goes on."""
    with Rig(4) as rig:
        section = rig.hold_irqs(2)
        rig.start("kick", on=0)
        rig.wait_for(lambda: status.status(0)["waiting_for"] == "acks", "CPU 0 to wait")
        os.kill(rig.pids[0], signal.SIGSTOP)
        section[1] = 1
        rig.finish(2)
        rig.wait_for(lambda: sum(rig.interrupts()["CAL"]) == 3, "all to answer")
        os.kill(rig.pids[0], signal.SIGCONT)
        assert rig.finish(0) == 3


class TestSystemCalls:
    """Counted from outside, by strace."""

    def trace(self, rig: Rig, cpu: int, calls: str, path: Path, order: str) -> list[str]:
        """The system calls of these names that a CPU makes while it carries out an order."""
        strace = shutil.which("strace")
        if strace is None:
            pytest.skip("strace is not installed")
        tracer = subprocess.Popen(
            [strace, "-f", "-qq", "-e", f"trace={calls}", "-e", "signal=none", "-o", path, "-p", str(rig.pids[cpu])],
            stderr=subprocess.DEVNULL,
        )
        attached = rig.comes(lambda: "TracerPid:\t0" not in Path(f"/proc/{rig.pids[cpu]}/status").read_text(), 5)
        if not attached or tracer.poll() is not None:
            tracer.kill()
            tracer.wait()
            pytest.skip("strace may not attach to a process here")
        rig.call(order, on=cpu)
        tracer.send_signal(signal.SIGINT)
        tracer.wait(20)
        return [line for line in path.read_text().splitlines() if "(" in line]

    @pytest.mark.parametrize("cpus", [2, 8])
    def test_mqueue_sends_one_message_per_target(self, cpus: int, tmp_path: Path) -> None:
        with Rig(cpus, ipi="mqueue", hz=0) as rig:
            made = self.trace(rig, 0, "mq_timedsend", tmp_path / "trace", "kick")
            assert len(made) == cpus - 1
            assert all("mq_timedsend" in line for line in made)

    def test_signal_sends_one_per_target(self, tmp_path: Path) -> None:
        with Rig(8, ipi="signal", hz=0) as rig:
            assert len(self.trace(rig, 0, "tgkill", tmp_path / "trace", "kick")) == 7

    def test_cluster_wakes_idle_cpus_with_one_call(self, tmp_path: Path) -> None:
        """All 20 are idle and share a futex word: one system call."""
        with Rig(21, ipi="cluster", hz=0) as rig:
            rig.settle()
            made = self.trace(rig, 0, "futex,tgkill", tmp_path / "trace", "kick")
            wakes = [line for line in made if "FUTEX_WAKE_BITSET" in line]
            assert len(wakes) == 1
            assert not [line for line in made if "tgkill" in line]
