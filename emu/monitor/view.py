"""The frame: a head of three lines, one pane or several, a foot. Keys change what is shown; nothing here touches a
terminal, so tests press keys and read lines."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field

from emu.machines import Running
from emu.monitor.caches import Caches
from emu.monitor.cpus import Cpus
from emu.monitor.events import Events
from emu.monitor.ipis import Ipis
from emu.monitor.lines import Line, beside, count, fit, size, time
from emu.monitor.locks import Locks
from emu.monitor.memcgs import Memcgs
from emu.monitor.pane import Look, Pane
from emu.monitor.reading import CALLS, Reading

PANES: tuple[type[Pane], ...] = (Cpus, Locks, Caches, Ipis, Memcgs, Events)
WIDE, HIGH = 160, 40  # from here on two more panes stand beside the chosen one
HEAD, FOOT = 3, 1
KEYS = (
    ("q", "quit; the machine goes on"),
    ("p, space", "pause: the frame stays, the machine goes on"),
    ("s, S", "sort by the next column, the one before; of IPIs: another latency; of the CPUs' map: another figure"),
    ("/", "show rows with that text only; Enter keeps it, Esc drops it"),
    ("Tab, 1-6", "the next pane, the one with that number"),
    ("arrows, j k", "scroll; also PgUp, PgDn, Home"),
    ("?", "this help, and back"),
    ("r", "draw the screen anew"),
)
PAGE = 10
STEPS = {"down": 1, "j": 1, "up": -1, "k": -1, "pgdn": PAGE, "pgup": -PAGE, "home": -(1 << 30), "end": 1 << 30}
LONGEST_FILTER = 40


@dataclass
class State:
    """What keys change."""

    pane: int = 0
    paused: bool = False
    help: bool = False
    help_top: int = 0
    typing: bool = False
    quit: bool = False
    message: str = ""
    redraw: bool = False
    panes: list[Pane] = field(default_factory=lambda: [kind() for kind in PANES])


class View:
    """What is shown of a machine. tick() takes a new reading, frame() makes lines, press() takes a key."""

    def __init__(self, machine: Running, ascii_only: bool = False) -> None:
        self.machine = machine
        self.ascii_only = ascii_only
        self.state = State()
        self.head: list[Line] = [[], []]

    @property
    def pane(self) -> Pane:
        """The chosen pane."""
        return self.state.panes[self.state.pane]

    def shown(self, width: int, height: int) -> list[Pane]:
        """The panes of a frame of that size, the chosen one first."""
        number = 3 if width >= WIDE and height >= HIGH else 1
        return [self.state.panes[(self.state.pane + i) % len(PANES)] for i in range(number)]

    def tick(self, now: Reading, width: int, height: int) -> None:
        """Take what this frame needs from a reading."""
        self.head = heading(self.machine, now)
        for pane in self.shown(width, height):
            pane.refresh(now)

    def press(self, key: str) -> None:
        """A key: a character, or its name (tab, backtab, enter, esc, backspace, up, down, pgup, pgdn, home, end)."""
        state = self.state
        if state.typing:
            self._type(key)
        elif key in ("q", "Q"):
            state.quit = True
        elif key in ("?", "h", "esc"):
            state.help = not state.help and key != "esc"
            state.help_top = 0
        elif key in STEPS:
            self._scroll(STEPS[key])
        elif key in ("p", " "):
            state.paused = not state.paused
        elif key in ("tab", "backtab"):
            state.pane = (state.pane + (1 if key == "tab" else -1)) % len(PANES)
        elif key.isdecimal() and 1 <= int(key) <= len(PANES):
            state.pane = int(key) - 1
        elif key == "s":
            self.pane.next_sort()
        elif key == "S" and self.pane.sorts:
            self.pane.sort = (self.pane.sort - 1) % len(self.pane.sorts)
        elif key == "/":
            state.typing, state.help = True, False
        elif key == "r":
            state.redraw = True

    def _type(self, key: str) -> None:
        """A key while the filter is typed."""
        pane = self.pane
        if key in ("enter", "esc"):
            self.state.typing = False
            pane.filter = pane.filter if key == "enter" else ""
        elif key == "backspace":
            pane.filter = pane.filter[:-1]
        elif len(key) == 1 and key.isprintable() and key.isascii() and len(pane.filter) < LONGEST_FILTER:
            pane.filter += key
        pane.top = 0

    def _scroll(self, step: int) -> None:
        if self.state.help:
            self.state.help_top = max(0, self.state.help_top + step)
        else:
            self.pane.top = max(0, self.pane.top + step)

    def frame(self, width: int, height: int) -> list[Line]:
        """Exactly `height` lines of exactly `width` cells."""
        top = [*self.head[:2], self._tabs()][: max(0, height - 2)]
        foot = [self._foot()][: max(0, height - len(top))]
        space = max(0, height - len(top) - len(foot))
        body = self._help(width, space) if self.state.help else self._body(width, height, space)
        body += [[] for _ in range(space - len(body))]
        return [fit(line, width) for line in [*top, *body[:space], *foot]]

    def _body(self, width: int, height: int, space: int) -> list[Line]:
        panes = self.shown(width, height)
        if len(panes) == 1:
            return panes[0].lines(Look(width, space, self.ascii_only))
        left = width - width * 9 // 20
        half = space // 2
        right: list[Line] = []
        for pane, rows in zip(panes[1:], (half, space - half), strict=True):
            block = pane.lines(Look(width - left - 3, rows - 1, self.ascii_only))
            right += [[(f"{pane.name}", "tab")], *block, *([[]] * (rows - 1 - len(block)))]
        return beside(panes[0].lines(Look(left, space, self.ascii_only)), right, left, " | ")

    def _tabs(self) -> Line:
        line: Line = []
        for number, pane in enumerate(self.state.panes):
            chosen = number == self.state.pane
            # The brackets say it without colour.
            label = f"{number + 1} {pane.name}"
            line += [(f"[{label}]", "tab") if chosen else (f" {label} ", ""), (" ", "")]
        return line

    def _foot(self) -> Line:
        state, pane = self.state, self.pane
        if state.typing:
            return [(f"filter: {pane.filter}_", "key"), ("  Enter keeps it, Esc drops it", "dim")]
        if state.message:
            return [(state.message, "bad")]
        parts: Line = [("PAUSED  ", "warn")] if state.paused else []
        parts.append(("q quit  p pause  ", ""))
        parts.append((f"s sort: {pane.sorted_by}  " if pane.sorts else "", ""))
        parts.append((f"/ filter{f': {pane.filter}' if pane.filter else ''}  ", "warn" if pane.filter else ""))
        parts.append(("tab pane  ? help", ""))
        return parts

    def _help(self, width: int, space: int) -> list[Line]:
        lines: list[Line] = [[("keys", "head")]]
        for key, said in KEYS:
            lines += wrapped(f"{key:<12}", said, width)
        for pane in [self.pane, *(p for p in self.state.panes if p is not self.pane)]:
            lines += [[], [(pane.name, "head")]]
            for figure in pane.figures:
                kernel = f"  [kernel: {figure.kernel}]" if figure.kernel else ""
                lines += wrapped(f"{figure.name:<12}", figure.text + kernel, width)
        lines += [[], [("a name in full: emu explain NAME", "dim")]]
        self.state.help_top = max(0, min(self.state.help_top, len(lines) - space))
        return lines[self.state.help_top : self.state.help_top + space]


def wrapped(label: str, said: str, width: int) -> list[Line]:
    """A label and text beside it, as many lines as that needs."""
    room = max(20, width - len(label) - 2)
    parts = textwrap.wrap(said, room) or [""]
    first: Line = [(label, "key"), (f" {parts[0]}", "")]
    return [first, *([(" " * len(label), ""), (f" {part}", "")] for part in parts[1:])]


def heading(machine: Running, now: Reading) -> list[Line]:
    """The two lines above the panes."""
    memory, words = now.memory, now.words
    header = memory.header
    online, nodes = int(now.online.sum()), int(header["nr_nodes"])
    crowd = f"{now.nr_cpus} CPUs" + (f" ({online} online)" if online != now.nr_cpus else "")
    up = time(float(now.since(int(header["boot_cycles"]))))
    allocator = "SLUB" if now.slub() else "SLAB"
    booting = int(header["ready"]) < now.nr_cpus
    first: Line = [
        (f"{machine.name or 'machine'} ", "head"),
        (f"pid {machine.pid}  {crowd}, {nodes} {'node' if nodes == 1 else 'nodes'}, {allocator}  up {up}", ""),
        ("  BOOTING" if booting else "", "warn"),
        ("  BROKEN: a lock died with its owner" if header["broken"] else "", "bad"),
        (f"  {int((words['dead'][1:] != 0).sum())} dead" if words["dead"][1:].any() else "", "bad"),
    ]
    calls = float(now.rate("taken", CALLS).sum())
    merged = float(now.rate("merged").sum())
    modes = now.modes()
    busy = sum(mode in ("user", "kernel", "irq") for mode in modes)
    second: Line = [
        (f"ops {count(float(now.ops().sum()))}/s", ""),
        (f"  CAL {count(calls)}/s  merged {count(merged)}/s", ""),
        (f"  busy {busy}  idle {modes.count('idle')}", ""),
        (f"  irqs off {int((now.of_cpus('irq_off') != 0).sum())}", ""),
        (f"  mem {size(int(header['backed']))}/{size(int(header['limit']))}", ""),
    ]
    return [first, second]
