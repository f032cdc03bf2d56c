"""What the host offers, one check each, for `emu doctor`. Nothing here needs a compiled module."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from emu import hostinfo, leftovers
from emu.format import size
from emu.plan import allowed_cores, available_memory

OK, WARN, FAIL = "ok", "warn", "fail"
# As in ipc/memory.pxd, which cannot be asked before it is compiled.
SEGMENT_BASE = 0x70000000
SEGMENT_BYTES = 64 << 30
MAP_FIXED_NOREPLACE = 0x100000
MAP_SHARED_ANONYMOUS_NORESERVE = 0x01 | 0x20 | 0x4000
CAP_SYS_NICE = 23
MEMBARRIER = {"x86_64": 324, "aarch64": 283}
QUEUE_BYTES = 8 * (8 + 48 + 8)  # what one queue of ours (8 messages of 8 bytes) takes from RLIMIT_MSGQUEUE


class Finding(NamedTuple):
    """One line of the report. `exit_code` counts where level is fail."""

    level: str
    what: str
    text: str
    exit_code: int = 3


def checks() -> list[Callable[[], Finding]]:
    """All of them, in the order of the report."""
    return [
        system, modules, cores, memory, shared_memory, address, message_queues, signals, processes, descriptors,
        priorities, cycle_counter, membarrier, pidfd, load, stale_objects,
    ]  # fmt: skip


def system() -> Finding:
    """Linux on a processor whose this_cpu operations we have."""
    machine, release = platform.machine(), platform.release()
    text = f"{platform.system()} {release} on {machine}, Python {platform.python_version()}"
    if sys.platform != "linux" or machine not in MEMBARRIER:
        return Finding(FAIL, "system", f"{text}: Linux on x86_64 or aarch64 is needed", 4)
    return Finding(OK, "system", text)


def modules() -> Finding:
    """The compiled modules, which a checkout has only after a build."""
    missing = []
    for name in ("ipc.memory", "ipc.lock", "cpus.cpu", "cpus.boot"):
        try:
            __import__(name)
        except ImportError:
            missing.append(name)
    if missing:
        return Finding(FAIL, "modules", f"not built: {', '.join(missing)}; run `make setup`", 4)
    return Finding(OK, "modules", "built")


def cores() -> Finding:
    """Host cores that may be used."""
    allowed, affinity, quota = allowed_cores(), len(os.sched_getaffinity(0)), hostinfo.cpu_quota()
    text = f"{allowed} allowed (affinity {affinity}, cgroup quota {quota if quota is not None else 'none'})"
    if allowed == 1:
        return Finding(WARN, "cores", f"{text}: CPUs take turns on one core; counts are exact, times include the turns")
    return Finding(OK, "cores", text)


def memory() -> Finding:
    """Memory that a run may take."""
    free = available_memory()
    text = f"{size(free)} free; a run takes at most half of it, or --max-segment"
    if free < 256 << 20:
        return Finding(WARN, "memory", f"{text}; use --memory 64M and few CPUs")
    return Finding(OK, "memory", text)


def shared_memory() -> Finding:
    """Where the segment will be: /dev/shm, or a memfd."""
    try:
        room = os.statvfs("/dev/shm")
        free = room.f_bavail * room.f_frsize
        state = f"{size(free)} free in /dev/shm"
    except OSError as error:
        free, state = 0, f"/dev/shm: {error.strerror}"
    if free >= available_memory() // 2:
        return Finding(OK, "shm", state)
    try:
        os.close(os.memfd_create("emu-doctor", os.MFD_CLOEXEC))
    except OSError as error:
        return Finding(FAIL, "shm", f"{state}, and no memfd: {error.strerror}; make /dev/shm larger")
    return Finding(OK, "shm", f"{state}; larger segments become a memfd, which needs none")


def address() -> Finding:
    """The fixed address of the segment, tried."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    flags = MAP_SHARED_ANONYMOUS_NORESERVE | MAP_FIXED_NOREPLACE
    got = libc.mmap(SEGMENT_BASE, SEGMENT_BYTES, 0, flags, -1, 0)
    if got is None or got == ctypes.c_void_p(-1).value:
        code = ctypes.get_errno()
        reason = "taken by another mapping" if code == errno.EEXIST else os.strerror(code)
        hint = "; raise the limit of address space (ulimit -v)" if code == errno.ENOMEM else ""
        return Finding(FAIL, "address", f"{SEGMENT_BASE:#x}, 64 GiB: {reason}{hint}")
    libc.munmap(got, SEGMENT_BYTES)
    if got != SEGMENT_BASE:
        return Finding(FAIL, "address", f"{SEGMENT_BASE:#x}, 64 GiB: taken by another mapping")
    return Finding(OK, "address", f"{SEGMENT_BASE:#x}, 64 GiB: free")


