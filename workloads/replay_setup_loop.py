"""The coordinator's side of a replay: it builds what the CPUs work on, starts them, and reads their counts."""

import cython
from cython.cimports.cpus.cpu import AREA_WORKLOAD
from cython.cimports.cpus.memcontrol import mem_cgroup
from cython.cimports.cpus.slab_def import cache_of_list, kmem_cache, slab_root
from cython.cimports.cpus.slub_def import slub_enabled, slub_of
from cython.cimports.ipc.atomic import read_once
from cython.cimports.ipc.histogram import HISTOGRAM_BUCKETS
from cython.cimports.ipc.lock import spin_lock_detail
from cython.cimports.ipc.memory import heap_alloc, segment
from cython.cimports.ipc.processor import COORDINATOR
from cython.cimports.workloads.replay_loop import (
    NR_COSTS,
    flush_creations,
    kind_count,
    make_memcgs,
    replay_slot,
    start,
    step,
    stop,
    the_replay,
)

from cpus.status import bucket_bounds

if not cython.compiled:
    raise ImportError("workloads.replay_setup_loop is not built; run `make setup`")

OPS = (
    "allocs",
    "frees",
    "kfrees",
    "null_frees",
    "implied_frees",
    "end_frees",
    "page_allocs",
    "page_frees",
    "implied_page_frees",
    "end_page_frees",
)
COSTS = ("alloc", "free", "page_alloc", "page_free")


def make_cpu(r, id, first):
    own = cython.cast(cython.pointer(replay_cpu), heap_alloc(cython.sizeof(replay_cpu)))
    if own == cython.NULL:
        return own
    own.kinds = cython.cast(cython.pointer(kind_count), heap_alloc(r.nr_kinds * cython.sizeof(kind_count)))
    if own.kinds == cython.NULL:
        return cython.NULL
    own.first = first
    # An empty buffer that goes on where the stream begins.
    own.buffer.next = first
    own.program.step = step
    own.program.done.waiter = COORDINATOR
    r.cpus[id] = own
    return own


def prepare(trace, caches: list, loops: int, seconds: float, recorded: bool) -> bool:
    """Build the replay of a trace. caches: per kind the address of its cache, 0 for kmalloc. False: no memory."""
    numbers = trace.numbers
    r = cython.cast(cython.pointer(replay), heap_alloc(cython.sizeof(replay)))
    if r == cython.NULL:
        return False
    r.fd = trace.file.fileno()
    r.recorded = recorded
    r.loops = loops
    r.seconds_cycles = int(seconds * 1e6 * segment().cycles_per_us)
    r.pass_us = numbers["duration_us"]
    r.nr_slots = numbers["slots"]
    r.nr_kinds = len(caches)
    r.slots = cython.cast(cython.pointer(replay_slot), heap_alloc(max(r.nr_slots, 1) * cython.sizeof(replay_slot)))
    if r.slots == cython.NULL:
        return False
    trace.parser.copy_slots(cython.cast(cython.ulong, cython.address(r.slots[0].per_pass)), cython.sizeof(replay_slot))
    for i, (kind, address) in enumerate(zip(trace.kinds, caches, strict=True)):
        r.kinds[i].size = kind.size
        r.kinds[i].cache = cython.cast(cython.pointer(kmem_cache), cython.cast(cython.ulong, address))
    for id, (first, _) in enumerate(trace.streams):
        if first >= 0 and make_cpu(r, id, first) == cython.NULL:
            return False
    segment().area[AREA_WORKLOAD] = cython.cast(cython.long, r)
    return True


def room_for_memcgs(count: int) -> bool:
    """Make place for their addresses; make_memcgs, mailed to a CPU, makes them. False: no memory."""
    r = the_replay()
    block = heap_alloc(count * 8)
    if block == cython.NULL:
        return False
    r.memcgs = cython.cast(cython.pointer(cython.pointer(mem_cgroup)), block)
    r.nr_memcgs = count
    return True


