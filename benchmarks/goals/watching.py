"""The monitor in a pseudo-terminal, and its cost: the difference of two runs of it, so that its start is not in it."""

from __future__ import annotations

import contextlib
import os
import pty
import resource
import select
import subprocess
import sys
import termios
import time
import tty
from typing import Any

WARM_UP = 3.0  # seconds; past its start and the first looks
PAUSE = 0.02  # between two broadcasts of the machine, so that there is something to see


def used() -> float:
    """CPU seconds of all children that were waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def watched_for(machine: Any, columns: int, lines: int, seconds: float) -> tuple[float, float]:
    """Watch a machine on a terminal of that size: (CPU seconds of the monitor, seconds it was there)."""
    ours, theirs = pty.openpty()
    tty.setraw(ours)
    termios.tcsetwinsize(ours, (lines, columns))
    before, begun = used(), time.monotonic()
    monitor = subprocess.Popen(
        [sys.executable, "-m", "emu", "monitor", str(os.getpid())],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=os.environ | {"TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(theirs)
    drawn = 0
    while time.monotonic() < begun + seconds and monitor.poll() is None:
        if select.select([ours], [], [], PAUSE)[0]:
            drawn += len(os.read(ours, 1 << 16))
        machine.kick_all_cpus_sync(on=0)
    os.write(ours, b"q")
    # What it still draws must be taken, or it could not end; the last read of all fails.
    with contextlib.suppress(OSError):
        while os.read(ours, 1 << 16):
            pass
    monitor.wait()
    ended = time.monotonic()
    os.close(ours)
    assert monitor.stderr is not None
    if monitor.returncode or not drawn:
        raise RuntimeError(f"emu monitor ended with {monitor.returncode}: {monitor.stderr.read().decode()}")
    monitor.stderr.close()
    return used() - before, ended - begun


def cost(machine: Any, columns: int, lines: int, seconds: float) -> float:
    """Share of one core that a monitor takes once it is up."""
    short_cpu, short = watched_for(machine, columns, lines, WARM_UP)
    long_cpu, long = watched_for(machine, columns, lines, WARM_UP + seconds)
    return (long_cpu - short_cpu) / (long - short)