def message_queues() -> Finding:
    """Message queues, and how many CPUs they allow with --ipi mqueue."""
    limits = {name: _number(f"/proc/sys/fs/mqueue/{name}") for name in ("queues_max", "msg_max", "msgsize_max")}
    if limits["queues_max"] is None:
        return Finding(WARN, "mqueue", "this kernel has none: --ipi mqueue cannot be used, the others can")
    most = resource.getrlimit(resource.RLIMIT_MSGQUEUE)[0]
    allowed = limits["queues_max"]
    by_bytes = allowed if most == resource.RLIM_INFINITY else most // QUEUE_BYTES
    text = ", ".join(f"{name} {value}" for name, value in limits.items()) + f", RLIMIT_MSGQUEUE {_limit(most)}"
    refused = _try_queue()
    if refused:
        return Finding(WARN, "mqueue", f"refused ({refused}): --ipi mqueue cannot be used, the others can")
    cpus = min(allowed, by_bytes, 1024)
    hint = "; for more raise fs.mqueue.queues_max" if cpus == allowed and cpus < 1024 else ""
    hint = "; for more raise RLIMIT_MSGQUEUE (ulimit -q)" if cpus == by_bytes and cpus < allowed else hint
    return Finding(OK if cpus >= 4 else WARN, "mqueue", f"--ipi mqueue to {cpus} CPUs ({text}){hint}")


def _try_queue() -> str | None:
    """Make and remove one queue as a run does; the reason if that is refused."""
    import secrets

    try:
        import posix_ipc
    except ImportError:
        return "the package posix_ipc is missing"
    name = f"/emu-{os.getpid()}-{secrets.token_hex(16)}"
    try:
        queue = posix_ipc.MessageQueue(name, posix_ipc.O_CREX, mode=0o600, max_messages=2, max_message_size=16)
    except (OSError, posix_ipc.Error) as error:
        return str(error)
    queue.unlink()
    queue.close()
    return None


def signals() -> Finding:
    """The limit of queued signals; ours are sent so that they merge where it is reached."""
    limit = resource.getrlimit(resource.RLIMIT_SIGPENDING)[0]
    return Finding(OK, "signals", f"RLIMIT_SIGPENDING {_limit(limit)}; interrupts do not depend on it")


def processes() -> Finding:
    """How many CPUs the limit of processes allows."""
    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if limit == resource.RLIM_INFINITY or limit >= 1032:
        return Finding(OK, "processes", f"RLIMIT_NPROC {_limit(limit)}")
    level = FAIL if limit < 9 else WARN
    return Finding(level, "processes", f"RLIMIT_NPROC {limit}: at most {max(0, limit - 8)} CPUs; raise it (ulimit -u)")


def descriptors() -> Finding:
    """How many CPUs the limit of open files allows: up to two for each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"RLIMIT_NOFILE {_limit(soft)}, hard {_limit(hard)}"
    if hard == resource.RLIM_INFINITY or hard >= 2 * 1024 + 64:
        return Finding(OK, "files", text)
    level = FAIL if hard < 66 else WARN
    return Finding(level, "files", f"{text}: at most {max(0, (hard - 64) // 2)} CPUs; raise it (ulimit -Hn)")


def priorities() -> Finding:
    """Whether boosted delivery is possible."""
    if not _has_capability(CAP_SYS_NICE):
        return Finding(OK, "priority", "no CAP_SYS_NICE: --boost on is not possible; the gate does without")
    try:  # the host may refuse all the same: a cgroup without real-time time, a sandbox
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    except OSError as error:
        text = f"CAP_SYS_NICE, but real-time priorities are refused ({error.strerror}): --boost on is not possible"
        return Finding(OK, "priority", text)
    return Finding(OK, "priority", "CAP_SYS_NICE: --boost on is possible")


def cycle_counter() -> Finding:
    """An invariant cycle counter; without it every time stamp is a system call's."""
    if platform.machine() != "x86_64":
        return Finding(OK, "clock", "the generic timer")
    flags = next((line for line in _lines("/proc/cpuinfo") if line.startswith("flags")), "").split()
    if "constant_tsc" in flags and "nonstop_tsc" in flags:
        return Finding(OK, "clock", "invariant TSC")
    return Finding(WARN, "clock", "the TSC is not invariant: times from different cores may disagree; counts are exact")


def membarrier() -> Finding:
    """membarrier(), the host's own IPI, which benchmarks compare with."""
    libc = ctypes.CDLL(None, use_errno=True)
    number = MEMBARRIER.get(platform.machine())
    commands = libc.syscall(number, 0, 0, 0) if number else -1
    if commands < 0:
        reason = os.strerror(ctypes.get_errno()) if number else "unknown here"
        return Finding(WARN, "membarrier", f"{reason}: only benchmarks miss it")
    return Finding(OK, "membarrier", f"commands {commands:#x}")


def pidfd() -> Finding:
    """pidfds, by which the death of a CPU is heard of."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        return Finding(
            FAIL, "pidfd", f"{error.strerror}: Linux 5.3 or later, and a sandbox that allows it, are needed", 4
        )
    return Finding(OK, "pidfd", "deaths of CPUs are heard of at once")


def load() -> Finding:
    """What else the host does."""
    now, allowed = os.getloadavg()[0], allowed_cores()
    text = f"{now:.2f} on {allowed} allowed cores"
    if now > allowed * hostinfo.BUSY:
        return Finding(WARN, "load", f"{text}: times will be longer than on an idle host; counts are exact")
    return Finding(OK, "load", text)


def stale_objects() -> Finding:
    """What a killed run left behind."""
    found = [item for folder in (leftovers.SHARED_MEMORY, leftovers.QUEUES) for item in leftovers.stale(folder)]
    if found:
        return Finding(WARN, "leftovers", f"{len(found)} of killed runs, as {found[0].path}; run `emu cleanup`")
    return Finding(OK, "leftovers", "none")


def _has_capability(number: int) -> bool:
    for line in _lines("/proc/self/status"):
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def _number(path: str) -> int | None:
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdigit() else None


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _limit(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else str(value)
