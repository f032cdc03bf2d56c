"""emu compare: what a patch or an option changes, live or between stored runs."""

from __future__ import annotations

import argparse
import itertools
import secrets
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emu.errors import RegressionError, UsageError, one_line
from emu.parser import Parser

if TYPE_CHECKING:
    from emu.compare_live import Plan
    from emu.compare_runs import Comparison
    from emu.compare_sides import SideSpec

DESCRIPTION = "Compare configurations of a workload by interleaved runs, or stored runs."
EPILOG = """\
Live: emu compare WORKLOAD [options of emu run] with one of --a/--b, --patch,
--vary. The sides run in turn (A B A B), each in a fresh process, after a
warm-up, until the interval of the change is narrow enough or the time is up.
With --patch NAME alone A is without that patch and B with it.

Stored: emu compare RUN RUN [RUN ...]; the first is the reference. A run that
was repeated (--repeat) has as many samples; from one sample nothing is shown.

columns: A and B are medians, change is B's to A's, interval its bootstrap
interval, seed NNN what the patch's thread published for the same figure.
Counts that never varied are exact and have no interval.

exit status 6: a figure is worse than --fail-if allows, beyond the noise.

overhead: each run boots a machine in a process of its own (0.3 s and more).

examples:
  emu compare memcg-create --patch slab-create-no-ipi --cpus 22 --loops 500
  emu compare memcg-create --a kernel=4.11 --b kernel=4.12
  emu compare memcg-create --vary ipi=signal,mqueue,doorbell --rounds 10
  emu compare last~1 last --fail-if 'latency.kick.p99_ns:5%'
"""
SIDES = ("--a", "--b", "--vary")


def parser(argv: Sequence[str] = ()) -> Parser:
    """Return the command's parser; --patch is its own unless ARGV says by other means what the sides are."""
    made = Parser(prog="emu compare", description=DESCRIPTION, epilog=EPILOG)
    sides = made.add_argument_group("sides")
    sides.add_argument("--a", metavar="KEY=VALUE,...", help="options and patches of side A")
    sides.add_argument("--b", metavar="KEY=VALUE,...", help="the same of side B")
    sides.add_argument("--vary", metavar="KEY=V,V,...", help="a side for each value; the first is the reference")
    if not any(arg.partition("=")[0] in SIDES for arg in argv):
        sides.add_argument("--patch", action="append", metavar="NAME[=VARIANT]", help="A without it, B with it")
    rounds = made.add_argument_group("rounds")
    rounds.add_argument("--rounds", metavar="N", help="exactly so many runs of each side, 1 to 1000")
    rounds.add_argument("--budget", metavar="TIME", default="60s", help="stop after this time (default 60s)")
    rounds.add_argument("--precision", metavar="P%", default="5%", help="stop at this half-width (default 5%%)")
    rounds.add_argument("--warmup", metavar="N", default="1", help="rounds that do not count, 0 to 100 (default 1)")
    rounds.add_argument("--metric", action="append", default=[], metavar="PATH", help="a figure that must be precise")
    rounds.add_argument("--seed", metavar="N", help="of the first round; drawn if not given")
    out = made.add_argument_group("result")
    out.add_argument("--confidence", metavar="P%", default="95%", help="of the intervals (default 95%%)")
    out.add_argument("--fail-if", action="append", default=[], metavar="PATH:LIMIT", help="exit 6 if worse by more")
    out.add_argument("--all", action="store_true", help="every figure, also what does not differ")
    out.add_argument("-o", "--output", metavar="DIR", help="keep the sides as runs in this new folder")
    out.add_argument("--no-record", action="store_true", help="do not keep the sides as runs")
    out.add_argument("--json", action="store_true", help="one JSON object")
    out.add_argument("-q", "--quiet", action="store_true", help="no progress, no warnings")
    out.add_argument("--debug", action="store_true", help="a traceback with errors")
    return made


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    whole = parser(argv)
    args, rest = whole.parse_known_args(list(argv))
    if not rest:
        raise UsageError("emu compare: what? a workload (`emu list`) or two runs (`emu runs`)")
    from emu.compare_fail import parse
    from emu.compare_stats import need_scipy

    limits = parse(args.fail_if)
    confidence = share(args.confidence, "--confidence", 0.5, 0.9999)
    need_scipy("emu compare")
    sided = any(getattr(args, option, None) is not None for option in ("a", "b", "vary", "patch"))
    if is_workload(rest, sided):
        return live(args, rest, confidence, limits)
    operands = [arg for arg in rest if not arg.startswith("-")]
    if len(operands) != len(rest):
        whole.unknown(rest)
    return stored(args, operands, confidence, limits)


def share(text: str, option: str, low: float, high: float) -> float:
    """`95%` -> 0.95, within its bounds."""
    number = text.removesuffix("%")
    try:
        value = float(number) / 100
    except ValueError:
        value = -1.0
    if not low <= value <= high or not text.endswith("%"):
        raise UsageError(f"{option}: {one_line(text)!r} is not from {low * 100:g}% to {high * 100:g}%")
    return value


