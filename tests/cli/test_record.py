"""emu record: the commands it shows, what it refuses, and, where tracefs can be had, a recording that replays."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EVENTS = ("kmalloc", "kfree", "kmem_cache_alloc", "kmem_cache_free", "mm_page_alloc", "mm_page_free")


def test_the_commands_are_shown(emu):
    done = emu("record")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for part in ("trace-cmd record", "perf record", "/events/kmem/kmalloc/enable", "emu run replay trace.txt"):
        assert part in done.stdout
    for event in EVENTS:
        assert done.stdout.count(event) >= 3


def test_one_way_and_the_users_command(emu):
    done = emu("record", "--with", "perf", "-o", "my trace.txt", "--dry-run", "--", "make", "-j8", "a b")
    assert "make -j8 'a b'" in done.stdout
    assert "'my trace.txt'" in done.stdout
    assert "trace-cmd" not in done.stdout.replace("trace-cmd report", "")


def test_what_is_shown_is_shell(emu):
    """Each script parses."""
    text = emu("record", "--with", "tracefs", "--dry-run", "--", "true").stdout
    script = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert subprocess.run(["sh", "-n", "-c", script], check=False).returncode == 0


def test_nothing_is_overwritten(emu, tmp_path):
    there = tmp_path / "there.txt"
    there.write_text("precious")
    done = emu("record", "-o", there, "--", "true")
    assert done.returncode == 1
    assert "exists" in done.stderr
    assert there.read_text() == "precious"


@pytest.mark.parametrize(
    ("argv", "code", "text"),
    [
        (("--", "no-such-command-at-all"), 1, "no such command"),
        (("--with", "guesswork", "--", "true"), 1, "guesswork"),
    ],
)
def test_refused(emu, tmp_path, argv, code, text):
    done = emu("record", "-o", tmp_path / "x.txt", *argv)
    assert done.returncode == code
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "x.txt").exists()


def test_it_records_or_says_why_not(emu, tmp_path):
    """Root with tracefs records; everybody else is told in one line (exit 4)."""
    output = tmp_path / "recorded.txt"
    done = emu("record", "--with", "tracefs", "-o", output, "--", "true")
    if done.returncode == 4:
        assert len(done.stderr.splitlines()) == 1
        assert not output.exists()
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    replayed = emu("run", "replay", output, "-q")
    assert replayed.returncode == 0, replayed.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount tracefs in a namespace of its own")
def test_a_recording_replays(tmp_path):
    """In a mount namespace of its own, so that the host is left as it is."""
    output = tmp_path / "recorded.txt"
    record = f"{sys.executable} -m emu record --with tracefs -o {output} -- ls -R /usr/include"
    mount = "test -e /sys/kernel/tracing/trace || mount -t tracefs none /sys/kernel/tracing || exit 77"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f"{mount}; {record} > {tmp_path}/out"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode in (1, 4, 77) and not output.exists():
        pytest.skip(f"tracefs cannot be had here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert "# tracer: nop" in output.read_text()[:200]
    command = [sys.executable, "-m", "emu", "run", "replay", str(output), "-q", "--memory", "4G"]
    replayed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert replayed.returncode == 0, replayed.stderr
