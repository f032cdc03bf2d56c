"""RunContext: what a workload is given to work with."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from emu import patches
from emu.config import RunConfig
from emu.errors import DiedError, Interrupted
from emu.progress import Progress, wanted
from emu.signals import StopSignals

if TYPE_CHECKING:
    import numpy as np

    from emu.machine import Machine


class Finding(NamedTuple):
    """A violated invariant: its id in the project's list (I1..I17, or a workload's own), and what was seen."""

    invariant: str
    text: str


class Record:
    """What was seen in a run, over all its machines; the last machine's observations stand at the top of a result."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.distrust: list[str] = []  # those of them that make figures untrustworthy
        self.findings: list[Finding] = []
        self.observed: dict[str, Any] = {}
        self.proc: dict[str, str] = {}
        self.machines = 0
        self.kept: dict[str, Any] = {}
        self.events: dict[str, Any] | None = None  # of the last machine, with --trace
        self.keep_segment = ""  # the folder on whose disk it is to be
        self.segment: int | None = None  # descriptor of a copy of the first failed machine's memory


class RunContext:
    """A workload's view of the run: its configuration, machines, randomness, progress, and where to report."""

    def __init__(
        self, config: RunConfig, record: Record, stop: StopSignals, proc: tuple[str, ...] = (), quiet: bool = False
    ) -> None:
        self.config = config
        self.record = record
        self.stop = stop
        self.machine_name = ""  # what `emu monitor` finds its machines by
        self.variant = ""  # of the workload's patch, if one was asked for
        self.partial: dict[str, Any] = {}  # a workload may keep here what is worth printing when it is interrupted
        self._proc = proc
        self._quiet = quiet

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.config.seed

    @property
    def interrupted(self) -> bool:
        """A signal has asked the run to stop: end the loop and return what there is."""
        return self.stop.signum != 0

    def rng(self, stream: int | str = 0) -> np.random.Generator:
        """A generator of its own for each stream, a CPU's number or a name: the same in every run with this seed.

        Imports numpy: call it when the machine has booted, since a fork costs as much as the parent has pages.
        """
        import numpy as np

        key = (0, stream) if isinstance(stream, int) else (1, zlib.crc32(stream.encode()))
        return np.random.default_rng(np.random.SeedSequence(entropy=self.seed, spawn_key=key))

    def progress(self, description: str, total: float | None = None) -> Progress:
        """A progress bar on stderr, shown after a second if that is a terminal: advance(), update() or poll() it."""
        return Progress(description, total, wanted(self._quiet))

    def keep(self, name: str, values: Any) -> None:
        """Keep an array of numbers with the run, as `samples.NAME`: single measurements, that a result has only the
        median of. Of several with one name the last is kept."""
        self.record.kept[name] = values

    def warn(self, text: str) -> None:
        """Add a warning to the result, once."""
        if text not in self.record.warnings:
            self.record.warnings.append(text)
            if not self._quiet and sys.stderr is not None:
                sys.stderr.write(f"emu: warning: {text}\n")

    def distrust(self, text: str) -> None:
        """Warn of what makes the figures untrustworthy: with --strict the run fails for it (exit 7)."""
        if text not in self.record.distrust:
            self.record.distrust.append(text)
        self.warn(text)

    def violation(self, invariant: str, text: str) -> None:
        """Report a violated invariant: the run's verdict becomes "violation" and its exit code 2."""
        self.record.findings.append(Finding(invariant, text))

    @contextmanager
    def boot(self, **overrides: Any) -> Iterator[Machine]:
        """Boot a machine as configured; OVERRIDES are keyword arguments of Machine.

        `patches` is added to the run's switches. With another `kernel` the switches are that version's, and those that
        the user changed. When the block is left the machine is observed, checked, and gone.
        """
        from emu.machine import Machine

        options = self.config.machine_options() | {"name": self.machine_name} | overrides
        options["patches"] = self._patches(options["kernel"], overrides.get("patches") or {})
        machine = Machine(**options)
        self.stop.check()
        machine.__enter__()
        try:
            try:
                yield machine
            except (Interrupted, DiedError):
                # In the middle of whatever it did: its counts are worth keeping, but nothing is at rest to be checked.
                with contextlib.suppress(Exception):
                    self._observe(machine)
                self._keep_segment()
                raise
            self._observe(machine)
            self._check(machine)
        finally:
            with self.stop.shielded():
                machine.__exit__(None, None, None)

    def _patches(self, kernel: str, changes: dict[str, str]) -> dict[str, str]:
        base = self.config.patches
        if kernel != self.config.kernel:
            own = patches.difference(patches.defaults(self.config.kernel), self.config.patches)
            base = patches.defaults(kernel) | {name: value for name, (_, value) in own.items()}
        return patches.override(base, changes)

    def _observe(self, machine: Machine) -> None:
        from emu import observe
        from emu.proctext import proc_texts

        self.record.observed = observe.collect(machine) | {"host": _delivery(machine)}
        for text in machine.coordinator.warnings:
            self.warn(text)
        self.record.machines += 1
        if self.config.trace and importlib.util.find_spec("emu.record_events") is not None:
            found = importlib.import_module("emu.record_events").dump()
            if found is not None:
                self.record.events = found["arrays"]
                self.record.observed["trace"] = found["about"]
        if self._proc:
            self.record.proc = proc_texts(machine, self.record.observed, self._proc)

    def _check(self, machine: Machine) -> None:
        if importlib.util.find_spec("emu.validate") is None:
            self.warn("no conservation check: emu.validate is missing")
            return
        validate = importlib.import_module("emu.validate")
        for found in validate.check(machine):
            self.violation(getattr(found, "invariant", "I1"), getattr(found, "text", str(found)))
        if self.record.findings:
            self._keep_segment()

    def _keep_segment(self) -> None:
        """Copy the memory of a machine that failed, if the run is kept where the user said (-o), once."""
        if self.record.keep_segment and self.record.segment is None:
            from emu.record_segment import keep_segment

            descriptor, problem = keep_segment(self.record.keep_segment)
            self.record.segment = None if problem else descriptor
            if problem:
                self.warn(problem)


def _delivery(machine: Machine) -> dict[str, Any]:
    """How this machine delivered interrupts, and how many of its CPUs could run at once."""
    plan = machine.coordinator.plan
    return {"delivery": plan.delivery, "running": plan.tokens if plan.gated else plan.cpus}