def is_workload(rest: Sequence[str], sided: bool) -> bool:
    """Whether the first operand is a workload's name or file, or is at least meant as one: sides were named."""
    from emu import runs, workload

    first = operand(rest)
    if first.endswith(".py") or first in workload.names():
        return True
    return not runs.exists(first) and (sided or any(arg.startswith("--") for arg in rest))


def operand(rest: Sequence[str]) -> str:
    """The first operand, as `emu run` finds it."""
    from emu.commands import run

    found, _ = run.parser(add_help=False).parse_known_args(list(rest))
    return str(found.workload)


def stored(args: argparse.Namespace, names: Sequence[str], confidence: float, limits: list[Any]) -> int:
    """Compare runs that were kept."""
    from emu import runs
    from emu.compare_runs import compare_sides, side_of

    if len(names) < 2:
        hint = "" if runs.exists(names[0]) else "; and it is neither a workload nor a run"
        raise UsageError(f"emu compare: {one_line(names[0])!r} alone; give at least two runs{hint}")
    for option in ("a", "b", "vary", "patch", "rounds", "seed", "output"):
        if getattr(args, option, None):
            raise UsageError(f"--{option}: stored runs are as they are; it belongs to `emu compare WORKLOAD`")
    found = [runs.find(name) for name in names]
    warnings = [text for run in found for text in run.warnings]
    for a, b in itertools.pairwise(found):
        if a.path.resolve() == b.path.resolve():
            warnings.append(f"{a.name} is compared with itself")
    sides = [side_of(run) for run in found]
    comparisons = [compare_sides(sides[0], other, confidence) for other in sides[1:]]
    verdicts = [(side.name, side.document["verdict"]) for side in sides]
    warnings += [f"{name}: verdict {verdict}" for name, verdict in verdicts if verdict != "pass"]
    return report(args, comparisons, limits, warnings, {})


def live(args: argparse.Namespace, rest: list[str], confidence: float, limits: list[Any]) -> int:
    """Run the sides and compare them."""
    from emu.compare_live import compare_live
    from emu.compare_runs import compare_sides
    from emu.signals import StopSignals

    specs = sides_of(args, rest)
    plan = plan_of(args, confidence, [limit.path for limit in limits])
    place = place_of(args, operand(rest), plan.seed)
    sys.stderr.write(f"emu: seed {plan.seed}\n")
    stop = StopSignals()
    host: dict[str, Any] = {}
    with stop:
        gate, warnings = open_gate(host, specs, rest)
        outcome = compare_live(rest, specs, plan, stop)
        if not stop.signum:
            warnings += gate.after(floor)
    if not outcome.sides:
        sys.stderr.write("emu: interrupted before the first round was done\n")
        return outcome.exit_code
    kept = keep_sides(args, outcome, place, rest)
    comparisons = [compare_sides(outcome.sides[0], other, confidence) for other in outcome.sides[1:]]
    about = {"rounds": outcome.rounds, "ended": outcome.ended, "seed": plan.seed, "host": host, "kept": kept}
    code = report(args, comparisons, limits, [*dict.fromkeys([*warnings, *outcome.warnings])], about)
    return outcome.exit_code or code


def sides_of(args: argparse.Namespace, rest: Sequence[str]) -> list[SideSpec]:
    """The sides; each is checked as `emu run` would, before anything is started."""
    from emu.compare_sides import from_patch, from_specs, from_vary

    base = checked(rest)
    ways = [
        from_specs(args.a, args.b),
        from_vary(args.vary),
        from_patch(getattr(args, "patch", None) or [], base),
    ]
    chosen = [specs for specs in ways if specs]
    if len(chosen) != 1:
        text = "what are the sides? --a and --b, --patch or --vary" if not chosen else "--a/--b or --vary, not both"
        raise UsageError(f"emu compare {one_line(operand(rest))}: {text}")
    for spec in chosen[0]:
        checked([*rest, *spec.argv])
    return chosen[0]


def checked(argv: Sequence[str]) -> dict[str, str]:
    """The switches of a run with these arguments; UsageError or NotSupportedError if it could not be."""
    from emu.commands import run
    from emu.config import configure, parse_params
    from emu.parser import given_options
    from emu.workload import find

    workload = find(operand(argv))
    whole = run.parser(workload.defaults)
    workload.call("add_options", whole)
    args = whole.parse_all(list(argv))
    for flag in ("both", "variants", "variant"):
        if getattr(args, flag):
            raise UsageError(f"--{flag}: a comparison has its own sides; use --patch or --vary")
    for flag in ("dry_run", "live", "name"):
        if getattr(args, flag, None):
            raise UsageError(f"--{flag.replace('_', '-')}: belongs to one run, a comparison makes many")
    config = configure(given_options(args), args.config, parse_params(args.param), workload.defaults)
    workload.call("check", config, args)
    return config.patches


