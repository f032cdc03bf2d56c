"""Configuration: defaults, file, command line, and what is refused, with its place."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.bootparams import parse_append
from emu.config import configure, parse_params
from emu.errors import EmuError, NotSupportedError, UsageError

GOOD = """\
cpus = 8
kernel = "4.11"
memory = "64M"
duration = "5s"
slice = 1
patch = ["slab-create-no-ipi"]
lock-detail = true

[params]
size = 3

[patches]
pcp-drain = "mask-v6"
"""


@pytest.fixture
def toml(tmp_path):
    def write(content):
        path = tmp_path / "run.toml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def test_defaults():
    config = configure({})
    assert (config.cpus, config.nodes, config.kernel, config.allocator, config.ipi) == (4, 1, "4.12", "slab", "signal")
    assert config.patches["slab-create-no-ipi"] == "on"
    assert configure({}).seed != config.seed


def test_frozen():
    with pytest.raises(AttributeError):
        configure({}).cpus = 3


def test_file(toml):
    config = configure({}, toml(GOOD))
    assert (config.cpus, config.kernel, config.memory, config.duration, config.slice) == (8, "4.11", 64 << 20, 5.0, 1.0)
    assert config.patches["slab-create-no-ipi"] == "on"
    assert config.patches["pcp-drain"] == "mask-v6"
    assert config.params == {"size": 3}
    assert config.lock_detail is True


def test_command_line_goes_before_the_file(toml):
    given_ = {"cpus": "2", "loops": "9", "patch": ["pcp-drain=all"]}
    config = configure(given_, toml(GOOD), {"size": "4"})
    assert (config.cpus, config.loops, config.duration) == (2, 9, None)
    assert config.patches["pcp-drain"] == "all"
    assert config.params == {"size": "4"}


def test_workload_defaults_come_last(toml):
    defaults = {"kernel": "4.4", "cpus": 22, "loops": 5}
    config = configure({"cpus": "3"}, toml(GOOD), defaults=defaults)
    assert (config.cpus, config.kernel, config.loops, config.duration) == (3, "4.11", None, 5.0)
    assert configure({}, defaults=defaults).cpus == 22


def test_machine_options():
    options = configure({"slice": "3", "poll-limit": "5", "trace": "7", "pin": True}).machine_options()
    assert options["slice_ms"] == 3.0
    assert options["poll_limit_ms"] == 5.0
    assert options["trace_records"] == 7
    assert options["pin"] is True
    assert set(options) == {
        *("cpus", "nodes", "kernel", "allocator", "ipi", "patches", "seed", "memory", "max_segment", "hz", "slice_ms"),
        *("gate", "boost", "preempt", "pin", "poll_limit_ms", "trace_records", "lock_detail", "append", "on_cpu_death"),
    }


@pytest.mark.parametrize(
    ("option", "text"),
    [
        *(
            ("cpus", text)
            for text in ("0", "-1", "1025", "5000", "0-", "3-1", "0,0", "", "four", "4.0", "1e1", "9" * 60)
        ),
        *(("seed", text) for text in ("-1", str(2**64), str(2**70), "abc", "", "1.5", "0x1f")),
        *(("duration", text) for text in ("0", "0s", "1ns", "1000000000d", "5", "5 m", "721h", "-1s", "")),
        *(("memory", text) for text in ("0", "1", "4095K", "32G", "-1M", "lots")),
        *(("nodes", text) for text in ("0", "65", "5")),
        *(("loops", text) for text in ("0", "-5", "10000000000001")),
        *(("hz", text) for text in ("0", "9", "1001")),
        *(("slice", text) for text in ("0", "nan", "inf", "1s")),
        *(("ipi", text) for text in ("", "smoke", "SIGNAL")),
        *(("gate", text) for text in ("yes", "")),
        ("series", "12"),
        ("allocator", "slob"),
        ("kernel", "4"),
        ("repeat", "0"),
        ("trace", "-1"),
    ],
)
def test_refused_values(option, text):
    with pytest.raises(UsageError) as caught:
        configure({option: text})
    message = str(caught.value)
    assert f"--{option}" in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["1", "1024"])
def test_cpus_at_the_ends(text):
    assert configure({"cpus": text}).cpus == int(text)


@pytest.mark.parametrize("seed", [0, 2**53 + 1, 2**64 - 1])
def test_seed_is_never_truncated(seed):
    assert configure({"seed": str(seed)}).seed == seed


def test_combinations():
    with pytest.raises(UsageError, match="give one of them"):
        configure({"loops": "1", "duration": "1s"})
    with pytest.raises(UsageError, match="at most as many nodes as CPUs"):
        configure({"nodes": "8", "cpus": "4"})
    with pytest.raises(UsageError, match="not combined"):
        configure({"gate": "on", "boost": "on"})
    with pytest.raises(NotSupportedError, match="removed in"):
        configure({"kernel": "6.8"})


# Content of the file, where the complaint stands, and a word of it.
BAD_FILES = [
    ("cpus = \n", "1:8", "not TOML"),
    ("cpus = 4\ncpus = 5\n", "2:", "not TOML"),
    ("cpus = 4\ncpsu = 5\n", "2:1: cpsu", "did you mean 'cpus'"),
    ("max_segment = '1G'\n", "1:1: max_segment", "did you mean 'max-segment'"),
    ('cpus = "8"\n', "1:1: cpus", "a whole number"),
    ("\n  cpus = true\n", "2:3: cpus", "a whole number"),
    ("cpus = 0\n", "1:1: cpus", "from 1 to 1024"),
    ("cpus = -3\n", "1:1: cpus", "from 1 to 1024"),
    ("cpus = 9223372036854775808\n", "1:1: cpus", "from 1 to 1024"),
    ("cpus = 4.0\n", "1:1: cpus", "a whole number"),
    ("cpus = [1]\n", "1:1: cpus", "a whole number"),
    ("slice = nan\n", "1:1: slice", "from 0.1 to 1000 ms"),
    ("slice = inf\n", "1:1: slice", "from 0.1 to 1000 ms"),
    ("seed = -1\n", "1:1: seed", "from 0 to 2^64-1"),
    (f"seed = {2**64}\n", "1:1: seed", "from 0 to 2^64-1"),
    ("kernel = 4.10\n", "1:1: kernel", "unquoted 4.10 is the number 4.1"),
    ("duration = 5\n", "1:1: duration", "in quotes"),
    ("duration = '5'\n", "1:1: duration", "unit"),
    ("patch = 'x'\n", "1:1: patch", "a list of text"),
    ("patch = [1]\n", "1:1: patch", "a list of text"),
    ("patch = ['pcp-drian']\n", "1:1: patch", "did you mean 'pcp-drain'"),
    ("[patches]\npcp-drain = 'x'\n", "2:1: patches.pcp-drain", "no value 'x'"),
    ("[patches]\nslab-create-no-ipi = true\n", "2:1: patches.slab-create-no-ipi", "no value 'True'"),
    ("[patches]\nnope = 'x'\n", "2:1: patches.nope", "no patch"),
    ("params = 3\n", "1:1: params", "write [params]"),
    ("[params]\na = 1\nb = nan\n", "3:1: params.b", "finite"),
    ("[params.b]\na = 1\n", "params.b", "finite number"),
    ("[cpus]\na = 1\n", "cpus", "a whole number"),
    ("loops = 3\nduration = '1s'\n", "2:1: duration", "give one of them"),
    ("cpus = 2\nnodes = 3\n", "2:1: nodes", "at most as many"),
    ("append = 'slab_max_ordr=1'\n", "1:1: append", "did you mean 'slab_max_order'"),
    ("", "1:1", "empty"),
    ("\n \n", "1:1", "empty"),
    (b"cpus = 4\x00\n", "1:9", "not TOML"),
    (b"\xef\xbb\xbfcpus = 4\n", "1:1", "byte order mark"),
    (b"# caf\xe9\ncpus = 4\n", "1:6", "not UTF-8"),
    ("a = " + "[" * 5000 + "]" * 5000, "1:1", "nested too deeply"),
    ("cpus = " + "9" * 5000, "1:", "TOML"),
]


@pytest.mark.parametrize(("content", "place", "word"), BAD_FILES)
def test_bad_file(toml, content, place, word):
    path = toml(content)
    with pytest.raises(UsageError) as caught:
        configure({}, path)
    message = str(caught.value)
    assert message.startswith(path)
    assert place in message
    assert word in message
    assert "\n" not in message


def test_files_that_are_none(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with (tmp_path / "huge").open("wb") as f:
        f.truncate(1 << 30)
    for name, word in {
        "": "not a regular file",
        "fifo": "not a regular file",
        "loop": "symbolic links",
        "huge": "at most",
        "missing": "No such file",
        "a\nb": "No such file",
        "a\0b": "null byte",
    }.items():
        with pytest.raises(UsageError, match=word) as caught:
            configure({}, f"{tmp_path}/{name}")
        assert "\n" not in str(caught.value)


def complaint(*arguments):
    """What configure() says of its arguments; any other error is the test's failure."""
    try:
        configure(*arguments)
    except EmuError as error:
        return str(error)
    return ""


