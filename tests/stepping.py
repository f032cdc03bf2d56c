"""Instructions of a piece of code, counted one by one: exact, the same on every host of the same build.

valgrind cannot run the machine (it lives where the segment has its fixed address), and a virtual host may count no
instructions; ptrace can step through anything. A few microseconds an instruction: for small pieces.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

import pytest

PTRACE_TRACEME, PTRACE_CONT, PTRACE_SINGLESTEP = 0, 7, 9
libc = ctypes.CDLL(None, use_errno=True)


def ptrace(request: int, pid: int) -> None:
    if libc.ptrace(request, pid, None, None) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def instructions(prepare: Callable[[], Callable[[], object]]) -> int:
    """prepare() runs in a child process and returns what is to be counted. Skips the test where ptrace is refused."""
    pid = os.fork()
    if pid == 0:
        try:
            piece = prepare()
            ptrace(PTRACE_TRACEME, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            piece()
            os.kill(os.getpid(), signal.SIGSTOP)
        except OSError:
            os._exit(77)
        finally:
            os._exit(0)
    try:
        return _count(pid)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _count(pid: int) -> int:
    _, status = os.waitpid(pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        pytest.skip("ptrace is refused here")
    steps = 0
    while True:
        ptrace(PTRACE_SINGLESTEP, pid)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            raise AssertionError("the counted code ended its process")
        if os.WSTOPSIG(status) == signal.SIGSTOP:
            return steps
        if os.WSTOPSIG(status) != signal.SIGTRAP:
            raise AssertionError(f"the counted code got signal {os.WSTOPSIG(status)}")
        steps += 1
