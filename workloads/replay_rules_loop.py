"""The rules: what each event of a trace does. docs/replay.md has them in words; workloads/_replay_rules.py is their
second, slow form, and the tests hold the two against each other.
"""

import cython
from cython.cimports.cpus.slab_def import KMALLOC_SHIFT_LOW, kmalloc_index
from cython.cimports.libc.string import memchr, memcmp, memcpy
from cython.cimports.workloads.replay_stream_loop import (
    GFP_SHIFT,
    KIND_SHIFT,
    KMALLOC_KINDS,
    MAX_MEMCGS,
    MEMCG_SHIFT,
    NO_SLOT,
    OP_ALLOC,
    OP_FREE,
    OP_IMPLIED,
    OP_KFREE,
    OP_KFREE_NULL,
    OP_PAGE_ALLOC,
    OP_PAGE_FREE,
    OP_PAGE_IMPLIED,
    drop_slot,
    put_record,
    take_slot,
)
from cython.cimports.workloads.replay_table_loop import (
    table_add,
    table_find,
    table_remove,
)
from cython.cimports.workloads.replay_text_loop import (
    EVENT_ALLOC,
    EVENT_KFREE,
    EVENT_PAGE_ALLOC,
    EVENT_PAGE_FREE,
    HASH,
    LINE_BAD,
    LINE_EVENT,
    LINE_IGNORED,
    LINE_LOST,
    LINE_OTHER_EVENT,
    decimal,
    scan_line,
    skip_blanks,
    starts,
    trace_event,
)

if not cython.compiled:
    raise ImportError("workloads.replay_rules_loop is not built; run `make setup`")


def parse_block(s, p, end):
    while p < end:
        q = cython.cast(cython.p_const_char, memchr(p, 10, end - p))
        if q == cython.NULL:
            q = end
        if not parse_line(s, p, q):
            return False
        p = q + 1
    return True


def feed_block(s, p, end):
    """Any part of the text: a line that has only begun is kept for the next call."""
    last: cython.p_const_char = end
    while last > p and (last - 1)[0] != 10:
        last -= 1
    if s.carried and last > p:
        q = cython.cast(cython.p_const_char, memchr(p, 10, end - p))
        if not carry(s, p, q):
            return False
        length = s.carried
        s.carried = 0
        if not parse_line(s, s.kept, cython.cast(cython.p_char, s.kept) + length):
            return False
        p = q + 1
    if not parse_block(s, p, last):
        return False
    return carry(s, last, end)


def carry(s, p, end):
    """Add the beginning of a line to what is kept of it."""
    if end - p > CARRY_BYTES - s.carried:
        s.counts.lines += 1
        s.problem = PROBLEM_LONG_LINE
        if s.carried:
            keep_excerpt(s, s.kept, cython.cast(cython.p_char, s.kept) + s.carried)
        else:
            keep_excerpt(s, p, end)
        return False
    memcpy(cython.cast(cython.p_char, s.kept) + s.carried, p, end - p)
    s.carried += end - p
    return True


def parse_line(s, p, end):
    e: trace_event
    s.counts.lines += 1
    found = scan_line(p, end, cython.address(e))
    if found == LINE_EVENT:
        return apply_event(s, cython.address(e))
    if found == LINE_OTHER_EVENT:
        s.counts.other_events += 1
    elif found == LINE_IGNORED:
        if p < end and p[0] == HASH:
            note_comment(s, p, end)
    elif found == LINE_LOST:
        s.counts.lost_markers += 1
        s.counts.lost_events += e.size
    elif found == LINE_BAD:
        s.problem = e.problem
        keep_excerpt(s, p, end)
        return False
    else:
        return note_unknown(s, p, end)
    return True


def apply_event(s, e):
    s.counts.events += 1
    if s.first_ns < 0:
        s.first_ns = s.last_ns = e.time_ns
    if e.time_ns < s.last_ns - BACKWARDS_NS:
        s.counts.backwards += 1
    s.last_ns = e.time_ns
    time_us = (e.time_ns - s.first_ns) // 1000
    s.seen_cpus[e.cpu >> 6] |= cython.cast(cython.ulong, 1) << (e.cpu & 63)
    cpu = stream_of(s, e)
    if e.kind == EVENT_ALLOC:
        on_alloc(s, e, cpu, time_us)
    elif e.kind == EVENT_PAGE_ALLOC:
        on_page_alloc(s, e, cpu, time_us)
    elif e.kind == EVENT_PAGE_FREE:
        on_page_free(s, e, cpu, time_us)
    else:
        on_free(s, e, cpu, time_us)
    if s.streams.failed:
        s.problem = PROBLEM_WRITE
    return s.problem == 0


# --- who -----------------------------------------------------------------------------------------


