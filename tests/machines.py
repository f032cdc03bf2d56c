"""Machines for tests: booted, watched, judged when they are quiet, and found to leave nothing behind.

    with Rig(8, ipi="mqueue") as rig:
        rig.call_on_all("call_many", 200, 1, 0)

A Rig is a Machine with the operations of cpus/selftest. A machine that is stuck is not waited for: when its time is up,
the state of every CPU is put into the failure and the CPUs are killed, which frees whoever waits for them. On exit the
invariants that hold for every quiet machine are checked, unless the test says that it has broken them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cpus import plants, selftest, selftest_calls, selftest_kernel, status
from cpus.layout import STRUCTS
from emu.machine import Machine
from ipc import memory
from tests.judge import gate_violations, ipi_violations, lock_statistics_violations, state_violations
from tests.processes import SLACK

SPIN, MUTEX, READ, WRITE, NO_LOCK = range(5)
IRQ_OFF, PREEMPT_OFF, BOTH_OFF = range(3)
TRANSPORTS = ("signal", "mqueue", "cluster", "doorbell")


class Stuck(AssertionError):
    """The machine did not come to an end in time; the text is what each CPU was doing."""


def dump(cpus: int) -> str:
    """What the coordinator and every CPU are doing, one line each."""
    lines = [f"gate: {selftest_kernel.gate_state()}", f"segment: {status.header()}"]
    for cpu in range(-1, cpus):
        state = status.status(cpu)
        words = " ".join(f"{name}={value}" for name, value in state.items() if value not in (False, 0, [], None))
        found = status.interrupts(cpu)
        lines.append(f"cpu {cpu}: {words} queued={found['queued']} run={found['run']} repokes={found['repokes']}")
    return "\n".join(lines)


class Watch:
    """Ends a machine that is stuck: by killing its CPUs, since the coordinator may be waiting in compiled code."""

    def __init__(self, rig: Rig, seconds: float) -> None:
        self.rig = rig
        self.seconds = seconds * SLACK
        self.report = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="test-watch", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        if self._over.wait(self.seconds):
            return
        self.report = f"not done after {self.seconds:.0f} s\n{dump(self.rig.cpus)}"
        for pid in self.rig.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._over.wait(20):
            return
        path = Path(tempfile.gettempdir()) / f"stuck-{os.getpid()}.txt"
        path.write_text(self.report)
        os.write(2, f"the coordinator itself is stuck; see {path}\n{self.report}\n".encode())
        os._exit(70)

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


class Words:
    """A block of longs in the segment: words[3] = 1 wakes who waits for the fourth."""

    def __init__(self, count: int) -> None:
        self.address = memory.test_heap_alloc(8 * count)
        assert self.address, "no memory for a test's words"
        self.count = count

    def at(self, index: int) -> int:
        """Address of one word."""
        return int(self.address + 8 * index)

    def __getitem__(self, index: int) -> int:
        if not 0 <= index < self.count:
            raise IndexError(index)
        return int(selftest.peek(self.address, index))

    def __setitem__(self, index: int, value: int) -> None:
        selftest.poke(self.address, value, index)

    def all(self) -> list[int]:
        return [self[i] for i in range(self.count)]


class Log:
    """A run_log: which functions ran, where, in which state."""

    FIELDS = ("next", "size", "inside", "overlaps", "entered", "release", "waits", "delay_us", "mask")

    def __init__(self, size: int = 4096, *, waits: bool = False, delay_us: int = 0, mask: int = 0) -> None:
        self.words = Words(len(self.FIELDS) + size)
        self.address = self.words.address
        self._set("size", size)
        self._set("waits", waits)
        self._set("delay_us", delay_us)
        self._set("mask", mask)

    def _set(self, name: str, value: int) -> None:
        self.words[self.FIELDS.index(name)] = value

    def get(self, name: str) -> int:
        return self.words[self.FIELDS.index(name)]

    def release(self) -> None:
        self._set("release", 1)

    def entries(self) -> list[int]:
        first = len(self.FIELDS)
        return [self.words[first + i] for i in range(min(self.get("next"), self.get("size")))]

    def cpus(self) -> list[int]:
        """The CPUs that ran it, in order."""
        return [entry & 0xFFFF for entry in self.entries()]

    def irqs_off(self) -> list[bool]:
        return [bool(entry >> 16 & 1) for entry in self.entries()]

    def depths(self) -> list[int]:
        return [entry >> 17 for entry in self.entries()]


def field(cpu: int, path: str) -> int:
    """Address of a field of struct cpu: "hw.slot", "mail.command"."""
    cpus = memory_layout("cpu")
    address = cpu_base(cpu)
    struct = cpus
    for name in path.split("."):
        found = next(f for f in struct.fields if f.name == name)
        address += found.offset
        struct = STRUCTS[found.nested] if found.nested else struct
    return address


def memory_layout(name: str) -> Any:
    return STRUCTS[name]


def cpu_base(cpu: int) -> int:
    from cpus.layout import CONSTANTS

    return int(CONSTANTS["CPU_AREA"] + (cpu + 1) * CONSTANTS["CPU_STRIDE"])


class Rig(Machine):
    """A Machine for tests. limit: seconds until it is called stuck; judged: whether its invariants must hold.

    It is not gated unless the test says so: a CPU that a test keeps in a section would keep its slot as well.
    """

    def __init__(self, cpus: int = 4, *, limit: float = 60.0, judged: bool = True, **options: Any) -> None:
        super().__init__(cpus, **{"memory": 16 << 20, "max_segment": 512 << 20, "gate": "off"} | options)
        self.limit = limit
        self.judged = judged
        self._watch: Watch | None = None
        self._booted: dict[str, int] = {}

    def __enter__(self) -> Rig:
        super().__enter__()
        for module in (selftest, selftest_calls, selftest_kernel, plants):
            self._entries |= module.entry_points()
        self._booted = self.vmstat()
        self._watch = Watch(self, self.limit)
        return self

    def __exit__(self, *exc: Any) -> None:
        try:
            if exc[0] is None and self.judged:
                self.judge()
        finally:
            if self._watch is not None:
                self._watch.stop()
            super().__exit__(*exc)
            # Whatever the kill of its CPUs made of it, a stuck machine is told as one.
            if self._watch is not None and self._watch.report:
                raise Stuck(self._watch.report)

    @property
    def pids(self) -> list[int]:
        return [pid for pid in self.coordinator.pids if pid]

    @property
    def everyone(self) -> range:
        """The coordinator's context and all CPUs."""
        return range(-1, self.cpus)

    def since_boot(self, name: str) -> int:
        """By how much a counter has grown since the machine was ready: boot counts too."""
        return self.vmstat()[name] - self._booted[name]

    # --- operations that go on meanwhile

    def start(self, name: str, *args: int, on: int) -> None:
        """Mail an operation and do not wait for it."""
        from cpus import boot

        self.wait_for(lambda: boot.body_accepted(on), f"the mailbox of CPU {on} to be free")
        boot.post_call(on, self._entries[name], args)

    def finish(self, on: int) -> int:
        """Wait for the operation that start() has mailed; its answer."""
        from cpus import boot

        self.wait_for(lambda: boot.call_done(on), f"CPU {on} to finish")
        return int(boot.call_result(on))

    def finished(self, on: int) -> bool:
        from cpus import boot

        return bool(boot.call_done(on))

    def wait_for(self, done: Callable[[], Any], what: str, seconds: float = 20.0) -> None:
        """Wait until done(); fails with the state of all CPUs when it does not come."""
        if not self.comes(done, seconds):
            raise Stuck(f"waited {seconds * SLACK:.0f} s for {what}\n{dump(self.cpus)}")

    def comes(self, done: Callable[[], Any], seconds: float) -> bool:
        """Whether done() comes true in time. Looks more often than the coordinator's own waits do."""
        from cpus import boot

        deadline = time.monotonic() + seconds * SLACK
        while True:
            seen = boot.event_count()
            if done():
                return True
            self.coordinator.check_deaths()
            if time.monotonic() > deadline:
                return False
            boot.wait_event(seen, 2)

    def hold_irqs(self, cpu: int, kind: int = IRQ_OFF) -> Words:
        """Bring a CPU into an irq-off section: words[0] says it is there, words[1] = 1 lets it go on."""
        words = Words(2)
        self.start("irq_section", kind, words.at(0), words.at(1), on=cpu)
        self.wait_for(lambda: words[0], f"CPU {cpu} to enter its section")
        return words

    def new_lock(self, kind: int) -> int:
        address = int(memory.test_heap_alloc(512))
        self.call("lock_init", address, kind, on=-1)
        return address

    def mask(self, cpus: list[int] | range) -> int:
        """A cpumask in the segment."""
        words = Words(16)
        for index in range(16):
            words[index] = _signed(sum(1 << cpu % 64 for cpu in set(cpus) if cpu // 64 == index))
        return words.address

    def plant(self, name: str, on: list[int] | range | None = None) -> None:
        """Put a fault into CPUs (default: all) and say no more that the machine's invariants hold."""
        self.judged = False
        for cpu in self.everyone if on is None else on:
            self.call("plant", plants.PLANTS[name], on=cpu)

    def task(self, address: int) -> dict[str, Any]:
        """What a program that start_task() started has done: steps, done, without_slot."""
        return dict(selftest_kernel.task_state(address))

    def kill(self, cpu: int, number: int = signal.SIGKILL) -> None:
        os.kill(self.coordinator.pids[cpu], number)

    # --- judging

    def settle(self) -> None:
        """Wait until every living CPU is idle and nothing is under way."""
        self.wait_for(lambda: not list(self.unsettled()), "the machine to be quiet")

    def unsettled(self) -> Iterator[str]:
        for cpu in range(self.cpus):
            state = status.status(cpu)
            if not state["dead"] and (state["mode"] != "idle" or state["pending"] or state["in_interrupt"]):
                yield f"CPU {cpu} is not idle: {state}"
            if status.interrupts(cpu)["queued"]:
                yield f"CPU {cpu} has requests queued"

    def judge(self) -> None:
        """Check what holds for every quiet machine. A first look may fall between two stores, a second not."""
        deadline = time.monotonic() + 3 * SLACK
        self.settle()
        while found := list(self.violations()):
            if time.monotonic() > deadline:
                raise AssertionError("\n".join([*found, dump(self.cpus)]))
            self.comes(lambda: False, 0.01)

    def violations(self) -> Iterator[str]:
        yield from self.unsettled()
        yield from ipi_violations(self.cpus)
        yield from state_violations(self.cpus)
        yield from gate_violations(self.cpus)
        yield from lock_statistics_violations()
        for cpu, pid in enumerate(self.coordinator.pids):
            if pid and os.sched_getscheduler(pid) == os.SCHED_FIFO:
                yield f"boost: CPU {cpu} is left SCHED_FIFO"


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


# --- what the host must have --------------------------------------------------------------------


def may_boost() -> bool:
    from ipc import boost

    return bool(boost.available())


needs_boost = pytest.mark.skipif(not may_boost(), reason="boosted delivery needs CAP_SYS_NICE")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")

DELIVERY = [
    pytest.param({"gate": "off", "boost": "off"}, id="plain"),
    pytest.param({"gate": "on", "boost": "off"}, id="gated"),
    pytest.param({"gate": "off", "boost": "on"}, id="boosted", marks=needs_boost),
]
