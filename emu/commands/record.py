"""emu record: how to record an allocation trace for `emu run replay`; runs the commands where that is allowed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NamedTuple

from emu.errors import NotSupportedError, ResourceError, UsageError, one_line
from emu.parser import Parser

DESCRIPTION = """\
Record the allocations of this host's kernel while a command runs, as a trace
for emu run replay."""
EPILOG = """\
Without COMMAND the commands are shown and nothing is run. Recording needs root
(or CAP_SYS_ADMIN) and tracefs; it is of the whole host, with 15 to 30 MB of
text for each second of a compilation. Pointers are printed hashed: that is
enough, as long as they are of one boot.

overhead: each event costs the recorded kernel about 100 to 300 ns; what the
recorder itself allocates is in the trace.

examples:
  emu record                                 show the commands
  emu record -o build.txt -- make -j8        record while make runs
  emu record --with perf -o ls.txt -- ls -R /usr
  emu run replay build.txt --cpus 8
"""
EVENTS = (
    "kmalloc",
    "kfree",
    "kmem_cache_alloc",
    "kmem_cache_free",
    "mm_page_alloc",
    "mm_page_free",
)
# Until Linux 6.0; what a kernel does not have is left out.
OLD_EVENTS = ("kmalloc_node", "kmem_cache_alloc_node")
TRACEFS = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
BUFFER_KB = 65536  # per CPU


class Way(NamedTuple):
    """One way to record: what it needs, and the commands as a user would type them."""

    name: str
    needs: str
    script: Callable[[str, str], str]


def trace_cmd_script(command: str, output: str) -> str:
    """By trace-cmd: record, then make text of it."""
    events = " ".join(f"-e kmem:{event}" for event in EVENTS)
    data = shlex.quote(f"{output}.dat")
    return (
        f"trace-cmd record -b {BUFFER_KB} {events} \\\n    -o {data} {command}\n"
        f"trace-cmd report -i {data} > {shlex.quote(output)}\n"
    )


def perf_script(command: str, output: str) -> str:
    """By perf: record, then make text of it."""
    events = ",".join(f"kmem:{event}" for event in EVENTS)
    data = shlex.quote(f"{output}.data")
    return (
        f"perf record -a -m 64M -e {events} \\\n    -o {data} -- {command}\n"
        f"perf script -i {data} -F comm,pid,tid,cpu,time,event,trace > {shlex.quote(output)}\n"
    )


def tracefs_script(command: str, output: str) -> str:
    """With nothing but a shell."""
    on = "".join(f"echo 1 > $T/events/kmem/{event}/enable\n" for event in EVENTS)
    return (
        f"T={tracefs() or TRACEFS[0]}/instances/emu; mkdir $T\n"
        f"echo {BUFFER_KB} > $T/buffer_size_kb\n{on}"
        f"{command}\n"
        f"echo 0 > $T/tracing_on; cat $T/trace > {shlex.quote(output)}; rmdir $T\n"
    )


WAYS = (
    Way("trace-cmd", "trace-cmd", trace_cmd_script),
    Way("perf", "perf", perf_script),
    Way("tracefs", "", tracefs_script),
)


def parser() -> Parser:
    """Return the command's parser."""
    made = Parser(prog="emu record", description=DESCRIPTION, epilog=EPILOG)
    made.add_argument("-o", "--output", metavar="FILE", default="trace.txt", help="the text (default trace.txt)")
    made.add_argument(
        "--with", dest="way", choices=[way.name for way in WAYS], help="what records (default: the first that is there)"
    )
    made.add_argument("--dry-run", action="store_true", help="show the commands for COMMAND and run nothing")
    made.add_argument("--debug", action="store_true", help="a traceback with errors")
    made.add_argument("words", metavar="COMMAND", nargs="*", help="what to run meanwhile, behind --")
    return made


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    # What is behind -- is the command's, options and all.
    own = list(argv[: argv.index("--")]) if "--" in argv else list(argv)
    args = parser().parse_all(own)
    args.words += argv[len(own) + 1 :]
    ways = [way for way in WAYS if args.way in (None, way.name)]
    if not args.words or args.dry_run:
        sys.stdout.write(shown(ways, args.words, args.output))
        return 0
    check(args.output, args.words[0])
    chosen = next((way for way in ways if not way.needs or shutil.which(way.needs)), None)
    if chosen is None:
        raise NotSupportedError(f"--with {args.way}: {ways[0].needs} is not installed; use --with tracefs")
    folder = tracefs()
    if os.geteuid() != 0 or folder is None or not (folder / "events/kmem").is_dir():
        raise NotSupportedError(why_not(folder))
    if chosen.name == "tracefs":
        return by_tracefs(folder, args.words, args.output)
    script = chosen.script(shlex.join(args.words), args.output)
    if subprocess.run(["sh", "-ec", script], check=False).returncode:
        raise ResourceError(f"{chosen.name} failed, its words are above; `emu record --dry-run` shows what was run")
    return 0


