"""A live comparison: the sides' runs interleaved, A B A B, until the interval is narrow enough or the time is up.

Interleaved, because a host drifts: whatever slows it down for a minute then slows both sides. Each round has a seed of
its own, the same on all sides. A round in which a side fails ends the comparison with that run's exit code.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from emu.cell import Cell, run
from emu.compare_runs import Side, merged
from emu.compare_sides import SideSpec
from emu.compare_stats import FEWEST, change
from emu.errors import DiedError, EmuError, NotSupportedError, ResourceError, UsageError
from emu.progress import Progress, wanted
from emu.signals import StopSignals

MOST_ROUNDS = 1000
ERRORS: dict[int, type[EmuError]] = {1: UsageError, 3: ResourceError, 4: NotSupportedError}


@dataclass
class Plan:
    """How often and how long. precision: half of the interval's width, as a part of the figure."""

    seed: int
    rounds: int | None = None
    warmup: int = 1
    budget: float = 60.0
    precision: float = 0.05
    confidence: float = 0.95
    metrics: Sequence[str] = ()
    quiet: bool = False


@dataclass
class Outcome:
    """What the rounds gave: one Side each, what ended them, the exit code of the worst run."""

    sides: list[Side]
    ended: str
    rounds: int
    exit_code: int = 0
    warnings: list[str] = field(default_factory=list)
    documents: list[list[dict[str, Any]]] = field(default_factory=list)


def compare_live(common: Sequence[str], specs: Sequence[SideSpec], plan: Plan, stop: StopSignals) -> Outcome:
    """Run the rounds. Raises what a run that could not be done would have exited with."""
    documents: list[list[dict[str, Any]]] = [[] for _ in specs]
    worst = 0
    deadline = time.monotonic() + plan.budget
    rounds = 0
    ended = "all rounds are done"
    total = None if plan.rounds is None else (plan.rounds + plan.warmup) * len(specs)
    with Progress("runs", total, wanted(plan.quiet)) as bar:
        for number in range(-plan.warmup, MOST_ROUNDS):
            if number >= 0 and (reason := enough(documents, number, plan, deadline)):
                ended = reason
                break
            made = one_round(common, specs, plan.seed + max(0, number), stop, bar)
            if made is None:
                ended = "interrupted"
                break
            if number < 0:
                continue
            rounds = number + 1
            for side, cell in zip(documents, made, strict=True):
                assert cell.document is not None
                side.append(cell.document)
                worst = max(worst, cell.exit_code)
    if not rounds:
        return Outcome([], ended, 0, 128 + stop.signum)
    sides = [merged(spec.name, side) for spec, side in zip(specs, documents, strict=True)]
    # The load is looked at once for all, and not by each run: it is we who make it.
    said = (text for side in documents for one in side for text in one.get("warnings", []))
    texts = dict.fromkeys(text for text in said if not text.startswith("the host is busy"))
    code = 128 + stop.signum if stop.signum else worst
    return Outcome(sides, ended, rounds, code, list(texts), documents)


def one_round(
    common: Sequence[str], specs: Sequence[SideSpec], seed: int, stop: StopSignals, bar: Progress
) -> list[Cell] | None:
    """Each side once; None if a signal came."""
    made = []
    for spec in specs:
        if stop.signum:
            return None
        cell = run([*common, *spec.argv, "--seed", str(seed % 2**64), "--no-probe"], stop)
        bar.advance()
        if stop.signum:
            return None
        if cell.document is None or cell.exit_code not in (0, 2, 7):
            kind = ERRORS.get(cell.exit_code, DiedError)
            raise kind(f"{spec.name}: {cell.said or f'its run ended with exit code {cell.exit_code}'}")
        made.append(cell)
    return made


def enough(documents: Sequence[Sequence[dict[str, Any]]], rounds: int, plan: Plan, deadline: float) -> str:
    """Why no further round is needed; empty if one is."""
    if plan.rounds is not None:
        return "" if rounds < plan.rounds else f"{plan.rounds} rounds"
    if time.monotonic() > deadline:
        few = f"; fewer than {FEWEST} rounds show no difference" if rounds < FEWEST else ""
        return "" if rounds == 0 else f"the time is up (--budget {plan.budget:g}s){few}"
    if rounds >= FEWEST and narrow(documents, plan):
        return f"every interval is within {plan.precision * 100:g}%"
    return ""


def narrow(documents: Sequence[Sequence[dict[str, Any]]], plan: Plan) -> bool:
    """Whether the figures that matter are known well enough on all sides."""
    sides = [merged("", side) for side in documents]
    reference = sides[0].samples
    chosen = list(plan.metrics) or [p for p in ("result.elapsed_ns", "elapsed_ns") if p in reference][:1]
    for path in chosen:
        for other in sides[1:]:
            if path not in reference or path not in other.samples:
                continue
            found = change(reference[path].astype(float), other.samples[path].astype(float), plan.confidence)
            if found is not None and (found.high - found.low) / 2 > plan.precision * (1 + found.value):
                return False
    return True