def stream_of(s, e):
    """The emulated CPU of an event: the trace's own CPU, or the one its thread was dealt to."""
    if not s.by_task:
        return e.cpu % s.streams.count
    # Number 0 is the idle thread of every CPU.
    key = cython.cast(cython.ulong, e.pid if e.pid else -1 - e.cpu)
    task = number_in(cython.address(s.tasks), key, cython.cast(cython.uint, s.tasks.count))
    if task == NO_SLOT:
        s.streams.failed = -1
        return 0
    return cython.cast(cython.int, task % cython.cast(cython.uint, s.streams.count))


def memcg_of(s, e):
    """0 for what is not accounted; else 1, or the thread's own."""
    if not e.accounted:
        return 0
    s.counts.accounted += 1
    if not s.memcg_per_task:
        s.nr_memcgs = 1
        return 1
    key = cython.cast(cython.ulong, e.pid if e.pid else -1 - e.cpu)
    memcg = number_in(cython.address(s.memcgs), key, cython.cast(cython.uint, s.memcgs.count + 1))
    s.nr_memcgs = cython.cast(cython.int, s.memcgs.count)
    if memcg > MAX_MEMCGS:
        s.problem = PROBLEM_MEMCGS
        return 0
    return memcg


def number_in(t, key, next):
    """The number under `key`; `next` if it is new."""
    entry = table_find(t, key)
    if entry == cython.NULL:
        entry = table_add(t, key, next)
        if entry == cython.NULL:
            return NO_SLOT
    return entry.value


# --- what ----------------------------------------------------------------------------------------


def kmalloc_kind(size):
    """The kmalloc cache that serves a size, by the kernel's rule."""
    return kmalloc_index(size, KMALLOC_SHIFT_LOW)


def kind_of(s, e):
    """The kind of an object: a kmalloc cache, or a named one. One name with two sizes makes two kinds. -1: too many."""
    if not e.named:
        return kmalloc_kind(e.requested if e.requested else e.size)
    key: cython.ulong = cython.cast(cython.ulong, e.size)
    for i in range(e.name.length):
        key = (key ^ cython.cast(cython.uchar, e.name.at[i])) * cython.cast(cython.ulong, FNV_PRIME)
    while True:
        entry = table_find(cython.address(s.names), key)
        if entry == cython.NULL:
            break
        known = cython.address(s.kinds[entry.value])
        if (
            known.size == e.size
            and memcmp(known.name, e.name.at, e.name.length) == 0
            and known.name[e.name.length] == 0
        ):
            return cython.cast(cython.int, entry.value)
        key += 1
    if s.nr_kinds == MAX_KINDS or table_add(cython.address(s.names), key, s.nr_kinds) == cython.NULL:
        s.problem = PROBLEM_KINDS
        return -1
    fresh = cython.address(s.kinds[s.nr_kinds])
    memcpy(fresh.name, e.name.at, e.name.length)
    fresh.size = e.size
    s.nr_kinds += 1
    return s.nr_kinds - 1


# --- the rules -----------------------------------------------------------------------------------


def on_alloc(s, e, cpu, time_us):
    """A pointer that lives already: its free was not traced (bulk frees have no event), so it comes first."""
    if e.pointer == 0:
        s.counts.null_allocs += 1
        return
    entry = table_find(cython.address(s.objects), e.pointer)
    if entry != cython.NULL:
        s.counts.implied_frees += 1
        free_object(s, entry.value, cpu, time_us, OP_IMPLIED)
        table_remove(cython.address(s.objects), entry)
    kind = kind_of(s, e)
    memcg = memcg_of(s, e)
    if s.problem:
        return
    slot = take_slot(cython.address(s.streams), cpu, kind, False)
    if slot == NO_SLOT or table_add(cython.address(s.objects), e.pointer, slot) == cython.NULL:
        s.streams.failed = -1
        return
    s.counts.allocs += 1
    s.counts.live += 1
    info = cython.address(s.kinds[kind])
    info.allocs += 1
    info.live += 1
    if info.live > info.peak:
        info.peak = info.live
    count_bytes(s, info.size, False)
    what: cython.uint = OP_ALLOC | cython.cast(cython.uint, e.gfp) << GFP_SHIFT
    what |= cython.cast(cython.uint, kind) << KIND_SHIFT | memcg << MEMCG_SHIFT
    put_record(cython.address(s.streams), cpu, time_us, slot, what)


def on_free(s, e, cpu, time_us):
    if e.pointer == 0:
        s.counts.null_frees += 1
        put_record(cython.address(s.streams), cpu, time_us, NO_SLOT, OP_KFREE_NULL)
        return
    entry = table_find(cython.address(s.objects), e.pointer)
    if entry == cython.NULL:
        s.counts.unmatched_frees += 1
        return
    s.counts.matched_frees += 1
    slot = entry.value
    table_remove(cython.address(s.objects), entry)
    info = cython.address(s.streams.slots[slot])
    if info.cpu != cpu:
        s.counts.cross_cpu_frees += 1
    op: cython.uint = OP_FREE
    if e.kind == EVENT_KFREE or info.kind < KMALLOC_KINDS:
        op = OP_KFREE
    else:
        name = s.kinds[info.kind].name
        length = e.name.length
        # Which object it is was decided by its pointer; a trace with a gap may name another cache.
        if length and length < 64 and name[0] and (memcmp(name, e.name.at, length) != 0 or name[length] != 0):
            s.counts.other_cache_frees += 1
    free_object(s, slot, cpu, time_us, op)


