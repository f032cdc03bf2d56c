"""Running workloads: variants, repeats, verdicts and exit codes."""

from argparse import Namespace
from types import ModuleType

import pytest

from emu.config import configure
from emu.errors import DiedError, EmuError, ResourceError, UsageError
from emu.runner import Runner, Wanted
from emu.workload import Need, Workload


@pytest.fixture(autouse=True)
def host(machines, monkeypatch):
    monkeypatch.setattr("emu.runner.quick_floor", lambda: {"signal": {"p50": 7000, "p99": 20000}})
    monkeypatch.setattr("emu.hostinfo.warnings", lambda cpus, host: [])
    monkeypatch.setattr("emu.hostinfo.steal_warning", lambda *args: None)


def workload(run, **attributes):
    module = ModuleType("fake")
    module.run = run
    module.__file__ = __file__
    for name, value in attributes.items():
        setattr(module, name, value)
    return Workload("fake", module)


def outcome(load, options=None, **wanted):
    config = configure({"cpus": "2", "seed": "1"} | (options or {}))
    return Runner(load, config, Namespace(), Wanted(command="emu run fake", **wanted)).run()


def boots(ctx, args):
    with ctx.boot():
        return {"n": 1}


def test_pass():
    found = outcome(workload(boots))
    assert found.exit_code == 0
    document = found.document
    assert list(document) == [
        *("schema", "workload", "command", "seed", "verdict", "warnings", "elapsed_ns", "config", "host", "violations"),
        *("interrupts", "ipis", "requests", "vmstat", "locks", "latency", "machine", "result"),
    ]
    assert document["schema"] == 1
    assert document["verdict"] == "pass"
    assert document["result"] == {"n": 1}
    assert document["host"]["delivery"] == "gated"
    assert document["host"]["ipi_floor_ns"]["signal"]["p50"] == 7000
    assert document["config"]["patches"]["slab-create-no-ipi"] == "on"
    assert document["elapsed_ns"] > 0


def test_no_machine_at_all():
    document = outcome(workload(lambda ctx, args: {})).document
    assert document["interrupts"] == {"CAL": [], "RES": []}
    assert document["ipis"] == {"raised": 0, "taken": 0, "merged": 0, "pending": 0, "fallback": 0}


def violates(ctx, args):
    ctx.violation("I3", "freed twice")
    return {}


def test_violation():
    found = outcome(workload(violates))
    assert (found.exit_code, found.document["verdict"]) == (2, "violation")
    assert found.document["violations"] == [{"invariant": "I3", "text": "freed twice"}]


@pytest.mark.parametrize(
    ("run", "kernel", "code"),
    [
        (violates, "4.4", 0),  # unsafe, and it showed
        (boots, "4.4", 2),  # unsafe, and it did not show
        (violates, "4.12", 2),  # safe, and yet
        (boots, "4.12", 0),
    ],
)
def test_expected_violation(run, kernel, code):
    load = workload(run, SWITCH="drain-shared-locked")
    assert outcome(load, {"kernel": kernel}, expect_violation=True).exit_code == code


def only_unsafe(ctx, args):
    if ctx.config.patches["pcp-drain"] in ("mask-v6", "mask-clear-set"):
        ctx.violation("I8", "a CPU was missed")
    return {"drains": 3}


def test_variants():
    found = outcome(workload(only_unsafe, SWITCH="pcp-drain"), mode="variants")
    rows = found.document["result"]["rows"]
    assert found.exit_code == 0
    assert found.document["verdict"] == "violation"
    assert [row["variant"] for row in rows][:3] == ["all", "mask-v6", "mask-clear-set"]
    assert {row["variant"] for row in rows if row["verdict"] == "violation"} == {"mask-v6", "mask-clear-set"}
    assert all(row["drains"] == 3 for row in rows)


def test_variants_that_behave_otherwise_than_said():
    assert outcome(workload(boots, SWITCH="pcp-drain"), mode="variants").exit_code == 2


def test_variants_whose_result_is_rows():
    def run(ctx, args):
        return {"rows": [{"drains": 1}, {"drains": 2}]}

    rows = outcome(workload(run, SWITCH="slub-flush"), mode="variants").document["result"]["rows"]
    assert [(row["variant"], row["drains"]) for row in rows] == [("all", 1), ("all", 2), ("cond", 1), ("cond", 2)]


