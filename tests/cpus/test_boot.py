"""CPU processes: born, named, tied to their coordinator, told apart from its terminal; Python bodies on them."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from cpus import boot, status
from emu.coordinator import boost_possible
from emu.errors import UsageError
from emu.machine import WorkloadError
from tests.machines import TRANSPORTS, Rig, Words
from tests.processes import gone, leftovers


def status_line(pid: int, name: str) -> str:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return line.partition(":")[2].strip()
    raise KeyError(name)


class TestProcesses:
    def test_names_and_groups(self) -> None:
        with Rig(5) as rig:
            assert len(set(rig.pids)) == 5
            for cpu, pid in enumerate(rig.pids):
                assert Path(f"/proc/{pid}/comm").read_text().strip() == f"emu/cpu{cpu}"
                assert os.getpgid(pid) == pid != os.getpgid(0)
                assert int(status_line(pid, "PPid")) == os.getpid()
                assert status.status(cpu)["pid"] == pid

    def test_the_terminals_signals_are_ignored(self) -> None:
        with Rig(2) as rig:
            ignored = int(status_line(rig.pids[1], "SigIgn"), 16)
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTSTP):
                assert ignored >> number - 1 & 1
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTSTP):
                os.kill(rig.pids[1], number)
            assert rig.kick_all_cpus_sync() == 1
            assert rig.coordinator.deaths == []

    def test_one_thread_each(self) -> None:
        with Rig(3) as rig:
            assert [status_line(pid, "Threads") for pid in rig.pids] == ["1", "1", "1"]

    @pytest.mark.parametrize(("boost", "policy"), [("off", os.SCHED_BATCH), ("on", os.SCHED_OTHER)])
    def test_a_woken_cpu_does_not_preempt_its_waker(self, boost: str, policy: int) -> None:
        if boost == "on" and not boost_possible():
            pytest.skip("boosting needs CAP_SYS_NICE")
        with Rig(3, gate="off", boost=boost) as rig:
            assert rig.kick_all_cpus_sync() == 2
            assert [os.sched_getscheduler(pid) for pid in rig.pids] == [policy] * 3

    def test_idle_cpus_use_no_time(self) -> None:
        """No polling: an idle CPU is not switched to."""
        with Rig(4) as rig:
            rig.settle()

            def switches() -> list[int]:
                return [int(status_line(pid, "voluntary_ctxt_switches")) for pid in rig.pids]

            rig.comes(lambda: False, 0.02)  # its last tick runs out
            before = switches()
            rig.comes(lambda: False, 0.3)
            assert all(after - was <= 2 for was, after in zip(before, switches(), strict=True))

    @pytest.mark.parametrize("cpus", [1, 2, 3, 63, 64, 65, 200])
    def test_all_come_up(self, cpus: int) -> None:
        with Rig(cpus) as rig:
            assert boot.ready() == cpus
            assert status.header()["online"] == list(range(cpus))
            assert rig.kick_all_cpus_sync() == cpus - 1

    @pytest.mark.slow
    def test_a_thousand(self) -> None:
        with Rig(1024, gate="on", max_segment=2 << 30, limit=100) as rig:
            assert rig.kick_all_cpus_sync(on="coordinator") == 1024
            assert rig.call("nothing", on=1023) == 0

    @pytest.mark.parametrize("ipi", TRANSPORTS)
    def test_one_machine_after_another(self, ipi: str) -> None:
        before = leftovers()
        for cpus in (2, 5, 1, 3, 8, 2):
            with Rig(cpus, ipi=ipi) as rig:
                pids = rig.pids
                assert rig.kick_all_cpus_sync() == cpus - 1
                assert sum(rig.interrupts()["CAL"]) == cpus - 1, "counts begin at 0"
            assert gone(pids, 0) == set()
            assert leftovers() == before

    @pytest.mark.slow
    def test_fifty_in_a_row_leave_nothing(self) -> None:
        before = leftovers()
        for number in range(50):
            with Rig(12, ipi=TRANSPORTS[number % 4]) as rig:
                rig.kick_all_cpus_sync()
        assert leftovers() == before

    def test_busy_cpus_end_too(self) -> None:
        """The end of the block does not wait for programs."""
        rig = Rig(4, judged=False)
        with rig:
            pids = rig.pids
            stop = Words(1)
            for cpu in range(4):
                rig.call("start_task", cpu, stop.address, 500, on="coordinator")
        assert gone(pids, 0) == set()

    def test_nodes_split_the_cpus(self) -> None:
        from tests.machines import field

        with Rig(8, nodes=2):
            from cpus import selftest

            assert [selftest.peek(field(cpu, "node")) for cpu in range(8)] == [0, 0, 0, 0, 1, 1, 1, 1]


# --- bodies: known before boot and inherited by fork ---------------------------------------------


def where_am_i(cpu: Any, **params: Any) -> list[Any]:
    return [cpu.id, os.getpid(), params]


def fail_on_two(cpu: Any) -> int:
    if cpu.id == 2:
        raise ZeroDivisionError("a body of mine")
    return int(cpu.id)


def compute_in_python(cpu: Any, word: int) -> int:
    """Sets its word, then computes until it has been interrupted ten times, never calling the machine."""
    from cpus import selftest

    taken = status.interrupts(cpu.id)["taken"]
    selftest.poke(word, 1)
    turns = 0
    while sum(status.interrupts(cpu.id)["taken"][:2]) < sum(taken[:2]) + 10:
        turns += 1
    return turns


def kick_others(cpu: Any, times: int) -> int:
    for _ in range(times):
        cpu.kick_all_cpus_sync()
    return times


def kick_or_keep_errno(cpu: Any, word: int) -> int:
    """CPU 0 interrupts the other until it says so: that one computes and returns the errno that it had set before."""
    from cpus import selftest

    if cpu.id == 0:
        while not selftest.peek(word):
            cpu.kick_all_cpus_sync()
        return 0
    location = ctypes.CDLL(None).__errno_location
    location.restype = ctypes.POINTER(ctypes.c_int)
    errno = location()
    taken = status.interrupts(cpu.id)["taken"]
    errno[0] = 77
    while sum(status.interrupts(cpu.id)["taken"][:2]) < sum(taken[:2]) + 100:
        pass
    found = int(errno[0])
    selftest.poke(word, 1)
    return found


def unserialisable(cpu: Any) -> object:
    return object()


def big_answer(cpu: Any, size: int) -> str:
    return "x" * size


def leave(cpu: Any) -> None:
    raise SystemExit(3)


def print_and_count(cpu: Any) -> int:
    return sum(range(100_000))


BODIES = [
    where_am_i,
    fail_on_two,
    compute_in_python,
    kick_others,
    unserialisable,
    big_answer,
    leave,
    print_and_count,
    kick_or_keep_errno,
]


class TestBodies:
    def test_run_where_they_are_told_with_what_they_are_given(self) -> None:
        with Rig(4, bodies=BODIES) as rig:
            found = rig.run(where_am_i, x=3, names=["a", "ü"], deep={"k": [1.5, None]})
            expected = {"x": 3, "names": ["a", "ü"], "deep": {"k": [1.5, None]}}
            assert found == [[cpu, rig.pids[cpu], expected] for cpu in range(4)]
            assert rig.run(where_am_i, on=2) == [[2, rig.pids[2], {}]]
            assert rig.run(where_am_i, on=[3, 1]) == [[3, rig.pids[3], {}], [1, rig.pids[1], {}]]
            assert rig.run(where_am_i, on=[]) == []

    def test_closures_are_inherited(self) -> None:
        secret = object()

        def closure(cpu: Any) -> int:
            return id(secret)

        with Rig(2, bodies=[closure]) as rig:
            assert rig.run(closure) == [id(secret)] * 2

    def test_again_and_again(self) -> None:
        with Rig(3, bodies=BODIES) as rig:
            for number in range(50):
                assert [answer[2] for answer in rig.run(where_am_i, n=number)] == [{"n": number}] * 3

    def test_by_name(self) -> None:
        with Rig(2) as rig:
            assert rig.run("tests.cpus.test_boot:print_and_count", on=1) == [4999950000]
            with pytest.raises(WorkloadError, match="no_such_thing"):
                rig.run("tests.cpus.test_boot:no_such_thing", on=1)

    def test_what_is_not_known_is_refused(self) -> None:
        with Rig(2, bodies=[where_am_i]) as rig, pytest.raises(UsageError, match="bodies="):
            rig.run(fail_on_two)

    def test_an_exception_arrives_with_its_traceback(self) -> None:
        with Rig(4, bodies=BODIES) as rig:
            with pytest.raises(WorkloadError) as caught:
                rig.run(fail_on_two)
            assert "body on CPU 2 raised" in str(caught.value)
            assert "ZeroDivisionError: a body of mine" in str(caught.value)
            assert "in fail_on_two" in str(caught.value)
            assert rig.run(fail_on_two, on=[0, 1, 3]) == [0, 1, 3]
            assert rig.run(where_am_i, on=2)[0][0] == 2, "the CPU lives on"

    @pytest.mark.parametrize("body", [leave, unserialisable])
    def test_a_body_cannot_take_its_cpu_with_it(self, body: Any) -> None:
        with Rig(2, bodies=BODIES) as rig:
            with pytest.raises(WorkloadError):
                rig.run(body, on=1)
            assert rig.run(where_am_i, on=1)[0][0] == 1

    @pytest.mark.parametrize("ipi", TRANSPORTS)
    def test_an_interrupt_leaves_errno_as_it_was(self, ipi: str) -> None:
        """With mqueue each drain of the queue ends in EAGAIN."""
        with Rig(2, ipi=ipi, bodies=BODIES) as rig:
            done = Words(1)
            assert rig.run(kick_or_keep_errno, word=done.address) == [0, 77]

    def test_large_parameters_and_answers(self) -> None:
        with Rig(2, bodies=BODIES) as rig:
            assert rig.run(big_answer, size=3_000_000) == ["x" * 3_000_000] * 2
            text = "y" * 1_000_000
            assert rig.run(where_am_i, on=0, text=text)[0][2] == {"text": text}

    def test_memory_of_parameters_and_answers_is_given_back(self) -> None:
        from ipc import memory

        with Rig(2, bodies=BODIES) as rig:
            rig.run(big_answer, size=1000)
            used = memory.usage()["heap_used"]
            for _ in range(20):
                rig.run(big_answer, size=1000)
            assert memory.usage()["heap_used"] == used

    def test_an_answer_that_does_not_fit(self) -> None:
        with Rig(2, bodies=BODIES, max_segment=64 << 20) as rig:
            with pytest.raises(WorkloadError, match="did not fit"):
                rig.run(big_answer, on=0, size=100 << 20)
            assert rig.run(where_am_i, on=0)[0][0] == 0

    @pytest.mark.parametrize("ipi", TRANSPORTS)
    def test_interrupts_are_served_while_python_computes(self, ipi: str) -> None:
        with Rig(3, ipi=ipi, bodies=BODIES) as rig:
            word = Words(1)
            index = rig._body_index(compute_in_python)
            assert boot.post_body(1, index, b'["",{"word":%d}]' % word.address)
            rig.wait_for(lambda: word[0], "the body to compute")
            for _ in range(10):
                assert rig.kick_all_cpus_sync() == 2
            rig.wait_for(lambda: boot.body_done(1), "the body to end")
            assert b'"ok"' in boot.take_reply(1)
            assert rig.interrupts()["CAL"][1] == 10

    def test_calls_are_served_while_python_computes(self) -> None:
        """Operations mailed to a CPU that runs a body are done on top of it."""
        with Rig(2, bodies=BODIES) as rig:
            word = Words(1)
            assert boot.post_body(1, rig._body_index(compute_in_python), b'["",{"word":%d}]' % word.address)
            rig.wait_for(lambda: word[0], "the body to compute")
            assert rig.call("nothing", on=1) == 0
            for _ in range(10):
                rig.kick_all_cpus_sync()
            rig.wait_for(lambda: boot.body_done(1), "the body to end")
            boot.take_reply(1)

    @pytest.mark.parametrize("gate", ["off", "on"])
    def test_bodies_that_call_each_other(self, gate: str) -> None:
        with Rig(6, gate=gate, bodies=BODIES) as rig:
            assert rig.run(kick_others, times=50) == [50] * 6
            assert rig.since_boot("kicks") == 300
            assert rig.requests()["run"] == 300 * 5

    def test_the_same_cpu_twice(self) -> None:
        with Rig(2, bodies=BODIES) as rig:
            with pytest.raises(UsageError, match=r"on=\[1, 0, 1\]: CPU 1 twice"):
                rig.run(where_am_i, on=[1, 0, 1], n=5)
            assert rig.run(where_am_i, on=1, n=5)[0][:2] == [1, rig.pids[1]]

    @pytest.mark.parametrize("on", [2, -2, "x", [0, 7]])
    def test_no_such_cpu(self, on: Any) -> None:
        with Rig(2, bodies=BODIES) as rig, pytest.raises(UsageError, match="on="):
            rig.run(where_am_i, on=on)


def test_boot_is_quick() -> None:
    """20 ms for 128 CPUs were measured for plain forks; ten times that and the host's mood."""
    best = 10.0
    for _ in range(3):
        begun = time.monotonic()
        with Rig(32) as rig:
            assert rig.coordinator.boot_seconds <= time.monotonic() - begun
            best = min(best, rig.coordinator.boot_seconds)
    assert best < 5
