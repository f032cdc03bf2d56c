"""Reading of a trace file or pipe: plain, gzip or xz, by its first bytes and not by its name; in constant memory."""

from __future__ import annotations

import io
import lzma
import os
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from emu.errors import ResourceError, UsageError, one_line
from emu.format import size
from workloads.replay_parse_loop import TraceParser

BLOCK = 1 << 20
XZ_MEMORY = 128 << 20  # what decompressing with `xz -9` needs, and to spare
# First bytes of what is no text, and what to do about it.
FOREIGN = {
    b"PERFILE2": "is perf's own format; convert it: perf script -i {} > trace.txt",
    b"\x17\x08\x44tracing": "is trace-cmd's own format; convert it: trace-cmd report -i {} > trace.txt",
    b"\x28\xb5\x2f\xfd": "is compressed by zstd; pass it through a pipe: zstd -dc {} | emu run replay -",
    b"BZh": "is compressed by bzip2; pass it through a pipe: bzip2 -dc {} | emu run replay -",
}
PROBLEMS = {
    1: "no valid ptr=",
    2: "no valid bytes_alloc= or bytes_req= (at most 4 MiB)",
    3: "no valid pfn=",
    4: "no valid order= (at most 10)",
    5: "a cache name of more than 63 characters",
    16: "binary data, not the text of a trace",
    17: "a line of more than 65536 bytes, not the text of a trace",
    18: "a thousand lines and not one event; expected ftrace, trace-cmd report or perf script",
    19: "more than 1000 named caches",
    20: "more than 65535 threads that account, so many memcgs Linux has not; leave --memcg-per-task out",
}
WRITE_FAILED, NO_MEMORY = 21, -1


class Kind(NamedTuple):
    """One kind of object: a kmalloc cache (no name) or a named one."""

    name: str
    size: int
    allocs: int
    live: int
    peak: int


@dataclass
class Trace:
    """A parsed trace: what was counted, and its streams of records in a file that has no name any more."""

    path: str
    file: IO[bytes]
    counts: dict[str, int]
    numbers: dict[str, int]
    kinds: list[Kind]
    streams: list[tuple[int, int]]
    by_task: bool
    parser: TraceParser

    def close(self) -> None:
        """Give the disk space back."""
        self.file.close()

    @property
    def operations(self) -> int:
        """What one pass does: every event that is not a free of something unknown, and the implied frees."""
        c = self.counts
        objects = c["allocs"] + c["matched_frees"] + c["null_frees"] + c["implied_frees"]
        return objects + c["page_allocs"] + c["matched_page_frees"] + c["implied_page_frees"]


def no_poll(done: int, whole: int) -> None:
    """Nobody wants to know."""


def parse(
    path: str, cpus: int, mapping: str, memcg_per_task: bool, poll: Callable[[int, int], None] = no_poll
) -> Trace:
    """Parse a file, or `-` for standard input. mapping: cpu, task, or auto. poll(bytes read, of how many or 0) runs
    between blocks. UsageError says what is wrong, with file and line; ResourceError, if the disk is full."""
    shown = "standard input" if path == "-" else one_line(path)
    with open_trace(path, shown) as raw:
        whole = os.fstat(raw.fileno()).st_size
        source = text_blocks(raw, shown, path)
        try:
            head = next(source, b"")
        except ValueError as error:
            raise UsageError(f"{shown}:1: {error}; nothing of its text could be read") from None
        by_task = mapping == "task" or (mapping == "auto" and cpus > trace_cpus(head))
        spool = tempfile.TemporaryFile(prefix="emu-replay-")  # noqa: SIM115 - the CPUs read it later
        try:
            parser = TraceParser(spool.fileno(), cpus, by_task, memcg_per_task)
            good = parser.feed(head)
            read = 0
            while good:
                try:
                    block = next(source, b"")
                except ValueError as error:
                    lines = parser.counts()["lines"]
                    raise UsageError(f"{shown}:{lines + 1}: {error}; its text ends in line {lines}") from None
                if not block:
                    break
                good = parser.feed(block)
                read += len(block)
                poll(raw.tell() if whole else read, whole)
            if not (good and parser.finish()):
                raise problem(parser, shown)
            if parser.counts()["events"] == 0:
                raise UsageError(no_events(parser, shown))
        except BaseException:
            spool.close()
            raise
    return Trace(
        path=path,
        file=spool,
        counts=parser.counts(),
        numbers=parser.numbers(),
        kinds=[Kind(*row) for row in parser.kinds()],
        streams=parser.streams(),
        by_task=by_task,
        parser=parser,
    )


