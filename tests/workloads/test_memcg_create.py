"""memcg-create: the exact counts, on real machines of several sizes, and what is made of them."""

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from emu.config import configure
from emu.errors import NotSupportedError, UsageError
from workloads import memcg_create

ROOT = Path(__file__).resolve().parent.parent.parent
CACHES = 5


def emu(*argv: str, timeout: float = 110) -> dict[str, Any]:
    """The JSON of one run, in a process of its own: a run owns the signals of its process."""
    command = [sys.executable, "-m", "emu", "run", "memcg-create", "--json", "-q", *argv]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def check_counts(result: dict[str, Any], loops: int, cpus: int, patched: bool) -> None:
    """Who makes a child interrupts everybody else, once; nobody does with the patch."""
    creations, columns = result["creations"], result["columns"]
    assert result["loops"] == loops
    assert len(creations) == len(columns) == cpus
    assert sum(creations) == CACHES * loops
    assert columns == [0 if patched else sum(creations) - own for own in creations]
    assert result["cal_cpu0"]["after"] - result["cal_cpu0"]["before"] == columns[0]
    whole = result["cal_all"]["after"] - result["cal_all"]["before"]
    assert whole == (0 if patched else CACHES * loops * (cpus - 1))
    assert result["expected"] == {"cpu0": columns[0], "all": whole, "met": True}
    # Off line and destruction drain all CPUs once each, whatever the creation does.
    assert (result["removal"]["removed"], result["removal"]["dying"]) == (loops, 0)
    assert result["removal"]["ipis"] == 2 * CACHES * loops * (cpus - 1)


@pytest.mark.parametrize("cpus", [1, 2, 3, 22])
def test_every_creation_interrupts_everybody_else(cpus: int) -> None:
    document = emu("--loops", "20", "--cpus", str(cpus), "--kernel", "4.11", "--seed", "7")
    check_counts(document["result"], 20, cpus, patched=False)
    assert document["verdict"] == "pass"
    assert document["vmstat"]["memcg_caches_created"] == 100
    assert document["vmstat"]["memcg_create_duplicates"] == document["result"]["duplicates"] == 0


def test_slub_has_no_arrays_and_interrupts_nobody() -> None:
    result = emu("--loops", "20", "--cpus", "4", "--kernel", "4.11", "--allocator", "slub")["result"]
    assert sum(result["creations"]) == CACHES * 20
    assert result["columns"] == [0, 0, 0, 0]
    assert result["expected"] == {"cpu0": 0, "all": 0, "met": True}


@pytest.mark.slow
@pytest.mark.parametrize("seed", ["0", "1", str(2**64 - 1)])
@pytest.mark.parametrize("ipi", ["signal", "mqueue", "cluster", "doorbell"])
@pytest.mark.parametrize("cpus", [1, 2, 3, 22, 64])
def test_counts_do_not_depend_on_transport_size_or_seed(cpus: int, ipi: str, seed: str) -> None:
    document = emu("--loops", "50", "--cpus", str(cpus), "--ipi", ipi, "--seed", seed, "--kernel", "4.11")
    check_counts(document["result"], 50, cpus, patched=False)


@pytest.mark.parametrize("options", [("--kernel", "4.12"), ("--kernel", "4.11", "--patch", "slab-create-no-ipi")])
def test_no_interrupts_with_the_patch(options: tuple[str, ...]) -> None:
    document = emu("--loops", "20", "--cpus", "3", "--seed", "1", *options)
    check_counts(document["result"], 20, 3, patched=True)
    # The five root caches and their hundred children.
    assert document["vmstat"]["ipis_avoided_no_previous"] == 105 * 2


@pytest.mark.parametrize("kernel", ["3.8", "3.18", "4.5", "4.6", "4.7", "4.9", "4.10", "5.8"])
def test_the_counts_hold_in_every_version_with_memcg_caches(kernel: str) -> None:
    document = emu("--loops", "10", "--cpus", "3", "--seed", "1", "--kernel", kernel)
    check_counts(document["result"], 10, 3, patched=kernel == "5.8")


