"""How a run is stopped from outside: SIGINT, SIGTERM, SIGHUP.

The first signal is only recorded: a workload sees it in ctx.interrupted, ends its loop, and what it has so far is
printed. A workload that does not look is unwound by Interrupted one second later; so is everything at a second
signal. Considered and not done: raising at the first signal, as Python does for SIGINT, because partial results would
be lost; a signalfd read by the waits alone, because a workload's own Python loop would never see it.

While a machine is being taken down nothing is raised at all: its CPUs are ended by it in bounded time.
A signal that came between a system call and the store of its answer would lose a process or a descriptor, and Python
drops what is raised inside its own fork hooks: so the steps of boot and shut-down hold signals back (held_back()).
All handling of these signals is in this file; CPU processes ignore them (cpus/boot).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from emu.errors import Interrupted

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_SECONDS = 1.0


@contextmanager
def held_back() -> Iterator[None]:
    """No signal reaches Python code in the block; what came is raised at its end. For steps that take bounded time."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*STOPPING, signal.SIGALRM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class StopSignals:
    """Takes over the three signals within its `with` block, in the main thread."""

    def __init__(self) -> None:
        self.signum = 0  # the signal that stops the run, 0 if none has come
        self._shields = 0
        self._raised = False
        self._before: dict[int, Any] = {}
        self._timer = (0.0, 0.0)

    def __enter__(self) -> StopSignals:
        for signum in STOPPING:
            # Who started us with a signal ignored (nohup) wants it ignored.
            if signal.getsignal(signum) is not signal.SIG_IGN or signum == signal.SIGINT:
                self._before[signum] = signal.signal(signum, self._stop)
        self._timer = signal.setitimer(signal.ITIMER_REAL, 0)
        self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._grace_is_over)
        return self

    def __exit__(self, *exc: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before.clear()
        signal.setitimer(signal.ITIMER_REAL, *self._timer)

    def check(self) -> None:
        """Raise Interrupted if a signal has come: for points that can unwind."""
        if self.signum:
            raise Interrupted(self.signum)

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Signals are recorded and nothing is raised until the block is left."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1

    def _stop(self, signum: int, _frame: FrameType | None) -> None:
        again = self.signum != 0
        # SIGTERM and then Ctrl-C: the user at the keyboard is answered.
        self.signum = signum if not again or signum == signal.SIGINT else self.signum
        if again:
            self._unwind()
        else:
            signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS, 0.1)

    def _grace_is_over(self, _signum: int, _frame: FrameType | None) -> None:
        self._unwind()

    def _unwind(self) -> None:
        # Once: a second one would unwind the unwinding. The timer comes again if this is not the moment.
        if not self._raised and not self._shields:
            self._raised = True
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise Interrupted(self.signum)
