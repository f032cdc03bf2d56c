"""The ledger of calls. Not on a fast path: a row is looked up once per call and once per request served, and an
interrupt costs a thousand times that.

Under-lock waits: a mutex cannot change hands while its holder waits for answers, so whoever waits for it when that wait
ends has waited since the later of the two beginnings. The overlap is exact, but for a waiter's first 5 us, which it
spins.
"""

import cython
from cython.cimports.ipc.atomic import read_once
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.cpumask import next_bit
from cython.cimports.ipc.interrupt import local_irq_restore, local_irq_save
from cython.cimports.ipc.lock import HELD_KINDS, HELD_MUTEX, HELD_SPIN, mutex, spinlock
from cython.cimports.ipc.memory import heap_alloc, segment
from cython.cimports.ipc.processor import MAX_HELD_LOCKS, WAIT_MUTEX, processor_of

from cpus.locks import CLASSES

if not cython.compiled:
    raise ImportError("cpus.ledger is not built; run `make setup`")

no_row = cython.declare(ledger_row)  # of this process: where what is not kept is written


def ledger_of(id):
    root = segment().area[AREA_LEDGER]
    if root == 0:
        return cython.cast(cython.pointer(ledger), cython.NULL)
    return cython.address(cython.cast(cython.pointer(ledger), cython.cast(cython.p_void, root))[id + 1])


def ledger_find(c, site, func, locks):
    """The row of a call site, made if there is none."""
    book = ledger_of(c.hw.id)
    if book == cython.NULL:
        return cython.address(no_row)
    flags = local_irq_save()  # a handler may add a row of its own
    at: cython.ulong = (site >> 2) + (func >> 4) + cython.cast(cython.ulong, locks)
    found = cython.address(no_row)
    for i in range(LEDGER_ROWS):
        row = cython.address(book.row[(at + i) & (LEDGER_ROWS - 1)])
        if row.site == 0:
            row.func = func
            row.locks = locks
            row.site = site
        if row.site == site and row.func == func and row.locks == locks:
            found = row
            break
    if found == cython.address(no_row):
        book.dropped += 1
    local_irq_restore(flags)
    return found


def locks_held(c):
    """The mutexes and spinlocks this context holds, a bit for each class. Readers of a semaphore block nobody here."""
    held: cython.long = 0
    count: cython.long = c.hw.held_count
    for i in range(count if count < MAX_HELD_LOCKS else MAX_HELD_LOCKS):
        tagged = cython.cast(cython.ulong, c.hw.held[i])
        kind = tagged & HELD_KINDS
        lock = cython.cast(cython.p_void, tagged - kind)
        if kind == HELD_MUTEX:
            held |= cython.cast(cython.long, 1) << cython.cast(cython.pointer(mutex), lock).lock_class
        elif kind == HELD_SPIN:
            held |= cython.cast(cython.long, 1) << cython.cast(cython.pointer(spinlock), lock).lock_class
    return held


def count_blocked(row, lock, other, start, now):
    """Add what a context has waited for the lock since `start`."""
    waiter = processor_of(other)
    if waiter.waiting_for != WAIT_MUTEX or read_once(cython.address(waiter.waiting_on)) != cython.cast(
        cython.long, lock
    ):
        return
    since = read_once(cython.address(waiter.waiting_since))
    row.blocked += 1
    row.blocked_cycles += now - (since if since > start else start)


def ledger_wait(c, row, start, end):
    """A wait for answers is over: from `start` to `end`, under the locks that are held now."""
    row.waits += 1
    row.wait_cycles += end - start
    if end - start > row.wait_max:
        row.wait_max = end - start
    if row.locks == 0:
        return
    now = get_cycles()
    count: cython.long = c.hw.held_count
    for i in range(count if count < MAX_HELD_LOCKS else MAX_HELD_LOCKS):
        tagged = cython.cast(cython.ulong, c.hw.held[i])
        if tagged & HELD_KINDS != HELD_MUTEX:
            continue
        lock = cython.cast(cython.pointer(mutex), cython.cast(cython.p_void, tagged - HELD_MUTEX))
        other: cython.long = next_bit(lock.waiters.bits, 0)
        while other >= 0:
            count_blocked(row, lock, other, start, now)
            other = next_bit(lock.waiters.bits, other + 1)
        if lock.coordinator_waits:
            count_blocked(row, lock, -1, start, now)


def served_row(c, site, func):
    """The row of a request served here, kept for the next one. What is not kept in the table has a row of this process
    alone, which the shared memory must not point to."""
    row = ledger_find(c, site, func, LEDGER_TARGET)
    c.served_row = cython.NULL if row == cython.address(no_row) else cython.cast(cython.p_void, row)
    return row


def allocate() -> bool:
    """The tables of all contexts; before the fork."""
    block = heap_alloc((segment().nr_cpus + 1) * cython.sizeof(ledger))
    if block == cython.NULL:
        return False
    segment().area[AREA_LEDGER] = cython.cast(cython.long, block)
    return True


def rows(id: int) -> list:
    """One context's rows as dicts; times in nanoseconds, addresses as they are in this process."""
    book = ledger_of(id)
    found = []
    if book == cython.NULL:
        return found
    per_us = segment().cycles_per_us
    for i in range(LEDGER_ROWS):
        row = book.row[i]
        if row.site != 0:
            found.append(
                {
                    "site": row.site,
                    "func": row.func,
                    "target": row.locks & LEDGER_TARGET != 0,
                    "locks": [CLASSES[k] for k in range(len(CLASSES)) if row.locks >> k & 1],
                    "calls": row.calls,
                    "sent": row.sent,
                    "not_raised": row.not_raised,
                    "empty": row.empty,
                    "offline": row.offline,
                    "self": row.itself,
                    "waits": row.waits,
                    "wait_ns": row.wait_cycles * 1000 // per_us,
                    "wait_max_ns": row.wait_max * 1000 // per_us,
                    "blocked": row.blocked,
                    "blocked_ns": row.blocked_cycles * 1000 // per_us,
                    "busy": row.busy,
                    "busy_ns": row.busy_cycles * 1000 // per_us,
                }
            )
    return found


def dropped(id: int) -> int:
    """Calls of which a context has no row, since its table was full."""
    book = ledger_of(id)
    return book.dropped if book != cython.NULL else 0