def free_object(s, slot, cpu, time_us, op):
    kind = cython.address(s.kinds[s.streams.slots[slot].kind])
    kind.live -= 1
    s.counts.live -= 1
    count_bytes(s, -kind.size, False)
    what: cython.uint = op | cython.cast(cython.uint, s.streams.slots[slot].kind) << KIND_SHIFT
    put_record(cython.address(s.streams), cpu, time_us, slot, what)
    drop_slot(cython.address(s.streams), cpu, slot)


def on_page_alloc(s, e, cpu, time_us):
    if e.pointer == 0:
        s.counts.null_page_allocs += 1
        return
    entry = table_find(cython.address(s.pages), e.pointer)
    if entry != cython.NULL:
        s.counts.implied_page_frees += 1
        free_page_block(s, entry.value, cpu, time_us, OP_PAGE_IMPLIED)
        table_remove(cython.address(s.pages), entry)
    slot = take_slot(cython.address(s.streams), cpu, cython.cast(cython.int, e.size), True)
    if slot == NO_SLOT or table_add(cython.address(s.pages), e.pointer, slot) == cython.NULL:
        s.streams.failed = -1
        return
    s.counts.page_allocs += 1
    s.counts.live_pages += 1
    count_bytes(s, cython.cast(cython.long, 4096) << e.size, True)
    what: cython.uint = OP_PAGE_ALLOC | cython.cast(cython.uint, e.size) << KIND_SHIFT
    put_record(cython.address(s.streams), cpu, time_us, slot, what)


def on_page_free(s, e, cpu, time_us):
    """A block is freed whole, with the order it was allocated with, whatever part of it the event names."""
    entry = table_find(cython.address(s.pages), e.pointer)
    if entry == cython.NULL:
        s.counts.unmatched_page_frees += 1
        return
    s.counts.matched_page_frees += 1
    slot = entry.value
    table_remove(cython.address(s.pages), entry)
    if s.streams.slots[slot].kind != e.size:
        s.counts.other_order_frees += 1
    free_page_block(s, slot, cpu, time_us, OP_PAGE_FREE)


def free_page_block(s, slot, cpu, time_us, op):
    order: cython.uint = s.streams.slots[slot].kind
    s.counts.live_pages -= 1
    count_bytes(s, -(cython.cast(cython.long, 4096) << order), True)
    put_record(cython.address(s.streams), cpu, time_us, slot, op | order << KIND_SHIFT)
    drop_slot(cython.address(s.streams), cpu, slot)


def count_bytes(s, bytes, pages):
    c = cython.address(s.counts)
    c.live_bytes += bytes
    if c.live_bytes > c.peak_bytes:
        c.peak_bytes = c.live_bytes
    if pages:
        c.page_bytes += bytes
        if c.page_bytes > c.peak_page_bytes:
            c.peak_page_bytes = c.page_bytes


# --- what is no event ----------------------------------------------------------------------------


def note_comment(s, p, end):
    """`# entries-in-buffer/entries-written: 72001/80000   #P:2`: how much was overwritten, and how many CPUs it has."""
    written: cython.p_const_char
    if starts(p, end, b"# entries-in-buffer/entries-written:", 36):
        written = skip_blanks(p + 36, end)
        kept = decimal(cython.address(written), end)
        if written < end:
            written += 1
        whole = decimal(cython.address(written), end)
        if whole > kept >= 0:
            s.counts.overwritten += whole - kept
        while written < end:
            if starts(written, end, b"#P:", 3):
                written += 3
                s.header_cpus = cython.cast(cython.int, decimal(cython.address(written), end))
                return
            written += 1


def note_unknown(s, p, end):
    """A line that is none of ours: tolerated if it is text, and not before everything else."""
    s.counts.unknown_lines += 1
    if s.first_unknown == 0:
        s.first_unknown = s.counts.lines
    q = p
    while q < end:
        if (0 <= q[0] < 32 and q[0] != 9 and q[0] != 13) or q[0] == 127:
            s.problem = PROBLEM_BINARY
            keep_excerpt(s, p, end)
            return False
        q += 1
    if s.counts.events == 0 and s.counts.other_events == 0 and s.counts.unknown_lines > PATIENCE:
        s.problem = PROBLEM_NO_TRACE
        keep_excerpt(s, p, end)
        return False
    return True


def keep_excerpt(s, p, end):
    length = end - p
    if length > EXCERPT:
        length = EXCERPT
    memcpy(s.excerpt, p, length)
    s.excerpt_length = cython.cast(cython.int, length)
