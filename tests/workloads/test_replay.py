"""replay: the known answers of three real traces, on any number of CPUs and every level; and traces that are none."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emu.errors import UsageError
from workloads._replay_rules import Model
from workloads._replay_trace import parse

ROOT = Path(__file__).resolve().parent.parent.parent
TRACES = ROOT / "tests" / "traces"
KEYS = ("allocs", "matched_frees", "unmatched_frees", "null_frees", "implied_frees", "live_found")
KNOWN = {
    "memcg-create": (38392, 29152, 34, 5210, 1580, 7660),
    "gcc-build": (12715, 11013, 50, 1970, 560, 1142),
    "files": (37715, 23943, 6, 4891, 139, 13633),
}


def emu(*argv: str, expect: int = 0, stdin: bytes | None = None, timeout: float = 110) -> dict[str, Any]:
    """One run in a process of its own; its JSON, or what stderr says."""
    command = [sys.executable, "-m", "emu", "run", *argv, "--json", "-q"]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, check=False, timeout=timeout, input=stdin)
    assert done.returncode == expect, done.stderr.decode()
    if expect and not done.stdout:
        return {"error": done.stderr.decode()}
    return dict(json.loads(done.stdout))


def path(name: str) -> str:
    return str(TRACES / f"{name}.txt.xz")


def text(name: str) -> str:
    return lzma.open(path(name), "rt").read()


def check_known(name: str, document: dict[str, Any]) -> None:
    result = document["result"]
    assert tuple(result[key] for key in KEYS) == KNOWN[name]
    assert result["live_expected"] == result["live_found"]
    assert (result["mismatches"], result["details"]) == (0, [])
    assert result["complete"] is True
    assert document["verdict"] == "pass"


# --- known answers -------------------------------------------------------------------------------


@pytest.mark.parametrize("cpus", [2, 8, 64])
@pytest.mark.parametrize("name", KNOWN)
def test_known_answers(name: str, cpus: int) -> None:
    check_known(name, emu("replay", path(name), "--cpus", str(cpus)))


@pytest.mark.slow
@pytest.mark.parametrize("level", range(12))
@pytest.mark.parametrize("cpus", [2, 8, 64])
@pytest.mark.parametrize("name", KNOWN)
def test_known_answers_on_every_level(name: str, cpus: int, level: int) -> None:
    check_known(name, emu("replay", path(name), "--cpus", str(cpus), "--series", str(level)))


@pytest.mark.parametrize("level", [0, 10])
def test_known_answers_before_and_within_the_series(level: int) -> None:
    check_known("gcc-build", emu("replay", path("gcc-build"), "--cpus", "8", "--series", str(level)))


@pytest.mark.parametrize(
    "options",
    [
        ("--map", "task", "--cpus", "3"),
        ("--cpus", "1"),
        ("--nodes", "2", "--cpus", "4"),
        ("--memcg-per-task",),
        ("--ipi", "mqueue"),
        ("--kernel", "3.2"),
        ("--append", "slab_debug=FZPUQ", "--memory", "2G"),
    ],
)
def test_known_answers_whatever_the_machine(options: tuple[str, ...]) -> None:
    check_known("gcc-build", emu("replay", path("gcc-build"), *options))


def test_repeated_passes_end_as_one_does() -> None:
    document = emu("replay", path("gcc-build"), "--loops", "3", "--cpus", "8")
    check_known("gcc-build", document)
    assert document["result"]["passes"] == 3
    once = emu("replay", path("gcc-build"))["result"]
    between = once["operations"] * 3 + 2 * (KNOWN["gcc-build"][5] + once["pages"]["live_expected"])
    assert document["result"]["operations"] == between


def test_accounted_objects_come_from_children() -> None:
    document = emu("replay", path("memcg-create"), "--cpus", "2", "--memcg-per-task")
    result = document["result"]
    assert result["trace"]["accounted"] > 0
    assert sum(row["children"] for row in result["caches"]) == document["vmstat"]["memcg_caches_created"] > 0
    assert emu("replay", path("memcg-create"), "--kernel", "3.2")["vmstat"]["memcg_caches_created"] == 0


def test_costs_are_of_every_operation() -> None:
    result = emu("replay", path("gcc-build"))["result"]
    allocs, matched, _, nulls, implied, _ = KNOWN["gcc-build"]
    assert result["cost"]["alloc"]["count"] == allocs
    assert result["cost"]["free"]["count"] == matched + implied
    pages = result["cost"]["page_alloc"]["count"] + result["cost"]["page_free"]["count"]
    assert result["operations"] == allocs + matched + nulls + implied + pages
    assert sum(row["allocs"] for row in result["caches"]) == allocs


PLANT = '''\
"""replay, with an object taken behind the trace's back before it is judged."""