def entry_points() -> dict:
    """Address of each function that is mailed to a CPU, by name."""
    return {
        "make_memcgs": cython.cast(cython.long, cython.cast(cython.p_void, make_memcgs)),
        "flush_creations": cython.cast(cython.long, cython.cast(cython.p_void, flush_creations)),
        "start": cython.cast(cython.long, cython.cast(cython.p_void, start)),
        "stop": cython.cast(cython.long, cython.cast(cython.p_void, stop)),
    }


def progress() -> tuple:
    """(CPUs that have not finished, records done), while it runs."""
    r = the_replay()
    records = 0
    for id in range(segment().nr_cpus):
        if r.cpus[id] != cython.NULL:
            records += read_once(cython.address(r.cpus[id].records))
    return read_once(cython.address(r.running)), records


def cpus() -> list:
    """What each CPU with a stream did."""
    r = the_replay()
    per_us = segment().cycles_per_us
    rows = []
    for id in range(segment().nr_cpus):
        own = r.cpus[id]
        if own == cython.NULL:
            continue
        row = {
            "cpu": id,
            "records": own.records,
            "passes": own.pass_number + 1,
            "failed": own.failed,
            "corrupt": own.corrupt,
            "waits": own.waits,
            "sleeps": own.sleeps,
            "wait_ns": own.wait_cycles * 1000 // per_us,
            "elapsed_ns": (own.end_cycles - r.start_cycles) * 1000 // per_us,
            "cpu_ns": own.cpu_ns,
            "error": own.error,
        }
        row["ops"] = {name: own.ops[i] for i, name in enumerate(OPS)}
        rows.append(row)
    return rows


def costs() -> dict:
    """Cycles of each kind of operation, over all CPUs: {name: {count, mean, p50, p90, p99, max}}."""
    r = the_replay()
    found = {}
    for which in range(NR_COSTS):
        bucket = [0] * HISTOGRAM_BUCKETS
        count = total = highest = 0
        for id in range(segment().nr_cpus):
            if r.cpus[id] == cython.NULL:
                continue
            h = cython.address(r.cpus[id].cost[which])
            count += h.count
            total += h.total
            highest = max(highest, h.max)
            for i in range(HISTOGRAM_BUCKETS):
                bucket[i] += h.bucket[i]
        if count:
            row = {"count": count, "mean": total / count}
            for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
                row[name] = percentile(bucket, count, share)
            found[COSTS[which]] = row | {"max": highest}
    return found


def percentile(bucket: list, count: int, share: float) -> int:
    """The middle of the bucket in which a share of the values ends."""
    wanted = max(1, round(count * share))
    seen = 0
    for i, n in enumerate(bucket):
        seen += n
        if n and seen >= wanted:
            low, high = bucket_bounds(i)
            return (low + high) // 2
    return 0


def kinds() -> list:
    """Per kind (allocs, frees, mean cycles of an allocation, of a free), over all CPUs."""
    r = the_replay()
    rows = []
    for which in range(r.nr_kinds):
        sums = [0, 0, 0, 0]
        for id in range(segment().nr_cpus):
            if r.cpus[id] != cython.NULL:
                k = cython.address(r.cpus[id].kinds[which])
                each = (k.allocs, k.frees, k.alloc_cycles, k.free_cycles)
                sums = [a + b for a, b in zip(sums, each, strict=True)]
        rows.append((sums[0], sums[1], sums[2] / max(sums[0], 1), sums[3] / max(sums[1], 1)))
    return rows


def detail_locks() -> None:
    """With --lock-detail: statistics for every list_lock that has none of its own yet."""
    system = slab_root()
    each = system.slab_caches.next
    while each != cython.address(system.slab_caches):
        s = cache_of_list(each)
        for nid in range(system.nr_nodes):
            if slub_enabled():
                lock = cython.address(slub_of(s).node[nid].list_lock)
            else:
                lock = cython.address(s.node[nid].list_lock)
            if lock.detail == cython.NULL:
                spin_lock_detail(lock)
        each = each.next
