"""The C floor: what plain C reaches on this host, measured beside our own figures.

`benchmarks/floor/floor.c` says what each mode measures. A ratio is taken from blocks that alternate:

    with Floor() as floor:
        for _ in range(15):
            theirs.append(floor.ask("broadcast-parked", 128)["p50_ns"])
            ours.append(...)
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from emu.errors import DiedError, NotSupportedError, ResourceError, UsageError

EXECUTABLE = Path(__file__).with_name("bin") / "floor"
BUILD = "cc -O2 -g -Wall -pthread -o emu/bin/floor benchmarks/floor/floor.c -lrt"

Answer = dict[str, Any]
"""One line of the floor: mode, n, rounds, gap_us, cores, p50_ns, p99_ns, min_ns and what else the mode has.

Broadcasts: the times end at the last ack; seen_p50_ns, ... end when the sender has seen it. fork: reap_p50_ns, ...
is kill and reap. malloc: ticks_per_pair, and the times are of one pair.
"""

QUICK = {"signal": "single-busy", "mqueue": "single-mq", "cluster": "single-futex", "doorbell": "poll"}
"""The transports, and the mode that is the floor of each."""


class Floor:
    """The floor program as a server: started on entry, ended on exit, nothing of it is left behind.

    Between two questions only targets that sleep are alive, and only those of the last question.
    """

    def __init__(
        self, *, cpus: Iterable[int] | None = None, executable: Path = EXECUTABLE, timeout: float = 30
    ) -> None:
        self.cpus = None if cpus is None else set(cpus)  # host cores to use; the first one sends
        self.executable = executable
        self.timeout = timeout  # seconds, for one question
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if not os.access(self.executable, os.X_OK):
            raise NotSupportedError(f"the floor program is not built: no {self.executable}; build it with `{BUILD}`")
        with _affinity(self.cpus):
            self._process = subprocess.Popen(
                [self.executable, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop(patience=1)

    @property
    def pid(self) -> int:
        """Process number of the server."""
        return self._running().pid

    def ask(self, mode: str, *operands: int | str, timeout: float | None = None, **options: int) -> Answer:
        """Measure one block, e.g. ask("single-busy", "futex") or ask("malloc", 64, 32, rounds=20).

        Options are rounds, gap_us (pause between rounds) and budget_ms (a block that takes longer has fewer rounds).
        """
        words = [mode, *map(str, operands), *(f"{name}={value}" for name, value in options.items())]
        request = " ".join(words)
        if request.split() != words or len(request) > 200:
            raise UsageError(f"the floor cannot be asked for {request!r}: words must be non-empty and without blanks")
        answer: Answer = json.loads(self._exchange(request, self.timeout if timeout is None else timeout))
        if "error" in answer:
            raise ResourceError(f"the C floor cannot measure {request!r}: {answer['error']}")
        return answer

    def _exchange(self, request: str, timeout: float) -> bytes:
        """Send one line, return one line; a server that is late or gone is ended."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        deadline = time.monotonic() + timeout
        line = b""
        with contextlib.suppress(BrokenPipeError):  # seen as the end of its output
            process.stdin.write(request.encode() + b"\n")
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            part = process.stdout.read(4096) if ready else None
            if not part:
                self._stop(patience=0 if part is None else 1)
                fate = f"did not answer within {timeout:g} s" if part is None else f"died ({process.returncode})"
                raise DiedError(f"the C floor {fate} when asked for {request!r}")
            line += part
        return line

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise UsageError("the C floor is not running: use it inside `with Floor() as floor:`, after no failure")
        return self._process

    def _stop(self, patience: float) -> None:
        """End the server: asked by closing its input, then by force, which its targets do not survive either."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:  # busy, or a process forked meanwhile holds the other end of its input
            process.kill()
            process.wait()
        process.stdout.close()


def quick_floor(*, cpus: Iterable[int] | None = None, executable: Path = EXECUTABLE) -> dict[str, dict[str, int]]:
    """Measure this host's interrupts, send to ack seen, one target: {transport: {p50, p99}} in ns.

    Takes about 0.1 s, and some 0.3 s, with few rounds, where others keep the cores busy. The target
    of signal and mqueue runs, that of cluster sleeps in a futex, that of doorbell polls; each is on another core than
    the sender where there is one. A transport that the host lacks is left out.
    """
    floors = {}
    with Floor(cpus=cpus, executable=executable, timeout=5) as floor:
        for transport, mode in QUICK.items():
            with contextlib.suppress(ResourceError):
                answer = floor.ask(mode, rounds=1000, budget_ms=25)
                floors[transport] = {"p50": round(answer["p50_ns"]), "p99": round(answer["p99_ns"])}
    return floors


@contextlib.contextmanager
def _affinity(cpus: set[int] | None) -> Iterator[None]:
    """Run the block on these cores, so that a process started in it inherits them."""
    before = os.sched_getaffinity(0)
    if cpus is not None:
        os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
