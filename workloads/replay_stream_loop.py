"""Writing of the compact form. Memory is one chunk per emulated CPU, and 16 bytes per slot."""

import cython
from cython.cimports.libc.errno import EINTR, errno
from cython.cimports.libc.stdlib import calloc, free, realloc
from cython.cimports.posix.unistd import pwrite

if not cython.compiled:
    raise ImportError("workloads.replay_stream_loop is not built; run `make setup`")


def streams_init(s, fd, count):
    s.fd = fd
    s.count = count
    s.file_end = CHUNK_BYTES  # so that no chunk lies at 0, which says that there is none
    s.failed = 0
    s.slots = cython.NULL
    s.nr_slots = 0
    s.slots_size = 0
    s.idle.count = 0
    s.streams = cython.cast(cython.pointer(stream), calloc(count, cython.sizeof(stream)))
    return s.streams != cython.NULL


def streams_free(s):
    if s.streams != cython.NULL:
        for i in range(s.count):
            free(s.streams[i].buffer)
    free(s.streams)
    free(s.slots)
    s.streams = cython.NULL
    s.slots = cython.NULL


def begin_stream(s, one, cpu):
    one.buffer = cython.cast(cython.pointer(chunk), calloc(1, cython.sizeof(chunk)))
    if one.buffer == cython.NULL:
        s.failed = -1
        return False
    one.buffer.stream = cpu
    one.first = one.at = s.file_end
    s.file_end += CHUNK_BYTES
    return True


def put_record(s, cpu, time_us, slot, what):
    one = cython.address(s.streams[cpu])
    if one.buffer == cython.NULL and not begin_stream(s, one, cpu):
        return
    if one.buffer.count == CHUNK_RECORDS:
        write_chunk(s, one, True)
    rec = cython.address(one.buffer.records[one.buffer.count])
    one.buffer.count += 1
    one.records += 1
    rec.slot = slot
    rec.what = what
    rec.seq = 0
    if slot != NO_SLOT:
        rec.seq = s.slots[slot].seq
        s.slots[slot].seq += 1
    wait = time_us - one.time_us
    if wait < 0:  # the lines are not in the order of time: the order of lines counts
        wait = 0
    elif wait > 0xFFFFFFF:
        wait = 0xFFFFFFF
    rec.wait_us = cython.cast(cython.uint, wait)
    one.time_us += wait


def write_chunk(s, one, more):
    """Write a stream's buffer where it belongs, and reserve the place of the next one."""
    at = one.at
    one.buffer.next = 0
    if more:
        one.buffer.next = one.at = s.file_end
        s.file_end += CHUNK_BYTES
    data = cython.cast(cython.p_char, one.buffer)
    done: cython.long = 0
    while done < CHUNK_BYTES and s.failed == 0:
        written = pwrite(s.fd, data + done, CHUNK_BYTES - done, at + done)
        if written > 0:
            done += written
        elif errno != EINTR:
            s.failed = errno if errno else -1
    one.buffer.count = 0


# --- slots ----------------------------------------------------------------------------------------


def new_slot(s):
    if s.nr_slots == s.slots_size:
        size = s.slots_size * 2 if s.slots_size else 4096
        grown = realloc(s.slots, size * cython.sizeof(slot_info))
        if grown == cython.NULL:
            s.failed = -1
            return NO_SLOT
        s.slots = cython.cast(cython.pointer(slot_info), grown)
        s.slots_size = size
    s.slots[s.nr_slots].seq = 0
    s.nr_slots += 1
    return s.nr_slots - 1


def take_slot(s, cpu, kind, is_page):
    own = cython.address(s.streams[cpu].own)
    if own.count:
        slot = pop_slot(s, own)
    elif s.idle.count:
        slot = pop_slot(s, cython.address(s.idle))
    else:
        slot = new_slot(s)
        if slot == NO_SLOT:
            return slot
    info = cython.address(s.slots[slot])
    info.kind = cython.cast(cython.ushort, kind)
    info.cpu = cython.cast(cython.ushort, cpu)
    info.is_page = is_page
    info.live = 1
    return slot


def drop_slot(s, cpu, slot):
    s.slots[slot].live = 0
    own = cython.address(s.streams[cpu].own)
    if own.count < OWN_SLOTS:
        push_slot(s, own, slot, True)
    else:
        push_slot(s, cython.address(s.idle), slot, False)


def push_slot(s, list, slot, in_front):
    if list.count == 0:
        list.first = list.last = slot
    elif in_front:
        s.slots[slot].next = list.first
        list.first = slot
    else:
        s.slots[list.last].next = slot
        list.last = slot
    list.count += 1


def pop_slot(s, list):
    slot = list.first
    list.first = s.slots[slot].next
    list.count -= 1
    return slot


def end_streams(s, time_us):
    """What lives is freed by who allocated it, if there is another pass; then write what is left in the buffers."""
    for i in range(s.nr_slots):
        info = cython.address(s.slots[i])
        if info.live:
            op: cython.uint = OP_PAGE_END if info.is_page else OP_END
            put_record(s, info.cpu, time_us, i, op | cython.cast(cython.uint, info.kind) << KIND_SHIFT)
    for cpu in range(s.count):
        one = cython.address(s.streams[cpu])
        if one.buffer != cython.NULL:
            write_chunk(s, one, False)
