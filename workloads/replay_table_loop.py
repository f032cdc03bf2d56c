"""The hash table of the trace parser. Memory of this process, not of the segment."""

import cython
from cython.cimports.libc.stdlib import calloc, free

if not cython.compiled:
    raise ImportError("workloads.replay_table_loop is not built; run `make setup`")


def table_init(t):
    t.entries = cython.cast(cython.pointer(table_entry), calloc(TABLE_START, cython.sizeof(table_entry)))
    t.mask = TABLE_START - 1
    t.count = 0
    return t.entries != cython.NULL


def table_free(t):
    free(t.entries)
    t.entries = cython.NULL


def table_place(t, key):
    """The entry of `key`, or the unused one where it belongs."""
    i = table_hash(key) & t.mask
    while t.entries[i].used and t.entries[i].key != key:
        i = (i + 1) & t.mask
    return cython.address(t.entries[i])


def table_find(t, key):
    e = table_place(t, key)
    if e.used:
        return e
    return cython.NULL


def table_add(t, key, value):
    if t.count * 2 > t.mask and not table_grow(t):
        return cython.NULL
    e = table_place(t, key)
    e.key = key
    e.value = value
    e.used = 1
    t.count += 1
    return e


def table_grow(t):
    size = (t.mask + 1) * 2
    old = t.entries
    old_size = t.mask + 1
    t.entries = cython.cast(cython.pointer(table_entry), calloc(size, cython.sizeof(table_entry)))
    if t.entries == cython.NULL:
        t.entries = old
        return False
    t.mask = size - 1
    for i in range(old_size):
        if old[i].used:
            e = table_place(t, old[i].key)
            e[0] = old[i]
    free(old)
    return True


def table_remove(t, e):
    """Close the gap: an entry behind it moves in, unless its own place lies behind the gap."""
    t.count -= 1
    gap = cython.cast(cython.ulong, e - t.entries)
    i = gap
    while True:
        i = (i + 1) & t.mask
        if not t.entries[i].used:
            break
        home = table_hash(t.entries[i].key) & t.mask
        if ((i - home) & t.mask) >= ((i - gap) & t.mask):
            t.entries[gap] = t.entries[i]
            gap = i
    t.entries[gap].used = 0
