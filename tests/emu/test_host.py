"""The host: what results say of it, what doctor checks, what cleanup removes."""

import os
import subprocess

import pytest

from emu import checkup, glossary, hostinfo, leftovers


def test_host_of_a_result():
    host = hostinfo.collect(cpus=10**6)
    assert host["oversubscribed"] is True
    assert 1 <= host["allowed_cpus"] <= len(os.sched_getaffinity(0))
    assert host["kernel"] == os.uname().release
    assert host["cpu_model"]
    assert set(host["limits"]) == {"nproc", "nofile", "memlock", "msgqueue", "sigpending", "rtprio"}


def test_warnings_of_a_host():
    quiet = {"allowed_cpus": 4, "load": [0.1, 0, 0], "governor": None}
    assert hostinfo.warnings(4, quiet) == []
    assert "5 CPUs on 4 host cores" in hostinfo.warnings(5, quiet)[0]
    assert "load 3.5" in hostinfo.warnings(4, quiet | {"load": [3.5, 0, 0]})[0]
    assert "powersave" in hostinfo.warnings(4, quiet | {"governor": "powersave"})[0]


def test_steal():
    assert hostinfo.steal_warning(0, 0, 1.0, 2) is None
    assert "50%" in hostinfo.steal_warning(0, os.sysconf("SC_CLK_TCK"), 1.0, 2)


@pytest.mark.parametrize("check", checkup.checks(), ids=lambda check: check.__name__)
def test_each_check_says_something(check):
    finding = check()
    assert finding.level in ("ok", "warn", "fail")
    assert finding.text
    assert "\n" not in finding.text


def test_every_check_is_explained_when_it_fails(monkeypatch):
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda which: (8, 8))
    assert checkup.processes().level == "fail"
    assert "ulimit -u" in checkup.processes().text
    assert checkup.descriptors().level == "fail"
    assert checkup.message_queues().level == "warn"


def test_leftovers(tmp_path):
    process = subprocess.Popen(["true"])
    process.wait()
    stale = tmp_path / f"emu-{process.pid}-{'0' * 32}"
    for name in (stale.name, f"emu-{os.getpid()}-{'0' * 32}", f"emu-{process.pid}-short", "other", "emu-x"):
        (tmp_path / name).touch()
    assert [item.path for item in leftovers.stale(tmp_path)] == [stale]
    assert list(leftovers.stale(tmp_path / "missing")) == []


def test_every_name_is_explained():
    from cpus.cpu import LATENCIES
    from cpus.locks import CLASSES
    from cpus.vmstat import NAMES

    for where, names in {"vmstat": NAMES.values(), "locks": CLASSES, "latency": LATENCIES}.items():
        explained = {name for name, entry in glossary.ENTRIES.items() if entry.where == where}
        assert set(names) <= explained, set(names) - explained
