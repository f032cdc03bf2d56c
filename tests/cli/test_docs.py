"""What the documents show is what the program does."""

import re
import subprocess
import sys

import pytest

from tests.processes import ROOT

TUTORIAL = (ROOT / "docs/tutorial.md").read_text()


@pytest.fixture
def block(tmp_path):
    """A Python block of the tutorial as a file: the one that has these words in it."""

    def write(words):
        found = [text for text in re.findall(r"```python\n(.*?)```", TUTORIAL, re.DOTALL) if words in text]
        assert len(found) == 1
        (tmp_path / "mine.py").write_text(found[0])
        return tmp_path / "mine.py"

    return write


def test_the_shortest_workload(emu, block):
    done = emu("run", block("Kick all CPUs"), "--cpus", "3")
    assert done.returncode == 0
    assert done.stdout.startswith("cal  0, 23, 23\n\npass: 3 CPUs, Linux 4.12, slab, signal, seed ")


def test_bodies(emu, block):
    done = emu("run", block("free what the neighbour"), "--size", "64", "--loops", "100")
    assert done.returncode == 0
    assert done.stdout.startswith("slab_alloc  400\nslab_free   400\n")


def test_with_a_patch_and_without(emu, block):
    done = emu("run", block("What a new cache costs"), "--both", "-q")
    assert done.returncode == 0
    assert done.stdout == "off (safe: yes, pass)\ninterrupts  49\n\non (safe: yes, pass)\ninterrupts  0\n"


def test_the_example_script():
    done = subprocess.run(
        [sys.executable, "docs/examples/watch.py"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "one more in the array: True" in done.stdout


def test_the_counters_are_documented(emu):
    done = emu("explain", "--markdown")
    assert done.returncode == 0
    assert (ROOT / "docs/counters.md").read_text() == done.stdout, "make docs"


def test_links_lead_somewhere():
    for path in (ROOT / "docs").rglob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)", path.read_text()):
            assert target.startswith("http") or (path.parent / target).exists(), f"{path}: {target}"


def test_each_workload_file_that_is_shown_is_short():
    assert max(len(line) for line in TUTORIAL.splitlines()) <= 140
