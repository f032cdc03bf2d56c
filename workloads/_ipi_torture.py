"""ipi-bench --requests: every CPU sends to every other at once, and each request is accounted for.

Checked, by transport and mode of delivery: each request ran once, on the CPU it was addressed to and in that CPU's
process; requests enqueued = run + refused + pending, nothing pending at the end; vectors raised = taken + merged +
pending. How many vectors merge is the host's doing, so it is reported and not checked.
"""

from __future__ import annotations

import time
from typing import Any

from emu.context import RunContext
from emu.errors import NotSupportedError
from emu.machine import Machine
from workloads._ipi_blocks import Bench

# cpus, gate, boost. More CPUs than cores, and, where it may be had, each way of delivery.
MODES = ((2, "off", "off"), (8, "off", "off"), (8, "on", "off"), (8, "off", "on"))
INVARIANT = "I7"


def run(ctx: RunContext, transports: list[str], requests: int) -> list[dict[str, Any]]:
    """Spread `requests` over the transports and modes; a row each."""
    rows: list[dict[str, Any]] = []
    ctx.partial["rows"] = rows
    boostable = _may_boost()
    modes = [mode for mode in MODES if mode[2] == "off" or boostable]
    share = -(-requests // (len(transports) * len(modes)))
    with ctx.progress("requests", requests) as progress:
        for ipi in transports:
            for cpus, gate, boost in modes:
                if ctx.interrupted:
                    return rows
                rows.append(one(ctx, ipi, cpus, gate, boost, share))
                progress.advance(rows[-1]["requests"])
    return rows


def _may_boost() -> bool:
    try:
        Machine(cpus=1, boost="on").plan()
    except NotSupportedError:
        return False
    return True


def one(ctx: RunContext, ipi: str, cpus: int, gate: str, boost: str, requests: int) -> dict[str, Any]:
    """One machine's storm and its account."""
    with ctx.boot(ipi=ipi, cpus=cpus, nodes=1, gate=gate, boost=boost) as machine:
        bench = Bench(machine)
        begun = time.monotonic()
        bench.storm(requests, ctx.seed)
        machine.wait_until(lambda: machine.requests()["pending"] == 0 and machine.ipis()["pending"] == 0, 10.0)
        seconds = time.monotonic() - begun
        tallies = bench.tallies()
        ipis, queued = machine.ipis(), machine.requests()
        delivery = machine.plan().delivery
    for text in faults(tallies, ipis, queued):
        ctx.violation(INVARIANT, f"{ipi}, {delivery}, {cpus} CPUs: {text}")
    return {
        "test": "torture",
        "ipi": ipi,
        "delivery": delivery,
        "cpus": cpus,
        "requests": sum(addressed for addressed, _, _ in tallies),
        "run": sum(ran for _, ran, _ in tallies),
        "wrong_cpu": sum(wrong for _, _, wrong in tallies),
        **{name: ipis[name] for name in ("raised", "taken", "merged", "pending", "repokes", "fallback", "queue_full")},
        "seconds": seconds,
    }


def faults(
    tallies: list[tuple[int, int, int]], ipis: dict[str, int], requests: dict[str, int]
) -> list[str]:
    """What does not add up."""
    found = []
    for cpu, (addressed, ran, wrong) in enumerate(tallies):
        if addressed != ran:
            found.append(f"CPU {cpu} ran {ran} of {addressed} requests addressed to it")
        if wrong:
            found.append(f"CPU {cpu} ran {wrong} requests that were another's")
    if requests["enqueued"] != requests["run"] + requests["refused"] + requests["pending"]:
        text = "requests enqueued {enqueued} != run {run} + refused {refused} + pending {pending}"
        found.append(text.format(**requests))
    if requests["pending"] or requests["refused"]:
        found.append("requests left: pending {pending}, refused {refused}".format(**requests))
    if ipis["raised"] != ipis["taken"] + ipis["merged"] + ipis["pending"]:
        found.append("vectors raised {raised} != taken {taken} + merged {merged} + pending {pending}".format(**ipis))
    return found
