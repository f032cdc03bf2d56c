"""The coordinator is killed, interrupted, or leaves by any other way: nothing is left behind."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.machines import TRANSPORTS
from tests.processes import SLACK, children, gone, leftovers, queue_names, run_program, running_program

WITHIN = 1.0  # seconds; what is promised is a second for 64 CPUs, and 31 ms were measured


def first_line(process: subprocess.Popen[str]) -> dict:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the program ended early"
    return json.loads(line)


def in_session(session: int) -> set[int]:
    """All processes of a session: CPUs have groups of their own, but stay in it."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.add(int(entry.name))
    return found


def all_gone(session: int) -> set[int]:
    """Wait for a session to be empty; who is left."""
    deadline = time.monotonic() + WITHIN * SLACK
    while (left := in_session(session)) and time.monotonic() < deadline:
        time.sleep(0.002)
    return left


class TestKilled:
    @pytest.mark.parametrize("ipi", TRANSPORTS)
    def test_idle(self, ipi: str) -> None:
        names = queue_names() if ipi == "mqueue" else []
        before = leftovers()["shm"]
        with running_program("tests.faults.programs:boot_and_wait", 16, ipi) as process:
            pids = first_line(process)["pids"]
            assert len(pids) == 16
            process.kill()
            process.wait()
            assert gone(pids, WITHIN) == set()
        assert leftovers()["shm"] == before
        if ipi == "mqueue":
            assert queue_names() == names

    @pytest.mark.parametrize("gate", ["off", "on"])
    def test_in_a_storm(self, gate: str) -> None:
        with running_program("tests.faults.programs:storm_for_ever", 32, "signal", gate) as process:
            pids = first_line(process)["pids"]
            process.kill()
            process.wait()
            assert gone(pids, WITHIN) == set()
            assert all_gone(process.pid) == set()

    def test_with_stopped_cpus(self) -> None:
        """A CPU that is stopped dies all the same."""
        with running_program("tests.faults.programs:boot_and_wait", 4, "signal") as process:
            pids = first_line(process)["pids"]
            for pid in pids[:2]:
                os.kill(pid, signal.SIGSTOP)
            process.kill()
            process.wait()
            assert gone(pids, WITHIN) == set()

    @pytest.mark.parametrize("seed", range(4))
    def test_in_boot_or_shut_down(self, seed: int) -> None:
        """At a random instant of machines that come and go."""
        before = leftovers()["shm"]
        with running_program("tests.faults.programs:boot_again_and_again", 12, "signal") as process:
            first_line(process)
            time.sleep(random.Random(seed).uniform(0.0, 0.06))
            process.kill()
            process.wait()
            assert all_gone(process.pid) == set()
        assert leftovers()["shm"] == before

    @pytest.mark.slow
    def test_in_boot_or_shut_down_many_times(self) -> None:
        names = queue_names()
        before = leftovers()["shm"]
        draw = random.Random(1)
        for number in range(60):
            ipi = TRANSPORTS[number % 4]
            with running_program("tests.faults.programs:boot_again_and_again", 12, ipi) as process:
                first_line(process)
                time.sleep(draw.uniform(0.0, 0.1))
                process.kill()
                process.wait()
                assert all_gone(process.pid) == set()
        assert leftovers()["shm"] == before
        assert queue_names() == names


class TestInterrupted:
    @pytest.mark.parametrize("seed", [1, 2])
    def test_at_random_instants(self, seed: int) -> None:
        """KeyboardInterrupt out of boot, of a storm, of shut-down: no child, thread or descriptor is left."""
        done = run_program("tests.faults.programs:interrupted_at_random", seed, 40, "signal", 60, seconds=100)
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["number"] == 40

    def test_at_random_instants_of_boot(self) -> None:
        done = run_program("tests.faults.programs:interrupted_at_random", 3, 60, "mqueue", 15, seconds=100)
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["number"] == 60

    @pytest.mark.slow
    @pytest.mark.parametrize("ipi", TRANSPORTS)
    def test_at_many_random_instants(self, ipi: str) -> None:
        done = run_program("tests.faults.programs:interrupted_at_random", 4, 300, ipi, 40, seconds=110)
        assert done.returncode == 0, done.stdout + done.stderr

    @pytest.mark.parametrize("gate", ["off", "on"])
    @pytest.mark.parametrize("ipi", TRANSPORTS)
    def test_a_storm_ends_by_itself(self, ipi: str, gate: str) -> None:
        """Who ends first answers what it was asked, or the others would wait for it until they are killed."""
        done = run_program("tests.faults.programs:interrupted_storms", 15, ipi, gate)
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout) == {"killed": 0}

    @pytest.mark.parametrize("instant", ["fork_cpus", "entry_points", "pidfd_open", "start"])
    def test_right_after(self, instant: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where Python looks for signals: on return from a call, before its answer is stored."""
        import threading

        from cpus import boot, entry
        from tests.machines import Rig

        owner = {"fork_cpus": boot, "entry_points": entry, "pidfd_open": os}.get(
            instant, threading.Thread
        )
        real = getattr(owner, instant)

        def interrupted(*args: object) -> object:
            answer = real(*args)
            monkeypatch.setattr(owner, instant, real)
            signal.raise_signal(signal.SIGINT)
            return answer

        before = leftovers()
        monkeypatch.setattr(owner, instant, interrupted)
        with pytest.raises(KeyboardInterrupt), Rig(4):
            pass
        monkeypatch.undo()
        assert leftovers() == before
        with Rig(2) as rig:
            assert rig.kick_all_cpus_sync() == 1

    def test_in_a_terminal(self) -> None:
        """SIGINT goes to the coordinator's group; the CPUs ignore it and are ended by the coordinator."""
        with running_program("tests.faults.programs:interrupted_by_terminal", 8) as process:
            pids = first_line(process)["pids"]
            for pid in pids:
                os.kill(pid, signal.SIGINT)
            os.killpg(process.pid, signal.SIGINT)
            assert first_line(process)["same"]
            assert process.wait(20 * SLACK) == 130
            assert gone(pids, WITHIN) == set()


class TestLeaving:
    @pytest.mark.parametrize(("how", "code"), [("exit", 3), ("_exit", 3), ("exception", 1)])
    def test_without_the_end_of_its_block(self, how: str, code: int) -> None:
        with running_program("tests.faults.programs:end_with_a_machine", how) as process:
            pids = first_line(process)["pids"]
            assert process.wait(20 * SLACK) == code
            assert gone(pids, WITHIN) == set()

    def test_the_end_of_the_block_reaps_all(self) -> None:
        with running_program("tests.faults.programs:boot_and_wait", 8, "cluster") as process:
            pids = first_line(process)["pids"]
            assert children(process.pid) == set(pids)
            assert process.stdin is not None
            process.stdin.close()
            assert first_line(process)["left"] == 0
            assert process.wait(20 * SLACK) == 0

    def test_a_stopped_cpu_does_not_keep_the_coordinator(self) -> None:
        """It is asked to end, does not, and is killed."""
        from tests.machines import Rig

        rig = Rig(4, judged=False)
        with rig:
            pids = rig.pids
            os.kill(pids[2], signal.SIGSTOP)
        assert gone(pids, 0) == set()
