"""What the five threads published about their patches: claims, and the figures there are.

A figure belongs to one workload and to a pair of sides: without the patch and with it. Only what a mail says is here;
where it gives no figures there are none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple


class Published(NamedTuple):
    """A figure: where it stands in our result, and what the mail has without and with the patch (None: not said)."""

    thread: str
    patches: tuple[str, ...]  # any of these is the patch
    workload: str
    path: str  # a regular expression
    before: float | None
    after: float | None
    text: str  # how it was measured
    change: str = ""  # where the mail gives only that

    def shown(self) -> str:
        """The change as a cell of a table."""
        if self.change:
            return self.change
        if self.before and self.after is not None:
            return f"{(self.after / self.before - 1) * 100:+.1f}%"
        return f"{self.after:g}" if self.after is not None else ""


KIM_2016 = (
    *("shrink-slab-mutex", "drain-shared-locked", "bad-alien-magic", "drain-free-slabs", "node-init", "node-setup"),
    *("free-limit-at-end", "racy-colour", "grow-any-node", "grow-in-two", "refill-private-slab", "lockless-grow"),
)
# Average cycles per operation, all CPUs at once: size -> (alloc, free) before, (alloc, free) after.
KIM_CYCLES = {
    32: ((365, 806), (344, 792)),
    64: ((452, 690), (347, 882)),
    128: ((736, 886), (390, 959)),
    256: ((1167, 985), (393, 1067)),
    512: ((2088, 1125), (683, 1229)),
    1024: ((4115, 1184), (1295, 1325)),
    2048: ((8451, 1748), (2513, 1664)),
    4096: ((16024, 2048), (4742, 2172)),
}


def _kim() -> list[Published]:
    rows = []
    for size, (before, after) in KIM_CYCLES.items():
        for i, kind in enumerate(("alloc", "free")):
            # A row of slab-test's concurrent test, by its size; the others have no published figures.
            path = rf"result\.rows\[(?:concurrent,)?{size}(?:,[^\]]*)?\]\.{kind}_cycles"
            text = f"Kmalloc N*alloc N*free({size}): {before[i]} -> {after[i]} cycles per {kind}, the whole series"
            rows.append(Published("002", KIM_2016, "slab-test", path, before[i], after[i], text))
    return rows


FIGURES: tuple[Published, ...] = (
    Published(
        "000",
        ("slab-create-no-ipi",),
        "memcg-create",
        r"result\.(script|cal_cpu0)\.grown",
        47741,
        101,
        "10000 loops, CPU 0's column of /proc/interrupts: +47741 ipis without the patch, +101 with it",
    ),
    *_kim(),
    Published(
        "004",
        ("pcp-drain",),
        "oom-drain",
        r"(vmstat\.pcp_global_drain|result\.rows\[[^\]]*\]\.drains)",
        None,
        627,
        "hackbench 400 on 4 CPUs until OOM: pcp_global_drain 627, pcp_global_ipi_saved 578",
    ),
    Published(
        "004",
        ("pcp-drain",),
        "oom-drain",
        r"(vmstat\.pcp_global_ipi_saved|result\.rows\[[^\]]*\]\.saved)",
        None,
        578,
        "",
    ),
    Published(
        "004",
        ("pcp-drain",),
        "oom-drain",
        r"(vmstat\.ipis_sent|result(\.rows\[[^\]]*\])?\.ipis_sent|ipis\.raised)",
        None,
        None,
        "'saves 90%+ of IPIs asking to drain per-cpu pages in case of severe memory pressure that leads to OOM'",
        "-90% +",
    ),
    Published(
        "004",
        ("pcp-drain",),
        "oom-drain",
        r"(latency\.reclaim\.p50_ns|result(\.rows\[[^\]]*\])?\.reclaim_(mean|p50)_ns)",
        None,
        None,
        "'shortening the average latency of direct reclaim by 1 or more order of magnitude'",
        "-90% +",
    ),
)

# Thread -> what it claims, in its own terms.
CLAIMS = {
    "000": "A new cache has no previous array caches, so creating one needs no interrupts; 10000 memcgs took 47741 on "
    "CPU 0 without the patch and 101 with it.",
    "001": "A dead cache must not keep empty slabs. The kick of all CPUs in it was questioned: synchronize_sched "
    "disturbs nobody and is slower; smp_mb might do. The thread has no figures.",
    "002": "Fewer critical sections when many CPUs allocate at once: roughly more than 50 % fewer cycles for objects "
    "of more than 128 bytes (4096 bytes: 16024 -> 4742 per allocation).",
    "003": "No rcu_barrier in the synchronous path under cgroup_mutex: one batch for all caches that are queued. The "
    "thread has no figures; its cover letter speaks of hundreds of thousands of caches.",
    "004": "Only CPUs that hold pages are interrupted by drain_all_pages: 90 % and more of the interrupts saved on the "
    "way to an OOM (578 of 627 drains needed fewer than half of the CPUs), direct reclaim 10x shorter.",
}


def claims(switch: str, thread: str) -> list[str]:
    """What the thread says, and the figures about SWITCH, as lines."""
    lines = [CLAIMS[thread]] if thread in CLAIMS else []
    return lines + [f"{f.workload}: {f.text}" for f in FIGURES if switch in f.patches and f.text]


def figures(workload: str, before: Mapping[str, str], after: Mapping[str, str]) -> list[Published]:
    """The figures about what changes between two sets of switches, in the direction of the patch."""
    from cpus.patch_table import BY_NAME

    applied = {
        name
        for name in before.keys() & after.keys()
        if name in BY_NAME and before[name] != after[name] and before[name] == BY_NAME[name].reverted
    }
    return [f for f in FIGURES if f.workload == workload and applied & set(f.patches)]


def threads(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """The threads of the switches that differ."""
    from cpus.patch_table import BY_NAME

    changed = [name for name in before if name in after and before[name] != after[name] and name in BY_NAME]
    return sorted({BY_NAME[name].thread for name in changed})


def find(figures: list[Published], path: str) -> Published | None:
    """The figure that was published for PATH, if one was."""
    return next((f for f in figures if re.fullmatch(f.path, path)), None)
