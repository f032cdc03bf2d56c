"""`import emu`: what a notebook uses, and what it costs to have it."""

import subprocess
import sys

import pytest

import emu
from emu import record
from emu.errors import UsageError
from tests.emu.test_record import DOCUMENT


def test_load_compare_and_frames(tmp_path):
    pytest.importorskip("scipy")
    for name, kicks in (("a", 7), ("b", 9)):
        record.save(tmp_path / name, DOCUMENT, samples={"vmstat.kicks": [kicks] * 3, "elapsed_ns": [5, 6, 7]})
    run = emu.load(tmp_path / "a")
    assert run.frame()["value"].tolist() == [7, 7, 7, 5, 6, 7]
    found = emu.compare(run, str(tmp_path / "b"))
    assert found.row("vmstat.kicks").found == "differs"
    assert found.row("vmstat.kicks").change.value == pytest.approx(2 / 7)
    with pytest.raises(KeyError):
        found.row("nothing")
    frame = found.frame()
    assert dict(zip(frame["figure"].tolist(), frame["found"].tolist(), strict=True)) == {
        "vmstat.kicks": "differs",
        "elapsed_ns": "too few samples",
    }


def test_what_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="no such run"):
        emu.load(tmp_path / "nothing")
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        emu.laod  # noqa: B018


def test_the_command_line_does_not_pay_for_it():
    """Neither numpy nor scipy for help, nor for a list of runs."""
    program = (
        "import sys, emu.cli\n"
        "for words in (['--help'], ['runs'], ['compare', '--help'], ['export', '--help']):\n"
        "    try: emu.cli.main(words)\n"
        "    except SystemExit: pass\n"
        "print([name for name in ('numpy', 'scipy', 'perfetto', 'pyarrow') if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"
