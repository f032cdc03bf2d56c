"""Whatever is wrong: the right exit code, one line, no traceback, nothing on stdout, at once."""

import pytest

OK = "def run(ctx, args): return {}\n"

# Arguments, exit code, a word of the line. {w} is a workload that does nothing.
ROWS = [
    ("", 1, "usage: emu"),
    ("rnu", 1, "did you mean 'run'"),
    ("--cpus 4", 1, "no option"),
    ("run", 1, "which workload"),
    ("run --cpus 4", 1, "WORKLOAD"),
    ("run nothing-like-it", 1, "no workload"),
    ("run ./missing.py", 1, "no such file"),
    ("run {w} --cpu 4", 1, "did you mean '--cpus'"),
    ("run {w} --cpus", 1, "expected one argument"),
    ("run {w} --cpus 0", 1, "from 1 to 1024"),
    ("run {w} --cpus -1", 1, "from 1 to 1024"),
    ("run {w} --cpus 1025", 1, "from 1 to 1024"),
    ("run {w} --cpus 5000", 1, "from 1 to 1024"),
    ("run {w} --cpus 0-", 1, "whole number"),
    ("run {w} --cpus 3-1", 1, "whole number"),
    ("run {w} --cpus 0,0", 1, "whole number"),
    ("run {w} --seed -1", 1, "2^64-1"),
    ("run {w} --seed 1180591620717411303424", 1, "2^64-1"),
    ("run {w} --seed text", 1, "whole number"),
    ("run {w} --duration 0s", 1, "from 1ms"),
    ("run {w} --duration 1ns", 1, "unit"),
    ("run {w} --duration 1000000000d", 1, "unit"),
    ("run {w} --duration 5", 1, "unit"),
    ("run {w} --duration 5s --loops 3", 1, "give one of them"),
    ("run {w} --nodes 5", 1, "at most as many nodes as CPUs"),
    ("run {w} --memory 1", 1, "from 4M to 31G"),
    ("run {w} --memory lots", 1, "as in 256M"),
    ("run {w} --kernel 4", 1, "write X.Y"),
    ("run {w} --kernel 4.25", 1, "there was no Linux 4.25"),
    ("run {w} --kernel 2.6", 4, "not modelled"),
    ("run {w} --kernel 6.8", 4, "--allocator slub"),
    ("run {w} --kernel 6.13 --allocator slub", 4, "not modelled"),
    ("run {w} --allocator slob", 1, "did you mean 'slub'"),
    ("run {w} --ipi smoke", 1, "signal, mqueue"),
    ("run {w} --patch pcp-drian", 1, "did you mean 'pcp-drain'"),
    ("run {w} --patch pcp-drain=x", 1, "has no value"),
    ("run {w} --revert grow-in-two", 1, "revert refill-private-slab"),
    ("run {w} --series 12", 1, "from 0 to 11"),
    ("run {w} --append quiet", 1, "no boot parameter"),
    ("run {w} --append isolcpus=9", 1, "names CPU 9"),
    ("run {w} --param size", 1, "NAME=VALUE"),
    ("run {w} --proc meminfo", 1, "not one of"),
    ("run {w} --expect pass", 1, "only a violation"),
    ("run {w} --both", 1, "about no single patch"),
    ("run {w} --both --variants", 1, "not allowed with"),
    ("run {w} --config /missing", 1, "No such file"),
    ("run {w} --config /", 1, "not a regular file"),
    ("run {w} operand", 1, "unexpected operand 'operand'"),
    ("patches pcp-drian", 1, "did you mean 'pcp-drain'"),
    ("patches --kernel 7.1", 4, "not modelled"),
    ("kernel", 1, "required: X.Y"),
    ("kernel 4.10 x", 1, "not a kernel version"),
    ("kernel 2.4", 4, "not modelled"),
    ("explain kiks", 1, "did you mean 'kicks'"),
    ("list --jsn", 1, "did you mean '--json'"),
    ("doctor --all", 1, "no option"),
    ("cleanup now", 1, "unexpected operand"),
]


@pytest.mark.parametrize(("args", "code", "word"), ROWS)
def test_row(emu, workload, args, code, word):
    path = workload(OK)
    done = emu(*(path if arg == "{w}" else arg for arg in args.split()))
    assert (done.returncode, done.stdout) == (code, "")
    assert word in done.stderr
    assert "Traceback" not in done.stderr
    if args:
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("emu: ")
    assert done.cpu < 1


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("def run(:\n", "mine.py:1"),
        ("import nothing_like_it\n", "mine.py:1: ModuleNotFoundError"),
        ("x = 1\n", "no function run"),
    ],
)
def test_broken_workload(emu, workload, text, word):
    done = emu("run", workload(text))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert word in done.stderr


def test_workload_that_fails(emu, workload):
    done = emu("run", workload("\ndef run(ctx, args):\n    return 1 / 0\n"))
    assert (done.returncode, done.stdout) == (5, "")
    assert "mine.py:3: ZeroDivisionError" in done.stderr
    assert "Traceback" not in done.stderr


def test_traceback_only_with_debug(emu, workload):
    done = emu("run", workload("def run(ctx, args):\n    return 1 / 0\n"), "--debug")
    assert done.returncode == 5
    assert "Traceback" in done.stderr


def test_file_and_line_of_a_configuration(emu, workload, tmp_path):
    (tmp_path / "bad.toml").write_text("cpus = 4\nkernel = 4.10\n")
    done = emu("run", workload(OK), "--config", tmp_path / "bad.toml")
    assert done.returncode == 1
    assert "bad.toml:2:1: kernel" in done.stderr
    assert "unquoted 4.10 is the number 4.1" in done.stderr


def test_weak_checks_are_not_asserts(emu, workload):
    done = emu("run", workload(OK), "--cpus", "0", env={"PYTHONOPTIMIZE": "2"})
    assert done.returncode == 1


@pytest.mark.parametrize(
    "env", [{"LANG": "C", "TERM": ""}, {"HOME": "/missing", "TMPDIR": "/missing"}, {"EMU_CPUS": "x"}]
)
def test_odd_environments(emu, env):
    assert emu("kernel", "4.11", "4.12", env=env).returncode == 0
