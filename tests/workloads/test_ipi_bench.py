"""ipi-bench: every request is accounted for, and each line stands beside its floor. Not how fast it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.machines import TRANSPORTS, may_boost
from tests.processes import run_workload


def emu(*argv: str) -> dict[str, Any]:
    done = run_workload("ipi-bench", "--json", "-q", "--no-record", "--no-probe", *argv, seconds=110)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def check_account(rows: list[dict[str, Any]], requests: int) -> None:
    """Each request was run once, by the CPU that it was meant for; each interrupt is in one of three counts."""
    assert sum(row["requests"] for row in rows) >= requests
    for row in rows:
        assert row["run"] == row["requests"] > 0, row
        assert row["wrong_cpu"] == row["pending"] == 0, row
        assert row["raised"] == row["taken"] + row["merged"], row


@pytest.mark.parametrize("ipi", TRANSPORTS)
def test_every_request_is_accounted_for(ipi: str) -> None:
    rows = emu("--requests", "20000", "--cpus", "6", "--transports", ipi)["result"]["rows"]
    check_account(rows, 20_000)
    deliveries = {row["delivery"] for row in rows}
    assert deliveries == {"plain", "gated"} | ({"boosted"} if may_boost() else set())


@pytest.mark.slow
def test_ten_million_requests() -> None:
    rows = emu("--requests", "10000000", "--cpus", "8")["result"]["rows"]
    check_account(rows, 10_000_000)
    for ipi in TRANSPORTS:
        assert sum(row["requests"] for row in rows if row["ipi"] == ipi) >= 2_000_000


def test_each_line_stands_beside_its_floor() -> None:
    tests = "self,normal,parked,broadcast"
    rows = emu("--tests", tests, "--cpus", "4", "--rounds", "20", "--pairs", "1")["result"]["rows"]
    expected = [(ipi, test) for ipi in TRANSPORTS for test in tests.split(",")]
    assert [(row["ipi"], row["test"]) for row in rows] == expected
    for row in rows:
        if row["test"] == "self":
            assert row["floor"] is None
            continue
        assert row["targets"] == (3 if row["test"] == "broadcast" else 1)
        assert row["ratio"] > 0
        assert row["floor_p50_ns"] > 0
        assert row["p50_ns"] <= row["p99_ns"]
