"""Interrupt latency: Yury Norov's five tests and more, on every transport, beside the same in plain C.

Each line is one test on one transport: nanoseconds per call to the last target's ack (the call's return is in the
JSON), and the ratio to the C floor, whose blocks alternate with ours in the same run.

  dry-run          the empty loop
  self             a call to the own CPU: a direct call
  normal           a call to a running CPU on another core, waiting
                   (doorbell: to one in a wait loop, since it must poll)
  irq-off          the same; the target has interrupts off most of the time
  no-wait          the same without waiting
  parked           a call to an idle CPU
  broadcast        a call to all other CPUs, idle
  broadcast-lock   the same; each handler takes and releases one spinlock
  mask             a call to every second CPU, idle
  broadcast-busy   a call to all other CPUs, each with a loop to run

With --requests N nothing is timed: all CPUs send to all others at once, and every request is accounted for (run once,
on the CPU addressed, nothing lost), N in all.

result: rows [{test, ipi, targets, p50_ns, p99_ns, return_p50_ns, floor, floor_p50_ns, floor_p99_ns, ratio, p99_ratio,
norov {ipi_ns, total_ns, calls}, published_ns}]; with --requests rows [{test, ipi, delivery, cpus, requests, run,
wrong_cpu, raised, taken, merged, pending, seconds}]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from emu.config import RunConfig
from emu.context import RunContext
from emu.errors import ResourceError, UsageError
from emu.floor import Floor
from emu.plan import allowed_cores
from workloads import _ipi_blocks as blocks
from workloads import _ipi_table as table
from workloads import _ipi_torture as torture
from workloads._ipi_tests import PAIR, TESTS, Test

TRANSPORTS = ("signal", "mqueue", "cluster", "doorbell")
DEFAULTS = {"cpus": 33}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options beside the common ones; --cpus is the size of a broadcast's machine unless --targets is given."""
    names = ",".join(test.name for test in TESTS)
    parser.add_argument("--tests", metavar="A,B", default=names, help=f"which of {names} (default: all)")
    parser.add_argument(
        "--transports", metavar="A,B", default=",".join(TRANSPORTS), help="which transports (default: all four)"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="calls a block (default: 1000; broadcasts 50)")
    parser.add_argument("--pairs", type=int, metavar="N", default=5, help="blocks of each kind (default: 5)")
    parser.add_argument(
        "--targets", metavar="N,M", default="", help="sizes of broadcasts (default: all CPUs but the sender)"
    )
    parser.add_argument(
        "--sender", choices=("cpu0", "coordinator"), default="coordinator", help="who broadcasts (default: coordinator)"
    )
    parser.add_argument("--requests", type=int, metavar="N", help="torture: account for N requests, time none")


def check(config: RunConfig, args: argparse.Namespace) -> None:
    """Refuse what cannot be before anything is started."""
    _chosen(args.tests, [test.name for test in TESTS], "--tests")
    _chosen(args.transports, list(TRANSPORTS), "--transports")
    for name, value, high in (
        ("--rounds", args.rounds, blocks.MAX_ROUNDS),
        ("--pairs", args.pairs, 1000),
        ("--requests", args.requests, 10**12),
    ):
        if value is not None and not 1 <= value <= high:
            raise UsageError(f"{name} {value}: from 1 to {high}")
    for size in _sizes(config, args):
        if not 1 <= size <= 1023:
            raise UsageError(f"--targets {size}: from 1 to 1023")


def _chosen(text: str, known: list[str], option: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in known:
            raise UsageError(f"{option} {name!r}: one of {', '.join(known)}")
    return [name for name in known if name in names]


def _sizes(config: RunConfig, args: argparse.Namespace) -> list[int]:
    if not args.targets:
        return [max(config.cpus - 1, 1)]
    try:
        return [int(size) for size in args.targets.split(",")]
    except ValueError:
        raise UsageError(f"--targets {args.targets!r}: numbers with commas between, as in 32,128") from None


def run(ctx: RunContext, args: argparse.Namespace) -> dict[str, Any]:
    """Measure, or torture."""
    transports = _chosen(args.transports, list(TRANSPORTS), "--transports")
    if args.requests is not None:
        return {"rows": torture.run(ctx, transports, args.requests)}
    if allowed_cores() < 2:
        ctx.distrust("one host core: the target of a single call shares it with the sender")
    tests = [test for test in TESTS if test.name in args.tests.split(",")]
    rows: list[dict[str, Any]] = []
    ctx.partial["rows"] = rows
    with Floor() as floor, ctx.progress("tests", len(tests) * len(transports)) as progress:
        for ipi in transports:
            for row in _transport(ctx, args, ipi, tests, floor):
                rows.append(row)
                progress.advance()
    return {"rows": rows}


def _transport(
    ctx: RunContext, args: argparse.Namespace, ipi: str, tests: list[Test], floor: Floor
) -> Iterator[dict[str, Any]]:
    """The rows of one transport: singles on two CPUs, broadcasts on a machine of each size; pinned, as the floor's."""
    pin = ctx.config.pin is not False
    machines: list[tuple[int, list[Test]]] = [(1, [test for test in tests if test.machine == PAIR])]
    machines += [(size, [test for test in tests if test.machine != PAIR]) for size in _sizes(ctx.config, args)]
    for targets, chosen in machines:
        if not chosen or ctx.interrupted:
            continue
        pair = chosen[0].machine == PAIR
        sender: int | str = 0 if pair or args.sender == "cpu0" else blocks.COORDINATOR
        try:
            with ctx.boot(ipi=ipi, nodes=1, cpus=targets + (sender == 0), pin=pin) as machine:
                bench = blocks.Bench(machine)
                for test in chosen:
                    if ctx.interrupted:
                        break
                    yield test.measure(bench, floor, ipi, targets, sender, args.rounds, args.pairs)
        except ResourceError as error:
            ctx.warn(f"{ipi}, {targets} targets: not measured: {error}")


def render(result: dict[str, Any]) -> str:
    """The table for people."""
    return table.render(result["rows"])
