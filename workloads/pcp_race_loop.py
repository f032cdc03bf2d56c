"""What the CPUs of pcp-race do.

A holder puts pages on its lists, of one zone or two, says that from now on it leaves them alone, wakes the drainers,
and idles until it has been drained. A drainer notes who is quiet and holds pages, calls drain_all_pages, and looks
again: a CPU that has been quiet all the time and still holds pages was missed. The order of the stores makes that
exact: a holder takes its word back before it touches a list, and a look is only counted if the word was the same before
and after it.
"""

import cython
from cython.cimports.cpus.cpu import (
    TASK_DONE,
    TASK_RUN,
    cpu_online_mask,
    cpu_relax,
    kernel_enter,
    kernel_exit,
    wake_up_process,
)
from cython.cimports.cpus.events import EV_DRAIN_MISSED
from cython.cimports.cpus.mm_types import __GFP_DMA32, GFP_ATOMIC, GFP_HIGHUSER_MOVABLE
from cython.cimports.cpus.mmzone import mm_root, pageset_of, zone
from cython.cimports.cpus.page_alloc import __free_pages, alloc_pages_node
from cython.cimports.cpus.pcp_drain import DRAIN_SKIPPED, drain_all_pages
from cython.cimports.ipc.atomic import (
    atomic_fetch_add,
    cmpxchg,
    read_once,
    smp_load_acquire,
    smp_mb,
    smp_store_release,
    write_once,
)
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.cpumask import cpumask_test_cpu
from cython.cimports.ipc.memory import SWITCH_PAGE, heap_alloc
from cython.cimports.ipc.processor import COORDINATOR
from cython.cimports.ipc.random import draw
from cython.cimports.ipc.trace import SWITCH_TRACE, trace

if not cython.compiled:
    raise ImportError("workloads.pcp_race_loop is not built; run `make setup`")

ENOMEM = cython.declare(cython.long, 12)


def pages_of(cpu):
    system = mm_root()
    count: cython.long = 0
    for i in range(system.nr_populated):
        count += read_once(cython.address(pageset_of(cpu, system.populated[i]).count))
    return count


def hold_pages(c, t):
    """Pages of the lowest zone that keeps any, of the highest, or of both."""
    h = cython.address(the_race().holders[c.hw.id])
    write_once(cython.address(h.quiet), 0)
    smp_mb()
    was = kernel_enter()
    which = draw(cython.address(t.random)) % 3
    for zones in range(2):
        if which != 2 and which != cython.cast(cython.ulong, zones):
            continue
        p = alloc_pages_node(-1, 0, GFP_ATOMIC | __GFP_DMA32 if zones == 0 else GFP_HIGHUSER_MOVABLE)
        if p != cython.NULL:
            __free_pages(p, 0)
    kernel_exit(was)
    h.turns += 1
    write_once(cython.address(h.state), IDLE)
    smp_store_release(cython.address(h.quiet), h.turns)
    wake_drainers(the_race())
    return TASK_DONE


def wake_drainers(r):
    for i in range(r.nr_drainers):
        d = cython.address(r.drainers[i])
        if cmpxchg(cython.address(d.state), IDLE, WOKEN) == IDLE:
            wake_up_process(cython.address(d.program), i)


def look_before(r, d):
    for k in range(r.nr_drainers, r.nr_cpus):
        quiet = smp_load_acquire(cython.address(r.holders[k].quiet))
        d.before[k] = quiet if quiet != 0 and pages_of(k) != 0 else 0


def note_missed(r, d, id):
    """The first miss stops the event rings, so that they still hold what led to it."""
    trace(EV_DRAIN_MISSED, id)
    if cmpxchg(cython.address(r.first_miss), 0, d.program.cpu + 1) == 0:
        r.miss_cpu = id
        r.miss_begun = d.begun
        r.miss_ended = get_cycles()
        cython.cast(cython.p_uchar, cython.cast(cython.ulong, SWITCH_PAGE))[SWITCH_TRACE] = 0


def look_after(r, d, id):
    if d.before[id] == 0 or smp_load_acquire(cython.address(r.holders[id].quiet)) != d.before[id]:
        return
    left = pages_of(id)
    smp_mb()
    if left == 0 or read_once(cython.address(r.holders[id].quiet)) != d.before[id]:
        return
    if not cpumask_test_cpu(id, cpu_online_mask()):
        return
    d.missed += 1
    d.missed_of[id] += 1
    d.pages_left += left
    note_missed(r, d, id)


def wake_holders(r):
    """Those that have been drained put new pages on their lists. Whether somebody still holds pages."""
    some: cython.bint = False
    for k in range(r.nr_drainers, r.nr_cpus):
        h = cython.address(r.holders[k])
        if read_once(cython.address(h.quiet)) == 0:
            continue
        if pages_of(k) != 0:
            some = True
        elif cmpxchg(cython.address(h.state), IDLE, WOKEN) == IDLE:
            wake_up_process(cython.address(h.program), k)
    return some