from workloads import replay
from workloads.replay import *  # noqa

honest = replay.judge.result


def tampered(m, trace, caches, before):
    m.call("kmalloc", 64, 0xC0, on=0)
    return honest(m, trace, caches, before)


replay.judge.result = tampered
'''


def test_an_object_too_many_is_seen(tmp_path: Path) -> None:
    """The count of what lives is of raw memory, not of what the replay believes."""
    plant = tmp_path / "tampered.py"
    plant.write_text(PLANT)
    document = emu(str(plant), path("gcc-build"), expect=2)
    assert document["verdict"] == "violation"
    assert document["result"]["mismatches"] == 1
    assert document["result"]["live_found"] == document["result"]["live_expected"] + 1
    assert "kmalloc-64" in document["violations"][0]["text"]


# --- the parser against the rules in plain Python ------------------------------------------------


def compiled(content: bytes | str, tmp_path: Path, **options: Any) -> Any:
    file = tmp_path / "trace.txt"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    arguments = {"cpus": 2, "mapping": "cpu", "memcg_per_task": False} | options
    trace = parse(str(file), **arguments)
    trace.close()
    return trace


def agrees(lines: list[str], trace: Any) -> None:
    """The counts, and what lives, object by object of each kind."""
    model = Model().feed(lines)
    for name in ("allocs", "matched_frees", "unmatched_frees", "null_frees", "implied_frees", "null_allocs"):
        assert trace.counts[name] == model.counts[name], name
    for name in ("page_allocs", "matched_page_frees", "unmatched_page_frees", "implied_page_frees"):
        assert trace.counts[name] == model.counts[name], name
    assert trace.counts["live"] == len(model.objects)
    assert trace.counts["live_pages"] == len(model.pages)
    named = Counter(obj.cache for obj in model.objects.values() if obj.cache)
    found: Counter[str] = Counter()
    for kind in trace.kinds:
        if kind.name and kind.live:
            found[kind.name] += kind.live
    assert found == named


@pytest.mark.parametrize("name", KNOWN)
def test_the_compiled_parser_agrees_with_the_rules(name: str, tmp_path: Path) -> None:
    content = text(name)
    trace = compiled(content, tmp_path)
    agrees(content.splitlines(), trace)
    assert trace.counts["unknown_lines"] == 0


ADDRESSES = st.sampled_from([0, 0x1000, 0x2000, 0xFFFF888012345678])


@st.composite
def events(draw: st.DrawFn) -> str:
    cpu, pid = draw(st.integers(0, 3)), draw(st.integers(1, 5))
    pointer = draw(ADDRESSES)
    shown = f"{pointer:016x}" if pointer or draw(st.booleans()) else "(null)"
    bodies = {
        "kmalloc": f"kmalloc: call_site=f+0x1/0x2 ptr={shown} bytes_req=9 bytes_alloc=16 gfp_flags=GFP_KERNEL",
        "kfree": f"kfree: call_site=f+0x1/0x2 ptr={shown}",
        "kmem_cache_alloc": f"kmem_cache_alloc: call_site=f ptr={shown} name=dentry bytes_req=192 bytes_alloc=192 "
        f"gfp_flags=GFP_KERNEL accounted={draw(st.sampled_from(['true', 'false']))}",
        "kmem_cache_free": f"kmem_cache_free: call_site=f ptr={shown} name=dentry",
        "page": f"mm_page_alloc: page=0 pfn=0x{pointer >> 12:x} order=1 migratetype=0 gfp_flags=GFP_KERNEL",
        "pagefree": f"mm_page_free: page=0 pfn=0x{pointer >> 12:x} order=1",
        "other": f"mm_page_free_batched: page=0 pfn=0x{pointer >> 12:x} order=0",
    }
    body = draw(st.sampled_from(sorted(bodies.values())))
    return f"            task-{pid}     [{cpu:03d}] .....  {draw(st.integers(0, 99))}.000001: {body}"


@settings(max_examples=200, deadline=None)
@given(lines=st.lists(events(), min_size=1, max_size=40))
def test_the_compiled_parser_agrees_on_any_order_of_events(
    lines: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = "\n".join([*lines, "            t-1     [000] .....  1.0: kfree: call_site=f ptr=(null)", ""])
    trace = compiled(content, tmp_path_factory.mktemp("trace"))
    agrees(content.splitlines(), trace)


def trace_cmd_form(line: str) -> str:
    """As `trace-cmd report` prints it: no flags, blanks behind the event."""
    return re.sub(r"^(.*\]) \S+ +(\d+\.\d+: )(\w+): ", r"\1  \2\3:              ", line)


def perf_form(line: str) -> str:
    """As `perf script` does: the pid apart, the event with its system."""
    match = re.match(r"^\s*(.*)-(\d+)\s+(\[\d+\]) \S+ +(\d+\.\d+): (.*)$", line)
    if match is None:
        return line
    return f"{match[1]:>16} {match[2]:>7} {match[3]} {match[4]}:          kmem:{match[5]}"


@pytest.mark.parametrize("form", [trace_cmd_form, perf_form])
def test_other_writers_of_traces(form: Any, tmp_path: Path) -> None:
    lines = [line for line in text("gcc-build").splitlines() if not line.startswith("#")]
    converted = [form(line) for line in lines]
    assert converted[0] != lines[0]
    trace = compiled("\n".join(converted) + "\n", tmp_path)
    counts = [trace.counts[key] for key in KEYS[:5]]
    assert (*counts, trace.counts["live"]) == KNOWN["gcc-build"]
    assert trace.counts["unknown_lines"] == 0


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_plain_and_compressed_by_file_and_pipe(pack: Any, tmp_path: Path) -> None:
    content = pack(text("gcc-build").encode())
    file = tmp_path / "named-like-nothing"
    file.write_bytes(content)
    check_known("gcc-build", emu("replay", str(file)))
    check_known("gcc-build", emu("replay", "-", stdin=content))


# --- rules, one by one ---------------------------------------------------------------------------

HEAD = "            task-7     [000] .....  1.000001: "
ALLOC = HEAD + "kmalloc: call_site=f ptr=00000000000000aa bytes_req=60 bytes_alloc=64 gfp_flags=GFP_KERNEL"
NAMED = HEAD + "kmem_cache_alloc: call_site=f ptr=00000000000000aa name=dentry bytes_req=192 bytes_alloc=192"
KFREE = HEAD + "kfree: call_site=f ptr=00000000000000aa"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([ALLOC, ALLOC], {"allocs": 2, "implied_frees": 1, "live": 1}),
        ([ALLOC, KFREE, KFREE], {"matched_frees": 1, "unmatched_frees": 1, "live": 0}),
        ([KFREE, ALLOC], {"unmatched_frees": 1, "live": 1}),  # freed before it was allocated
        ([NAMED, KFREE], {"allocs": 1, "matched_frees": 1, "live": 0}),  # legal
        ([KFREE.replace("00000000000000aa", "(null)")], {"null_frees": 1}),
        ([ALLOC, HEAD + "something_else: foo=1"], {"allocs": 1, "other_events": 1}),
        ([ALLOC, "CPU:1 [LOST 17 EVENTS]", KFREE], {"lost_markers": 1, "lost_events": 17, "matched_frees": 1}),
        ([ALLOC, KFREE.replace("[000]", "[901]")], {"matched_frees": 1, "cross_cpu_frees": 1}),
        ([ALLOC, "what is this?"], {"allocs": 1, "unknown_lines": 1}),
    ],
)
def test_rules(lines: list[str], expected: dict[str, int], tmp_path: Path) -> None:
    trace = compiled("\n".join(lines) + "\n", tmp_path)
    assert {name: trace.counts[name] for name in expected} == expected


def test_what_should_be_known_of_a_trace_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "odd.txt"
    lines = [ALLOC, "CPU:0 [LOST 17 EVENTS]", "what is this?", KFREE.replace("1.000001", "0.5"), ALLOC]
    file.write_text("\n".join(lines))  # and its last line has no end
    document = emu("replay", str(file))
    warnings = " ".join(document["warnings"])
    for part in ("17 events were lost", "odd.txt:3", "backwards", "last line"):
        assert part in warnings
    assert document["verdict"] == "pass"


# --- bad traces: one line, with file and line, exit 1 --------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "no allocation or free in 0 lines"),
        (b"# tracer: nop\n#\n", "2: no allocation or free in 2 lines"),
        ((HEAD + "sched_switch: a=b\n").encode(), "1 of other events"),
        (os.urandom(4096), "trace.txt:"),
        (b"\x7fELF" + bytes(3000), "trace.txt:1: no allocation or free"),
        (b"\x7fELF" + bytes(3000) + b"\n" * 9, "trace.txt:1: binary data"),
        (b"hello world\n" * 2000, "a thousand lines and not one event"),
        (b"x" * 100_000, "a line of more than 65536 bytes"),
        (f"{ALLOC}\n{ALLOC.replace('ptr=', 'qtr=')}\n".encode(), "trace.txt:2: no valid ptr="),
        (f"{ALLOC}\n{ALLOC.replace('bytes_alloc=64', 'bytes_alloc=999999999')}\n".encode(), ":2: no valid bytes_alloc"),
        (f"{ALLOC}\n\n{NAMED.replace('dentry', 'd' * 64)}\n".encode(), ":3: a cache name of more than 63"),
        (f"{ALLOC}\n{HEAD}mm_page_alloc: pfn=0x1 order=99\n".encode(), ":2: no valid order="),
        (f"{ALLOC}\n{HEAD}mm_page_free: pfn=zz order=1\n".encode(), ":2: no valid pfn="),
        (gzip.compress(f"{ALLOC}\n".encode() * 50)[:-20], "truncated gzip data"),
        (lzma.compress(f"{ALLOC}\n".encode() * 50)[:-20], "truncated xz data"),
        (b"\x1f\x8b" + bytes(100), "damaged gzip data"),
        (b"\xfd7zXZ\x00" + bytes(100), "damaged xz data"),
        (b"\x28\xb5\x2f\xfd" + bytes(100), "zstd -dc"),
        (b"PERFILE2" + bytes(100), "perf script"),
        (b"\x17\x08\x44tracing" + bytes(100), "trace-cmd report"),
    ],
)
def test_bad_traces(content: bytes, expected: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        compiled(content, tmp_path)
    message = str(raised.value)
    assert expected in message
    assert "trace.txt" in message
    assert "\n" not in message


def test_a_bad_trace_is_one_line_and_exit_1(tmp_path: Path) -> None:
    file = tmp_path / "garbage.txt"
    file.write_bytes(bytes(range(256)) * 100)
    message = emu("replay", str(file), expect=1)["error"]
    (line,) = [line for line in message.splitlines() if not line.startswith("emu: seed")]
    assert line.startswith("emu: ")
    assert "garbage.txt:1" in line
    assert "No such file" in emu("replay", str(tmp_path / "nothing.txt"), expect=1)["error"]


def test_damage_in_the_middle_tells_the_line(tmp_path: Path) -> None:
    packed = lzma.compress(text("gcc-build").encode())
    file = tmp_path / "cut.xz"
    file.write_bytes(packed[: len(packed) // 2])
    message = emu("replay", str(file), expect=1)["error"]
    assert re.search(r"cut\.xz:\d+: truncated xz data; its text ends in line \d+", message)


# --- numbers -------------------------------------------------------------------------------------

PIPE = """
import resource, sys, time
sys.path.insert(0, ".")
from workloads._replay_trace import parse
begun = time.process_time()
trace = parse("-", 2, "cpu", False)
used = time.process_time() - begun
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(trace.counts["lines"], trace.counts["events"], trace.counts["live"], used, peak)
"""


def block(count: int) -> bytes:
    """`count` allocations and their frees, on two CPUs."""
    form = "            task-{} [{:03d}] ..... 1.000001: {}: call_site=f ptr={:016x}"
    rest = " bytes_req=60 bytes_alloc=64 gfp_flags=GFP_KERNEL"
    lines = [form.format(7, i & 1, "kmalloc", 0x1000 + i) + rest for i in range(count)]
    lines += [form.format(8, ~i & 1, "kfree", 0x1000 + i) for i in range(count)]
    return ("\n".join(lines) + "\n").encode()


@pytest.mark.parametrize(
    "millions", [pytest.param(10, marks=pytest.mark.slow), pytest.param(100, marks=[pytest.mark.soak])]
)
def test_millions_of_lines_from_a_pipe_in_constant_memory(millions: int) -> None:
    """<= 200 MB, and at least a tenth of the million lines a second that an idle host parses."""
    piece = block(50_000)
    process = subprocess.Popen(
        [sys.executable, "-c", PIPE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=False
    )
    assert process.stdin is not None
    for _ in range(10 * millions):
        process.stdin.write(piece)
    answer, _ = process.communicate()
    lines, events, live, used, peak = answer.split()
    assert (int(lines), int(events), int(live)) == (millions * 10**6, millions * 10**6, 0)
    assert float(peak) <= 200
    assert millions * 10**6 / float(used) > 100_000


@pytest.mark.slow
@pytest.mark.parametrize("name", KNOWN)
def test_ten_million_events(name: str) -> None:
    """A tenth of the 3 million a second and core that the goal asks of an idle host."""
    document = emu("replay", path(name), "--cpus", "2", "--events", "10000000")
    check_known(name, document)
    assert document["result"]["operations"] >= 10_000_000
    assert document["result"]["events_per_core_s"] > 300_000
