"""The coordinator: boots the machine, owns everything of it, supervises its CPUs, and cleans up.

Start is in two stages: all resources, then all forks, then the ready barrier. Whatever fails before the machine is
ready is undone whole. Everything shared is unlinked as soon as it is made and inherited by fork, CPUs die with the
coordinator (PDEATHSIG), so a kill at any instant leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import select
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cpus import boot, cpu, init, ledger, status
from emu.errors import DiedError, ResourceError, UsageError
from emu.plan import BootPlan
from emu.signals import held_back
from ipc import boost, clock, gate, lock, memory, trace, transport, transport_mqueue

WAIT_MS = 50  # how long a wait of the coordinator sleeps before it looks at signals and deaths
READY_SECONDS = 10.0
EXIT_SECONDS = 2.0
STUCK_SECONDS = 5  # CONFIG_CSD_LOCK_WAIT_DEBUG's limit
STUCK_LOOK_MS = 1000


@dataclass
class Death:
    """A CPU that ended without being told to."""

    cpu: int
    how: str
    broken_locks: int
    state: dict[str, Any]
    noticed: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        held = ", ".join(self.state["holds"]) or "nothing"
        return (
            f"CPU {self.cpu} (pid {self.state['pid']}) {self.how}; it was in {self.state['mode']} mode, waiting for "
            f"{self.state['waiting_for']}, holding {held}, serving "
            f"{'a request' if self.state['serving_from'] is not None else 'nothing'}"
        )


def _call_is_over(number: int) -> bool:
    return bool(boot.call_done(number) or boot.is_dead(number))


def _how_it_ended(wait_status: int) -> str:
    if os.WIFSIGNALED(wait_status):
        number = os.WTERMSIG(wait_status)
        return f"was killed by {signal.Signals(number).name}"
    return f"exited with {os.WEXITSTATUS(wait_status)}"


class Coordinator:
    """One machine's owner. boot() and shut_down() in the main thread, once each."""

    def __init__(self, plan: BootPlan, runner: Callable[[int, int, bytes], bytes]) -> None:
        self.plan = plan
        self.runner = runner
        self.pids: list[int] = []
        self.killed = 0  # CPUs that did not end by themselves at shut-down
        self.deaths: list[Death] = []
        self.warnings: list[str] = []
        self._stuck: set[int] = set()
        self._owner = False  # of the process's segment: there is one at most
        self._adopted = 0  # of the deaths, those whose work items have gone to others
        self.boot_seconds = 0.0
        self.where = ""
        self._pidfds: dict[int, int] = {}
        self._stopping = False
        self._supervisor: threading.Thread | None = None
        self._wake_read = self._wake_write = -1

    def boot(self) -> None:
        """Bring the machine up. Raises ResourceError or KeyboardInterrupt with nothing left behind."""
        begun = time.monotonic()
        if threading.current_thread() is not threading.main_thread():
            raise UsageError("a machine is booted from the main thread only: CPUs die with the thread that forks them")
        _check_limits(self.plan.cpus)
        try:
            with held_back():
                self._make_resources()
                self._fork()
            self._wait_until_ready()
            with held_back():
                self._supervise()
        except BaseException:
            self.shut_down()
            raise
        self.boot_seconds = time.monotonic() - begun

    def _make_resources(self) -> None:
        plan = self.plan
        try:
            self.where = memory.create(plan.max_segment, plan.memory, plan.cpus, plan.nodes)
            self._owner = True
            if plan.transport == "mqueue":
                transport_mqueue.create_queues(plan.cpus)
        except (memory.SegmentError, transport_mqueue.QueueError) as error:
            raise ResourceError(str(error)) from error
        for index, value in plan.switches.items():
            memory.set_switch(index, value)
        memory.set_name(plan.name.encode("ascii", "replace"))
        cycles = clock.calibrate()
        memory.set_clock(cycles)
        gate.configure(plan.gated, plan.tokens, plan.hz, int(plan.slice_ms * 1000 * cycles), True, plan.pin)
        transport.select(plan.transport, int(plan.poll_limit_ms * 1_000_000))
        enough = cpu.init_cpus(plan.nodes) and lock.allocate_statistics() and ledger.allocate()
        enough = enough and (not plan.trace_records or trace.allocate_rings(plan.trace_records))
        if not enough or not init.start_kernel(plan.boot_parameters):
            raise ResourceError(
                f"kernel metadata does not fit into --max-segment {plan.max_segment >> 20} MiB; raise it"
            )

    def _fork(self) -> None:
        try:
            queues = self.plan.transport == "mqueue"
            boot.fork_cpus(self.plan.cpus, self.pids, self.runner, self.plan.pin, queues)
        except OSError as error:
            raise ResourceError(
                f"processes: {self.plan.cpus} CPUs needed, {len(self.pids)} could be forked "
                f"(RLIMIT_NPROC = {resource.getrlimit(resource.RLIMIT_NPROC)[0]}); use fewer CPUs or raise the limit"
            ) from error

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS + self.plan.cpus * 0.02
        while True:
            seen = boot.event_count()
            if boot.ready() == self.plan.cpus:
                return
            if time.monotonic() > deadline:
                raise ResourceError(f"only {boot.ready()} of {self.plan.cpus} CPUs came up; the host is too busy")
            boot.wait_event(seen, WAIT_MS)

    def _supervise(self) -> None:
        """Start the thread that hears of deaths. It never forks and takes no kernel lock."""
        for number, pid in enumerate(self.pids):
            self._pidfds[os.pidfd_open(pid)] = number
        self._wake_read, self._wake_write = os.pipe()
        supervisor = threading.Thread(target=self._watch, name="emu-supervisor", daemon=True)
        supervisor.start()
        self._supervisor = supervisor

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        for descriptor in self._pidfds:
            poll.register(descriptor, select.POLLIN)
        while not self._stopping:
            self._look_for_stuck()
            for descriptor, _ in poll.poll(STUCK_LOOK_MS):
                if descriptor == self._wake_read:
                    return
                poll.unregister(descriptor)
                if not self._stopping:
                    self._bury(self._pidfds[descriptor])

    def _look_for_stuck(self) -> None:
        """Note who has waited too long for acks or a lock, once each, with what its blockers are doing."""
        for number in status.waiting_longer_than(STUCK_SECONDS * 1_000_000_000):
            if number in self._stuck:
                continue
            self._stuck.add(number)
            state = status.status(number)
            who = "the coordinator" if number < 0 else f"CPU {number}"
            blockers = [status.status(other) for other in status.blockers(number)]
            text = "; ".join(
                f"CPU {b['cpu']} (pid {b['pid']}): {b['mode']} mode, irqs {'off' if b['irq_off'] else 'on'}, "
                f"waiting for {b['waiting_for']}, holding {', '.join(b['holds']) or 'nothing'}"
                for b in blockers[:4]
            )
            self.warnings.append(
                f"stuck: {who} has waited {state['waiting_ns'] / 1e9:.1f} s for {state['waiting_for']}; {text}"
            )

    def _bury(self, number: int) -> None:
        state = status.status(number)
        _, wait_status = os.waitpid(self.pids[number], 0)
        self.pids[number] = 0
        broken = boot.cpu_died(number)
        self.deaths.append(Death(number, _how_it_ended(wait_status), broken, state))

    def check_deaths(self) -> None:
        """Raise DiedError if a CPU has died and the run is not meant to go on, or cannot."""
        while self._adopted < len(self.deaths):
            boot.adopt_work(self.deaths[self._adopted].cpu)
            self._adopted += 1
        if self.deaths and (not self.plan.go_on_after_death or status.header()["broken"]):
            raise DiedError("; ".join(str(death) for death in self.deaths))

    def wait_until(
        self, done: Callable[[], bool], timeout: float | None = None, poll: Callable[[], None] | None = None
    ) -> bool:
        """Wait until done(); between looks see to signals and deaths, and call poll(). False when the time is up."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            seen = boot.event_count()
            if done():
                return True
            self.check_deaths()
            if poll is not None:
                poll()
            if deadline is not None and time.monotonic() > deadline:
                return False
            boot.wait_event(seen, WAIT_MS)

    def call(self, function: int, args: tuple[int, ...], on: int) -> int:
        """Run a compiled function on a CPU, or in the coordinator's own context with on=-1."""
        if on < 0:
            return int(boot.call_here(function, args))
        return self.call_many(function, args, (on,))[0]

    def call_many(self, function: int, args: tuple[int, ...], on: Sequence[int]) -> list[int]:
        """Run a compiled function on several CPUs at the same time."""
        for number in on:
            self.wait_until(functools.partial(boot.body_accepted, number))
            if boot.is_dead(number):
                raise self.died(number)
            boot.post_call(number, function, args)
        for number in on:
            self.wait_until(functools.partial(_call_is_over, number))
            if boot.call_died(number) or not boot.call_done(number):
                raise self.died(number)
        return [int(boot.call_result(number)) for number in on]

    def died(self, number: int) -> DiedError:
        """The error to raise for an order that a CPU has died in, or before."""
        self.wait_until(lambda: any(death.cpu == number for death in self.deaths))
        return DiedError(next(str(death) for death in self.deaths if death.cpu == number))

    def shut_down(self) -> None:
        """End every CPU, reap it, close and unmap everything. Safe at any stage of boot, and twice."""
        with held_back():
            self._shut_down()

    def _shut_down(self) -> None:
        self._stopping = True
        if self._supervisor is not None:
            os.write(self._wake_write, b"x")
            self._supervisor.join()
            self._supervisor = None
        if self.pids:
            boot.shut_down(len(self.pids))
        self._reap()
        for descriptor in (*self._pidfds, self._wake_read, self._wake_write):
            if descriptor >= 0:
                os.close(descriptor)
        self._pidfds.clear()
        self._wake_read = self._wake_write = -1
        if self._owner:
            self._owner = False
            transport_mqueue.close_queues()
            memory.destroy()

    def _reap(self) -> None:
        deadline = time.monotonic() + EXIT_SECONDS
        left = [pid for pid in self.pids if pid]
        while left:
            left = [pid for pid in left if os.waitpid(pid, os.WNOHANG)[0] == 0]
            if left and not self.killed and time.monotonic() > deadline:
                self.killed = len(left)
                for pid in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            if left:
                time.sleep(0.001)
        self.pids = []


def _check_limits(cpus: int) -> None:
    """Refuse before anything is started what the host's limits do not allow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * cpus + 64  # a pidfd each, and a queue each with --ipi mqueue
    if soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise ResourceError(f"file descriptors: {needed} needed for {cpus} CPUs, RLIMIT_NOFILE = {hard}; raise it")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    processes = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if processes != resource.RLIM_INFINITY and processes < cpus + 8:
        raise ResourceError(f"processes: {cpus + 8} needed for {cpus} CPUs, RLIMIT_NPROC = {processes}; raise it")


def boost_possible() -> bool:
    """Whether this user may raise priorities (CAP_SYS_NICE)."""
    return bool(boost.available())
