"""Is a barrier on one side enough? Davydov's smp_mb() proposal, on this host.

Thread 001: instead of interrupting every CPU, the one that zeroes cpu_partial
could have a full barrier before it looks at the others' partial lists: then
either the other side sees the zero, or this side sees the slab. That holds if
the exchange that links the slab is a barrier too, and this_cpu_cmpxchg is none.

Two measurements, on CPUs 0 and 1, each on a host core of its own. The bare
litmus: how often both sides saw the old value, when the first stores plainly,
with the unlocked exchange of the kernel, and with a locked one. The oracle: the
same in SLUB's own code, looking for a slab that is left on a dead cache's
partial list. Where the hardware does not show it, nothing is proven: the
verdict is then explorer-only.

The result, as JSON:

  litmus   [{exchange, asked, tries, hits}]: tries are those in which both CPUs were
           on their host cores at the moment that was agreed on
  oracle   {variant, rounds, left}: rounds that left a slab behind
  shown    whether this host showed that smp-mb is not enough, bare or in SLUB
  safety   of the variant: "yes", "no" (shown), or "explorer-only"

examples:
  emu run smp-mb --tries 8000000
  emu run smp-mb --variants
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cpus.patch_table import BY_NAME
from emu.errors import NotSupportedError, ResourceError, UsageError
from emu.format import count, table
from emu.plan import allowed_cores
from workloads import smp_mb_loop as loop

if TYPE_CHECKING:
    from emu.config import RunConfig
    from emu.context import RunContext
    from emu.machine import Machine

DEFAULTS = {"cpus": 2, "kernel": "4.11", "allocator": "slub", "memory": 64 << 20}
VARIANTS = {name: {"dead-caches": name} for name in ("smp-mb", "smp-mb-both", "kick", "sync-under-mutex")}
BOTH = ("smp-mb", "smp-mb-both")
MOST_TRIES = 10**9
SIZE = 1024
MOST_US = 20_000_000  # the oracle ends by then, with the rounds that it has done
SLOW_ROUNDS = 20  # of variants that wait for a grace period each time


def add_options(parser: argparse.ArgumentParser) -> None:
    """Its own options."""
    own = parser.add_argument_group("smp-mb")
    own.add_argument("--tries", type=int, default=1_000_000, metavar="N", help="of each exchange (default 1000000)")
    own.add_argument("--rounds", type=int, default=2000, metavar="N", help="of the oracle (default 2000)")


def check(config: RunConfig, args: argparse.Namespace) -> None:
    """Refuse what cannot be before anything is started."""
    if config.cpus < 2:
        raise UsageError("--cpus 1: two CPUs are needed")
    if config.allocator != "slub":
        raise NotSupportedError(f"--allocator {config.allocator}: smp-mb is about SLUB; use --allocator slub")
    if not loop.TRIES_AT_ONCE <= args.tries <= MOST_TRIES:
        raise UsageError(f"--tries {args.tries}: from {loop.TRIES_AT_ONCE} to 10^9")
    if not 1 <= args.rounds <= MOST_TRIES:
        raise UsageError(f"--rounds {args.rounds}: from 1 to 10^9")


def run(ctx: RunContext, args: argparse.Namespace) -> dict[str, Any]:
    """The bare litmus, then the oracle."""
    if allowed_cores() < 2:
        ctx.distrust("one host core: the two CPUs never run at the same time, so nothing can be seen")
    variant = ctx.variant or "smp-mb"
    with ctx.boot(patches={"dead-caches": variant}) as m:
        litmus = [bare(m, name, kind, args.tries) for name, kind in loop.KINDS.items()]
        rounds = min(args.rounds, SLOW_ROUNDS) if variant.startswith("sync") else args.rounds
        left, rounds = oracle(m, variant, rounds)
    if left:
        ctx.violation("I8", f"{variant}: {left} of {rounds} rounds left a slab on a dead cache's partial list")
    hits = next(row["hits"] for row in litmus if row["exchange"] == "unlocked cmpxchg")
    shown = hits > 0 or (left > 0 and variant == "smp-mb")
    safe = next(value.safe for value in BY_NAME["dead-caches"].values if value.name == variant)
    return {
        "litmus": litmus,
        "oracle": {"variant": variant, "rounds": rounds, "left": left},
        "shown": shown,
        "safety": "no" if shown and safe == "explorer-only" else safe,
    }


def bare(m: Machine, name: str, kind: int, tries: int) -> dict[str, Any]:
    """One kind of exchange."""
    address = loop.new_litmus()
    done = tries // loop.TRIES_AT_ONCE * loop.TRIES_AT_ONCE
    m.coordinator.call_many(loop.entry_points()["litmus"], (address, kind, done), (0, 1))
    found = loop.counts(address)
    loop.drop_litmus(address)
    return {"exchange": name, "asked": done, "tries": found["tries"], "hits": found["hits"]}


def oracle(m: Machine, variant: str, rounds: int) -> tuple[int, int]:
    """SLUB's own code; rounds that left a slab, and rounds that were done in time."""
    cache = m.kmem_cache_create("dying", SIZE, on=0)
    number = [value.name for value in BY_NAME["dead-caches"].values].index(variant)
    address = loop.new_litmus()
    args = (address, cache.address, rounds, number, MOST_US)
    left = m.coordinator.call_many(loop.entry_points()["oracle"], args, (0, 1))[0]
    done = int(loop.counts(address)["rounds"])
    loop.drop_litmus(address)
    if not done:
        raise ResourceError("smp-mb: no memory for a slab, or no time for a round; raise --memory")
    return int(left), done


def render(result: Mapping[str, Any]) -> str:
    """The litmus, the oracle, and what follows."""
    lines = [(row["exchange"], count(row["tries"]), str(row["hits"])) for row in result["litmus"]]
    o = result["oracle"]
    shown = "shown on this host" if result["shown"] else "not shown on this host, which proves nothing"
    return (
        f"{table(('exchange', 'tries', 'both saw the old value'), lines)}\n"
        f"SLUB, {o['variant']}: {o['left']} of {o['rounds']} rounds left a slab behind\n"
        f"a barrier on one side is not enough: {shown}; {o['variant']} is safe: {result['safety']}"
    )


def render_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """Each variant in turn."""
    return "\n\n".join(f"{row['variant']}\n{render(row)}" for row in rows)
