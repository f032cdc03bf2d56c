"""docs/tutorial-new-switch.md, followed to the letter in a copy of the tree: a new switch, built, and compared."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TUTORIAL = ROOT / "docs" / "tutorial-new-switch.md"
LEFT_OUT = {".git", ".venv", ".hypothesis", "dist"}


def blocks() -> list[str]:
    """The Python of the tutorial: the row; a line before and after; the import before and after."""
    return re.findall(r"```python\n(.*?)```", TUTORIAL.read_text(), re.DOTALL)


def test_what_the_tutorial_changes_is_there() -> None:
    """Cheap, so that it is known at once when the code moves on."""
    row, line, changed, imports, more = blocks()
    assert "refill-whole-array" in row
    array = (ROOT / "cpus" / "slab_array.py").read_text()
    assert array.count(line) == array.count(imports) == 1
    assert changed.startswith(line)
    assert more.startswith(imports.rstrip())


def run(folder: Path, *argv: str, seconds: float = 900) -> str:
    done = subprocess.run(
        [sys.executable, *argv],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def first_row(folder: Path, *argv: str) -> dict[str, Any]:
    """The row of one run of slab-test."""
    options = ("--json", "-q", "--tests", "single", "--sizes", "64", "--cpus", "1")
    document = json.loads(run(folder, "-m", "emu", "run", "slab-test", *options, *argv))
    assert document["verdict"] == "pass"
    return dict(document["result"]["rows"][0])


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_the_tutorial(tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    shutil.copytree(ROOT, folder, ignore=lambda _, names: LEFT_OUT & set(names), symlinks=True)
    row, line, changed, imports, more = blocks()
    table = folder / "cpus" / "patch_table.py"
    text = table.read_text()
    end = text.index("\n)\n", text.index("SWITCHES: tuple[Switch, ...] = ("))
    table.write_text(text[: end + 1] + row + text[end + 1 :])
    array = folder / "cpus" / "slab_array.py"
    array.write_text(array.read_text().replace(line, changed).replace(imports, more))
    run(folder, "setup.py", "--quiet", "build_ext", "--inplace")
    assert "mm/slab: refill the whole array" in run(folder, "-m", "emu", "patches", "refill-whole-array")
    without, patched = first_row(folder), first_row(folder, "--patch", "refill-whole-array")
    assert patched["refills"] < 0.75 * without["refills"]
    assert patched["list_lock_acquisitions"] < without["list_lock_acquisitions"]
    # What the patch does not touch is as it was.
    assert without["refills"] == first_row(ROOT)["refills"]