def plan_of(args: argparse.Namespace, confidence: float, paths: Sequence[str]) -> Plan:
    """How often and how long."""
    from emu.compare_live import MOST_ROUNDS, Plan
    from emu.units import parse_duration

    try:
        budget = parse_duration(args.budget)
    except ValueError as error:
        raise UsageError(f"--budget: {one_line(args.budget)!r} {error}") from None
    return Plan(
        seed=whole_number(args.seed, "--seed", 0, 2**64 - 1) if args.seed is not None else secrets.randbits(64),
        rounds=whole_number(args.rounds, "--rounds", 1, MOST_ROUNDS) if args.rounds is not None else None,
        warmup=whole_number(args.warmup, "--warmup", 0, 100),
        budget=budget,
        precision=share(args.precision, "--precision", 0.0001, 1.0),
        confidence=confidence,
        metrics=[*args.metric, *paths],
        quiet=args.quiet,
    )


def whole_number(text: str, option: str, low: int, high: int) -> int:
    """An option's number within its bounds."""
    from emu.units import parse_integer

    try:
        value = parse_integer(text)
    except ValueError as error:
        raise UsageError(f"{option}: {one_line(text)!r} {error}") from None
    if not low <= value <= high:
        raise UsageError(f"{option}: {one_line(text)} is not from {low} to {high}")
    return value


def floor() -> dict[str, Any]:
    """This host's interrupt round trip in C."""
    from emu.runner import quick_floor

    return quick_floor()


def open_gate(host: dict[str, Any], specs: Sequence[SideSpec], rest: Sequence[str]) -> tuple[Any, list[str]]:
    """Look at the host once for all runs."""
    from emu import hostinfo
    from emu.hostgate import HostGate

    host |= hostinfo.collect(1)
    host["ipi_floor_ns"] = floor()
    return HostGate(host), hostinfo.warnings(1, host)


def place_of(args: argparse.Namespace, workload: str, seed: int) -> Any:
    """Where the sides will be kept; a folder named by the user is refused before anything is started."""
    from emu.record_keep import decide

    name = f"compare-{Path(workload).stem}"
    return None if args.no_record else decide(args.output, None, name, seed)


def keep_sides(args: argparse.Namespace, outcome: Any, place: Any, rest: Sequence[str]) -> list[str]:
    """Keep each side as a run of its own, whose repeats are the rounds; their names."""
    if place is None:
        return []
    if place.path is None:
        sys.stderr.write(f"emu: warning: the sides are not kept: {place.problem}; name a place with -o DIR\n")
        return []
    from emu import record, results
    from emu.record_keep import code_version

    names = []
    command = shlex.join(["emu", "run", *rest])
    for letter, side, documents in zip("abcdefghijklmnop", outcome.sides, outcome.documents, strict=False):
        document = dict(documents[-1]) | {"result": results.combine([d["result"] for d in documents])}
        # With -o the folder is the comparison's and holds a run for each side.
        path = place.path / letter if place.chosen else place.path.with_name(f"{place.path.name}-{letter}")
        samples = {path: values.tolist() for path, values in side.samples.items()}
        about = {"code": code_version(), "side": side.name, "of": command, "rounds": outcome.rounds}
        record.save(path, document, samples=samples, about=about)
        names.append(str(path) if place.chosen else path.name)
    return names


def report(
    args: argparse.Namespace,
    comparisons: Sequence[Comparison],
    limits: list[Any],
    warnings: Sequence[str],
    about: dict[str, Any],
) -> int:
    """Print it, and say by the exit code whether there is a regression."""
    from emu.compare_fail import judge
    from emu.compare_text import as_dict, text
    from emu.results import to_json

    judged = [judge(limits, found) for found in comparisons]
    if args.json:
        found = [as_dict(one, one_judged) for one, one_judged in zip(comparisons, judged, strict=True)]
        document = {"schema": 1, "kind": "comparison", "workload": comparisons[0].a.document["workload"]}
        sys.stdout.write(to_json(document | {"warnings": list(warnings), **about, "comparisons": found}).decode())
    else:
        head = f"{comparisons[0].a.document['workload']}: {about['rounds']} rounds, {about['ended']}" if about else ""
        parts = [
            text(one, everything=args.all, limits=one_judged, title=head)
            for one, one_judged in zip(comparisons, judged, strict=True)
        ]
        sys.stdout.write("\n".join(parts))
    sys.stdout.flush()
    if not args.quiet:
        for warning in warnings:
            sys.stderr.write(f"emu: warning: {warning}\n")
        if about.get("kept"):
            sys.stderr.write(f"emu: kept as {', '.join(about['kept'])}\n")
    worse = [judgement for one in judged for judgement in one if judgement.state == "worse"]
    if worse:
        more = f", and {len(worse) - 1} more" if len(worse) > 1 else ""
        raise RegressionError(f"regression: {worse[0].text}{more}")
    return 0