def shown(ways: Sequence[Way], words: Sequence[str], output: str) -> str:
    """The commands, as text that can be pasted into a root shell."""
    command = shlex.join(words) if words else "COMMAND"
    parts = []
    for way in ways:
        missing = " (not installed here)" if way.needs and not shutil.which(way.needs) else ""
        parts.append(f"# {way.name}{missing}, as root\n{way.script(command, output)}")
    return "\n".join([*parts, f"# then\nemu run replay {shlex.quote(output)} --cpus 8\n"])


def tracefs() -> Path | None:
    """Where tracefs is mounted."""
    return next((folder for folder in TRACEFS if (folder / "trace").exists()), None)


def why_not(folder: Path | None) -> str:
    """Why this host cannot record, and what to do."""
    if os.geteuid() != 0:
        return "recording needs root; run `sudo emu record ...`, or `emu record` to see the commands"
    if folder is None:
        return "tracefs is not mounted: mount -t tracefs none /sys/kernel/tracing"
    return f"{folder}/events/kmem is not there: this kernel has no kmem events (CONFIG_FTRACE, CONFIG_EVENT_TRACING)"


def check(output: str, command: str) -> None:
    """Nothing is overwritten, and nothing recorded for a command that there is not."""
    if Path(output).exists():
        raise UsageError(f"-o {one_line(output)}: exists; give another name, or remove it")
    if shutil.which(command) is None:
        raise UsageError(f"{one_line(command)!r}: no such command")


def by_tracefs(folder: Path, words: Sequence[str], output: str) -> int:
    """Record with tracefs alone, in an instance of our own: what others trace is not touched."""
    instance = folder / "instances" / f"emu-{os.getpid()}"
    try:
        instance.mkdir()
    except OSError as error:
        raise NotSupportedError(f"{instance}: {error.strerror}; is tracefs writable?") from None
    with ExitStack() as undo:
        undo.callback(instance.rmdir)
        try:
            events = [event for event in EVENTS + OLD_EVENTS if (instance / "events/kmem" / event).is_dir()]
            (instance / "buffer_size_kb").write_text(str(BUFFER_KB))
            for event in events:
                (instance / "events/kmem" / event / "enable").write_text("1")
            with Path(output).open("xb") as text:
                code = subprocess.run(list(words), check=False).returncode
                (instance / "tracing_on").write_text("0")
                copy(instance / "trace", text)
        except OSError as error:
            raise ResourceError(f"{error.filename or output}: {error.strerror}") from None
    if code:
        sys.stderr.write(f"emu: {one_line(words[0])} ended with {code}; its trace is kept\n")
    sys.stderr.write(f"emu: recorded {', '.join(events)}: emu run replay {shlex.quote(output)}\n")
    return 0


def copy(source: Path, into: IO[bytes]) -> None:
    """tracefs makes the text while it is read."""
    with source.open("rb") as trace:
        shutil.copyfileobj(trace, into, 1 << 20)
