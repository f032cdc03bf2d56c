"""What the host lacks is refused by name, value and need, and nothing is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from emu.errors import EmuError, NotSupportedError, ResourceError, UsageError
from emu.machine import Machine
from tests.machines import Rig, needs_root
from tests.processes import leftovers, queue_names, run_program

QUEUES_MAX = Path("/proc/sys/fs/mqueue/queues_max")


def boot_within(limits: dict[str, list[int]], cpus: int, ipi: str = "signal") -> dict[str, Any]:
    done = run_program("tests.faults.programs:boot_within", json.dumps(limits), cpus, ipi)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


def refused(found: dict[str, Any], *words: str) -> None:
    assert found["error"] == "ResourceError"
    assert found["code"] == 3
    assert found["same"], "something is left behind"
    assert "\n" not in found["text"]
    for word in words:
        assert word in found["text"]


class TestQueues:
    def test_more_cpus_than_queues(self) -> None:
        if not QUEUES_MAX.exists():
            pytest.skip("this host has no message queues")
        limit = int(QUEUES_MAX.read_text())
        names = queue_names()
        before = leftovers()
        cpus = min(1024, limit + 44)
        if cpus <= limit:
            pytest.skip(f"fs.mqueue.queues_max = {limit}: more than any machine needs")
        try:
            with Rig(cpus, ipi="mqueue", limit=100) as rig:
                pytest.skip(f"CAP_SYS_RESOURCE: {rig.cpus} queues were allowed")
        except ResourceError as error:
            assert f"fs.mqueue.queues_max = {limit}" in str(error)  # noqa: PT017
            assert f"{cpus} needed" in str(error)  # noqa: PT017
        assert leftovers() == before
        assert queue_names() == names

    @pytest.mark.parametrize("nth", [1, 2, 7])
    def test_the_nth_cannot_be_made(self, nth: int, monkeypatch: pytest.MonkeyPatch) -> None:
        import posix_ipc

        real = posix_ipc.MessageQueue
        made = []

        def limited(*args: Any, **options: Any) -> Any:
            if len(made) == nth - 1:
                raise OSError(24, "Too many open files")
            made.append(real(*args, **options))
            return made[-1]

        before = leftovers()
        monkeypatch.setattr(posix_ipc, "MessageQueue", limited)
        with pytest.raises(ResourceError, match=f"8 needed, {nth - 1} made.*RLIMIT_MSGQUEUE"), Rig(8, ipi="mqueue"):
            pass
        assert leftovers() == before


class TestLimits:
    def test_descriptors(self) -> None:
        found = boot_within({"RLIMIT_NOFILE": [64, 64]}, 16)
        refused(found, "RLIMIT_NOFILE = 64", "file descriptors: 96 needed for 16 CPUs")

    def test_a_soft_limit_is_raised(self) -> None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        assert boot_within({"RLIMIT_NOFILE": [64, hard]}, 16) == {"booted": 16, "kick": 15}

    def test_processes(self) -> None:
        found = boot_within({"RLIMIT_NPROC": [10, 10]}, 16)
        refused(found, "RLIMIT_NPROC = 10", "16 CPUs")

    def test_address_space(self) -> None:
        found = boot_within({"RLIMIT_AS": [8 << 30, 8 << 30]}, 4)
        refused(found, "ulimit -v")

    def test_queue_bytes(self) -> None:
        found = boot_within({"RLIMIT_MSGQUEUE": [2000, 2000]}, 16, "mqueue")
        refused(found, "RLIMIT_MSGQUEUE = 2000", "16 needed")

    @needs_root
    def test_processes_in_the_middle(self) -> None:
        """Some forks succeed: all are undone."""
        done = run_program("tests.faults.programs:run_out_of_processes", 32, 24)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["error"] == "ResourceError", found
        assert "32 CPUs needed" in found["text"]
        assert "RLIMIT_NPROC = 40" in found["text"]
        assert found["same"], found

    @needs_root
    @pytest.mark.parametrize("ipi", ["signal", "mqueue", "cluster", "doorbell"])
    def test_nobody_special_may_run_it(self, ipi: str) -> None:
        done = run_program("tests.faults.programs:as_nobody", 6, ipi)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"kick": 5, "boost": False}

    @pytest.mark.parametrize("limit", [1 << 20, 16 << 20, 17 << 20])
    def test_segment(self, limit: int) -> None:
        before = leftovers()
        with pytest.raises(ResourceError, match=r"--max-segment \d+ MiB"), Rig(8, max_segment=limit):
            pass
        assert leftovers() == before


class TestNth:
    """The nth call of a kind fails, n = 1, 2, ...: a clean error, and all that was made is undone."""

    @pytest.mark.parametrize("nth", [1, 2, 5])
    @pytest.mark.parametrize(("where", "name"), [(os, "pidfd_open"), (os, "pipe"), (os, "ftruncate")])
    def test_system_calls(self, where: Any, name: str, nth: int, monkeypatch: pytest.MonkeyPatch) -> None:
        real = getattr(where, name)
        calls = []

        def failing(*args: Any) -> Any:
            calls.append(args)
            if len(calls) == nth:
                raise OSError(24, "Too many open files")
            return real(*args)

        before = leftovers()
        monkeypatch.setattr(where, name, failing)
        failed = True
        with contextlib.suppress(EmuError, OSError):
            with Rig(6):
                pass
            failed = False
        monkeypatch.undo()
        assert not failed or len(calls) == nth
        assert leftovers() == before
        with Rig(2) as rig:
            assert rig.kick_all_cpus_sync() == 1

    def test_no_thread_for_the_supervisor(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import threading

        def failing(self: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        before = leftovers()
        monkeypatch.setattr(threading.Thread, "start", failing)
        with pytest.raises((RuntimeError, ResourceError)), Machine(4, max_segment=256 << 20):
            pass
        monkeypatch.undo()
        assert leftovers() == before


class TestRefused:
    @pytest.mark.parametrize("options", [{"cpus": 0}, {"cpus": 1025}, {"cpus": 2, "nodes": 3}, {"cpus": 2, "nodes": 0}])
    def test_counts(self, options: dict[str, int]) -> None:
        before = leftovers()
        with pytest.raises(UsageError, match="nodes <= cpus <= 1024"), Rig(**options):
            pass
        assert leftovers() == before

    def test_a_second_machine_while_one_runs(self) -> None:
        """Refused, and the first is not hurt."""
        with Rig(3) as rig:
            with pytest.raises(EmuError), Rig(2):
                pass
            assert rig.kick_all_cpus_sync() == 2
            assert rig.call("nothing", on=2) == 0

    def test_a_machine_entered_twice(self) -> None:
        with Rig(3) as rig:
            with pytest.raises(EmuError):
                rig.__enter__()
            assert rig.kick_all_cpus_sync() == 2

    def test_used_outside_of_its_block(self) -> None:
        rig = Rig(2)
        with pytest.raises(UsageError, match="with"):
            rig.call(0)
        with rig:
            pass
        with pytest.raises(UsageError, match="with"):
            rig.kick_all_cpus_sync()

    def test_boot_in_another_thread(self) -> None:
        """CPUs would die with that thread."""
        import threading

        errors: list[BaseException] = []

        def boot() -> None:
            try:
                with Machine(2, max_segment=256 << 20):
                    pass
            except EmuError as error:
                errors.append(error)

        thread = threading.Thread(target=boot)
        thread.start()
        thread.join()
        assert isinstance(errors[0], UsageError)

    def test_boost_without_the_capability(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from emu import machine

        monkeypatch.setattr(machine, "boost_possible", lambda: False)
        with pytest.raises(NotSupportedError, match="CAP_SYS_NICE"), Rig(2, boost="on"):
            pass