@given(st.binary(max_size=200))
def test_only_our_errors_leave_the_parser(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzz.toml"
    path.write_bytes(data)
    assert "\n" not in complaint({}, str(path))


@given(
    st.text(max_size=30), st.sampled_from(["cpus", "seed", "duration", "memory", "kernel", "slice", "append", "ipi"])
)
def test_only_our_errors_leave_the_options(text, option):
    assert "\n" not in complaint({option: text})


def test_append():
    text = "slab_max_order=0 noaliencache cgroup.memory=nokmem percpu_pagelist_fraction=8 isolcpus=1-2"
    assert parse_append(text, 4) == {
        "slab_max_order": "0",
        "noaliencache": "",
        "cgroup.memory": "nokmem",
        "percpu_pagelist_fraction": "8",
        "isolcpus": "1-2",
    }


@pytest.mark.parametrize(
    "text",
    [
        *("slab_max_order=11", "slab_max_order", "noaliencache=1", "cgroup.memory=x", "percpu_pagelist_fraction=7"),
        *("isolcpus=4", "isolcpus=", "quiet", "noaliencache noaliencache"),
    ],
)
def test_append_refused(text):
    with pytest.raises(UsageError):
        parse_append(text, 4)


def test_params():
    assert parse_params(["a=1", "b=", "c=x=y"]) == {"a": "1", "b": "", "c": "x=y"}
    for bad in (["a"], ["=1"], ["a=1", "a=2"], ["a b=1"]):
        with pytest.raises(UsageError, match="--param"):
            parse_params(bad)