def seen_patches(ctx, args):
    return {"is": ctx.config.patches["slab-create-no-ipi"], "variant": ctx.variant}


def test_both():
    found = outcome(workload(seen_patches, SWITCH="slab-create-no-ipi"), mode="both")
    assert [(row["variant"], row["is"]) for row in found.document["result"]["rows"]] == [("off", "off"), ("on", "on")]


def test_both_of_named_variants():
    table = {"before": {"slab-create-no-ipi": "off"}, "after": {"slab-create-no-ipi": "on"}, "third": {}}
    load = workload(seen_patches, VARIANTS=table, BOTH=("before", "after"))
    rows = outcome(load, mode="both").document["result"]["rows"]
    assert [row["variant"] for row in rows] == ["before", "after"]


def test_one_variant():
    found = outcome(workload(seen_patches, SWITCH="slab-create-no-ipi"), mode="variant", variant="off")
    assert found.document["result"] == {"is": "off", "variant": "off"}
    with pytest.raises(UsageError, match="did you mean 'mask-mutex'"):
        outcome(workload(boots, SWITCH="pcp-drain"), mode="variant", variant="mask-mutx")
    with pytest.raises(UsageError, match="about no single patch"):
        outcome(workload(boots), mode="both")


def test_repeats_give_medians_and_spread():
    counter = iter([1, 5, 3])

    def run(ctx, args):
        return {"n": next(counter), "same": 7, "list": [1, 2], "text": "x"}

    result = outcome(workload(run), {"repeat": "3"}).document["result"]
    assert (result["n"], result["same"], result["list"], result["repeats"]) == (3, 7, [1, 2], 3)
    assert result["spread"] == {"n": {"median": 3, "q1": 2.0, "q3": 4.0, "min": 1, "max": 5}}


def test_strict():
    def run(ctx, args):
        ctx.distrust("noisy")
        return {}

    assert outcome(workload(run)).exit_code == 0
    found = outcome(workload(run), strict=True)
    assert (found.exit_code, found.document["verdict"]) == (7, "unfit-host")


def test_a_dead_cpu_keeps_what_there_is():
    def run(ctx, args):
        ctx.partial["n"] = 5
        with ctx.boot():
            raise DiedError("CPU 1 was killed by SIGKILL")

    found = outcome(workload(run))
    assert (found.exit_code, found.document["verdict"], found.document["result"]) == (5, "died", {"n": 5})
    assert "SIGKILL" in str(found.error)
    assert found.document["interrupts"]["CAL"] == [0, 0]


def test_a_lack_in_the_middle():
    def run(ctx, args):
        raise ResourceError("no memory")

    found = outcome(workload(run))
    assert (found.exit_code, found.document["verdict"]) == (3, "unfit-host")


def test_workloads_that_are_wrong_are_named_with_their_line():
    def run(ctx, args):
        return 1 / 0

    found = outcome(workload(run))
    assert found.exit_code == 5
    assert f"workload fake: {__file__}:" in str(found.error)
    assert "ZeroDivisionError" in str(found.error)
    assert "returned a list" in str(outcome(workload(lambda ctx, args: [])).error)


def test_prints_of_a_workload_are_no_result(capsys):
    def run(ctx, args):
        print("hello")  # noqa: T201
        return {}

    outcome(workload(run))
    assert capsys.readouterr() == ("", "hello\n")


def test_check_and_memory_come_before_the_start(machines):
    def check(config, args):
        raise UsageError("no")

    with pytest.raises(UsageError, match="no"):
        outcome(workload(boots, check=check))
    with pytest.raises(ResourceError, match="needed, --memory is 256 MiB"):
        outcome(workload(boots, memory_need=lambda config, args: Need(0, 1 << 40)))
    with pytest.raises(ResourceError, match="--max-segment"):
        outcome(workload(boots, memory_need=lambda config, args: Need(1 << 40, 0)), {"max-segment": "1G"})
    assert machines == []


def test_an_emulator_error_is_no_workload_error():
    def run(ctx, args):
        raise EmuError("broken")

    assert str(outcome(workload(run)).error) == "broken"
