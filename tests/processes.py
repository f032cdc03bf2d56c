"""Processes of tests: what a machine could leave behind, and programs and commands that run on their own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipc import memory

ROOT = Path(__file__).resolve().parent.parent
SLACK = float(os.environ.get("EMU_TEST_SLACK", "1"))

# --- nothing is left behind ---------------------------------------------------------------------


def children(pid: int | str = "self") -> set[int]:
    """Child processes of all threads of a process, zombies included."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found |= {int(child) for child in (task / "children").read_text().split()}
    return found


def leftovers() -> dict[str, Any]:
    """What a machine could leave behind: children, descriptors, threads, names in /dev/shm."""
    descriptors = {}
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            descriptors[int(entry.name)] = str(entry.readlink())
    return {
        "children": children(),
        "descriptors": {number: name for number, name in descriptors.items() if not name.startswith("/proc/")},
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "shm": sorted(path.name for path in Path("/dev/shm").glob("emu-*")),
        "segment": memory.descriptor(),
    }


def queue_names() -> list[str]:
    """Names of all message queues of this host; skips the test where they cannot be listed."""
    if Path("/dev/mqueue").is_mount():
        return sorted(path.name for path in Path("/dev/mqueue").iterdir())
    script = 'd=$(mktemp -d) && mount -t mqueue none "$d" && ls "$d"; r=$?; umount "$d"; rmdir "$d"; exit $r'
    listed = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("message queues cannot be listed: /dev/mqueue is not mounted and may not be")
    return sorted(listed.stdout.split())


# --- programs in processes of their own ---------------------------------------------------------


def program(name: str, *args: object) -> list[str]:
    """Command line of a Python function `module:function` that gets args as text."""
    module, _, function = name.partition(":")
    code = f"import sys; from {module} import {function} as f; sys.exit(f(*sys.argv[1:]))"
    return [sys.executable, "-c", code, *map(str, args)]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def run_command(command: list[str], seconds: float, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in at most so many seconds; its output is text."""
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=seconds * SLACK,
        check=False,
        **options,
    )


def run_workload(name: str, *args: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """`emu run NAME ARGS...` in a process of its own: a run owns the signals of its process."""
    return run_command([sys.executable, "-m", "emu", "run", name, *args], seconds)


def run_program(name: str, *args: object, seconds: float = 30.0, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a function in a process of its own."""
    return run_command(program(name, *args), seconds, **options)


@contextlib.contextmanager
def running_program(name: str, *args: object) -> Iterator[subprocess.Popen[str]]:
    """A function running in a process of its own, its output in a pipe; killed on exit if it is still there."""
    process = subprocess.Popen(
        program(name, *args),
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def alive(pid: int) -> bool:
    """Whether a process is there. A zombie of ours is; an orphan that is one waits for the host's init alone."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return False
    return state != "Z" or int(parent) == os.getpid()


def gone(pids: set[int] | list[int], seconds: float) -> set[int]:
    """Wait until none of the processes is left; those that are."""
    deadline = time.monotonic() + seconds * SLACK
    while True:
        left = {pid for pid in pids if alive(pid)}
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.002)
