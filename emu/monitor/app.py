"""The loop: look, draw, wait for a key or the next look. One machine, or those of one process one after another."""

from __future__ import annotations

import os
import select
import sys
import time
from typing import TextIO

from rich.console import Console
from rich.live import Live

from emu import machines
from emu.errors import DiedError, Interrupted, ResourceError
from emu.live_memory import LiveMemory
from emu.monitor.reading import Reading, look
from emu.monitor.screen import Frame, ascii_only
from emu.monitor.terminal import Terminal
from emu.monitor.view import PANES, View
from emu.raw_memory import DamagedError

FIRST_LOOK = 0.25  # seconds between the two looks of --once: rates need two


class Watched:
    """A machine that is being watched: its memory, and a handle of its process that no other process can get."""

    def __init__(self, machine: machines.Running) -> None:
        self.machine = machine
        try:
            self._pidfd = os.pidfd_open(machine.pid)
        except ProcessLookupError:
            raise ResourceError(f"machine {machine.title()} is gone") from None
        try:
            descriptor = machines.open_segment(machine)
            try:
                self.memory = LiveMemory(descriptor)
            finally:
                os.close(descriptor)
        except DamagedError as error:
            os.close(self._pidfd)
            raise ResourceError(f"machine {machine.title()}: {error}") from None
        except BaseException:
            os.close(self._pidfd)
            raise
        self.reading: Reading | None = None

    def look(self) -> Reading:
        """A new reading. DiedError if the memory is damaged beyond reading."""
        try:
            self.reading = look(self.memory, self.reading)
        except DamagedError as error:
            raise DiedError(f"machine {self.machine.title()}: {error}") from None
        return self.reading

    def process_is_gone(self) -> bool:
        """Whether the coordinator's process has ended."""
        return bool(select.select([self._pidfd], [], [], 0)[0])

    def ended(self) -> bool:
        """Whether the machine has been taken down. A header that is damaged says nothing; look() tells of it."""
        try:
            self.memory.refresh()
        except DamagedError:
            return False
        return bool(self.memory.header["shutting_down"])

    def close(self) -> None:
        """Give up the memory."""
        self.reading = None
        self.memory.close()
        os.close(self._pidfd)


def once(machine: machines.Running, pane: int, width: int, height: int, out: TextIO, plain_ascii: bool) -> None:
    """Print one frame."""
    watched = Watched(machine)
    try:
        console = Console(file=out, width=width, height=height, legacy_windows=False)
        view = View(machine, plain_ascii or ascii_only(console))
        view.state.pane = pane
        view.tick(watched.look(), width, height)
        time.sleep(FIRST_LOOK)
        view.tick(watched.look(), width, height)
        lines = view.frame(width, height)[:-1]
        while lines and not "".join(part for part, _ in lines[-1]).strip():
            lines.pop()
        if console.is_terminal and not console.is_dumb_terminal:
            console.print(Frame(lines), soft_wrap=True)
        else:
            out.writelines("".join(part for part, _ in line).rstrip() + "\n" for line in lines)
    finally:
        watched.close()


class App:
    """The monitor on a terminal: `keys` and `screen` are descriptors, `out` a file on the screen."""

    def __init__(
        self, machine: machines.Running, *, interval: float, out: TextIO, keys: int, pane: int = 0, plain: bool = False
    ) -> None:
        self.interval = interval
        self.terminal = Terminal(keys, out.fileno())
        self.console = Console(file=out, force_terminal=True, legacy_windows=False)
        self.view = View(machine, plain or ascii_only(self.console))
        self.view.state.pane = pane
        self.watched: Watched | None = None
        if machine.descriptor >= 0:
            self.watched = Watched(machine)
        else:
            self.view.state.message = f"waiting for a machine of pid {machine.pid} (q quits)"

    def run(self) -> str:
        """Until q, or the process ends; then what is to be said of that. Raises Interrupted and DiedError."""
        with self.terminal:
            try:
                with self._live() as live:
                    return self._loop(live)
            finally:
                if self.watched is not None:
                    self.watched.close()

    def _live(self) -> Live:
        self.console.size = self.terminal.size()
        return Live(console=self.console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)

    def _loop(self, live: Live) -> str:
        due = time.monotonic()
        while True:
            said = self._look_if_due(due)
            if said is not None:
                return said
            if time.monotonic() >= due:
                due = max(due + self.interval, time.monotonic())
            self._draw(live)
            for key in self.terminal.wait(due):
                self.view.press(key)
            if self.terminal.stopped_by:
                raise Interrupted(self.terminal.stopped_by)
            if self.view.state.quit:
                return ""
            if self.terminal.suspend_wanted:
                live.stop()
                self.terminal.suspend()
                live.start()
                due = time.monotonic()

    def _look_if_due(self, due: float) -> str | None:
        """A new look, if it is time; a text if the end has come."""
        if time.monotonic() < due:
            return None
        if self.watched is None:
            return self._find_next()
        machine = self.watched.machine
        if self.watched.process_is_gone():
            if self.watched.ended():
                return f"machine {machine.title()} has ended"
            raise DiedError(f"machine {machine.title()}: its coordinator died")
        if self.watched.ended():
            self.watched.close()
            self.watched = None
            self.view.state.message = f"this machine has ended; waiting for the next one of pid {machine.pid} (q quits)"
            return None
        if not self.view.state.paused:
            width, height = self.terminal.size()
            self.view.tick(self.watched.look(), width, height)
        return None

    def _find_next(self) -> str | None:
        """Between two machines of one process."""
        machine = self.view.machine
        if not os.path.exists(f"/proc/{machine.pid}"):  # noqa: PTH110
            return f"machine {machine.title()} has ended"
        for found, _ in machines.machines_of(machine.pid):
            try:
                self.watched = Watched(found)
            except ResourceError:
                return None  # ended already
            self.view.machine = found
            self.view.state.message = ""
        return None

    def _draw(self, live: Live) -> None:
        width, height = self.terminal.size()
        if self.terminal.resized or self.view.state.redraw or self.console.size != (width, height):
            self.terminal.resized = self.view.state.redraw = False
            self.console.size = (width, height)
            self.console.clear()
        live.update(Frame(self.view.frame(width, height)), refresh=True)


def pane_number(name: str) -> int:
    """The number of a pane by its name; ValueError for none."""
    return [kind.name.lower() for kind in PANES].index(name.lower())


def tty() -> bool:
    """Whether this process can draw and read keys."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout is not None and sys.stdout.isatty()
