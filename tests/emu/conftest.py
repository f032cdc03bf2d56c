"""A machine that is none: what emu.context asks of Machine, observe and validate, in plain Python."""

import sys
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import pytest

from emu.context import Finding


class FakeMachine:
    """Stands for emu.machine.Machine; remembers the machines of a test."""

    made: ClassVar[list] = []

    def __init__(self, **options):
        self.options = options
        self.config = {"kernel": "4.12", **options}
        self.state = "new"
        FakeMachine.made.append(self)

    def __enter__(self):
        self.state = "running"
        return self

    def __exit__(self, *exc):
        self.state = "gone"

    @property
    def coordinator(self):
        plan = SimpleNamespace(delivery="gated", gated=True, tokens=2, cpus=self.options["cpus"])
        return SimpleNamespace(warnings=[], plan=plan)


@pytest.fixture
def machines(monkeypatch):
    """Replace the real machine; yields the list of those booted, newest last."""
    FakeMachine.made = []
    machine = ModuleType("emu.machine")
    machine.Machine = FakeMachine
    observe = ModuleType("emu.observe")
    observe.collect = lambda m: {
        "interrupts": {"CAL": [0] * m.options["cpus"], "RES": [1] * m.options["cpus"]},
        "vmstat": {"kicks": len(FakeMachine.made)},
    }
    observe.slabinfo_rows = lambda m: [("dentry", 1, 2, 192, 21, 1, 120, 60, 8, 1, 1, 0)]
    validate = ModuleType("emu.validate")
    validate.findings = []
    validate.check = lambda m: validate.findings
    for module in (machine, observe, validate):
        module.__spec__ = SimpleNamespace(name=module.__name__)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(f"emu.{module.__name__.split('.')[1]}", module, raising=False)
    monkeypatch.delitem(sys.modules, "emu.proctext", raising=False)
    yield FakeMachine.made
    sys.modules.pop("emu.proctext", None)


@pytest.fixture
def violations(machines):
    """The list that the checker answers with: put Findings in."""
    assert isinstance(Finding("I1", ""), tuple)
    return sys.modules["emu.validate"].findings
