"""RunContext: machines, randomness, warnings."""

import pytest

from emu.config import configure
from emu.context import Finding, Record, RunContext
from emu.errors import DiedError, Interrupted
from emu.signals import StopSignals


@pytest.fixture
def context(machines):
    config = configure({"cpus": "3", "kernel": "4.11", "patch": ["pcp-drain=mask-mutex"], "seed": "7"})
    return RunContext(config, Record(), StopSignals(), ("interrupts", "slabinfo", "vmstat"))


def test_boot_observes_and_checks(context, machines, violations):
    violations.append(Finding("I4", "avail 9 of 8"))
    with context.boot() as machine:
        assert machine.state == "running"
    assert machine.state == "gone"
    assert context.record.observed["host"] == {"delivery": "gated", "running": 2}
    assert context.record.findings == [Finding("I4", "avail 9 of 8")]
    assert context.record.proc["interrupts"].startswith("           CPU0       CPU1       CPU2")
    assert "dentry" in context.record.proc["slabinfo"]
    assert machines[0].options["cpus"] == 3


def test_boot_overrides(context, machines):
    with context.boot(cpus=8, patches={"dead-caches": "kick"}, bodies=[len]):
        pass
    options = machines[0].options
    assert options["cpus"] == 8
    assert options["bodies"] == [len]
    assert options["patches"]["dead-caches"] == "kick"
    assert options["patches"]["pcp-drain"] == "mask-mutex"
    assert options["patches"]["slab-create-no-ipi"] == "off"


def test_another_kernel_keeps_what_the_user_changed(context, machines):
    with context.boot(kernel="4.14"):
        pass
    patches = machines[0].options["patches"]
    assert patches["slab-create-no-ipi"] == "on"
    assert patches["pcp-drain"] == "mask-mutex"


def test_the_last_machine_is_reported(context):
    for _ in range(3):
        with context.boot():
            pass
    assert context.record.machines == 3
    assert context.record.observed["vmstat"] == {"kicks": 3}


@pytest.mark.parametrize("error", [Interrupted(2), DiedError("CPU 1 was killed")])
def test_what_was_seen_before_the_end_is_kept(context, machines, violations, error):
    violations.append(Finding("I1", "in the middle of it"))
    with pytest.raises(type(error)), context.boot():
        raise error
    assert machines[0].state == "gone"
    assert context.record.observed["interrupts"]["CAL"] == [0, 0, 0]
    # Nothing is at rest to be checked.
    assert context.record.findings == []


def test_a_workloads_own_error_leaves_no_machine(context, machines):
    with pytest.raises(ZeroDivisionError), context.boot():
        raise ZeroDivisionError
    assert machines[0].state == "gone"


def test_streams_are_apart_and_repeatable(context):
    def draw(stream):
        return context.rng(stream).integers(0, 2**60, 4).tolist()

    streams = [draw(stream) for stream in (0, 1, 2, "mix", "0")]
    assert streams == [draw(stream) for stream in (0, 1, 2, "mix", "0")]
    assert len({tuple(stream) for stream in streams}) == 5


def test_warnings_are_said_once(context, capsys):
    context.warn("beware")
    context.distrust("beware")
    assert context.record.warnings == context.record.distrust == ["beware"]
    assert capsys.readouterr().err == "emu: warning: beware\n"


def test_progress_without_a_terminal_is_silent(context, capsys):
    with context.progress("counting", 3) as progress:
        progress.advance()
        progress.update(2)
        progress.poll()
        assert progress.done == 2
    assert capsys.readouterr() == ("", "")
