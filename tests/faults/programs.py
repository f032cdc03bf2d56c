"""Programs that tests run in processes of their own: they own their signals, limits and death."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import time
from typing import Any

from emu.errors import EmuError
from emu.machine import Machine
from tests.processes import leftovers

SMALL = {"memory": 16 << 20, "max_segment": 256 << 20}


def say(**values: Any) -> None:
    """One line of JSON on stdout."""
    sys.stdout.write(json.dumps(values, default=repr) + "\n")
    sys.stdout.flush()


def boot_and_wait(cpus: str, ipi: str, gate: str = "off") -> int:
    """Boot, say the CPUs' pids, and wait until stdin is closed."""
    with Machine(int(cpus), ipi=ipi, gate=gate, **SMALL) as m:
        say(pids=m.coordinator.pids)
        sys.stdin.read()
    say(left=len(leftovers()["children"]))
    return 0


def storm_for_ever(cpus: str, ipi: str, gate: str) -> int:
    """Boot, say the CPUs' pids, and have all CPUs call each other until killed."""
    with Machine(int(cpus), ipi=ipi, gate=gate, **SMALL) as m:
        say(pids=m.coordinator.pids)
        while True:
            m.call_on_all("call_many", 50, 1, 0)


def boot_again_and_again(cpus: str, ipi: str) -> int:
    """Boot machines until killed: for kills in the middle of boot and of shut-down."""
    say(pids=[])
    while True:
        with Machine(int(cpus), ipi=ipi, **SMALL):
            pass


AGAIN = 3.0  # seconds; longer than any shut-down


def interrupted_at_random(seed: str, times: str, ipi: str, within_ms: str) -> int:
    """Boot and storm, and be interrupted as by Ctrl-C after a random time: what is left behind each time."""
    draw = random.Random(int(seed))
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    before = leftovers()
    for number in range(int(times)):
        after = draw.uniform(0.0002, int(within_ms) / 1000)
        try:
            # Again after a while: Python drops what is raised in its own hooks around a fork.
            signal.setitimer(signal.ITIMER_REAL, after, AGAIN)
            with Machine(8, ipi=ipi, **SMALL) as m:
                while True:
                    m.call_on_all("call_many", 20, 1, 0)
        except KeyboardInterrupt:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if leftovers() != before:
            say(number=number, after=after, before=before, left=leftovers())
            return 1
    say(number=int(times))
    return 0


def interrupted_storms(times: str, ipi: str, gate: str) -> int:
    """Storms of 8 CPUs that are interrupted: how many CPUs did not end by themselves, and were killed."""
    draw = random.Random(5)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    killed = 0
    for _ in range(int(times)):
        with contextlib.suppress(KeyboardInterrupt), Machine(8, ipi=ipi, gate=gate, **SMALL) as m:
            coordinator = m.coordinator
            signal.setitimer(signal.ITIMER_REAL, draw.uniform(0.005, 0.02))
            while True:
                m.call_on_all("call_many", 20, 1, 0)
        killed += coordinator.killed
    say(killed=killed)
    return 0


def interrupted_by_terminal(cpus: str) -> int:
    """A run as Ctrl-C in a terminal meets it: SIGINT to the whole group."""
    before = leftovers()
    try:
        with Machine(int(cpus), **SMALL) as m:
            say(pids=m.coordinator.pids)
            while True:
                m.call_on_all("call_many", 20, 1, 0)
    except KeyboardInterrupt:
        left = leftovers()
        say(same=left == before, left=left)
        return 130


def boot_within(limits: str, cpus: str, ipi: str) -> int:
    """Boot under resource limits {"RLIMIT_X": [soft, hard]}: the error, its exit code, what is left behind."""
    import resource

    for name, values in json.loads(limits).items():
        resource.setrlimit(getattr(resource, name), tuple(values))
    before = leftovers()
    try:
        with Machine(int(cpus), ipi=ipi, **SMALL) as m:
            say(booted=m.cpus, kick=m.kick_all_cpus_sync())
    except EmuError as error:
        say(error=type(error).__name__, text=str(error), code=error.exit_code, same=leftovers() == before)
    return 0


def run_out_of_processes(cpus: str, others: str) -> int:
    """As a user who has processes already: the limit lets a part of the forks succeed."""
    import ctypes
    import resource

    import posix_ipc  # noqa: F401 - while its files can be read

    before = leftovers()
    os.setgid(65534)
    os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE, or /proc/self is not ours any more
    sleepers = []
    for _ in range(int(others)):
        pid = os.fork()
        if pid == 0:
            signal.pause()
            os._exit(0)
        sleepers.append(pid)
    limit = int(cpus) + 8
    resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))
    try:
        with Machine(int(cpus), **SMALL):
            say(booted=int(cpus))
    except EmuError as error:
        for pid in sleepers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        say(error=type(error).__name__, text=str(error), same=leftovers() == before, left=leftovers(), before=before)
    return 0


def as_nobody(cpus: str, ipi: str) -> int:
    """As an unprivileged user: boot, kick, leave."""
    import posix_ipc  # noqa: F401

    os.setgid(65534)
    os.setuid(65534)
    with Machine(int(cpus), ipi=ipi, **SMALL) as m:
        say(kick=m.kick_all_cpus_sync(), boost=m.coordinator.plan.boosted)
    return 0


def end_with_a_machine(how: str) -> int:
    """End the process with a machine still up."""
    machine = Machine(4, **SMALL)
    machine.__enter__()
    say(pids=machine.coordinator.pids)
    if how == "exit":
        sys.exit(3)
    if how == "_exit":
        os._exit(3)
    if how == "exception":
        raise ZeroDivisionError
    time.sleep(60)
    return 0