def open_trace(path: str, shown: str) -> IO[bytes]:
    """Open it for reading; a directory is no trace."""
    if path == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError("replay: standard input is a terminal; give a file, or pipe a trace into it")
        return os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
    try:
        return io.FileIO(path)
    except OSError as error:
        raise UsageError(f"{shown}: {error.strerror}; give the text of a trace (`emu record` says how)") from None


def trace_cpus(head: bytes) -> int:
    """How many CPUs the trace is of: from its header, or from what its first block shows."""
    probe = tempfile.TemporaryFile()  # noqa: SIM115
    with probe:
        scout = TraceParser(probe.fileno(), 1, False, False)
        scout.feed(head)
        numbers = scout.numbers()
    return int(max(numbers["header_cpus"], numbers["trace_cpus"], 1))


def problem(parser: TraceParser, shown: str) -> Exception:
    """What the parser found, as an exception."""
    code, line, excerpt, failed = parser.problem()
    if code == WRITE_FAILED:
        if failed == NO_MEMORY:
            return ResourceError(f"{shown}:{line}: out of memory for what lives at this point of the trace")
        at, used = tempfile.gettempdir(), size(parser.numbers()["file_bytes"])
        return ResourceError(f"{at}: {os.strerror(failed)} after {used} of parsed trace; set TMPDIR to a larger disk")
    text = one_line(excerpt.decode("utf-8", "backslashreplace")).strip()
    return UsageError(f"{shown}:{line}: {PROBLEMS[code]}: {text!r}")


def no_events(parser: TraceParser, shown: str) -> str:
    """Why there is nothing to replay."""
    counts = parser.counts()
    other = f", {counts['other_events']} of other events" if counts["other_events"] else ""
    return (
        f"{shown}:{counts['lines']}: no allocation or free in {counts['lines']} lines{other}; "
        "record kmem events (`emu record` says how)"
    )


# --- decompression: pieces of text, none much larger than BLOCK; ValueError for damage --------------------------


def text_blocks(raw: IO[bytes], shown: str, path: str) -> Iterator[bytes]:
    """The text of an open trace, piece by piece."""
    try:
        head = first_bytes(raw)
    except OSError as error:
        raise UsageError(f"{shown}: {error.strerror}; give the text of a trace (`emu record` says how)") from None
    for magic, advice in FOREIGN.items():
        if head.startswith(magic):
            raise UsageError(f"{shown}: {advice.format(one_line(path))}")
    if head.startswith(b"\x1f\x8b"):
        return gzip_blocks(raw, head)
    if head.startswith(b"\xfd7zXZ\x00"):
        return xz_blocks(raw, head)
    return plain_blocks(raw, head)


def first_bytes(raw: IO[bytes]) -> bytes:
    """Enough of it to know the format: a pipe may give less than that at a time."""
    head = b""
    while len(head) < 12:
        block = raw.read(BLOCK)
        if not block:
            break
        head += block
    return head


def plain_blocks(raw: IO[bytes], head: bytes) -> Iterator[bytes]:
    """Text as it is."""
    while head:
        yield head
        head = raw.read(BLOCK)


def gzip_blocks(raw: IO[bytes], head: bytes) -> Iterator[bytes]:
    """gzip, of one or more members."""
    decoder = zlib.decompressobj(31)
    data = head
    while data:
        try:
            text = decoder.decompress(data, BLOCK)
        except zlib.error as error:
            raise ValueError(f"damaged gzip data ({error})") from None
        if text:
            yield text
        if decoder.eof:
            data = (decoder.unused_data or raw.read(BLOCK)).lstrip(b"\0")
            decoder = zlib.decompressobj(31)
            if not data:
                return
        else:
            data = decoder.unconsumed_tail or raw.read(BLOCK)
    raise ValueError("truncated gzip data")


def xz_blocks(raw: IO[bytes], head: bytes) -> Iterator[bytes]:
    """xz, of one or more streams."""
    decoder: Any = lzma.LZMADecompressor(memlimit=XZ_MEMORY)
    data = head
    while data or not decoder.needs_input:
        try:
            text = decoder.decompress(data, BLOCK)
        except lzma.LZMAError as error:
            raise ValueError(f"damaged xz data ({one_line(str(error))})") from None
        if text:
            yield text
        if decoder.eof:
            data = (decoder.unused_data or raw.read(BLOCK)).lstrip(b"\0")
            if not data:
                return
            decoder = lzma.LZMADecompressor(memlimit=XZ_MEMORY)
        else:
            data = raw.read(BLOCK) if decoder.needs_input else b""
    raise ValueError("truncated xz data")


def is_regular(path: str) -> bool:
    """Whether it can be read again."""
    return path != "-" and Path(path).is_file()
