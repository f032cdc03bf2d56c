"""Every command through the real process: help, output, start-up."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cpus.patch_table import SWITCHES
from emu import __version__
from emu.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(emu, command):
    done = emu(*([command] if command else []), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "examples:" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from emu.cli import main; main(['--help']);"
        "bad = [m for m in sys.modules if m.split('.')[0] in ('numpy', 'rich', 'psutil', 'msgspec', 'ipc')];"
        "bad += [m for m in sys.modules if m.startswith('cpus.')]; sys.exit(' '.join(bad) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_is_fast(emu):
    assert min(emu("--help").cpu for _ in range(10)) <= 0.08


def test_version(emu):
    import tomllib

    assert emu("--version").stdout == f"emu {__version__}\n"
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == __version__


def test_the_whole_parser_is_for_man_pages_and_completion():
    from emu.cli import top_parser

    text = top_parser(full=True).format_help()
    assert all(name in text for name in COMMANDS)


def test_list(emu):
    done = emu("list", "--json")
    assert done.returncode == 0
    for row in json.loads(done.stdout)["workloads"]:
        assert row["doc"]
        assert row["name"] in emu("list").stdout


def test_patches(emu):
    done = emu("patches")
    assert all(switch.name in done.stdout for switch in SWITCHES)
    rows = json.loads(emu("patches", "--json", "--kernel", "4.4").stdout)["patches"]
    assert {row["name"]: row["value"] for row in rows}["pcp-drain"] == "mask-merged"


def test_one_patch(emu):
    text = emu("patches", "slab-create-no-ipi").stdout
    for word in ("slab: avoid IPIs when creating kmem caches", "Greg Thelen", "2017-04-16", "first in Linux 4.12"):
        assert word in text
    assert "safe: no" in emu("patches", "release-barrier").stdout


@pytest.mark.parametrize("name", [switch.name for switch in SWITCHES])
def test_every_patch_fits_the_screen(name, capsys):
    from emu.commands import patches

    patches.main([name])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_kernel(emu):
    assert emu("kernel", "4.11", "4.12").stdout == (
        "Linux 4.11 -> 4.12: 1 difference\n  slab-create-no-ipi     off -> on\n"
    )
    document = json.loads(emu("kernel", "4.4", "6.9", "--json").stdout)
    assert document["kernels"]["6.9"]["allocators"] == ["slub"]
    assert document["kernels"]["6.9"]["memcg_caches"] is False
    assert {row["switch"] for row in document["kernels"]["4.4"]["unsafe"]} == {"drain-shared-locked", "pcp-drain"}
    assert document["difference"]["pcp-drain"] == ["mask-merged", "remote"]


def test_explain(emu):
    assert "once per interrupt and not per request" in " ".join(emu("explain", "cal").stdout.split())
    assert emu("explain", "latency.kick.p99_ns").stdout.startswith("kick (latency): ")
    assert emu("explain", "pcp-drain").stdout == emu("patches", "pcp-drain").stdout
    assert "kicks" in emu("explain").stdout


def test_doctor(emu):
    done = emu("doctor")
    assert done.returncode == 0
    findings = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert all(line.split()[0] in ("ok", "warn") for line in findings)
    assert {row["what"] for row in json.loads(emu("doctor", "--json").stdout)["checks"]} >= {"shm", "mqueue", "address"}


def test_doctor_without_address_space(emu):
    import resource

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))

    done = emu("doctor", preexec_fn=limit)
    assert done.returncode == 3
    assert "ulimit -v" in done.stdout


def test_cleanup(emu):
    process = subprocess.Popen(["true"])
    process.wait()
    stale = Path(f"/dev/shm/emu-{process.pid}-{'0' * 32}")
    stale.touch()
    assert f"would remove {stale}" in emu("cleanup", "--dry-run").stdout
    assert stale.exists()
    assert f"removed {stale}" in emu("cleanup").stdout
    assert not stale.exists()


@pytest.mark.parametrize("command", [["patches"], ["explain"], ["--help"], ["doctor", "--json"]])
def test_a_closed_stdout_ends_quietly(command):
    text = f"exec {sys.executable} -m emu {' '.join(command)} | (exec 0<&-; sleep 0.2)"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", text], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(closed):
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m emu kernel 4.12 {closed}"], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0
