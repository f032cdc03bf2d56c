"""P4 for SLUB: pairs of alloc and free inside one slab, and far beyond it, beside glibc's in the same process.

A slab of 64-byte objects has 64 of them: at depth 100 every other object is freed into a slab that is no longer the
CPU's, which is SLUB's slow path. The fast path to depth 100 is measured with 32-byte objects, 128 a slab.
"""

from __future__ import annotations

from statistics import median
from typing import Any

from goals.base import Check, Settings

# (object size, depth, limit in ticks)
CASES = ((64, 1, 30), (64, 32, 30), (32, 100, 30), (64, 4096, 60))
FAST_DEPTH = 100  # to which glibc is the measure
PAIRS_PER_BLOCK = 100_000


def body(cpu: Any, cache: int, size: int, depth: int, blocks: int, rounds: int) -> dict[str, list[float]]:
    """On a CPU: interleaved blocks, each as the median of five parts."""
    from workloads import slub_pair_loop as loop

    loop.measure(cache, size, depth, rounds, True)
    found: dict[str, list[float]] = {"glibc": [], "slub": []}
    for _ in range(blocks):
        for name, address in (("glibc", 0), ("slub", cache)):
            found[name].append(median(loop.measure(address, size, depth, rounds, True) for _ in range(5)))
    return found


def depths(settings: Settings) -> list[Check]:
    """Ticks for each case, and the ratio to glibc where there is a goal for it."""
    from emu.machine import Machine

    checks = []
    with Machine(cpus=1, allocator="slub", memory=64 << 20, bodies=[body]) as machine:
        for size, depth, limit in CASES:
            cache = machine.kmem_cache_create(f"pair-{size}-{depth}", size)
            rounds = max(1, settings.rounds(PAIRS_PER_BLOCK) // depth // 5)
            params = {"size": size, "depth": depth, "blocks": settings.pairs, "rounds": rounds}
            found = machine.run(body, on=0, cache=cache.address, **params)[0]
            ratio = median(ours / floor for ours, floor in zip(found["slub"], found["glibc"], strict=True))
            ticks, floor = median(found["slub"]), median(found["glibc"])
            detail = {"size": size, "depth": depth, "glibc_ticks": floor, "slub_ticks": ticks}
            checks.append(Check(f"slub {size} B, depth {depth}", ticks, limit, "ticks", detail))
            if depth <= FAST_DEPTH:
                checks.append(Check(f"slub {size} B, depth {depth}, to glibc", ratio, 1.0, "x", detail))
    return checks
