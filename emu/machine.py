"""Machine: the emulated machine as a Python object, for notebooks, tests and workloads.

with Machine(cpus=8, kernel="4.11") as m:
    cache = m.kmem_cache_create("foo", 192)
    obj = m.cpu(3).kmem_cache_alloc(cache)
    m.cpu(5).kmem_cache_free(cache, obj)
    print(m.interrupts()["CAL"])
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from cpus import boot, entry
from emu import faces, observe, patches
from emu.bootparams import parse_append
from emu.coordinator import Coordinator, boost_possible
from emu.errors import EmuError, NotSupportedError, UsageError
from emu.plan import BootPlan, allowed_cores, available_memory, decide_gate

COORDINATOR = -1
Body = Callable[..., Any]


class WorkloadError(EmuError):
    """A workload's own code failed; its traceback is in the text."""


class Machine:
    """A machine of `cpus` emulated CPUs. All processes are forked when it is entered and gone when it is left.

    cpus: 1..1024; nodes: NUMA nodes, CPUs split evenly; kernel: version as text; patches: switch -> value on top of
    what the version has; ipi: signal, mqueue, cluster or doorbell; memory: emulated RAM in bytes; max_segment: most
    host memory in bytes (default: half of what is free); gate, boost: auto, on, off; bodies: Python functions
    `body(cpu, **params)` that run() can start; later ones are given as "module:function"; name: what an observer finds
    it by, of which it keeps 31 ASCII characters.
    Raises UsageError, ResourceError or NotSupportedError when it is entered, with nothing started.
    """

    def __init__(
        self,
        cpus: int = 4,
        *,
        nodes: int = 1,
        kernel: str = "4.12",
        allocator: str = "slab",
        ipi: str = "signal",
        patches: dict[str, str] | None = None,
        seed: int = 0,
        memory: int = 256 << 20,
        max_segment: int | None = None,
        hz: int = 250,
        slice_ms: float = 2.0,
        gate: str = "auto",
        boost: str = "auto",
        preempt: str = "none",
        pin: bool | None = None,
        poll_limit_ms: float = 10.0,
        trace_records: int = 0,
        lock_detail: bool = False,
        append: str = "",
        bodies: Sequence[Body] = (),
        on_cpu_death: str = "stop",
        name: str = "",
    ) -> None:
        self.config = {name: value for name, value in locals().items() if name not in ("self", "bodies")}
        self.bodies: list[Body] = list(bodies)
        self.patches: dict[str, str] = {}
        self._coordinator: Coordinator | None = None
        self._entries: dict[str, int] = {}

    def plan(self) -> BootPlan:
        """The configuration with every `auto` decided; raises UsageError or NotSupportedError for what cannot be."""
        c = self.config
        if not 1 <= c["nodes"] <= c["cpus"] <= 1024:
            raise UsageError(f"cpus={c['cpus']}, nodes={c['nodes']}: 1 <= nodes <= cpus <= 1024")
        patches.check_kernel(c["kernel"], c["allocator"], "kernel")
        self.patches = patches.override(patches.defaults(c["kernel"]), c["patches"] or {})
        cores = allowed_cores()
        if c["boost"] == "on" and not boost_possible():
            raise NotSupportedError("boost=on needs CAP_SYS_NICE; use boost='off' or run with that capability")
        gated, boosted = decide_gate(c["gate"], c["boost"], c["cpus"], cores)
        switches = dict(patches.switch_bytes(self.patches))
        switches[0] = int(c["trace_records"] > 0)
        switches[1] = int(boosted)
        switches[3] = int(c["lock_detail"])
        switches[2] = int(c["allocator"] == "slub")
        return BootPlan(
            cpus=c["cpus"],
            nodes=c["nodes"],
            transport=c["ipi"],
            memory=c["memory"],
            max_segment=c["max_segment"] or max(available_memory() // 2, 64 << 20),
            switches=switches,
            gated=gated,
            boosted=boosted,
            tokens=min(cores, c["cpus"]),
            hz=c["hz"],
            slice_ms=c["slice_ms"],
            poll_limit_ms=c["poll_limit_ms"],
            pin=c["cpus"] <= cores if c["pin"] is None else c["pin"],
            trace_records=c["trace_records"],
            lock_detail=c["lock_detail"],
            go_on_after_death=c["on_cpu_death"] == "continue",
            boot_parameters=parse_append(c["append"], c["cpus"], "append"),
            name=c["name"],
        )

    @property
    def coordinator(self) -> Coordinator:
        """The running machine's owner; raises UsageError outside the `with` block."""
        if self._coordinator is None:
            raise UsageError("the machine is not running: use it inside its `with` block")
        return self._coordinator

    def __enter__(self) -> Machine:
        if self._coordinator is not None:
            raise UsageError("the machine is running already: leave its `with` block first")
        self._coordinator = Coordinator(self.plan(), self._run_body)
        try:
            self._coordinator.boot()
            self._entries = {**entry.entry_points(), **faces.entry_points()}
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._end()

    def _end(self) -> None:
        if self._coordinator is not None:
            self._coordinator.shut_down()
            self._coordinator = None

    @property
    def cpus(self) -> int:
        """Number of possible CPUs."""
        return int(self.config["cpus"])

    def context(self, on: int | str) -> int:
        """The number of a context: a CPU, or -1 for the coordinator. Raises UsageError for what is neither."""
        if on in ("coordinator", COORDINATOR):
            return COORDINATOR
        if not isinstance(on, int) or not 0 <= on < self.cpus:
            raise UsageError(f"on={on!r}: a CPU from 0 to {self.cpus - 1}, or 'coordinator'")
        return on

    def call(self, function: int | str, *args: int, on: int | str = 0) -> int:
        """Run a compiled operation `long f(long *args)`, given by name or address, on a CPU, and wait for it."""
        address = self._entries[function] if isinstance(function, str) else function
        return self.coordinator.call(address, args, self.context(on))

    def call_on_all(self, function: int | str, *args: int) -> list[int]:
        """Run a compiled operation on every CPU at the same time; what each returned."""
        address = self._entries[function] if isinstance(function, str) else function
        return self.coordinator.call_many(address, args, range(self.cpus))

    def wait_until(
        self, done: Callable[[], bool], timeout: float | None = None, poll: Callable[[], None] | None = None
    ) -> bool:
        """Wait until done() says so; poll() runs between looks, twenty times a second. False when time is up."""
        return self.coordinator.wait_until(done, timeout, poll)

    def kick_all_cpus_sync(self, on: int | str = 0) -> int:
        """Interrupt every other CPU and wait for their answers; the number of CPUs interrupted."""
        return self.call("kick", on=on)

    def synchronize_sched(self, on: int | str = 0) -> int:
        """Wait for a grace period; its length in cycles."""
        return self.call("sync_sched", on=on)

    def cpu(self, number: int) -> faces.RemoteCpu:
        """A CPU to order operations from, one at a time (10-30 us each)."""
        return faces.RemoteCpu(self, self.context(number))

    def kmem_cache_create(
        self, name: str, size: int, align: int = 0, flags: tuple[str, ...] = (), on: int | str = 0
    ) -> faces.Cache:
        """Create a cache of `size`-byte objects; flags by their kernel names. Raises UsageError if it is refused."""
        return faces.create_cache(self, name, size, align, flags, on)

    def kmem_cache_destroy(self, cache: faces.Cache, on: int | str = 0) -> bool:
        """Destroy a cache. False if objects are left: the kernel then keeps it (EBUSY)."""
        return self.call("kmem_cache_destroy", cache.address, on=on) == 0

    def kmem_cache_shrink(self, cache: faces.Cache, on: int | str = 0) -> bool:
        """Drain every CPU's array and free the empty slabs. True if slabs with objects are left."""
        return self.call("kmem_cache_shrink", cache.address, on=on) != 0

    def write_slabinfo(self, text: str, on: int | str = 0) -> int:
        """Write `NAME LIMIT BATCHCOUNT SHARED` to /proc/slabinfo; bytes taken, or a negative errno, as the kernel."""
        return faces.write_slabinfo(self, text, on)

    def run(self, body: Body | str, on: int | Sequence[int] | None = None, **params: Any) -> list[Any]:
        """Run a Python body on CPUs (default: all) and return what each returned.

        body: one of `bodies`, or "module:function". params and results travel as JSON. Raises UsageError for a CPU that
        is none or is named twice, WorkloadError with the body's own traceback if one raises.
        """
        index = self._body_index(body)
        numbers = list(range(self.cpus)) if on is None else [on] if isinstance(on, int) else list(on)
        twice = next((number for number in numbers if numbers.count(number) > 1), None)
        if twice is not None:
            raise UsageError(f"on={numbers}: CPU {twice} twice; a CPU runs one body at a time")
        text = msgspec.json.encode([body if index < 0 else "", params])
        for number in map(self.context, numbers):
            self.coordinator.wait_until(functools.partial(boot.body_accepted, number))
            if not boot.post_body(number, index, text):
                raise UsageError(f"parameters of {len(text)} bytes do not fit into the segment")
        replies = []
        for number in numbers:
            self.coordinator.wait_until(functools.partial(boot.body_done, number))
            if boot.is_dead(number):
                raise self.coordinator.died(number)
            replies.append(_unpack_reply(number, boot.take_reply(number)))
        return replies

    def _body_index(self, body: Body | str) -> int:
        if isinstance(body, str):
            return -1
        if body not in self.bodies:
            raise UsageError(
                f"{body!r} is not one of the machine's bodies: pass it as bodies=[...] or 'module:function'"
            )
        return self.bodies.index(body)

    def _run_body(self, number: int, index: int, params: bytes) -> bytes:
        """In a CPU's process: run a body and pack its answer. Nothing it raises gets out."""
        try:
            name, keywords = msgspec.json.decode(params)
            body = self.bodies[index] if index >= 0 else faces.find_body(name)
            return msgspec.json.encode(["ok", body(faces.body_cpu(number), **keywords)])
        except BaseException:  # noqa: BLE001 - the process must go on; the coordinator raises it again
            return msgspec.json.encode(["error", traceback.format_exc(limit=-8)])

    def interrupts(self) -> dict[str, list[int]]:
        """Interrupts taken by each CPU since boot: {"CAL": [...], "RES": [...]}."""
        return observe.interrupts(self.cpus)

    def ipis(self) -> dict[str, int]:
        """Vectors raised, taken, merged, pending, over all contexts and vectors, and fallbacks of the doorbell."""
        return observe.ipis(self.cpus)

    def requests(self) -> dict[str, int]:
        """Requests enqueued, run, refused and pending."""
        return observe.requests(self.cpus)

    def vmstat(self) -> dict[str, int]:
        """Counters by name, summed over all contexts."""
        return observe.vmstat(self.cpus)


def _unpack_reply(number: int, text: bytes) -> Any:
    if not text:
        raise WorkloadError(f"body on CPU {number}: its answer did not fit into the segment")
    kind, value = msgspec.json.decode(text)
    if kind == "error":
        raise WorkloadError(f"body on CPU {number} raised:\n{value}")
    return value
