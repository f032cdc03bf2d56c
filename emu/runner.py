"""Runs a workload: once, repeatedly, or once for each variant of its patch; and says what came of it."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import time
from argparse import Namespace
from dataclasses import dataclass, field
from typing import Any

from emu import hostinfo, live, patches, results
from emu.config import RunConfig
from emu.context import Finding, Record, RunContext
from emu.errors import EmuError, Interrupted, ResourceError, UsageError, ViolationError, did_you_mean
from emu.format import size
from emu.hostgate import HostGate
from emu.signals import StopSignals
from emu.workload import Workload, place_of

VERDICTS = {2: "violation", 3: "unfit-host", 4: "unfit-host", 7: "unfit-host"}


@dataclass
class Wanted:
    """What of a workload is to be run, beside its configuration."""

    mode: str = "once"  # once, variant, variants, both
    variant: str = ""
    expect_violation: bool = False
    strict: bool = False
    live: bool = False
    name: str = ""  # of its machines; the workload's without one
    quiet: bool = False
    proc: tuple[str, ...] = ()
    command: str = ""
    keep_segment: str = ""  # the folder on whose disk a failed machine's memory is to be kept
    probe: bool = True  # the host, before and after


@dataclass
class Outcome:
    """What came of a run: the document, the exit code, and the error that ended it early, if one did."""

    document: dict[str, Any]
    exit_code: int
    error: BaseException | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    repeats: list[dict[str, Any]] = field(default_factory=list)  # {variant, result, observed, elapsed_ns} of each
    kept: dict[str, Any] = field(default_factory=dict)  # what the workload kept: name -> array
    events: dict[str, Any] | None = None  # the last machine's event rings
    segment: int | None = None  # descriptor of a failed machine's memory


class Runner:
    """One run of one workload."""

    def __init__(self, workload: Workload, config: RunConfig, args: Namespace, wanted: Wanted) -> None:
        self.workload = workload
        self.config = config
        self.args = args
        self.wanted = wanted
        self.record = Record()
        self.stop = StopSignals()
        self.rows: list[dict[str, Any]] = []
        self.result: dict[str, Any] = {}
        self.as_expected = True
        self.choices = chosen_variants(workload, wanted)
        if len(config.levels) > 1 and not workload.takes_levels:
            raise UsageError(f"--series: {workload.name} takes one level; give one number, or run it for each")
        self.repeats: list[dict[str, Any]] = []
        self.record.keep_segment = wanted.keep_segment

    def run(self) -> Outcome:
        """Run it. Errors that leave something to tell end up in the outcome; those before the start are raised."""
        for changes in self.choices.values():
            config = self.config.with_patches(changes)
            self.workload.call("check", config, self.args)
            check_memory(self.workload, config, self.args)
        host = hostinfo.collect(self.config.cpus)
        error: BaseException | None = None
        begun = time.monotonic_ns()
        # A workload's prints are no result: stdout is that and nothing else.
        with self.stop, contextlib.redirect_stdout(sys.stderr):
            host["ipi_floor_ns"] = quick_floor() if self.wanted.probe else {}
            gate = HostGate(host) if self.wanted.probe else None
            for text in hostinfo.warnings(self.config.cpus, host):
                self._context(self.config).distrust(text)
            try:
                with live.view(self.wanted.live, self.wanted.name or self.workload.name):
                    self._run_choices()
            except (Interrupted, EmuError) as caught:
                error = caught
        elapsed = time.monotonic_ns() - begun
        steal = hostinfo.steal_warning(
            host["steal_ticks"], hostinfo.steal_ticks(), elapsed / 1e9, max(1, host["allowed_cpus"])
        )
        if steal:
            self._context(self.config).distrust(steal)
        if gate is not None and not self.stop.signum:
            for text in gate.after(quick_floor):
                self._context(self.config).distrust(text)
        return self._outcome(host, elapsed, error)

    def _context(self, config: RunConfig) -> RunContext:
        # A live view is not to be written into: what was to be said then is said when it is over.
        quiet = self.wanted.quiet or self.wanted.live
        context = RunContext(config, self.record, self.stop, self.wanted.proc, quiet)
        context.machine_name = self.wanted.name or self.workload.name
        return context

    def _run_choices(self) -> None:
        for name, changes in self.choices.items():
            config = self.config.with_patches(changes)
            seen = len(self.record.findings)
            result = self._repeat(config, name)
            violated = len(self.record.findings) > seen
            safe = patches.safety(config.patches, self.workload.switches() or None)
            # What only the explorer can show may be seen here or not.
            if self.workload.judges:
                self.as_expected &= safe == "explorer-only" or violated == (safe == "no")
            else:
                self.as_expected &= not violated
            if self.wanted.mode in ("both", "variants"):
                for row in results.rows_of(name, changes, safe, result):
                    self.rows.append(row | {"verdict": "violation" if violated else "pass"})
                self.result = {"rows": self.rows}
            else:
                self.result = result
            if self.stop.signum:
                return

    def _repeat(self, config: RunConfig, variant: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = []
        for _ in range(config.repeat):
            context = self._context(config)
            context.variant = variant
            begun = time.monotonic_ns()
            try:
                found.append(self._once(context))
                seen = {"variant": variant, "result": found[-1], "observed": self.record.observed}
                self.repeats.append(seen | {"elapsed_ns": time.monotonic_ns() - begun})
            except BaseException:
                self.result = context.partial or self.result
                raise
            if self.stop.signum:
                break
        return results.combine(found)

    def _once(self, context: RunContext) -> dict[str, Any]:
        try:
            result = self.workload.module.run(context, self.args)
        except EmuError:
            raise
        except Exception as error:
            place = place_of(error, self.workload.module)
            where = f"{place}: " if place else ""
            text = f"workload {self.workload.name}: {where}{type(error).__name__}: {error}"
            raise EmuError(text) from error
        if not isinstance(result, dict):
            raise EmuError(
                f"workload {self.workload.name}: {self.workload.module.__file__}: run() returned a "
                f"{type(result).__name__}, not a dict"
            )
        return result

    def _outcome(self, host: dict[str, Any], elapsed: int, error: BaseException | None) -> Outcome:
        if self.wanted.live and not self.wanted.quiet:
            sys.stderr.writelines(f"emu: warning: {text}\n" for text in self.record.warnings)
        if isinstance(error, ViolationError):
            self.record.findings.append(Finding("I?", str(error)))
            error, self.as_expected = None, False
        code, verdict = self._verdict(error)
        document = results.assemble(
            workload=self.workload.name,
            command=self.wanted.command,
            config=self.config.as_dict(),
            host=host,
            verdict=verdict,
            warnings=self.record.warnings,
            violations=[finding._asdict() for finding in self.record.findings],
            elapsed_ns=elapsed,
            observed=self.record.observed,
            result=self.result,
            proc=self.record.proc,
        )
        record = self.record
        return Outcome(document, code, error, self.rows, self.repeats, record.kept, record.events, record.segment)

    def _verdict(self, error: BaseException | None) -> tuple[int, str]:
        """(exit code, verdict). The verdict says what was found, the exit code whether that was to be expected."""
        if isinstance(error, EmuError):
            return error.exit_code, VERDICTS.get(error.exit_code, "died")
        if isinstance(error, Interrupted) or self.stop.signum:
            return 128 + self.stop.signum, "interrupted"
        verdict = "violation" if self.record.findings else "pass"
        if self.wanted.expect_violation or self.wanted.mode == "variants":
            return (0 if self.as_expected else 2), verdict
        if self.record.findings:
            return 2, verdict
        if self.wanted.strict and self.record.distrust:
            return 7, "unfit-host"
        return 0, verdict


def chosen_variants(workload: Workload, wanted: Wanted) -> dict[str, dict[str, str]]:
    """Variant -> its switches, of those that are to be run; one without a name and changes if none was asked for."""
    if wanted.mode == "once":
        return {"": {}}
    table = workload.variants()
    if not table:
        raise UsageError(
            f"--{wanted.mode}: workload {workload.name} is about no single patch; use --patch and --revert"
        )
    if wanted.mode == "variants":
        return table
    names = workload.both() if wanted.mode == "both" else (wanted.variant,)
    if names is None:
        raise UsageError(f"--both: workload {workload.name} has no before and after; use --variants or --variant")
    for name in names:
        if name not in table:
            hint = did_you_mean(name, table)
            raise UsageError(f"--variant: {workload.name} has no {name!r}, but {', '.join(table)}{hint}")
    return {name: table[name] for name in names}


def check_memory(workload: Workload, config: RunConfig, args: Namespace) -> None:
    """Refuse a run that needs more memory than it may have, before anything is started."""
    need = workload.call("memory_need", config, args)
    if need is None:
        return
    limit = config.max_segment or memory_limit()
    if need.ram_bytes > config.memory:
        raise ResourceError(f"emulated RAM: {size(need.ram_bytes)} needed, --memory is {size(config.memory)}; raise it")
    whole = need.metadata_bytes + need.ram_bytes
    if whole > limit:
        raise ResourceError(
            f"memory: {size(whole)} needed, the limit is {size(limit)} (--max-segment); raise it, or use fewer CPUs"
        )


def memory_limit() -> int:
    """The default of --max-segment: half of what the host has free."""
    from emu.plan import available_memory

    return available_memory() // 2


def quick_floor() -> dict[str, Any]:
    """This host's own IPI round trip, in plain C: transport -> {p50, p99} in ns. Empty where it cannot be measured."""
    if importlib.util.find_spec("emu.floor") is None:
        return {}
    floor = importlib.import_module("emu.floor")
    try:
        return dict(floor.quick_floor())
    except (OSError, EmuError):
        return {}
