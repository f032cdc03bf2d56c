"""One look at the machine, shared by all panes: the words of every CPU, copied once, and the rates since the last look.

Copied and not looked at in place, so that all figures of a frame are of about one instant. A look costs a millisecond
for a thousand CPUs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cpus.layout import CONSTANTS
from cpus.status import MODES
from emu.live_memory import LiveMemory
from emu.raw_memory import BASE, Mask, Words
from ipc import clock

OPS = [CONSTANTS[name] for name in ("SLAB_ALLOC", "SLAB_FREE", "PGALLOC", "PGALLOC_DMA", "PGALLOC_DMA32", "PGFREE")]
CALLS = slice(0, 2)  # vectors that call functions; counted as CAL
WAIT_CSD, WAIT_MUTEX = CONSTANTS["WAIT_CSD"], CONSTANTS["WAIT_MUTEX"]
SLUB_SWITCH = 2
HARDWARE = (
    "mode", "irq_off", "in_interrupt", "dead", "pid", "slot", "pending", "waiting_for", "waiting_since",
    "waiting_on", "held_count", "held", "lock_stats", "ring",
)  # fmt: skip
KERNEL = ("counter", "csd_enqueued", "csd_run", "acks", "latency")


@dataclass
class Reading:
    """Words of all contexts, the coordinator's first; `seconds` since the reading before, 0 in the first."""

    memory: LiveMemory
    cycles: int
    per_us: int
    online: Mask
    words: dict[str, Any]
    before: Reading | None = None
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)  # what looked wrong

    @property
    def nr_cpus(self) -> int:
        """Possible CPUs."""
        return self.memory.nr_cpus

    def of_cpus(self, name: str) -> Any:
        """A word of every CPU, without the coordinator."""
        return self.words[name][1:]

    def rate(self, name: str, part: Any = None) -> Words:
        """How much a word of each context has grown in a second; 0 in the first reading, never negative."""
        now = self.words[name] if part is None else self.words[name][:, part]
        if self.before is None or not self.seconds > 0:
            return np.zeros(now.shape)
        then = self.before.words[name] if part is None else self.before.words[name][:, part]
        # Not negative: a word that was damaged, or a machine that is another one.
        grown: Words = np.maximum((now - then) / self.seconds, 0.0)
        return grown

    def nanoseconds(self, cycles: Any) -> Any:
        """Cycles as nanoseconds."""
        return cycles * 1000 / self.per_us

    def since(self, cycles: Any) -> Any:
        """Nanoseconds from a time stamp to now; a stamp of the future is now."""
        return np.maximum(self.nanoseconds(np.subtract(self.cycles, cycles, dtype=float)), 0.0)

    def modes(self) -> list[str]:
        """What each CPU does: irq, user, kernel, idle, off, dead; "?" for a word that says nothing."""
        names = [
            "dead" if dead else "irq" if depth > 0 else MODES[mode] if 0 <= mode < len(MODES) else "?"
            for mode, depth, dead in zip(
                self.of_cpus("mode").tolist(),
                self.of_cpus("in_interrupt").tolist(),
                self.of_cpus("dead").tolist(),
                strict=True,
            )
        ]
        return [
            name if online or name == "dead" else "off"
            for name, online in zip(names, self.online.tolist(), strict=True)
        ]

    def ops(self) -> Words:
        """Objects and pages handed out and taken back in a second, by each CPU."""
        found: Words = self.rate("counter", OPS).sum(axis=1)[1:]
        return found

    def slub(self) -> bool:
        """Whether the machine's allocator is SLUB."""
        return bool(self.memory.bytes[CONSTANTS["SWITCH_PAGE"] - BASE + SLUB_SWITCH])

    def tracing(self) -> bool:
        """Whether events are recorded."""
        return bool(self.memory.bytes[CONSTANTS["SWITCH_PAGE"] - BASE + CONSTANTS["SWITCH_TRACE"]])


def look(memory: LiveMemory, before: Reading | None = None) -> Reading:
    """Look at the machine now. Raises DamagedError if its header is damaged."""
    memory.refresh()
    cycles = clock.cycles()
    per_us = memory.cycles_per_us
    contexts = memory.contexts
    hardware = contexts["hw"]
    words = {name: hardware[name].copy() for name in HARDWARE}
    words |= {name: contexts[name].copy() for name in KERNEL}
    irqs = hardware["irqs"]
    words |= {name: irqs[name].copy() for name in ("raised", "merged", "taken", "rings")}
    reading = Reading(memory, cycles, per_us, memory.mask("online"), words, before)
    if before is not None:
        before.before = None  # or every look of a day would be kept
        reading.seconds = (cycles - before.cycles) / per_us / 1e6
    return reading