def test_an_ordered_workqueue_lags_behind_the_script() -> None:
    """Then later system calls miss too, and queue items that find the slot filled."""
    result = emu("--loops", "20", "--cpus", "3", "--seed", "1", "--kernel", "4.10")["result"]
    assert result["script"]["after"] <= result["cal_cpu0"]["after"]


def test_an_early_form_of_the_shared_array_patch_kicks_too() -> None:
    result = emu("--loops", "10", "--cpus", "4", "--seed", "1", "--patch", "shared-array-free=kick")["result"]
    assert result["kicks"] == 2
    assert result["expected"] == {"cpu0": result["columns"][0], "all": 2 * CACHES * 10 * 3, "met": True}


def test_both_gives_the_row_before_and_the_row_after() -> None:
    rows = emu("--loops", "10", "--cpus", "3", "--seed", "3", "--both")["result"]["rows"]
    assert [row["patches"] for row in rows] == [{"slab-create-no-ipi": "off"}, {"slab-create-no-ipi": "on"}]
    for row in rows:
        check_counts(row, 10, 3, patched=row["patches"]["slab-create-no-ipi"] == "on")
    # The seed alone decides where the task goes.
    assert rows[0]["creations"] == rows[1]["creations"]


def test_the_same_seed_gives_the_same_run() -> None:
    first, again, other = (
        emu("--loops", "30", "--cpus", "4", "--seed", seed)["result"]["creations"] for seed in ("5", "5", "6")
    )
    assert first == again != other


def test_cpu0_of_22_comes_near_the_formula() -> None:
    """Fewer loops than the published 10,000, so a wider band: five standard deviations of the task's migration."""
    loops = 200
    result = emu("--loops", str(loops), "--cpus", "22", "--seed", "1", "--kernel", "4.11")["result"]
    check_counts(result, loops, 22, patched=False)
    column = result["cal_cpu0"]["after"] - result["cal_cpu0"]["before"]
    assert abs(column - CACHES * loops * 21 / 22) < 5 * CACHES * (loops * 21) ** 0.5 / 22


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_cpu0_of_22_comes_to_the_published_number() -> None:
    """47,727 by the formula; 47,741 published."""
    result = emu("--loops", "10000", "--cpus", "22", "--kernel", "4.11", timeout=890)["result"]
    check_counts(result, 10_000, 22, patched=False)
    column = result["cal_cpu0"]["after"] - result["cal_cpu0"]["before"]
    assert abs(column - 47_727) < 0.02 * 47_727


# --- what is made of the readings ------------------------------------------------------------------


def found(**changes: Any) -> dict[str, Any]:
    """Readings of a sound run: two CPUs, one memcg, all children made by CPU 1."""
    return {
        "loops": 1,
        "script": {"before": 10, "after": 15},
        "cal_before": [10, 20],
        "cal_after": [15, 20],
        "cal_removed": [20, 25],
        "creations": [0, 5],
        "duplicates": 0,
        "elapsed_ns": 1000,
        "removed": 1,
        "dying": 0,
        "removal_ns": 2000,
        "error": 0,
    } | changes


def findings(result: dict[str, Any]) -> list[str]:
    texts: list[str] = []
    config = SimpleNamespace(allocator="slab")
    context: Any = SimpleNamespace(config=config, violation=lambda _invariant, text: texts.append(text))
    memcg_create.judge(context, result)
    return texts


