"""The CPUs: one a row, or folded into a heat map where there are more of them than rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from cpus.status import WAITS
from emu.monitor import slab, slub
from emu.monitor.held import held_by
from emu.monitor.lines import Line, bar, count, heat, level, row
from emu.monitor.pane import Budget, Figure, Look, Pane
from emu.monitor.reading import CALLS, Reading
from emu.raw_memory import Words

WIDTHS = (5, -6, -10, 6, 6, 6, -4)
HEAD = ("cpu", "state", "waits for", "ops/s", "in/s", "out/s", "irqs")
BAR = 8
GROUP = 16  # a row of the map is so many CPUs, or a multiple
# One letter of the map per state; what a CPU waits for says more than that it is in the kernel.
WAITING = {1: "A", 2: "L", 3: "s", 4: "c", 5: "G", 6: "B"}
LETTERS = {"user": "U", "kernel": "K", "idle": ".", "irq": "I", "off": "-", "dead": "D", "?": "?"}
STYLES = {"user": "good", "kernel": "good", "irq": "warn", "dead": "bad", "off": "dim", "idle": "dim", "?": "bad"}
LEGEND = "U user K kernel I irq . idle; waits: A acks L lock s slot G grace c completion"
RENEW = 2.0  # seconds until new caches are noticed


class Cpus(Pane):
    """CPUs, a row or a cell each."""

    name = "CPUs"
    sorts = ("cpu", "ops/s", "in/s", "out/s", "arrays", "irqs off")
    figures = (
        Figure(
            "state",
            "user: runs its program; kernel: inside the modelled kernel; irq: serves an interrupt; idle; off: offline; "
            "dead.",
            "top's us, sy, hi, id",
        ),
        Figure(
            "waits for",
            "acks of a cross-call, a lock, a slot of the gate, a completion, a grace period, the end of a broadcast. "
            f"In the map: {LEGEND}, B broadcast.",
            "/proc/PID/wchan, CSD-lock reports",
        ),
        Figure("ops/s", "Objects and pages handed out and taken back in a second.", "kmem:* tracepoints"),
        Figure("in/s", "Call interrupts taken in a second, by this CPU.", "/proc/interrupts CAL"),
        Figure("out/s", "Call interrupts that this CPU has raised in a second.", "ipi:ipi_send_cpumask"),
        Figure("irqs", "off: its interrupts are off at this instant.", "irqsoff tracer"),
        Figure(
            "arrays",
            "Objects in its array caches by their limits, over all root caches. SLUB: the share of caches of which it "
            "holds a slab, and so must be asked to flush.",
            "array_cache.avail; /sys/kernel/slab/NAME/cpu_slabs",
        ),
        Figure("holds", "Locks that it holds, the last one first; one it still waits for in brackets.", "lockdep"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.modes: list[str] = []
        self.table: dict[str, Words] = {}
        self.waits: Any = None
        self.holds: dict[int, str] = {}
        self._caches: Words = np.zeros(0, dtype=np.int64)
        self._renew = Budget()

    def read(self, now: Reading) -> None:
        """The words of all CPUs, the fill of their arrays, and who holds what."""
        if self._renew.due() and self._renew.age >= RENEW:
            with self._renew:
                self._caches = slab.root_caches(now.memory)
        self.modes = now.modes()
        self.waits = now.of_cpus("waiting_for").tolist()
        self.table = {
            "cpu": np.arange(now.nr_cpus),
            "ops/s": now.ops(),
            "in/s": now.rate("taken", CALLS).sum(axis=1)[1:],
            "out/s": now.rate("raised", CALLS).sum(axis=1)[1:],
            "arrays": fill(now, self._caches),
            "irqs off": (now.of_cpus("irq_off") != 0).astype(float),
        }
        self.holds = {}
        for held in held_by(now):
            name = f"({held.lock_class})" if held.waits else held.lock_class
            self.holds[held.cpu] = f"{name} {self.holds[held.cpu]}" if held.cpu in self.holds else name

    def draw(self, look: Look) -> list[Line]:
        """Rows, if they fit or a filter asks for some; else the map."""
        numbers = [cpu for cpu in range(len(self.modes)) if self._shown(cpu)]
        if len(numbers) > look.height - 1 and not self.filter:
            return self._map(look)
        key = self.table[self.sorted_by] if self.table else None
        if key is not None and self.sorted_by != "cpu":
            numbers.sort(key=lambda cpu: -float(np.nan_to_num(key[cpu])))
        head: Line = [(row(HEAD, WIDTHS) + "  arrays       holds", "head")]
        rows = [self._row(cpu, look) for cpu in numbers]
        return [head, *self.scrolled(rows, look.height - 1)]

    def _shown(self, cpu: int) -> bool:
        """The filter is a number, a range 3-7, or part of a state, a wait or a lock."""
        if not self.filter:
            return True
        first, dash, last = self.filter.partition("-")
        if first.isdecimal() and (not dash or last.isdecimal()):
            return int(first) <= cpu <= int(last or first)
        words = f"{self.modes[cpu]} {self._wait(cpu)} {self.holds.get(cpu, '')}"
        return self.wanted(words)

    def _wait(self, cpu: int) -> str:
        wait = self.waits[cpu]
        if wait == 0:
            return ""
        return WAITS[wait] if 0 < wait < len(WAITS) else "?"

    def _row(self, cpu: int, look: Look) -> Line:
        table, mode, full = self.table, self.modes[cpu], float(self.table["arrays"][cpu])
        off = "off" if table["irqs off"][cpu] else ""
        rates = (count(float(table[name][cpu])) for name in ("ops/s", "in/s", "out/s"))
        cells = (str(cpu), mode, self._wait(cpu), *rates, off)
        line: Line = [(row(cells, WIDTHS), STYLES.get(mode, ""))]
        if full == full:  # noqa: PLR0124 - not NaN
            line += [(f"  {bar(full, BAR, look.ascii_only)}", "good"), (f" {full:4.0%}", "")]
        else:
            line.append(("  " + "-".ljust(BAR + 5), "dim"))
        line.append((f" {self.holds.get(cpu, '')}", "warn"))
        return line

    def _map(self, look: Look) -> list[Line]:
        """Several maps under each other, the one that is sorted by first; as many as fit."""
        maps = ["state", *self.sorts[1:]]
        maps = maps[self.sort :] + maps[: self.sort]
        label = 5
        per_row = max(GROUP, (look.width - label) // GROUP * GROUP)
        lines: list[Line] = []
        for name in maps:
            block = self._states(per_row) if name == "state" else self._levels(name, per_row, look.ascii_only)
            if lines and len(lines) + len(block) > look.height:
                break
            lines += block
        return lines

    def _states(self, per_row: int) -> list[Line]:
        letters = [
            (WAITING.get(wait, "?"), "warn") if wait and mode not in ("dead", "off") else (LETTERS[mode], STYLES[mode])
            for mode, wait in zip(self.modes, self.waits, strict=True)
        ]
        return [[("state  ", "head"), (LEGEND, "dim")], *folded(letters, per_row)]

    def _levels(self, name: str, per_row: int, ascii_only: bool) -> list[Line]:
        values = np.nan_to_num(self.table[name])
        most = 1.0 if name in ("arrays", "irqs off") else float(values.max(initial=0.0))
        if name == "arrays":
            said = f"mean {values.mean():.0%}, fullest {values.max(initial=0.0):.0%}"
        elif name == "irqs off":
            said = f"{int(values.sum())} CPUs at this instant"
        else:
            said = f"all {count(float(values.sum()))}, most {count(most)} (full cell)"
        shares = (values / most if most > 0 else values).tolist()
        cells = [(level(share, ascii_only), f"heat{heat(share)}") for share in shares]
        return [[(f"{name}  ", "head"), (said, "dim")], *folded(cells, per_row)]


def fill(now: Reading, caches: Words) -> Words:
    """How full each CPU's arrays are; with SLUB, of how many caches it holds a slab. NaN where nobody knows."""
    if not now.slub():
        return slab.fill(now.memory, caches, now.nr_cpus)
    return slub.fill(now.memory, caches, now.nr_cpus) if slub.KNOWN else np.full(now.nr_cpus, np.nan)


def folded(cells: Iterable[tuple[str, str]], per_row: int) -> list[Line]:
    """Cells in rows, each row headed by its first CPU; neighbours of one style are one part."""
    every = list(cells)
    lines: list[Line] = []
    for first in range(0, len(every), per_row):
        line: Line = [(f"{first:4} ", "dim")]
        for cell, style in every[first : first + per_row]:
            if line[-1][1] == style and len(line) > 1:
                line[-1] = (line[-1][0] + cell, style)
            else:
                line.append((cell, style))
        lines.append(line)
    return lines
