"""Machines to watch, and terminals to watch them on."""

import os
import sys
import termios
import time

import pexpect
import pyte
import pytest

from emu import machines
from emu.live_memory import LiveMemory
from emu.monitor.reading import look
from emu.monitor.view import View
from tests.machines import Rig
from tests.processes import ROOT, SLACK


class Screen:
    """A program in a pseudo-terminal, and what its user sees."""

    def __init__(self, *args, size=(80, 24), env=None, command=None):
        columns, lines = size
        self.child = pexpect.spawn(
            command or sys.executable,
            list(args) if command else ["-m", "emu", *map(str, args)],
            dimensions=(lines, columns),
            env=os.environ | {"TERM": "xterm-256color", "LANG": "C.UTF-8"} | (env or {}),
            cwd=str(ROOT),
        )
        self.screen = pyte.Screen(columns, lines)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.restored = False  # once it has ended: the terminal's modes are as before
        self.before = termios.tcgetattr(self.child.child_fd)

    def read(self, seconds=0.05):
        """Take what has come; False at the end."""
        try:
            data = self.child.read_nonblocking(1 << 16, timeout=seconds)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.raw += data
        self.stream.feed(data)
        return True

    def until(self, done, seconds=20.0):
        """Wait until done(text of the screen)."""
        deadline = time.monotonic() + seconds * SLACK
        while not done(self.text()):
            assert time.monotonic() < deadline, f"it does not come:\n{self.text()}"
            assert self.read(), f"the program has ended:\n{self.text()}"

    def sees(self, text, seconds=20.0):
        self.until(lambda shown: text in shown, seconds)

    def press(self, keys):
        self.child.send(keys)

    def text(self):
        return "\n".join(line.rstrip() for line in self.screen.display)

    def foot(self):
        return self.screen.display[-1]

    def resize(self, columns, lines):
        self.screen.resize(lines, columns)
        self.child.setwinsize(lines, columns)

    def end(self, seconds=20.0):
        """Wait for the end; the exit code, or minus the signal."""
        deadline = time.monotonic() + seconds * SLACK
        while self.read():
            assert time.monotonic() < deadline, f"it does not end:\n{self.text()}"
        self.restored = termios.tcgetattr(self.child.child_fd) == self.before
        self.child.close()
        return self.child.exitstatus if self.child.signalstatus is None else -self.child.signalstatus

    def is_sane(self):
        """Whether the alternate screen was left and the cursor shown, after everything else that was drawn."""
        left, shown = self.raw.rfind(b"\x1b[?1049l"), self.raw.rfind(b"\x1b[?25h")
        return left > self.raw.rfind(b"\x1b[?1049h") and shown > self.raw.rfind(b"\x1b[?25l")


@pytest.fixture
def screen():
    """Start `emu ARGS` on a screen; all that are still there at the end are killed."""
    started = []

    def start(*args, **options):
        started.append(Screen(*args, **options))
        return started[-1]

    yield start
    for each in started:
        each.child.close(force=True)


class Watched:
    """A machine in this process, and a view of it as the monitor has one."""

    def __init__(self, rig):
        self.rig = rig
        self.machine = machines.find(str(os.getpid()))
        descriptor = machines.open_segment(self.machine)
        self.memory = LiveMemory(descriptor)
        os.close(descriptor)
        self.view = View(self.machine)
        self.reading = None

    def frame(self, width=80, height=24, keys=()):
        """Press keys, look, and draw: the lines as text."""
        for key in keys:
            self.view.press(key)
        self.reading = look(self.memory, self.reading)
        self.view.tick(self.reading, width, height)
        lines = self.view.frame(width, height)
        assert len(lines) == height
        assert {sum(len(part) for part, _ in line) for line in lines} <= {width}
        return ["".join(part for part, _ in line).rstrip() for line in lines]

    def pane(self, number, **options):
        return self.frame(keys=[str(number)], **options)

    def body(self, number, **options):
        return "\n".join(self.pane(number, **options)[3:-1])


@pytest.fixture
def watched():
    """Watch a Rig's machine."""
    return Watched


@pytest.fixture
def rig():
    """A machine of four CPUs, quiet."""
    with Rig(4, name="rig-four") as machine:
        yield machine
