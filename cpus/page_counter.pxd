# mm/page_counter.c: lock-less counters of charged memory; in bytes here, as the control files show them.
from ipc.atomic cimport atomic_fetch_add, cmpxchg, read_once, vlong, write_once

cdef struct page_counter:
    vlong usage
    vlong limit
    vlong watermark               # max_usage_in_bytes
    vlong failcnt

cdef inline long page_counter_max() noexcept nogil:
    """No limit, as it reads back: 9223372036854771712, whole pages."""
    return ((<long>1 << 51) - 1) << 12

cdef inline void page_counter_init(page_counter *counter) noexcept nogil:
    counter.usage = 0
    counter.limit = page_counter_max()
    counter.watermark = 0
    counter.failcnt = 0

cdef inline bint page_counter_try_charge(page_counter *counter, long bytes) noexcept nogil:
    """Charge, or count a failure. Racy as in the kernel: two that exceed the limit together may both fail."""
    cdef long now = atomic_fetch_add(&counter.usage, bytes) + bytes
    if now > read_once(&counter.limit):
        atomic_fetch_add(&counter.usage, -bytes)
        atomic_fetch_add(&counter.failcnt, 1)
        return False
    if now > read_once(&counter.watermark):
        write_once(&counter.watermark, now)
    return True

cdef inline void page_counter_uncharge(page_counter *counter, long bytes) noexcept nogil:
    atomic_fetch_add(&counter.usage, -bytes)

cdef inline bint page_counter_limit(page_counter *counter, long limit) noexcept nogil:
    """Set the limit; refused (EBUSY) below what is charged. Writers exclude each other."""
    cdef long old = read_once(&counter.limit)
    if read_once(&counter.usage) > limit:
        return False
    cmpxchg(&counter.limit, old, limit)
    if read_once(&counter.usage) > limit:     # charged meanwhile against the old limit
        write_once(&counter.limit, old)
        return False
    return True
