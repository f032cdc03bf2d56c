"""Honesty: a known prime number of drains is reported exactly, in text, in JSON and in /proc/vmstat."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT, SLACK, environment

WORKLOAD = str(Path(__file__).with_name("prime_drains.py"))


def emu(*args):
    done = subprocess.run(
        [sys.executable, "-m", "emu", "run", WORKLOAD, *args],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60 * SLACK,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("holders", "sent", "empty", "saved"), [("1,3,6", 69, 92, 0), ("2,5", 46, 115, 23)])
def test_in_every_format(holders, sent, empty, saved):
    text = emu("--holders", holders, "--proc", "vmstat")
    assert text.startswith(f"sent {sent}, avoided {empty}, of 161\n")
    assert text.endswith(f"pcp_global_drain 23\npcp_global_ipi_saved {saved}\n")
    document = json.loads(emu("--holders", holders, "--json", "--proc", "vmstat"))
    assert document["result"]["sent"] == sum(document["result"]["cal"]) == sent
    assert document["result"]["avoided"] == {"empty": empty, "offline": 0, "self": 0, "other": 0}
    counters = document["vmstat"]
    assert counters["ipis_sent"] == sent
    assert counters["ipis_avoided_empty"] == empty
    assert (counters["pcp_global_drain"], counters["pcp_global_ipi_saved"]) == (23, saved)
    assert sum(document["interrupts"]["CAL"]) == sent
    assert document["proc"]["vmstat"].endswith(f"pcp_global_drain 23\npcp_global_ipi_saved {saved}\n")