def rest(r, d):
    """Nobody holds pages: idle until somebody does, and end when it is over."""
    if read_once(cython.address(r.stop)):
        write_once(cython.address(d.state), ENDED)
        atomic_fetch_add(cython.address(r.running), -1)
        return TASK_DONE
    smp_store_release(cython.address(d.state), IDLE)
    smp_mb()
    again: cython.bint = read_once(cython.address(r.stop)) != 0
    for k in range(r.nr_drainers, r.nr_cpus):
        again |= read_once(cython.address(r.holders[k].quiet)) != 0 and pages_of(k) != 0
    if again and cmpxchg(cython.address(d.state), IDLE, WOKEN) == IDLE:
        return TASK_RUN
    return TASK_DONE


def meet(r):
    """Wait for the other drainers, so that all call at the same time; not for long, since one may have no host core."""
    until = get_cycles() + MEETING_US * segment().cycles_per_us
    seen = atomic_fetch_add(cython.address(r.arrivals), 1)
    wanted = (seen // r.nr_drainers + 1) * r.nr_drainers
    while read_once(cython.address(r.arrivals)) < wanted and get_cycles() < until:
        cpu_relax()


def drain_once(c, t):
    r = the_race()
    d = cython.address(r.drainers[c.hw.id])
    meet(r)
    look_before(r, d)
    was = kernel_enter()
    d.begun = get_cycles()
    asked = drain_all_pages(cython.cast(cython.pointer(zone), cython.NULL))
    d.calls += 1
    atomic_fetch_add(cython.address(r.calls), 1)
    if asked == DRAIN_SKIPPED:
        d.skipped += 1
    else:
        missed = d.missed
        for k in range(r.nr_drainers, r.nr_cpus):
            look_after(r, d, k)
        d.short_calls += d.missed != missed
    some: cython.bint = wake_holders(r)
    kernel_exit(was)
    if some and read_once(cython.address(r.stop)) == 0:
        return TASK_RUN
    return rest(r, d)


def set_up(args):
    r = cython.cast(cython.pointer(race), heap_alloc(cython.sizeof(race)))
    if r == cython.NULL:
        return -ENOMEM
    r.nr_drainers = args[0]
    r.nr_cpus = segment().nr_cpus
    r.drainers = cython.cast(cython.pointer(drainer), heap_alloc(r.nr_drainers * cython.sizeof(drainer)))
    r.holders = cython.cast(cython.pointer(holder), heap_alloc(r.nr_cpus * cython.sizeof(holder)))
    if r.drainers == cython.NULL or r.holders == cython.NULL:
        return -ENOMEM
    for k in range(r.nr_cpus):
        program = cython.address(r.holders[k].program)
        program.step = hold_pages
        if k < r.nr_drainers:
            program = cython.address(r.drainers[k].program)
            program.step = drain_once
        program.cpu = k
        seed: cython.ulong = cython.cast(cython.ulong, args[1] + (k + 1) * 1000003)
        program.random = draw(cython.address(seed)) | 1
        program.done.waiter = COORDINATOR if k < r.nr_drainers else k
    segment().area[AREA_WORKLOAD] = cython.cast(cython.long, r)
    return 0


def start(args):
    r = the_race()
    r.running = r.nr_drainers
    for k in range(r.nr_cpus):
        if k < r.nr_drainers:
            write_once(cython.address(r.drainers[k].state), WOKEN)
            wake_up_process(cython.address(r.drainers[k].program), k)
        else:
            write_once(cython.address(r.holders[k].state), WOKEN)
            wake_up_process(cython.address(r.holders[k].program), k)
    return 0


def stop(args):
    write_once(cython.address(the_race().stop), 1)
    smp_mb()
    wake_drainers(the_race())
    return 0


def entry_points() -> dict:
    """Address of each function that is mailed to a CPU, by name."""
    return {
        "set_up": cython.cast(cython.long, cython.cast(cython.p_void, set_up)),
        "start": cython.cast(cython.long, cython.cast(cython.p_void, start)),
        "stop": cython.cast(cython.long, cython.cast(cython.p_void, stop)),
    }


def progress() -> tuple:
    """(drainers that still run, calls so far, whether a CPU was missed)"""
    r = the_race()
    return read_once(cython.address(r.running)), read_once(cython.address(r.calls)), r.first_miss != 0


def outcome() -> dict:
    """What was counted, when all have ended."""
    r = the_race()
    total = {"drains": 0, "skipped": 0, "missed": 0, "pages_left": 0, "short": 0}
    missed_of = {}
    for i in range(r.nr_drainers):
        d = cython.address(r.drainers[i])
        total["drains"] += d.calls
        total["skipped"] += d.skipped
        total["missed"] += d.missed
        total["pages_left"] += d.pages_left
        total["short"] += d.short_calls
        for k in range(r.nr_drainers, r.nr_cpus):
            if d.missed_of[k]:
                missed_of[k] = missed_of.get(k, 0) + d.missed_of[k]
    held = 0
    for k in range(r.nr_drainers, r.nr_cpus):
        held += r.holders[k].turns
    first = None
    if r.first_miss:
        first = {"drainer": r.first_miss - 1, "cpu": r.miss_cpu, "begun": r.miss_begun, "ended": r.miss_ended}
    return {**total, "missed_of": missed_of, "held": held, "first_miss": first}
