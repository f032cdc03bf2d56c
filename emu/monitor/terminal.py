"""The terminal: taken over for the monitor and given back, whatever happens.

Three ways out, each of which must leave it as it was: an exception or a signal (a finally clause), Ctrl-Z (given back
for as long as we are stopped), and death without a chance, by SIGKILL or a fault (a second process holds the other end
of a pipe and restores the terminal when it closes). Considered and not done: only atexit and finally, as curses
programs do: then every fault costs the user a `reset`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

LEAVE = b"\x1b[?1049l\x1b[?25h\x1b[0m"  # main screen, cursor, no attributes
KEYS = {
    "\t": "tab", "\r": "enter", "\n": "enter", "\x7f": "backspace", "\b": "backspace", "\x1b[Z": "backtab",
    "\x1b[A": "up", "\x1b[B": "down", "\x1bOA": "up", "\x1bOB": "down", "\x1b[5~": "pgup", "\x1b[6~": "pgdn",
    "\x1b[H": "home", "\x1b[F": "end", "\x1b[1~": "home", "\x1b[4~": "end", "\x1bOH": "home", "\x1bOF": "end",
}  # fmt: skip
LONGEST_SEQUENCE = 6


class Terminal:
    """A terminal for keys (`keys`) and drawing (`screen`), both descriptors. Use as a context manager, main thread."""

    def __init__(self, keys: int, screen: int) -> None:
        self.keys = keys
        self.screen = screen
        self.stopped_by = 0  # the signal that asks to end
        self.resized = False
        self._saved: list[Any] = []
        self._before: dict[int, Any] = {}
        self._wake = (-1, -1)
        self._guard = (-1, 0)
        self._suspend = False

    def __enter__(self) -> Terminal:
        self._saved = termios.tcgetattr(self.keys)
        self._guard = start_guard(self.keys, self.screen, self._saved)
        self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._wake[1], warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            # What is ignored stays so: Ctrl-C under `emu run --live` is the run's.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._stop)
        self._before[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, self._resize)
        self._before[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._ask_to_suspend)
        self.take()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.give_back()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        for descriptor in self._wake:
            os.close(descriptor)
        pipe, pid = self._guard
        with contextlib.suppress(OSError):
            os.write(pipe, b"q")
        os.close(pipe)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)

    def take(self) -> None:
        """No echo, keys one by one; Ctrl-C and Ctrl-Z stay signals."""
        mode = termios.tcgetattr(self.keys)
        mode[3] &= ~(termios.ICANON | termios.ECHO)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 0, 0
        termios.tcsetattr(self.keys, termios.TCSADRAIN, mode)

    def give_back(self) -> None:
        """As it was. A terminal that is gone needs nothing."""
        with contextlib.suppress(termios.error, OSError):
            termios.tcsetattr(self.keys, termios.TCSADRAIN, self._saved)

    def size(self) -> tuple[int, int]:
        """Columns and lines; 80 x 24 where the terminal does not know."""
        try:
            columns, lines = os.get_terminal_size(self.screen)
        except OSError:
            return 80, 24
        return (columns or 80), (lines or 24)

    def wait(self, until: float) -> list[str]:
        """Keys, as soon as there are some; none when it is `until` (monotonic), or a signal has come."""
        timeout = max(0.0, until - time.monotonic())
        ready, _, _ = select.select([self.keys, self._wake[0]], [], [], timeout)
        if self._wake[0] in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake[0], 512)
        if self.keys not in ready:
            return []
        try:
            data = os.read(self.keys, 512)
        except OSError:
            data = b""
        if not data:
            self.stopped_by = self.stopped_by or signal.SIGHUP  # the terminal is gone
            return []
        return list(split_keys(data.decode("utf-8", "ignore")))

    @property
    def suspend_wanted(self) -> bool:
        """Whether Ctrl-Z was pressed: leave the screen, call suspend(), draw anew."""
        return self._suspend

    def suspend(self) -> None:
        """Stop this process as Ctrl-Z does; returns when it is continued."""
        self._suspend = False
        self.give_back()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._ask_to_suspend)
        self.take()

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self.stopped_by = number

    def _resize(self, _number: int, _frame: FrameType | None) -> None:
        self.resized = True

    def _ask_to_suspend(self, _number: int, _frame: FrameType | None) -> None:
        self._suspend = True


def start_guard(keys: int, screen: int, saved: list[Any]) -> tuple[int, int]:
    """Fork the process that restores the terminal if we die without doing so: (our end of the pipe, its number)."""
    read, write = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        os.close(read)
        return write, pid
    try:
        os.close(write)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTOU):
            signal.signal(number, signal.SIG_IGN)
        if os.read(read, 1) == b"":
            os.write(screen, LEAVE)
            termios.tcsetattr(keys, termios.TCSANOW, saved)
    finally:
        os._exit(0)


def split_keys(text: str) -> Iterator[str]:
    """Characters and the names of special keys; what is no key of ours is left out."""
    at = 0
    while at < len(text):
        for length in range(min(LONGEST_SEQUENCE, len(text) - at), 0, -1):
            part = text[at : at + length]
            if part in KEYS:
                yield KEYS[part]
                at += length
                break
        else:
            rest = text[at:]
            if rest[0] == "\x1b" and len(rest) > 1 and rest[1] in "[O":
                # A sequence that we do not know ends with a letter or ~.
                end = next((i for i, c in enumerate(rest[2:], 3) if c.isalpha() or c == "~"), len(rest))
                at += end
                continue
            if rest[0] == "\x1b":
                yield "esc"
            elif rest[0].isprintable():
                yield rest[0]
            at += 1
