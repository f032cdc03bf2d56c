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
import subprocess
import sys
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

ROOT = Path(__file__).resolve().parent.parent
SLACK = float(os.environ.get("EMU_TEST_SLACK", "1"))
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


def ipi_violations(cpus: int) -> Iterator[str]:
    """I7: raised = taken + merged + pending, for each vector; enqueued = run + refused + pending."""
    found = [status.interrupts(cpu) for cpu in range(-1, cpus)]
    for vector, name in enumerate(status.VECTORS):
        raised, taken, merged, pending = (
            sum(f[what][vector] for f in found) for what in ("raised", "taken", "merged", "pending")
        )
        if raised != taken + merged + pending:
            yield f"I7: {name}: raised {raised} != taken {taken} + merged {merged} + pending {pending}"
    enqueued, run, refused, queued = (sum(f[what] for f in found) for what in ("enqueued", "run", "refused", "queued"))
    if enqueued != run + refused + queued:
        yield f"I7: requests: enqueued {enqueued} != run {run} + refused {refused} + pending {queued}"


def state_violations(cpus: int) -> Iterator[str]:
    """I11 and the like: nothing held, nothing switched off, nobody waiting; a CPU is online or dead."""
    for cpu in range(-1, cpus):
        state = status.status(cpu)
        if cpu >= 0 and state["online"] == state["dead"]:
            yield f"CPU {cpu}: online {state['online']}, dead {state['dead']}"
        if state["dead"]:
            continue
        if state["holds"]:
            yield f"I11: CPU {cpu} still holds {state['holds']}"
        if state["irq_off"] or state["preempt_count"] or state["in_interrupt"]:
            yield f"CPU {cpu}: irq_off {state['irq_off']}, preempt_count {state['preempt_count']}"
        if state["waiting_for"] != "nothing":
            yield f"I14: CPU {cpu} waits for {state['waiting_for']}"
    if status.header()["broken"]:
        yield "the machine is marked broken"


def gate_violations(cpus: int) -> Iterator[str]:
    """No token is left with anybody, nobody queues for one, the gate is open."""
    gate = selftest_kernel.gate_state()
    if not gate["on"]:
        return
    if gate["held"] or gate["broadcast"] or gate["closing"]:
        yield f"gate: {gate}"
    slots = {cpu: status.status(cpu)["slot"] for cpu in range(cpus) if not status.status(cpu)["dead"]}
    if any(slot >= 0 for slot in slots.values()):
        yield f"gate: slots {slots}"


def lock_statistics_violations() -> Iterator[str]:
    """I17: contended <= acquisitions, a wait per contended acquisition, buckets sum to the count."""
    for name, found in status.lock_statistics().items():
        if not found["wait"]["count"] == found["contended"] <= found["acquisitions"]:
            yield f"I17: {name}: {found['wait']['count']} waits, {found['contended']} of {found['acquisitions']}"
        if found["hold"]["count"] > found["acquisitions"]:
            yield f"I17: {name}: held {found['hold']['count']} times, acquired {found['acquisitions']}"
        for kind in ("wait", "hold"):
            if sum(found[kind]["bucket"]) != found[kind]["count"]:
                yield f"I17: {name}: {kind} buckets sum to {sum(found[kind]['bucket'])} of {found[kind]['count']}"


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
