"""TraceParser: the parser of allocation traces as Python sees it."""

import cython
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.workloads.replay_rules_loop import (
    CPU_WORDS,
    MAX_KINDS,
    PROBLEM_WRITE,
    feed_block,
    kind_info,
    parser_state,
)
from cython.cimports.workloads.replay_stream_loop import KMALLOC_KINDS, end_streams, streams_free, streams_init
from cython.cimports.workloads.replay_table_loop import table_free, table_init

if not cython.compiled:
    raise ImportError("workloads.replay_parse_loop is not built; run `make setup`")


class TraceParser:
    """Feed it blocks of text; its streams go to a file. After a problem it takes no more."""

    def __init__(self, fd: int, cpus: int, by_task: bool, memcg_per_task: bool):
        self.state = cython.cast(cython.pointer(parser_state), calloc(1, cython.sizeof(parser_state)))
        s = self.state
        if s == cython.NULL:
            raise MemoryError
        s.kinds = cython.cast(cython.pointer(kind_info), calloc(MAX_KINDS, cython.sizeof(kind_info)))
        ready: cython.bint = s.kinds != cython.NULL and streams_init(cython.address(s.streams), fd, cpus)
        ready = ready and table_init(cython.address(s.objects)) and table_init(cython.address(s.pages))
        ready = ready and table_init(cython.address(s.tasks)) and table_init(cython.address(s.memcgs))
        if not ready or not table_init(cython.address(s.names)):
            raise MemoryError
        s.first_ns = -1
        s.by_task = by_task
        s.memcg_per_task = memcg_per_task
        s.nr_kinds = KMALLOC_KINDS
        for kind in range(KMALLOC_KINDS):
            s.kinds[kind].size = cython.cast(cython.long, 1) << kind
        s.kinds[1].size = 96
        s.kinds[2].size = 192

    def __dealloc__(self):
        s = self.state
        if s == cython.NULL:
            return
        streams_free(cython.address(s.streams))
        table_free(cython.address(s.objects))
        table_free(cython.address(s.pages))
        table_free(cython.address(s.tasks))
        table_free(cython.address(s.memcgs))
        table_free(cython.address(s.names))
        free(s.kinds)
        free(s)

    def feed(self, data: bytes) -> bool:
        """Parse a block of text, which may end within a line. False when there is a problem."""
        s = self.state
        p: cython.p_const_char = data
        end: cython.p_const_char = p + len(data)
        good: cython.bint
        with cython.nogil:
            good = feed_block(s, p, end)
        return good

    def finish(self) -> bool:
        """The text is at its end; a last line without one is left out. Writes what is still in memory."""
        s = self.state
        if s.carried:
            s.counts.truncated = 1
            s.counts.lines += 1
        with cython.nogil:
            end_streams(cython.address(s.streams), (s.last_ns - s.first_ns) // 1000)
        if s.streams.failed and s.problem == 0:
            s.problem = PROBLEM_WRITE
        return s.problem == 0

    def problem(self) -> tuple:
        """(code, line, excerpt of the line, errno of a failed write)."""
        s = self.state
        return s.problem, s.counts.lines, bytes(s.excerpt[: s.excerpt_length]), s.streams.failed

    def counts(self) -> dict:
        """What was counted, by name."""
        return dict(self.state.counts)

    def numbers(self) -> dict:
        """What there is, beside counts."""
        s = self.state
        cpus = 0
        for i in range(CPU_WORDS):
            cpus += (s.seen_cpus[i]).bit_count()
        return {
            "trace_cpus": cpus,
            "header_cpus": s.header_cpus,
            "tasks": s.tasks.count,
            "memcgs": s.nr_memcgs,
            "slots": s.streams.nr_slots,
            "file_bytes": s.streams.file_end,
            "duration_us": (s.last_ns - s.first_ns) // 1000 if s.first_ns >= 0 else 0,
            "first_unknown": s.first_unknown,
        }

    def kinds(self) -> list:
        """(name, size, allocs, live, peak) of every kind of object; the first are kmalloc's and have no name."""
        found = []
        for i in range(self.state.nr_kinds):
            k = cython.address(self.state.kinds[i])
            found.append((k.name.decode("utf-8", "replace"), k.size, k.allocs, k.live, k.peak))
        return found

    def streams(self) -> list:
        """Per emulated CPU (where its stream begins in the file, or -1; records)."""
        s = self.state
        return [
            (s.streams.streams[i].first if s.streams.streams[i].records else -1, s.streams.streams[i].records)
            for i in range(s.streams.count)
        ]

    def copy_slots(self, address: int, stride: int) -> None:
        """Write each slot's number of operations in a pass to memory, as an int every `stride` bytes."""
        s = self.state
        at: cython.p_char = cython.cast(cython.p_char, cython.cast(cython.ulong, address))
        for i in range(s.streams.nr_slots):
            cython.cast(cython.pointer(cython.uint), at)[0] = s.streams.slots[i].seq
            at += stride

    def slot(self, number: int) -> dict:
        """One slot, as it is at the end of the trace."""
        at: cython.ulong = number
        info = cython.address(self.state.streams.slots[at])
        return {"live": info.live != 0, "page": info.is_page != 0, "kind": info.kind, "cpu": info.cpu, "seq": info.seq}