def test_a_sound_run_is_no_violation() -> None:
    result = memcg_create.assemble(found(), False, 1)
    assert result["expected"] == {"cpu0": 5, "all": 5, "met": True}
    assert findings(result) == []


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"cal_after": [14, 20]}, "CPU 0: 4 call interrupts, 5 were expected"),
        ({"cal_after": [15, 21], "cal_removed": [20, 26]}, "CPU 1: 1 call interrupts, 0 were expected"),
        ({"creations": [0, 4], "cal_after": [14, 20], "cal_removed": [19, 25]}, "4 child caches for 1 memcgs"),
        ({"cal_removed": [20, 24]}, "removal: 9 call interrupts and 0 memcgs left, 10 and 0 were expected"),
        ({"dying": 1}, "removal: 10 call interrupts and 1 memcgs left, 10 and 0 were expected"),
    ],
)
def test_one_interrupt_too_few_or_too_many_is_a_violation(changes: dict[str, Any], text: str) -> None:
    result = memcg_create.assemble(found(**changes), False, 1)
    assert any(text in finding for finding in findings(result))


def test_a_creation_that_interrupts_in_spite_of_the_patch_is_a_violation() -> None:
    assert findings(memcg_create.assemble(found(), True, 0)) == ["CPU 0: 5 call interrupts, 0 were expected"]


def test_the_report_has_the_scripts_line_and_the_published_one() -> None:
    text = memcg_create.render(memcg_create.assemble(found(), False, 1))
    assert "1 loops: 10 => 15 (+5 ipis)" in text
    assert "10000 loops: 1192 => 48933 (+47741 ipis)" in text
    assert "all CPUs    1 loops: 30 => 35 (+5 ipis)" in text
    assert "CPU 0 +5, all CPUs +5 (5 x 1 x 1): met" in text
    assert max(map(len, text.splitlines())) <= 80


def test_both_shows_the_patched_run_first_as_the_mail_does() -> None:
    off = memcg_create.assemble(found(), False, 1)
    on = memcg_create.assemble(found(cal_after=[10, 20], cal_removed=[15, 25]), True, 0)
    text = memcg_create.render_rows([off, on])
    assert text.index("1069 => 1170 (+101 ipis)") < text.index("1192 => 48933 (+47741 ipis)")


# --- what is refused, and how much memory is asked for ---------------------------------------------


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"kernel": "3.7"}, NotSupportedError),
        ({"kernel": "5.9"}, NotSupportedError),
        ({"loops": "65536"}, UsageError),
        ({"duration": "5s"}, UsageError),
    ],
)
def test_what_it_cannot_do_is_refused_before_the_start(given: dict[str, str], error: type[Exception]) -> None:
    config = configure(given, defaults=memcg_create.DEFAULTS)
    with pytest.raises(error):
        memcg_create.check(config, Namespace())


def test_it_runs_as_the_mail_did_by_default() -> None:
    config = configure({}, defaults=memcg_create.DEFAULTS)
    memcg_create.check(config, Namespace())
    assert (config.kernel, config.loops) == ("4.11", 10_000)


def test_need_grows_with_loops_and_cpus() -> None:
    def metadata(loops: str, cpus: str) -> int:
        config = configure({"loops": loops, "cpus": cpus}, defaults=memcg_create.DEFAULTS)
        return memcg_create.memory_need(config, Namespace()).metadata_bytes

    # 50,000 children: one array per CPU and one shared array each.
    assert 0.9e9 < metadata("10000", "22") < 1.4e9
    assert metadata("1000", "22") < metadata("1000", "64") < metadata("10000", "22")


@pytest.mark.parametrize(("cpus", "nodes"), [("1", "1"), ("22", "1"), ("6", "2")])
def test_what_is_asked_for_is_enough(cpus: str, nodes: str) -> None:
    """A run that may use no more than its need still succeeds."""
    config = configure({"loops": "300", "cpus": cpus, "nodes": nodes}, defaults=memcg_create.DEFAULTS)
    need = memcg_create.memory_need(config, Namespace())
    limit = -(-(need.metadata_bytes + need.ram_bytes) >> 20)
    document = emu("--loops", "300", "--cpus", cpus, "--nodes", nodes, "--seed", "1", "--max-segment", f"{limit}M")
    check_counts(document["result"], 300, int(cpus), patched=False)
