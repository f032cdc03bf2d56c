"""The C floor program and its Python face: what is answered and what is left behind, not how fast it is."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from emu.errors import DiedError, NotSupportedError, ResourceError, UsageError
from emu.floor import BUILD, QUICK, Floor, quick_floor

pytestmark = pytest.mark.timeout(60)

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "benchmarks" / "floor" / "floor.c"
SINGLES = ["single-busy", "single-parked", "single-futex", "poll"]
WAYS = ["spin", "futex"]
CAP_SYS_RESOURCE = 24


@pytest.fixture(scope="module")
def executable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built from the source as it is now by the very command that the error message gives."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    target = tmp_path_factory.mktemp("floor") / "floor"
    command = [str(target) if word == "emu/bin/floor" else word for word in shlex.split(BUILD)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert "warning" not in done.stderr
    return target


@pytest.fixture
def floor(executable: Path) -> Iterator[Floor]:
    with Floor(executable=executable) as server:
        yield server


def ask_or_skip(floor: Floor, mode: str, *operands: int | str, **options: int) -> dict[str, Any]:
    """Ask for what not every host has; its reason becomes the reason of the skip."""
    try:
        return floor.ask(mode, *operands, **options)
    except ResourceError as error:
        pytest.skip(str(error))


def assert_times(answer: dict[str, Any], prefix: str = "") -> None:
    least, median, high = (answer[f"{prefix}{name}_ns"] for name in ("min", "p50", "p99"))
    assert 0 < least <= median <= high


def targets(floor: Floor) -> list[psutil.Process]:
    return psutil.Process(floor.pid).children()


def has_capability(number: int) -> bool:
    lines = Path("/proc/self/status").read_text().splitlines()
    effective = next(line.split()[1] for line in lines if line.startswith("CapEff"))
    return bool(int(effective, 16) >> number & 1)


def test_source_keeps_its_promise_of_length() -> None:
    assert len(SOURCE.read_text().splitlines()) <= 300


@pytest.mark.parametrize("mode", SINGLES)
def test_single(floor: Floor, mode: str) -> None:
    answer = floor.ask(mode, rounds=23)
    assert (answer["mode"], answer["n"], answer["rounds"]) == (mode, 1, 23)
    assert answer["cores"] == len(os.sched_getaffinity(0))
    assert_times(answer)


@pytest.mark.parametrize("way", WAYS)
def test_single_busy_with_either_wait(floor: Floor, way: str) -> None:
    answer = floor.ask("single-busy", way, rounds=23)
    assert answer["rounds"] == 23
    assert_times(answer)


@pytest.mark.parametrize("way", WAYS)
def test_single_mq(floor: Floor, way: str) -> None:
    answer = ask_or_skip(floor, "single-mq", way, rounds=23)
    assert (answer["n"], answer["rounds"]) == (1, 23)
    assert_times(answer)


@pytest.mark.parametrize("mode", ["broadcast-parked", "broadcast-futex", "broadcast-mq"])
def test_broadcast(floor: Floor, mode: str) -> None:
    answer = ask_or_skip(floor, mode, 7, rounds=11)
    assert (answer["mode"], answer["n"], answer["rounds"]) == (mode, 7, 11)
    assert_times(answer)
    assert_times(answer, "seen_")
    assert answer["p50_ns"] <= answer["seen_p50_ns"]


def test_boosted_broadcast_ends_its_busy_targets_and_lowers_its_sender(floor: Floor) -> None:
    answer = ask_or_skip(floor, "broadcast-boosted", 5, rounds=11)
    assert (answer["n"], answer["rounds"]) == (5, 11)
    assert_times(answer)
    assert targets(floor) == []
    assert os.sched_getscheduler(floor.pid) == os.SCHED_OTHER


def test_boost_handshake_hangs_nobody_without_a_pause(floor: Floor) -> None:
    """Three boosted targets on one core: a leaked priority would stop the next broadcast for ever."""
    for _ in range(3):
        ask_or_skip(floor, "broadcast-boosted", 3, gap_us=0, rounds=20000, budget_ms=1000)


@pytest.mark.parametrize("depth", [1, 100])
def test_malloc(floor: Floor, depth: int) -> None:
    answer = floor.ask("malloc", 64, depth, rounds=5)
    assert (answer["n"], answer["rounds"]) == (depth, 5)
    assert answer["ticks_per_pair"] > 0
    assert_times(answer)


def test_fork_counts_both_ways_and_leaves_nobody(floor: Floor) -> None:
    answer = floor.ask("fork", 13)
    assert (answer["n"], answer["rounds"]) == (13, 3)
    assert_times(answer)
    assert_times(answer, "reap_")
    assert targets(floor) == []


@pytest.mark.parametrize("kind", ["expedited", "global"])
def test_membarrier(floor: Floor, kind: str) -> None:
    answer = ask_or_skip(floor, f"membarrier-{kind}", rounds=5)
    assert answer["rounds"] == 5
    assert_times(answer)


def test_parked_targets_are_kept_and_sleep_between_requests(floor: Floor) -> None:
    floor.ask("broadcast-parked", 5, rounds=3)
    first = targets(floor)
    floor.ask("broadcast-parked", 5, rounds=3)
    assert [process.pid for process in targets(floor)] == [process.pid for process in first]
    assert len(first) == 5
    while {process.status() for process in first} != {psutil.STATUS_SLEEPING}:
        pass  # the last to ack may be on its way back to its park; one that never parks meets the time-out
    floor.ask("broadcast-parked", 3, rounds=3)
    assert len(targets(floor)) == 3


def test_busy_targets_live_as_long_as_their_request(floor: Floor) -> None:
    floor.ask("single-busy", rounds=3)
    assert targets(floor) == []
    floor.ask("poll", rounds=3)
    assert targets(floor) == []


def test_a_dead_target_is_replaced(floor: Floor) -> None:
    floor.ask("broadcast-parked", 3, rounds=3)
    victim = targets(floor)[1]
    victim.kill()
    while victim.status() != psutil.STATUS_ZOMBIE:
        pass  # death takes a moment; the floor, its parent, reaps it only when asked again
    assert floor.ask("broadcast-parked", 3, rounds=3)["rounds"] == 3


def test_a_spent_budget_means_fewer_rounds(floor: Floor) -> None:
    assert 1 <= floor.ask("broadcast-parked", 2, rounds=100000, budget_ms=20)["rounds"] < 100000


def test_no_target_outlives_a_killed_server(executable: Path) -> None:
    with Floor(executable=executable) as floor:
        floor.ask("broadcast-parked", 5, rounds=3)
        children = targets(floor)
        psutil.Process(floor.pid).kill()
        _, alive = psutil.wait_procs(children, timeout=20)
        assert alive == []
        with pytest.raises(DiedError, match="died"):
            floor.ask("broadcast-parked", 5)


def test_no_target_outlives_the_with_block(executable: Path) -> None:
    with Floor(executable=executable) as floor:
        floor.ask("broadcast-parked", 5, rounds=3)
        children = targets(floor)
    assert [process for process in children if process.is_running()] == []


def test_a_late_answer_ends_the_server(executable: Path) -> None:
    with Floor(executable=executable) as floor:
        with pytest.raises(DiedError, match=r"within 0\.01 s"):
            floor.ask("broadcast-parked", 2, rounds=10000, timeout=0.01)
        with pytest.raises(UsageError, match="not running"):
            floor.ask("poll")


@pytest.mark.parametrize(
    ("mode", "operands"),
    [
        ("no-such-mode", []),
        ("broadcast-parked", []),
        ("broadcast-parked", [0]),
        ("broadcast-parked", [1025]),
        ("broadcast-parked", [3, 4]),
        ("single-busy", [2]),
        ("malloc", [64]),
        ("malloc", [64, 32, 1, "rounds=0"]),
        ("poll", ["rounds=-1"]),
        ("poll", ["rounds=100001"]),
        ("poll", ["gap_us=-1"]),
    ],
)
def test_bad_requests_are_refused_and_do_no_harm(floor: Floor, mode: str, operands: list[int | str]) -> None:
    with pytest.raises(ResourceError, match="no such mode, or not its operands"):
        floor.ask(mode, *operands)
    assert floor.ask("poll", rounds=3)["rounds"] == 3


@pytest.mark.parametrize("request_", ["", "poll\npoll", "poll " + "x" * 300])
def test_requests_that_are_not_one_short_line(floor: Floor, request_: str) -> None:
    with pytest.raises(UsageError):
        floor.ask(request_)


def test_too_many_queues_is_an_error_that_names_the_limit(floor: Floor) -> None:
    limit = Path("/proc/sys/fs/mqueue/queues_max")
    if not limit.exists() or int(limit.read_text()) >= 1024:
        pytest.skip("this host has no limit of queues below the floor's own limit of targets")
    if has_capability(CAP_SYS_RESOURCE):
        pytest.skip("CAP_SYS_RESOURCE lifts the limit of queues")
    with pytest.raises(ResourceError, match="queues_max"):
        floor.ask("broadcast-mq", int(limit.read_text()) + 1, rounds=1)
    assert targets(floor) == []


def test_chosen_cores_are_the_floors_and_not_ours(executable: Path) -> None:
    ours = os.sched_getaffinity(0)
    with Floor(cpus=[max(ours)], executable=executable) as floor:
        assert os.sched_getaffinity(0) == ours
        assert floor.ask("malloc", 64, 1, rounds=1)["cores"] == 1


def test_one_shot_prints_the_same_line(executable: Path) -> None:
    done = subprocess.run([executable, "poll", "rounds=10"], check=True, capture_output=True, text=True, timeout=30)
    assert json.loads(done.stdout)["rounds"] == 10
    assert done.stdout.count("\n") == 1
    refused = subprocess.run([executable, "nothing"], check=False, capture_output=True, text=True, timeout=30)
    assert refused.returncode == 1
    assert "no such mode" in json.loads(refused.stdout)["error"]


def test_quick_floor_has_every_transport_that_the_host_has(executable: Path) -> None:
    figures = quick_floor(executable=executable)
    assert set(QUICK) - {"mqueue"} <= set(figures) <= set(QUICK)
    for figure in figures.values():
        assert set(figure) == {"p50", "p99"}
        assert 0 < figure["p50"] <= figure["p99"]


def test_a_missing_program_names_the_command_that_builds_it(tmp_path: Path) -> None:
    with pytest.raises(NotSupportedError, match="cc -O2"), Floor(executable=tmp_path / "floor"):
        pass
