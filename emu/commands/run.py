"""emu run WORKLOAD: run a workload on an emulated machine."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emu.errors import UsageError, did_you_mean, one_line
from emu.parser import Parser, add_common_options, given_options

if TYPE_CHECKING:
    from emu.workload import Workload

DESCRIPTION = "Run a workload on an emulated machine and report what it did."
EPILOG = """\
WORKLOAD is a name (`emu list`) or the path of a Python file; it comes first.
Its own options are shown by `emu run WORKLOAD --help`.

examples:
  emu run memcg-create --loops 1000 --cpus 8 --kernel 4.11 --both
  emu run ipi-bench --cpus 16 --ipi mqueue --json | jq .result
  emu run pcp-race --variants --cpus 8 --duration 10s
  emu run ./mine.py --param size=64 --config mine.toml
"""
PROC = ("interrupts", "slabinfo", "vmstat")


def parser(defaults: dict[str, object] | None = None, **kwargs: object) -> Parser:
    """Return the parser of what all workloads have."""
    made = Parser(prog="emu run", description=DESCRIPTION, epilog=EPILOG, **kwargs)
    made.add_argument("workload", metavar="WORKLOAD", help="name or path of the workload")
    add_common_options(made, defaults)
    made.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help="a workload's parameter")
    made.add_argument("--config", metavar="FILE", help="TOML file with options; the command line goes before it")
    patch = made.add_argument_group("variants of the workload's patch").add_mutually_exclusive_group()
    patch.add_argument("--both", action="store_true", help="before and after the patch")
    patch.add_argument("--variant", metavar="V", help="with this variant")
    patch.add_argument("--variants", action="store_true", help="with each of its variants")
    verdict = made.add_argument_group("verdict")
    verdict.add_argument(
        "--expect", metavar="violation", help="exit 0 if a violation is seen where the patch is known to be unsafe"
    )
    verdict.add_argument("--strict", action="store_true", help="exit 7 if the figures are not trustworthy")
    output = made.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="one JSON object")
    output.add_argument("-o", "--output", metavar="DIR", help="keep the run in this folder, which must not exist")
    output.add_argument(
        "--name", metavar="NAME", help="of the kept run, and of its machine in `emu monitor` (default: the workload's)"
    )
    output.add_argument("--no-record", action="store_true", help="do not keep the run")
    output.add_argument("--no-probe", action="store_true", help="do not measure the host's own floor (saves 0.5 s)")
    output.add_argument(
        "--proc", action="append", default=[], metavar="|".join(PROC), help="add that file of the last machine"
    )
    output.add_argument("--live", action="store_true", help="watch the machine meanwhile, as `emu monitor` does")
    output.add_argument("--dry-run", action="store_true", help="print what would be run; boot nothing")
    output.add_argument("-q", "--quiet", action="store_true", help="no progress, no warnings, the result alone")
    output.add_argument("-v", "--verbose", action="store_true", help="add interrupts, locks and latencies")
    output.add_argument("--debug", action="store_true", help="a traceback with errors")
    return made


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    # The workload is the first operand; its options are not known before it is loaded.
    first, _ = parser(add_help=False).parse_known_args([arg for arg in argv if arg not in ("-h", "--help")] or ["-"])
    asks_help = any(arg in ("-h", "--help") for arg in argv)
    if first.workload == "-":
        if asks_help:
            sys.stdout.write(parser().format_help())
            return 0
        raise UsageError("emu run: which workload? `emu list` lists them")
    from emu.workload import find

    workload = find(first.workload)
    whole = parser(workload.defaults)
    if asks_help:
        whole.prog, whole.description = f"emu run {workload.name}", workload.doc
    workload.call("add_options", whole)
    if asks_help:
        sys.stdout.write(whole.format_help())
        return 0
    args = whole.parse_all(list(argv))
    check(args)
    return execute(workload, args, argv)


def check(args: argparse.Namespace) -> None:
    """Refuse what argparse could not."""
    for name in args.proc:
        if name not in PROC:
            hint = did_you_mean(name, PROC)
            raise UsageError(f"--proc: {one_line(name)!r} is not one of {', '.join(PROC)}{hint}")
    if args.expect not in (None, "violation"):
        raise UsageError(f"--expect: {one_line(args.expect)!r}; only a violation can be expected")


def execute(workload: Workload, args: argparse.Namespace, argv: Sequence[str]) -> int:
    """Configure the run, and print it or do it."""
    from emu import summary
    from emu.config import configure, parse_params
    from emu.record_keep import begun, decide, keep, worth_keeping
    from emu.results import to_json
    from emu.runner import Runner, Wanted

    config = configure(given_options(args), args.config, parse_params(args.param), workload.defaults)
    mode = "both" if args.both else "variants" if args.variants else "variant" if args.variant is not None else "once"
    wanted = Wanted(
        mode=mode,
        variant=args.variant or "",
        expect_violation=args.expect is not None,
        strict=args.strict,
        quiet=args.quiet,
        live=args.live,
        name=args.name or "",
        proc=tuple(dict.fromkeys(args.proc)),
        command=shlex.join(["emu", "run", *argv]),
        keep_segment=str(Path(args.output).parent) if args.output is not None else "",
        probe=not args.no_probe,
    )
    runner = Runner(workload, config, args, wanted)
    if args.dry_run:
        sys.stdout.write(summary.dry_run(runner, args.json))
        return 0
    place = None if args.no_record else decide(args.output, args.name, workload.name, config.seed)
    sys.stderr.write(f"emu: seed {config.seed}\n")
    about = {"workload": workload.name, "command": wanted.command, "seed": config.seed, "config": config.as_dict()}
    with begun(place, about | {"run": {"argv": list(argv)}}):
        outcome = runner.run()
    if args.json:
        sys.stdout.write(to_json(outcome.document).decode())
    else:
        sys.stdout.write(summary.text(workload, outcome, args.quiet, args.verbose))
    sys.stdout.flush()
    summary.report_problems(outcome)
    if place is not None and worth_keeping(outcome):
        kept = keep(outcome, place, {"argv": list(argv), "text": summary.text_to_keep(workload, outcome)})
        if kept is not None and not args.quiet and not args.json:
            sys.stderr.write(f"emu: kept as {kept.name if not place.chosen else kept}\n")
    if outcome.error is not None and args.debug:
        raise outcome.error
    return outcome.exit_code
