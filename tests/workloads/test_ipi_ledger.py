"""ipi-ledger: every cell against a table of its own, and each switch that is flipped turns one red."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
KERNELS = ("3.3", "3.13", "4.0", "4.6", "4.8", "4.10", "4.11", "4.12", "4.19", "5.9", "6.0")
# Per kernel "IPIs/GPs/barriers". n: CPUs beside the initiator, k: those of them that hold something. For the
# coordinator n is one more, and k too. -: not there, or left out.
_ = "-"
TABLE: dict[tuple[str, str], tuple[str, ...]] = {
    # operation, allocator: 3.3, 3.13, 4.0, 4.6 | 4.8 | 4.10, 4.11 | 4.12, 4.19, 5.9, 6.0
    ("create cache", "slab"): (*("n/0/0",) * 4, "n/1/0", *("n/0/0",) * 2, *("0/0/0",) * 4),
    ("create memcg child", "slab"): (_, *("n/0/0",) * 3, "n/1/0", *("n/0/0",) * 2, *("0/0/0",) * 2, _, _),
    ("retune", "slab"): (*("n/0/0",) * 4, *("n/1/0",) * 7),
    ("retune, objects > 4 KiB", "slab"): (*("n/0/0",) * 4, "n/1/0", *("n/0/0",) * 6),
    ("retune root with 2 children", "slab"): (_, *("3*n/0/0",) * 3, *("3*n/3/0",) * 5, _, _),
    ("shrink", "slab"): ("n/0/0",) * 11,
    ("destroy", "slab"): ("n/0/0",) * 11,
    ("memcg deactivate", "slab"): (_, _, *("n/0/0",) * 7, _, _),
    ("destroy 3 BY_RCU caches", "slab"): (*("3*n+n/0/3",) * 6, *("3*n+n/0/1",) * 5),
    ("cache_reap", "slab"): ("0/0/0",) * 11,
    ("create cache", "slub"): ("0/0/0",) * 11,
    ("shrink", "slub"): ("n/0/0", *("k/0/0",) * 10),
    ("destroy", "slub"): ("n/0/0", *("k/0/0",) * 10),
    ("memcg deactivate, 2 children", "slub"): (
        *(_, _, "2*n+2*k/0/0", "2*n+2*k/0/0", "2*k/2/0", "2*k/1/0", "2*k/0/0", "2*k/0/0", "2*k/0/0", _, _),
    ),
    ("destroy 3 BY_RCU caches", "slub"): ("3*n+n/0/3", *("3*k+n/0/3",) * 5, *("3*k+n/0/1",) * 5),
    ("drain_all_pages", "any"): ("n/0/0", *("k/0/0",) * 5, *("0/0/0",) * 5),
    ("invalidate_bh_lrus", "any"): ("n/0/0", *("k/0/0",) * 10),
}
# By CPUs only: what tasks, kworkers and callbacks do.
CPU_ONLY = {"create memcg child", "retune root with 2 children", "memcg deactivate", "memcg deactivate, 2 children"}
CPU_ONLY |= {"destroy 3 BY_RCU caches", "cache_reap"}


def ledger(*argv: str) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of one run, in a process of its own."""
    command = [sys.executable, "-m", "emu", "run", "ipi-ledger", "--json", "-q", *argv]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=110)
    assert done.returncode in (0, 2), done.stderr
    return done.returncode, dict(json.loads(done.stdout))


def wanted(kernel: str, cpus: int) -> dict[tuple[str, str, str], tuple[int, ...]]:
    """Every cell: (operation, allocator, initiator) -> (IPIs, GPs, barriers)."""
    found = {}
    for (operation, allocator), cells in TABLE.items():
        cell = cells[KERNELS.index(kernel)]
        for who, n, k in (("CPU 0", cpus - 1, cpus // 2), ("coordinator", cpus, cpus // 2 + 1)):
            if cell != _ and not (who == "coordinator" and operation in CPU_ONLY):
                held = min(k, 3) if "BY_RCU" in operation else k  # few enough slabs for a node to keep
                numbers = (eval(part, {}, {"n": n, "k": held}) for part in cell.split("/"))
                found[operation, allocator, who] = tuple(numbers)
    return found


def check(kernel: str, cpus: int) -> None:
    code, document = ledger("--kernel", kernel, "--cpus", str(cpus))
    measured = {
        (row["operation"], row["allocator"], row["initiator"]): tuple(
            row[name]["measured"] for name in ("ipis", "grace_periods", "barriers")
        )
        for row in document["result"]["rows"]
    }
    assert measured == wanted(kernel, cpus)
    assert code == 0
    assert document["verdict"] == "pass"


@pytest.mark.parametrize("kernel", KERNELS)
def test_five_cpus(kernel: str) -> None:
    check(kernel, 5)


@pytest.mark.slow
@pytest.mark.parametrize("cpus", [2, 16])
@pytest.mark.parametrize("kernel", KERNELS)
def test_other_sizes(kernel: str, cpus: int) -> None:
    check(kernel, cpus)


FLIPS = {
    "slab-create-no-ipi=off": ("4.12", "create cache"),
    "slab-create-no-ipi=on": ("4.11", "create cache"),
    "shared-array-free=none": ("4.8", "retune"),
    "shared-array-free=sync": ("4.12", "create cache"),
    "slub-flush=all": ("4.12", "shrink"),
    "slub-flush=cond": ("3.3", "shrink"),
    "dead-caches=kick": ("4.12", "memcg deactivate, 2 children"),
    "dead-caches=sync-under-mutex": ("4.0", "memcg deactivate, 2 children"),
    "dead-caches=sync-once-outside": ("4.8", "memcg deactivate, 2 children"),
    "release-barrier=per-call": ("4.12", "destroy 3 BY_RCU caches"),
    "release-barrier=async-batched": ("4.10", "destroy 3 BY_RCU caches"),
    "pcp-drain=all": ("4.10", "drain_all_pages"),
    "pcp-drain=mask-merged": ("4.12", "drain_all_pages"),
    "pcp-drain=workqueue": ("3.13", "drain_all_pages"),
    "bh-lru-flush=all": ("4.12", "invalidate_bh_lrus"),
    "bh-lru-flush=cond": ("3.3", "invalidate_bh_lrus"),
}


@pytest.mark.parametrize("flip", FLIPS)
def test_a_flipped_switch_turns_a_cell_red(flip: str) -> None:
    kernel, operation = FLIPS[flip]
    code, document = ledger("--kernel", kernel, "--cpus", "4", "--patch", flip)
    assert code == 2
    red = {
        row["operation"]
        for row in document["result"]["rows"]
        if any(row[name]["measured"] != row[name]["expected"] for name in ("ipis", "grace_periods", "barriers"))
    }
    assert operation in red


@pytest.mark.parametrize(("value", "kicks"), [("percpu-kick", 1), ("on-each-cpu", 0)])
def test_how_arrays_are_swapped_shows_in_kicks(value: str, kicks: int) -> None:
    """The interrupts are as many: a kick, or a handler that exchanges each CPU's pointer."""
    from emu.machine import Machine

    with Machine(cpus=3, kernel="4.12", memory=32 << 20, patches={"array-swap": value}) as m:
        cache = m.kmem_cache_create("foo", 128)
        before, calls = m.vmstat()["kicks"], sum(m.interrupts()["CAL"])
        assert m.write_slabinfo("foo 12 6 8") > 0
        m.wait_until(lambda: m.ipis()["pending"] == 0, timeout=5)
        assert cache.name == "foo"
        assert (m.vmstat()["kicks"] - before, sum(m.interrupts()["CAL"]) - calls) == (kicks, 2)
