"""Finds the machines that run on this host, and opens their memory read-only.

Nothing is written for this, so nothing can be left behind: a machine's memory is an open file of its coordinator, and
shows in /proc/PID/fd under a name that only we give. Considered and not done: an entry per machine in a folder of the
user's (docs/decisions/0050). The segment's own header says whose it is and by what name; the CPUs, which have inherited
the same descriptor, are told from the coordinator by it.

Imports no numpy: `emu monitor` without a machine answers at once.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cpus.layout import CONSTANTS, STRUCTS
from emu.errors import ResourceError, UsageError, did_you_mean, one_line

PROC = "/proc"
# What ipc.memory gives its file, in /dev/shm or as memfd; both are unlinked while the machine runs.
TARGET = re.compile(r"(/dev/shm/emu-\d{1,10}-[0-9a-f]{32}|/memfd:emu) \(deleted\)", re.ASCII)
FIELDS = {field.name: field for field in STRUCTS["segment_header"].fields}
SHOWN = 8


class Running(NamedTuple):
    """One machine: its coordinator's process, and that process's descriptor of the segment."""

    pid: int
    descriptor: int
    name: str
    cpus: int
    generation: int  # which machine of that process
    command: str

    def title(self) -> str:
        """As a list or a message names it."""
        return f"{self.name or '(no name)'} (pid {self.pid}, {self.cpus} CPUs)"


def running() -> list[Running]:
    """The machines that this user may look at, by process number."""
    found: dict[tuple[int, int], Running] = {}
    for pid in processes():
        for machine, file in machines_of(pid):
            found.setdefault(file, machine)
    return sorted(found.values())


def processes() -> list[int]:
    """All process numbers."""
    with os.scandir(PROC) as entries:
        return sorted(int(entry.name) for entry in entries if entry.name.isdecimal())


def machines_of(pid: int) -> Iterator[tuple[Running, tuple[int, int]]]:
    """The machine that process PID is the coordinator of, and its file: none, or one."""
    folder = f"{PROC}/{pid}/fd"
    try:
        names = os.listdir(folder)  # noqa: PTH208 - a thousand CPUs are a thousand folders
    except OSError:
        return  # gone, or another user's
    for name in names:
        path = f"{folder}/{name}"
        try:
            if not TARGET.fullmatch(os.readlink(path)):  # noqa: PTH115 - the same
                continue
            header = read_header(path)
            file = os.stat(path)  # noqa: PTH116
        except OSError:
            continue  # closed meanwhile
        if header is None or int(header["coordinator_pid"]) not in (pid, inner_pid(pid)):
            continue
        if header["shutting_down"]:
            continue  # ended, and kept by somebody's map of it
        label = printable(bytes(header["name"]))
        numbers = (int(header["nr_cpus"]), int(header["generation"]))
        yield Running(pid, int(name), label, *numbers, command_of(pid)), (file.st_dev, file.st_ino)


def read_header(path: str) -> dict[str, int | bytes] | None:
    """What of a segment's header says whose it is; None for a file that is no segment. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # Read and not mapped: a hole that is read through a mapping takes memory.
        raw = os.pread(descriptor, STRUCTS["segment_header"].size, 0)
    finally:
        os.close(descriptor)
    if len(raw) < STRUCTS["segment_header"].size:
        return None
    values: dict[str, int | bytes] = {}
    for name in ("magic", "nr_cpus", "generation", "coordinator_pid", "shutting_down", "name"):
        field = FIELDS[name]
        part = raw[field.offset : field.offset + field.size]
        values[name] = part if field.kind == "c" else int.from_bytes(part, "little")
    return values if values["magic"] == CONSTANTS["SEGMENT_MAGIC"] else None


def printable(text: bytes) -> str:
    """Text out of shared memory, up to its zero, as it may be shown."""
    return "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in text.partition(b"\0")[0])


def inner_pid(pid: int) -> int:
    """The process's number in its own namespace, which is what it calls itself."""
    try:
        text = Path(f"{PROC}/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return pid
    found = re.search(r"^NSpid:.*\t(\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else pid


def command_of(pid: int) -> str:
    """The command line of a process, in one line."""
    try:
        raw = Path(f"{PROC}/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return one_line(" ".join(part.decode(errors="replace") for part in raw.split(b"\0") if part))


def find(which: str | None = None) -> Running:
    """The machine of that name or process number; without one, the only one there is.

    Raises UsageError for none, for several, and for a process that is no coordinator; ResourceError where it is another
    user's.
    """
    machines = running()
    if which is None:
        if len(machines) == 1:
            return machines[0]
        if not machines:
            raise UsageError(f"no machine is running{_others()}; start one with `emu run`, or see `emu monitor --list`")
        raise UsageError(f"{len(machines)} machines are running, name one: {_listed(machines)}")
    found = [m for m in machines if which in (m.name, str(m.pid))]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{len(found)} machines are called {one_line(which)!r}, give a pid: {_listed(found)}")
    if which.isdecimal():
        raise _why_not(int(which))
    hint = did_you_mean(which, [m.name for m in machines if m.name])
    known = f"; running: {_listed(machines)}" if machines else _others()
    raise UsageError(f"no machine is called {one_line(which)!r}{hint or known}")


def open_segment(machine: Running) -> int:
    """A read-only descriptor of a machine's memory. Raises ResourceError if the machine is gone or may not be seen."""
    path = f"{PROC}/{machine.pid}/fd/{machine.descriptor}"
    try:
        if not TARGET.fullmatch(os.readlink(path)):  # noqa: PTH115
            raise FileNotFoundError
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        raise ResourceError(f"machine {machine.title()} is gone") from None
    except OSError as error:
        raise ResourceError(f"machine {machine.title()}: its memory cannot be opened: {error.strerror}") from None


def _listed(machines: Sequence[Running]) -> str:
    more = f" and {len(machines) - SHOWN} more" if len(machines) > SHOWN else ""
    return ", ".join(machine.title() for machine in machines[:SHOWN]) + more


def _why_not(pid: int) -> UsageError | ResourceError:
    """Why a process cannot be looked at."""
    folder = Path(f"{PROC}/{pid}")
    try:
        owner = folder.stat().st_uid
        os.listdir(folder / "fd")  # noqa: PTH208
    except PermissionError:
        return ResourceError(f"process {pid} belongs to {user_name(owner)}: only that user and root may look at it")
    except OSError:
        return UsageError(f"there is no process {pid}")
    return UsageError(f"process {pid} runs no machine (it may be between two); `emu monitor --list` shows who does")


def _others() -> str:
    """Whether CPUs of other users run here: their names can be seen, their memory cannot."""
    for pid in processes():
        try:
            if Path(f"{PROC}/{pid}/comm").read_text(encoding="utf-8", errors="replace").startswith("emu/cpu"):
                owner = Path(f"{PROC}/{pid}").stat().st_uid
                if owner != os.getuid():
                    return f" that is yours (there is one of {user_name(owner)})"
        except OSError:
            continue
    return ""


def user_name(uid: int) -> str:
    """A user's name, or number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
