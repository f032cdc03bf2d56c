"""Nothing is cimported that is not used: ruff takes such names for types that a .pxd may want, and says nothing."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STATEMENT = re.compile(r"^from (cython\.cimports\.[\w.]+) import (\([^)]*\)|[^\n]*)\n", re.MULTILINE)
GUARD = "if not cython.compiled"  # between a module's imports and its code


def unused(text: str) -> list[str]:
    """Names that a module cimports and its code does not have; [] for a module that is not compiled."""
    head, guard, code = text.partition(GUARD)
    words = set(re.findall(r"\w+", code))
    names = [n.strip() for _, listed in STATEMENT.findall(head) for n in listed.strip("()").split(",")]
    return [name for name in names if guard and name and name.split(" as ")[-1] not in words]


@pytest.mark.parametrize("floor", ["ipc", "cpus", "workloads"])
def test_each_name_is_used(floor: str) -> None:
    files = sorted((ROOT / floor).glob("*.py"))
    assert files
    assert {str(path.relative_to(ROOT)): found for path in files if (found := unused(path.read_text()))} == {}


def test_an_unused_one_is_found() -> None:
    text = (ROOT / "cpus" / "smp.py").read_text()
    planted = text.replace("    smp_mb,\n", "    smp_mb,\n    smp_rmb,\n", 1)
    assert planted != text
    assert unused(planted) == ["smp_rmb"]
