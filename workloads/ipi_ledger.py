"""The interrupts, grace periods and barriers of each operation, measured.

For one kernel version and a number of CPUs every operation of the ledger is done
once by CPU 0 and, where that makes sense, once by the coordinator, which is no
CPU. About half of the CPUs hold something that the operation must find. Counts
are differences of CAL (call interrupts taken, all CPUs), of synchronize_sched
waits and of rcu_barrier calls. They must equal what that version of Linux does
(docs/ipi-ledger.md); what does not is a violation.

The result, as JSON:

  rows   [{operation, allocator, kernel, cpus, initiator, holders,
           ipis, grace_periods, barriers: each {measured, expected}}]

examples:
  emu run ipi-ledger --kernel 4.11 --cpus 16
  emu run ipi-ledger --kernels 3.3,4.0,4.12 --cpus 5
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cpus import memcg_entry
from cpus.patch_table import NEWEST
from emu.errors import NotSupportedError, UsageError
from emu.format import table as text_table
from emu.patches import parse_version
from workloads._ledger_ops import OPERATIONS, Bench, Operation
from workloads._ledger_table import Case, has_memcg, version

if TYPE_CHECKING:
    from emu.config import RunConfig
    from emu.context import RunContext
    from emu.machine import Machine

DEFAULTS = {"memory": 64 << 20}
COUNTED = ("ipis", "grace_periods", "barriers")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Its own options."""
    own = parser.add_argument_group("ipi-ledger")
    own.add_argument("--kernels", metavar="X.Y,...", help="several versions, one after the other")


def check(config: RunConfig, args: argparse.Namespace) -> None:
    """Refuse what cannot be before anything is started."""
    if config.cpus < 2:
        raise UsageError("--cpus 1: there is nobody to interrupt; use at least 2")
    for kernel in kernels(config, args):
        parse_version(kernel)
        if version(kernel) > version(NEWEST["slub"]):
            raise NotSupportedError(f"--kernels {kernel}: not modelled; up to {NEWEST['slub']}")


def kernels(config: RunConfig, args: argparse.Namespace) -> list[str]:
    """The versions that are asked for."""
    return args.kernels.split(",") if args.kernels else [config.kernel]


def run(ctx: RunContext, args: argparse.Namespace) -> dict[str, Any]:
    """All operations of all versions; a machine for each version and allocator."""
    rows: list[dict[str, Any]] = []
    ctx.partial["rows"] = rows
    wanted = kernels(ctx.config, args)
    with ctx.progress("machines", 2 * len(wanted)) as bar:
        for kernel in wanted:
            for allocator in ("slab", "slub"):
                if ctx.interrupted or (allocator == "slab" and version(kernel) > version(NEWEST["slab"])):
                    continue
                with ctx.boot(kernel=kernel, allocator=allocator) as m:
                    rows += ledger(m, kernel, allocator)
                bar.advance()
    for row in rows:
        wrong = [name for name in COUNTED if row[name]["measured"] != row[name]["expected"]]
        if wrong:
            seen = ", ".join(f"{name} {row[name]['measured']} (not {row[name]['expected']})" for name in wrong)
            where = f"{row['operation']}, {row['allocator']}, Linux {row['kernel']}, by {row['initiator']}"
            ctx.violation("ipi-ledger", f"{where}: {seen}")
    return {"rows": rows}


def ledger(m: Machine, kernel: str, allocator: str) -> Iterator[dict[str, Any]]:
    """The rows of one machine."""
    number = version(kernel)
    m.call(memcg_entry.entry_points()["memcg_init"], number[0] * 1000 + number[1], on=0)
    holders = list(range(1 + m.cpus // 2))
    # What concerns both allocators is measured once.
    mine = [op for op in OPERATIONS if op.allocator == allocator or (op.allocator == "any" and allocator == "slub")]
    for op in mine:
        if number < op.since or (op.memcg and not has_memcg(number)):
            continue
        for on in (0,) if op.cpu_only else (0, "coordinator"):
            # A node keeps five empty slabs: the flush of a sixth would queue a callback on its CPU.
            yield row(op, Bench(m, number, on, holders[:4] if op.callbacks else holders), kernel)


def counts(m: Machine) -> dict[str, int]:
    """At a moment when nothing is under way."""
    m.wait_until(lambda: m.ipis()["pending"] == 0 and m.requests()["pending"] == 0, timeout=20)
    vmstat = m.vmstat()
    return {
        "ipis": sum(m.interrupts()["CAL"]),
        "grace_periods": vmstat["grace_periods"],
        "barriers": vmstat["rcu_barriers"],
    }


def row(op: Operation, bench: Bench, kernel: str) -> dict[str, Any]:
    """Do it, and put what it cost beside what it must cost."""
    act = op.prepare(bench)
    before = counts(bench.machine)
    act()
    after = counts(bench.machine)
    callbacks = bench.machine.cpus - 1 if op.callbacks else 0
    cost = op.expect(Case(bench.kernel, bench.others, bench.held, op.number, callbacks))
    found: dict[str, Any] = {
        "operation": op.name,
        "allocator": op.allocator,
        "kernel": kernel,
        "cpus": bench.machine.cpus,
        "initiator": "CPU 0" if bench.on == 0 else "coordinator",
        "holders": bench.held,
    }
    return found | {
        name: {"measured": after[name] - before[name], "expected": getattr(cost, name)} for name in COUNTED
    }


def cell(pair: Mapping[str, int]) -> str:
    """12, or 12 (not 15)."""
    measured, expected = pair["measured"], pair["expected"]
    return str(measured) if measured == expected else f"{measured} (not {expected})"


def render(result: Mapping[str, Any]) -> str:
    """One line per operation and initiator."""
    return render_rows(result["rows"])


def render_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """The ledger."""
    head = ("kernel", "operation", "allocator", "by", "holders", "IPIs", "GPs", "barriers")
    lines = [
        (r["kernel"], r["operation"], r["allocator"], r["initiator"], str(r["holders"]), *(cell(r[n]) for n in COUNTED))
        for r in rows
    ]
    return text_table(head, lines)
