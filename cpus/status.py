"""What one CPU is doing, and the machine's counters, as plain Python data. Reads memory that others are changing."""

import cython
from cython.cimports.cpus.cpu import NR_LATENCIES, cpu_of
from cython.cimports.cpus.smp import CSD_FLAG_LOCK
from cython.cimports.cpus.vmstat import NR_COUNTERS
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.cpumask import cpumask_test_cpu
from cython.cimports.ipc.histogram import HISTOGRAM_BUCKETS, histogram
from cython.cimports.ipc.lock import (
    HELD_KINDS,
    HELD_MUTEX,
    HELD_SPIN,
    NR_LOCK_CLASSES,
    lock_stat,
    mutex,
    rwsem,
    spinlock,
)
from cython.cimports.ipc.memory import segment
from cython.cimports.ipc.processor import MAX_HELD_LOCKS, NR_VECTORS, WAIT_CSD, WAIT_MUTEX, processor_of
from cython.cimports.ipc.trace import event_ring

from cpus.cpu import LATENCIES
from cpus.locks import CLASSES

if not cython.compiled:
    raise ImportError("cpus.status is not built; run `make setup`")

VECTORS = ("CALL_FUNCTION_SINGLE", "CALL_FUNCTION", "RESCHEDULE", "TIMER")
MODES = ("user", "kernel", "idle", "dead")
WAITS = ("nothing", "acks", "lock", "slot", "completion", "grace period", "broadcast")


def held_locks(id: int) -> list:
    """The classes of the locks a CPU holds or is about to take, outermost first."""
    me = processor_of(id)
    names = []
    for i in range(min(me.held_count, MAX_HELD_LOCKS)):
        tagged = cython.cast(cython.ulong, me.held[i])
        kind = tagged & HELD_KINDS
        lock = cython.cast(cython.p_void, tagged - kind)
        if kind == HELD_SPIN:
            names.append(CLASSES[cython.cast(cython.pointer(spinlock), lock).lock_class])
        elif kind == HELD_MUTEX:
            names.append(CLASSES[cython.cast(cython.pointer(mutex), lock).lock_class])
        else:
            names.append(CLASSES[cython.cast(cython.pointer(rwsem), lock).lock_class])
    return names


def last_events(id: int, most: int) -> list:
    """The newest records of a CPU's ring, oldest first, as (cycles, event, argument)."""
    ring = cython.cast(cython.pointer(event_ring), processor_of(id).ring)
    if ring == cython.NULL:
        return []
    head = ring.head
    first = max(0, head - min(most, ring.mask + 1))
    low = (cython.cast(cython.ulong, 1) << 48) - 1
    events = []
    for i in range(first, head):
        record = ring.record[i & ring.mask]
        events.append((record.cycles, record.what >> 48, record.what & low))
    return events


def status(id: int) -> dict:
    """One CPU's state for a stuck or death report; times in nanoseconds."""
    me = processor_of(id)
    waiting = me.waiting_for
    per_us = segment().cycles_per_us
    serving = cpu_of(id).serving
    return {
        "cpu": id,
        "pid": me.pid,
        "mode": MODES[me.mode],
        "irq_off": me.irq_off != 0,
        "preempt_count": me.preempt_count,
        "in_interrupt": me.in_interrupt,
        "pending": [VECTORS[i] for i in range(NR_VECTORS) if me.pending >> i & 1],
        "waiting_for": WAITS[waiting],
        "waiting_ns": (get_cycles() - me.waiting_since) * 1000 // per_us if waiting else 0,
        "waiting_on": me.waiting_on,
        "slot": me.slot,
        "holds": held_locks(id),
        "serving_from": serving.sender if serving != cython.NULL else None,
        "heartbeat": me.heartbeat,
        "online": cpumask_test_cpu(id, cython.address(segment().online)),
        "dead": me.dead != 0,
    }


def waiting_longer_than(nanoseconds: int) -> list:
    """Contexts that have waited for acks or a lock for longer than this."""
    limit: cython.long = nanoseconds // 1000 * segment().cycles_per_us
    now: cython.long = get_cycles()
    found = []
    for id in range(-1, segment().nr_cpus):
        me = processor_of(id)
        if (me.waiting_for == WAIT_CSD or me.waiting_for == WAIT_MUTEX) and now - me.waiting_since > limit:
            found.append(id)
    return found


