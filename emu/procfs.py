"""/proc/interrupts, /proc/slabinfo and /proc/vmstat as the kernel writes them: plain data in, text out.

The formats are those of v4.19 (kernel/irq/proc.c, arch/x86/kernel/irq.c, mm/slab_common.c, mm/vmstat.c).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

PRECISION = 3  # width of the label: 3 up to 1000 interrupts

# Rows of an x86's /proc/interrupts in its order; we have the first two.
INTERRUPT_ROWS = {"RES": "Rescheduling interrupts", "CAL": "Function call interrupts", "TLB": "TLB shootdowns"}

SLABINFO_VERSION = "slabinfo - version: 2.1"
SLABINFO_COLUMNS = (
    "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>"
    " : tunables <limit> <batchcount> <sharedfactor>"
    " : slabdata <active_slabs> <num_slabs> <sharedavail>"
)

# The counters that /proc/vmstat has, in its order. The last two are those of an unmerged patch, and so come last.
VMSTAT_ORDER = (
    "nr_free_pages",
    "nr_slab_reclaimable",
    "nr_slab_unreclaimable",
    "pgalloc_dma",
    "pgalloc_dma32",
    "pgalloc_normal",
    "allocstall_dma",
    "allocstall_dma32",
    "allocstall_normal",
    "pgfree",
    "pgsteal_direct",
    "pgscan_direct",
    "slabs_scanned",
    "allocstall",
    "drop_slab",
    "oom_kill",
)
VMSTAT_LAST = ("pcp_global_drain", "pcp_global_ipi_saved")


class SlabinfoRow(NamedTuple):
    """One root cache with all its memcg children. SLUB has no tunables and no shared array: 0 each."""

    name: str
    active_objs: int
    num_objs: int
    objsize: int
    objperslab: int
    pagesperslab: int
    limit: int
    batchcount: int
    sharedfactor: int
    active_slabs: int
    num_slabs: int
    sharedavail: int


def interrupts(counts: Mapping[str, Sequence[int]], online: Sequence[int] | None = None) -> str:
    """/proc/interrupts of COUNTS, label -> count per CPU; ONLINE are the CPUs that have a column (default: all)."""
    cpus = list(range(max((len(row) for row in counts.values()), default=0))) if online is None else list(online)
    lines = [" " * (PRECISION + 8) + "".join(f"CPU{cpu:<8d}" for cpu in cpus)]
    for label, text in INTERRUPT_ROWS.items():
        if label in counts:
            numbers = "".join(f"{counts[label][cpu]:10d} " for cpu in cpus)
            lines.append(f"{label:>{PRECISION}}: {numbers}  {text}")
    lines.append(f"{'ERR':>{PRECISION}}: {0:10d}")
    return "\n".join(lines) + "\n"


def slabinfo(rows: Iterable[SlabinfoRow]) -> str:
    """/proc/slabinfo."""
    return "\n".join([SLABINFO_VERSION, SLABINFO_COLUMNS, *(slabinfo_row(row) for row in rows)]) + "\n"


def memcg_slabinfo(rows: Sequence[SlabinfoRow]) -> str:
    """memory.kmem.slabinfo of one memcg: rows carry the root caches' names; without rows there is no header either."""
    return slabinfo(rows) if rows else ""


def slabinfo_row(row: SlabinfoRow) -> str:
    """One line of /proc/slabinfo, without its line break."""
    return (
        f"{row.name:<17s} {row.active_objs:6d} {row.num_objs:6d} {row.objsize:6d} {row.objperslab:4d}"
        f" {row.pagesperslab:4d} : tunables {row.limit:4d} {row.batchcount:4d} {row.sharedfactor:4d}"
        f" : slabdata {row.active_slabs:6d} {row.num_slabs:6d} {row.sharedavail:6d}"
    )


def vmstat(counters: Mapping[str, int]) -> str:
    """/proc/vmstat of those COUNTERS that it knows; the emulator's own are no part of it."""
    names = [name for name in (*VMSTAT_ORDER, *VMSTAT_LAST) if name in counters]
    return "".join(f"{name} {counters[name]}\n" for name in names)
