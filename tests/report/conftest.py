"""Documents as a run keeps them: whole, and with parts missing."""

import json

import numpy as np
import pytest

from cpus.layout import CONSTANTS
from emu import patches


def document(cpus=4, **changes):
    """A result with everything in it that a report can show."""
    whole = {
        "schema": 1,
        "workload": "memcg-create",
        "command": f"emu run memcg-create --cpus {cpus} --kernel 4.11",
        "seed": 23,
        "verdict": "pass",
        "warnings": ["the host is <b>busy</b> & slow"],
        "elapsed_ns": 1_500_000_000 // cpus,
        "config": {
            "cpus": cpus, "nodes": 1, "kernel": "4.11", "allocator": "slab", "ipi": "signal", "loops": 100,
            "patches": patches.defaults("4.11") | {"slab-create-no-ipi": "on"}, "params": {"size": 64}, "seed": 23,
        },
        "host": {
            "cpu_model": "Prime 23", "allowed_cpus": 2, "oversubscribed": True, "delivery": "gated", "running": 2,
            "ipi_floor_ns": {"signal": {"p50": 7400, "p99": 15000}},
        },
        "violations": [],
        "interrupts": {"CAL": [100 + cpu for cpu in range(cpus)], "RES": [0] * cpus},
        "ipis": {"raised": 23, "taken": 23, "merged": 0, "pending": 0, "fallback": 0},
        "requests": {"enqueued": 69, "run": 69, "refused": 0, "pending": 0},
        "vmstat": {"ipis_sent": 69, "ipis_avoided_empty": 92, "kicks": 23},
        "locks": {
            "slab_mutex": {
                "acquisitions": 29, "contended": 1, "wait_ns": {"p50": 100, "p99": 200, "max": 300},
                "hold_ns": {"p50": 1000, "p99": 2000, "max": 3000},
            },
        },
        "latency": {
            "kick": {"count": 23, "p50_ns": 40_000 * cpus, "p90_ns": 90_000, "p99_ns": 900_000, "max_ns": 5_000_000},
        },
        "histograms": {"latency": {"kick": {"count": 23, "buckets": [[0, 900, 1], [1000, 1999, 15], [2000, 3999, 7]]}}},
        "ledger": {
            "rows": [
                {
                    "site": "kick_all_cpus_sync", "function": "do_nothing", "locks": "slab_mutex", "calls": 23,
                    "sent": 69, "not_raised": 0, "empty": 0, "offline": 0, "self": 0, "waits": 23, "wait_ns": 2_300_000,
                    "blocked": 1, "blocked_ns": 100,
                },
            ],
            "victims": [],
            "dropped": 0,
        },
        "result": {
            "loops": 100, "script": {"before": 1, "after": 102}, "creations": [2] * cpus, "elapsed_ns": 5_000_000,
        },
    }  # fmt: skip
    return whole | changes


def events(cpus=4):
    """CPU 1 interrupts 0 twice and 3 once, the coordinator CPU 2; CPU 0 holds slab_mutex, CPU 1 waits for it."""
    lock = 0x21000000
    number = {name: CONSTANTS[f"EV_{name}"] for name in ("IPI_RAISE", "LOCK_WAIT", "LOCK_TAKEN", "LOCK_RELEASED")}
    rows = [
        (1, 10, "IPI_RAISE", 0 | 2 << 16), (1, 20, "IPI_RAISE", 0 | 2 << 16), (1, 30, "IPI_RAISE", 3 | 1 << 16),
        (-1, 40, "IPI_RAISE", 2 | 4 << 16), (2, 41, "IPI_RAISE", (1 << 48) - 1), (0, 50, "LOCK_TAKEN", lock),
        (1, 60, "LOCK_WAIT", lock), (0, 90, "LOCK_RELEASED", lock), (1, 95, "LOCK_TAKEN", lock),
        (1, 99, "LOCK_RELEASED", lock),
    ]  # fmt: skip
    return {
        "cpu": np.array([row[0] for row in rows], dtype=np.int16),
        "ns": np.array([row[1] for row in rows], dtype=np.int64),
        "event": np.array([number[row[2]] for row in rows], dtype=np.uint16),
        "argument": np.array([row[3] for row in rows], dtype=np.int64),
        "cache": np.zeros(len(rows), dtype=np.int64),
    }


TRACE = {"dropped": {"0": 5}, "caches": {}, "locks": {str(0x21000000): "slab_mutex"}}


@pytest.fixture
def write(tmp_path):
    """Write a document as a file; its path."""

    def save(name="one", **changes):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(document(**changes)))
        return path

    return save


@pytest.fixture
def folder(tmp_path):
    """A run's folder with its events."""
    path = tmp_path / "kept"
    path.mkdir()
    (path / "run.json").write_text(json.dumps(document(trace=TRACE, run={"name": "kept"})))
    np.savez_compressed(path / "events.npz", **events())
    return path
