"""Completion in real shells, the man page in real man, and the help of every command."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emu.commands import COMMANDS
from emu.errors import NotSupportedError
from tests.processes import ROOT, SLACK

pexpect = pytest.importorskip("pexpect")
pytest.importorskip("shtab")
pytest.importorskip("argparse_manpage")

PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
BASH = """\
source {script}
complete_line() {{
  COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
  $(complete -p emu | sed 's/.*-F \\([^ ]*\\).*/\\1/') 2> /dev/null
  printf '%s\\n' "${{COMPREPLY[@]}}"
}}
complete_line {line}
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """A completion script in a file: script("bash")."""

    def write(shell):
        done = subprocess.run(
            [sys.executable, "-m", "emu", "completion", shell], capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        path = tmp_path_factory.mktemp(shell) / "_emu"
        path.write_text(done.stdout)
        return path

    return write


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("emu mon", {"monitor"}),
        ("emu ''", set(COMMANDS)),
        ("emu run --alloc", {"--allocator"}),
        ("emu run --allocator ''", {"slab", "slub"}),
        ("emu run memcg-cr", {"memcg-create"}),
        ("emu monitor --inter", {"--interval"}),
    ],
)
def test_bash_completes(script, line, wanted):
    text = BASH.format(script=script("bash"), line=line)
    done = subprocess.run(
        ["bash", "--norc", "-c", text], capture_output=True, text=True, check=False, env=os.environ | {"PATH": PATH}
    )
    found = set(done.stdout.split())
    assert wanted <= found
    assert found <= wanted | {"-h", "--help", "--version"}


@pytest.mark.skipif(not shutil.which("zsh"), reason="needs zsh")
@pytest.mark.parametrize(("line", "wanted"), [("emu mon", "monitor"), ("emu run --alloc", "--allocator")])
def test_zsh_completes(script, tmp_path, line, wanted):
    folder = tmp_path / "functions"
    folder.mkdir()
    shutil.copy(script("zsh"), folder / "_emu")
    shell = pexpect.spawn(
        "zsh", ["-f", "-i"], env=os.environ | {"PATH": PATH, "TERM": "dumb", "PS1": "% "}, encoding="utf-8", timeout=30
    )
    shell.sendline(f"fpath=({folder} $fpath); autoload -U compinit; compinit -u -D; print re''ady")
    shell.expect("ready")
    shell.send(f"{line}\t")
    deadline = time.monotonic() + 30 * SLACK
    seen = ""
    while wanted not in seen.replace(line, "", 1) and f"{line[: line.rindex(' ')]} {wanted}" not in seen:
        assert time.monotonic() < deadline, seen
        try:
            seen += shell.read_nonblocking(4096, timeout=0.5)
        except pexpect.TIMEOUT:
            continue
    shell.close(force=True)


def test_what_is_no_shell_is_refused(emu):
    done = emu("completion", "bsh")
    assert (done.returncode, done.stderr) == (
        1,
        "emu: emu completion: 'bsh' is not one of bash, zsh, man; did you mean 'bash'?\n",
    )


def test_the_man_page_has_every_command_and_option(emu):
    page = emu("completion", "man")
    assert page.returncode == 0
    text = page.stdout.replace("\\-", "-")
    for name in COMMANDS:
        assert f"emu {name}" in text
    for option in ("--max-segment", "--interval", "--pane", "--both"):
        assert option in text
    assert "overhead: no lock is taken" in text
    if shutil.which("man"):
        shown = subprocess.run(
            ["man", "-l", "-"], input=page.stdout, capture_output=True, text=True, check=False,
            env=os.environ | {"MANWIDTH": "80", "LC_ALL": "C"},
        )  # fmt: skip
        assert shown.returncode == 0
        assert "emu monitor memcg-create --pane locks" in shown.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command(emu, name):
    done = emu(name, "--help")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "examples:" in done.stdout
    examples = done.stdout.partition("examples:")[2]
    assert f"emu {name}" in examples or name == "run"


@pytest.mark.parametrize(
    "args",
    [
        ("list",), ("patches",), ("patches", "pcp-drain"), ("kernel", "4.11"), ("kernel", "4.11", "4.12"), ("explain",),
        ("explain", "pcp_global_ipi_saved"), ("doctor",), ("cleanup", "--dry-run"), ("--help",), ("monitor", "--list"),
    ],
)  # fmt: skip
def test_output_takes_80_columns(emu, args):
    done = emu(*args)
    assert max(map(len, done.stdout.splitlines() or [""])) <= 80, done.stdout


@pytest.mark.parametrize("args", [(), ("monitor",), ("report",), ("plot",), ("completion",), ("run",)])
def test_help_imports_nothing_heavy(args):
    code = (
        "import sys; from emu.cli import main; main([*sys.argv[1:], '--help'])\n"
        "heavy = {'numpy', 'rich', 'matplotlib', 'jinja2', 'shtab', 'psutil', 'posix_ipc'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_a_missing_extra_is_named(monkeypatch):
    from emu.commands import completion

    monkeypatch.setattr(completion.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotSupportedError, match=r"needs shtab: pip install 'percpu-emu\[shell\]'"):
        completion.completion("bash")