def blockers(id: int) -> list:
    """Whom a context waits for: the CPUs that have not answered its call, or the owner of the lock it wants."""
    c = cpu_of(id)
    if c.hw.waiting_for == WAIT_CSD and c.cfd != cython.NULL:
        return [i for i in range(segment().nr_cpus) if c.cfd[i].flags & CSD_FLAG_LOCK]
    if c.hw.waiting_for == WAIT_MUTEX and c.hw.held_count:
        tagged = cython.cast(cython.ulong, c.hw.held[c.hw.held_count - 1])
        if tagged & HELD_KINDS == HELD_MUTEX:
            lock = cython.cast(cython.pointer(mutex), cython.cast(cython.p_void, tagged - HELD_MUTEX))
            return [lock.owner - 2] if lock.owner else []
    return []


def interrupts(id: int) -> dict:
    """One context's interrupt and request counts."""
    c = cpu_of(id)
    irqs = c.hw.irqs
    return {
        "raised": [irqs.raised[i] for i in range(NR_VECTORS)],
        "merged": [irqs.merged[i] for i in range(NR_VECTORS)],
        "taken": [irqs.taken[i] for i in range(NR_VECTORS)],
        "pending": [c.hw.pending >> i & 1 for i in range(NR_VECTORS)],
        "rings": irqs.rings,
        "fallback": irqs.fallback,
        "queue_full": irqs.queue_full,
        "repokes": irqs.repokes,
        "enqueued": c.csd_enqueued,
        "run": c.csd_run,
        "refused": c.csd_refused,
        "queued": queued_requests(id),
        "ticks": c.ticks,
        "gate_moves": c.hw.gate_moves,
    }


def queued_requests(id: int) -> int:
    """Requests in a CPU's call-single queue; stops at a number that no sound list reaches."""
    count = 0
    csd = cython.cast(cython.pointer(cython.p_void), cpu_of(id).call_single_queue)
    while csd != cython.NULL and count < 1 << 20:
        count += 1
        csd = cython.cast(cython.pointer(cython.p_void), csd[0])
    return count


def counters(id: int) -> list:
    """One context's counters, by index."""
    return [cpu_of(id).counter[i] for i in range(NR_COUNTERS)]


def add_histogram(h, into):
    into["count"] += h.count
    into["total"] += h.total
    into["max"] = max(into["max"], h.max)
    bucket: list = into["bucket"]
    for i in range(HISTOGRAM_BUCKETS):
        if h.bucket[i]:
            bucket[i] += h.bucket[i]


def empty_histogram() -> dict:
    return {"count": 0, "total": 0, "max": 0, "bucket": [0] * HISTOGRAM_BUCKETS}


def latencies() -> dict:
    """Latency histograms by name, summed over the coordinator and all CPUs, in cycles."""
    found = {name: empty_histogram() for name in LATENCIES}
    for id in range(-1, segment().nr_cpus):
        for i, name in enumerate(LATENCIES):
            if i < NR_LATENCIES and cpu_of(id).latency[i].count:
                add_histogram(cython.address(cpu_of(id).latency[i]), found[name])
    return found


def lock_statistics() -> dict:
    """Per lock class: acquisitions, contended, and the wait and hold histograms in cycles, summed over all contexts."""
    found = {
        name: {"acquisitions": 0, "contended": 0, "wait": empty_histogram(), "hold": empty_histogram()}
        for name in CLASSES
    }
    for id in range(-1, segment().nr_cpus):
        stats = cython.cast(cython.pointer(lock_stat), processor_of(id).lock_stats)
        for i, name in enumerate(CLASSES):
            if i < NR_LOCK_CLASSES and stats[i].acquisitions:
                found[name]["acquisitions"] += stats[i].acquisitions
                found[name]["contended"] += stats[i].contended
                add_histogram(cython.address(stats[i].wait), found[name]["wait"])
                add_histogram(cython.address(stats[i].hold), found[name]["hold"])
    return found


def bucket_bounds(index: int) -> tuple:
    """Lowest and highest value of a histogram bucket."""
    if index < 4:
        return index, index
    octave = index // 4 + 1
    low = (4 + index % 4) << (octave - 2)
    return low, low + (1 << (octave - 2)) - 1


def header() -> dict:
    """The segment's header, as far as a report wants it."""
    h = segment()
    return {
        "nr_cpus": h.nr_cpus,
        "nr_nodes": h.nr_nodes,
        "cycles_per_us": h.cycles_per_us,
        "ready": h.ready,
        "broken": h.broken,
        "generation": h.generation,
        "backed": h.backed,
        "limit": h.limit,
        "online": [i for i in range(h.nr_cpus) if cpumask_test_cpu(i, cython.address(h.online))],
    }
