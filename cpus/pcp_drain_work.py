"""drain_all_pages by work items: one for each CPU with pages, and the rescue of those that cannot come."""

import cython
from cython.cimports.cpus.cpu import cpu_of, cpu_online_mask, this_cpu
from cython.cimports.cpus.events import EV_DRAIN_SEND
from cython.cimports.cpus.locks import locks
from cython.cimports.cpus.mmzone import mm_root
from cython.cimports.cpus.pcp_drain import DRAIN_SKIPPED, count_avoided, drain_local_pages, set_or_clear
from cython.cimports.cpus.smp import smp_call_function_single
from cython.cimports.cpus.workqueue import (
    WQ_PERCPU,
    alloc_workqueue,
    init_work,
    queue_work_on,
    run_own_items,
    workqueue_struct,
)
from cython.cimports.ipc.atomic import atomic_fetch_add, cmpxchg, read_once, write_once
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.cpumask import cpumask, cpumask_copy, cpumask_next
from cython.cimports.ipc.lock import mutex_lock, mutex_trylock, mutex_unlock
from cython.cimports.ipc.memory import heap_alloc, segment
from cython.cimports.ipc.park import park, park_begin, park_end, sleep_begin, sleep_end, wake_cpu
from cython.cimports.ipc.processor import WAIT_COMPLETION, WAIT_NONE, WAIT_SLOT, processor_of, this_processor
from cython.cimports.ipc.trace import trace

if not cython.compiled:
    raise ImportError("cpus.pcp_drain_work is not built; run `make setup`")


def run_drain_work(d):
    """Do what the drain under way wants of this CPU, once: its item may come late, when a rescuer has been here."""
    if cmpxchg(cython.address(d.wanted), 1, 0) != 1:
        return
    drain_local_pages(d.only)
    system = mm_root()
    drainer = read_once(cython.address(system.drainer))
    if atomic_fetch_add(cython.address(system.drain_left), -1) == 1:
        wake_cpu(processor_of(drainer - 2))


def drain_local_pages_wq(work):
    run_drain_work(cython.cast(cython.pointer(drain_work), work))


def rescue_by_interrupt(info):
    run_drain_work(cython.cast(cython.pointer(drain_work), info))


def rescue_sleepers():
    """mm_percpu_wq has a rescuer, for workers that cannot come. Here a CPU's only worker may be asleep in the kernel,
    waiting for a lock that the drainer holds: such a CPU is interrupted."""
    system = mm_root()
    works = cython.cast(cython.pointer(drain_work), system.drain_works)
    for cpu in range(segment().nr_cpus):
        d = cython.address(works[cpu])
        if read_once(cython.address(d.wanted)) == 0:
            continue
        hw = cython.address(cpu_of(cpu).hw)
        if hw.dead:
            if cmpxchg(cython.address(d.wanted), 1, 0) == 1:
                atomic_fetch_add(cython.address(system.drain_left), -1)
        elif hw.waiting_for != WAIT_NONE and hw.waiting_for != WAIT_SLOT:
            if system.log != cython.NULL:
                atomic_fetch_add(cython.address(system.log.rescued), 1)
            smp_call_function_single(cpu, rescue_by_interrupt, d, True)


def wait_for_drain_works():
    system = mm_root()
    me = this_processor()
    since = get_cycles()
    me.waiting_for = WAIT_COMPLETION
    me.waiting_on = cython.cast(cython.long, system.drain_works)
    sleep_begin(me)
    while True:
        seen = park_begin(me)
        if read_once(cython.address(system.drain_left)) == 0:
            break
        if me.id >= 0 and this_cpu().in_kworker == 0 and run_own_items():
            continue
        park(me, seen, RESCUE_MS * cython.cast(cython.long, 1000000) // 4)
        if get_cycles() - since > RESCUE_MS * 1000 * segment().cycles_per_us:
            park_end(me)
            sleep_end(me)
            rescue_sleepers()
            sleep_begin(me)
            since = get_cycles()
    park_end(me)
    sleep_end(me)
    me.waiting_for = WAIT_NONE


def queue_drain_works(only):
    """An item for each online CPU with pages; how many."""
    system = mm_root()
    works = cython.cast(cython.pointer(drain_work), system.drain_works)
    wq = cython.cast(cython.pointer(workqueue_struct), system.drain_wq)
    mask = cython.address(system.cpus_with_pcps)
    set_or_clear(mask, only)
    targets: cpumask
    cpumask_copy(cython.address(targets), mask)
    asked: cython.long = 0
    own_too: cython.bint = False
    cpu: cython.long = cpumask_next(-1, cpu_online_mask())
    write_once(cython.address(system.drainer), this_processor().id + 2)
    write_once(cython.address(system.drain_left), 1)  # mine, so that it is not zero before all are queued
    while cpu >= 0:
        if cpumask_next(cpu - 1, cython.address(targets)) == cpu:
            d = cython.address(works[cpu])
            d.only = only
            atomic_fetch_add(cython.address(system.drain_left), 1)
            write_once(cython.address(d.wanted), 1)
            queue_work_on(cpu, wq, cython.address(d.work))
            asked += 1
            own_too |= cpu == this_processor().id
        cpu = cpumask_next(cpu, cpu_online_mask())
    atomic_fetch_add(cython.address(system.drain_left), -1)
    trace(EV_DRAIN_SEND, asked)
    count_avoided(0, asked, own_too)
    return asked


def drain_by_work(only):
    # since v4.11, mm, page_alloc: drain per-cpu pages from workqueue context (Gorman 2017)
    lock = cython.address(locks().pcpu_drain_mutex)
    if this_cpu().in_kworker:
        return DRAIN_SKIPPED  # a worker cannot wait for workers
    if only == cython.NULL and not mutex_trylock(lock):
        return DRAIN_SKIPPED
    if only != cython.NULL:
        mutex_lock(lock)
    asked = queue_drain_works(only)
    wait_for_drain_works()
    mutex_unlock(lock)
    return asked


def init_drain_works():
    system = mm_root()
    count: cython.long = segment().nr_cpus
    system.drain_works = heap_alloc(count * cython.sizeof(drain_work))
    system.drain_wq = alloc_workqueue(b"mm_percpu_wq", WQ_PERCPU)
    if system.drain_works == cython.NULL or system.drain_wq == cython.NULL:
        return False
    works = cython.cast(cython.pointer(drain_work), system.drain_works)
    for cpu in range(count):
        works[cpu].cpu = cpu
        init_work(cython.address(works[cpu].work), drain_local_pages_wq)
    return True
