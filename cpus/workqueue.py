"""kernel/workqueue.c: items run on CPUs as kworkers, one at a time, oldest first.

A per-CPU item runs on the CPU that queued it. An ordered workqueue has one worker at a time: the CPU it runs on is the
next online one after the last each time the queue becomes busy, and stays until the queue is empty (the kernel's
unbound worker runs wherever the scheduler puts it; the choice is recorded in docs/decisions).
"""

import cython
from cython.cimports.cpus.cpu import AREA_WORKQUEUES, cpu_of, cpu_online_mask, this_cpu
from cython.cimports.cpus.events import EV_WORK_BEGIN, EV_WORK_END
from cython.cimports.cpus.llist import llist_add, llist_del_all_reversed
from cython.cimports.cpus.locks import CLASS_WORKQUEUE_LOCK
from cython.cimports.cpus.vmstat import WORK_RUN
from cython.cimports.ipc.atomic import atomic_fetch_add, read_once, read_once_ptr, write_once, xchg
from cython.cimports.ipc.cpumask import cpumask_next
from cython.cimports.ipc.gate import RESCHED
from cython.cimports.ipc.interrupt import raise_vector
from cython.cimports.ipc.lock import spin_lock_init, spin_lock_irqsave, spin_unlock_irqrestore
from cython.cimports.ipc.memory import heap_alloc, segment
from cython.cimports.ipc.park import PARK_NS, park, park_begin, park_end, sleep_begin, sleep_end, wake_cpu
from cython.cimports.ipc.processor import (
    COORDINATOR,
    RESCHEDULE_VECTOR,
    WAIT_COMPLETION,
    WAIT_NONE,
    processor_of,
    this_processor,
)
from cython.cimports.ipc.trace import trace
from cython.cimports.libc.string import strncpy

if not cython.compiled:
    raise ImportError("cpus.workqueue is not built; run `make setup`")


def init_work(work, func):
    work.func = func
    work.pending = 0


def alloc_workqueue(name, kind):
    wq = cython.cast(cython.pointer(workqueue_struct), heap_alloc(cython.sizeof(workqueue_struct)))
    if wq != cython.NULL:
        strncpy(wq.name, name, 31)
        wq.kind = kind
        wq.next_cpu = -1
        spin_lock_init(cython.address(wq.lock), CLASS_WORKQUEUE_LOCK)
    return wq


def push_to_cpu(cpu, work):
    """Link an item to a CPU's list and make the CPU look: by its own flag, or by interrupt."""
    was_empty: cython.bint = llist_add(cython.address(cpu_of(cpu).work_list), work)
    if cpu == this_processor().id:
        this_processor().need_resched |= RESCHED
    elif was_empty:
        raise_vector(processor_of(cpu), RESCHEDULE_VECTOR)


def next_worker_cpu(wq):
    cpu = cpumask_next(wq.next_cpu, cpu_online_mask())
    if cpu < 0:
        cpu = cpumask_next(-1, cpu_online_mask())
    wq.next_cpu = cpu
    return cpu


def queue_ordered(wq, work):
    flags = spin_lock_irqsave(cython.address(wq.lock))
    work.next = cython.NULL
    cpu: cython.long = -1
    if wq.running == 0:
        wq.running = 1
        cpu = next_worker_cpu(wq)
    elif wq.head == cython.NULL:
        wq.head = work
        wq.tail = work
    else:
        wq.tail.next = work
        wq.tail = work
    spin_unlock_irqrestore(cython.address(wq.lock), flags)
    if cpu >= 0:
        push_to_cpu(cpu, work)


def next_ordered(wq):
    """The item after the one that just ended, or NULL, and then the workqueue is idle."""
    flags = spin_lock_irqsave(cython.address(wq.lock))
    work = wq.head
    if work == cython.NULL:
        wq.running = 0
    else:
        wq.head = work.next
    spin_unlock_irqrestore(cython.address(wq.lock), flags)
    return work


def queue_work_on(cpu, wq, work):
    if xchg(cython.address(work.pending), 1):
        return False
    work.wq = wq
    atomic_fetch_add(cython.address(wq.queued), 1)
    if wq.kind == WQ_ORDERED:
        queue_ordered(wq, work)
    else:
        push_to_cpu(cpu, work)
    return True


def queue_work(wq, work):
    """The coordinator has no kworker: what it queues runs on CPU 0."""
    id = this_processor().id
    return queue_work_on(0 if id == COORDINATOR else id, wq, work)


def run_item(me, work):
    """Run one item. It may be freed, or queued again, as soon as it runs: nothing of it is touched afterwards."""
    wq = work.wq
    func = work.func
    trace(EV_WORK_BEGIN, cython.cast(cython.ulong, work))
    me.in_kworker = 1
    me.work_running = wq
    write_once(cython.address(work.pending), 0)
    func(work)
    me.in_kworker = 0
    me.work_running = cython.NULL
    me.counter[WORK_RUN] += 1
    trace(EV_WORK_END, cython.cast(cython.ulong, work))
    atomic_fetch_add(cython.address(wq.finished), 1)
    flusher = read_once(cython.address(wq.flushers))
    if flusher != 0:
        wake_cpu(processor_of(flusher - 2))
    return wq


def collect_items(me):
    """Move what others have pushed behind this CPU's own items."""
    if read_once_ptr(cython.address(me.work_list)) == cython.NULL:
        return
    first = cython.cast(cython.pointer(work_struct), llist_del_all_reversed(cython.address(me.work_list)))
    if me.work_head == cython.NULL:
        me.work_head = first
    else:
        cython.cast(cython.pointer(work_struct), me.work_tail).next = first
    last = first
    while last.next != cython.NULL:
        last = last.next
    me.work_tail = last


def run_kworkers(me):
    ran: cython.bint = False
    collect_items(me)
    while me.work_head != cython.NULL:
        work = cython.cast(cython.pointer(work_struct), me.work_head)
        me.work_head = work.next
        wq = run_item(me, work)
        while wq.kind == WQ_ORDERED:
            work = next_ordered(wq)
            if work == cython.NULL:
                break
            run_item(me, work)
        ran = True
        collect_items(me)
    return ran


def lost_item(work):
    pass


def adopt_work_of_dead(cpu):
    """As the kernel does when a CPU goes: its items run elsewhere. An empty one ends what it has died in."""
    dead = cpu_of(cpu)
    target: cython.long = cpumask_next(-1, cpu_online_mask())
    if target < 0:
        return
    if dead.work_running != cython.NULL:
        lost = cython.cast(cython.pointer(work_struct), heap_alloc(cython.sizeof(work_struct)))
        if lost != cython.NULL:
            init_work(lost, lost_item)
            lost.wq = cython.cast(cython.pointer(workqueue_struct), dead.work_running)
            dead.lost_work = lost
            push_to_cpu(target, lost)
    collect_items(dead)
    while dead.work_head != cython.NULL:
        work = cython.cast(cython.pointer(work_struct), dead.work_head)
        dead.work_head = work.next
        push_to_cpu(target, work)


def flush_workqueue(wq):
    """Wait until the workqueue has nothing queued and nothing running. One flusher at a time."""
    me = this_processor()
    write_once(cython.address(wq.flushers), me.id + 2)
    me.waiting_for = WAIT_COMPLETION
    me.waiting_on = cython.cast(cython.long, wq)
    sleep_begin(me)
    while True:
        seen = park_begin(me)
        if read_once(cython.address(wq.finished)) == read_once(cython.address(wq.queued)):
            break
        if me.id >= 0 and this_cpu().in_kworker == 0 and run_own_items():
            continue
        park(me, seen, PARK_NS)
    park_end(me)
    sleep_end(me)
    me.waiting_for = WAIT_NONE
    write_once(cython.address(wq.flushers), 0)


def run_own_items():
    """A CPU that waits for its own items must run them: its kworker is itself."""
    me = this_cpu()
    collect_items(me)
    if me.work_head == cython.NULL:
        return False
    sleep_end(cython.address(me.hw))
    run_kworkers(me)
    sleep_begin(cython.address(me.hw))
    return True


def init_workqueues() -> bool:
    """The table by which observers find the workqueues."""
    segment().area[AREA_WORKQUEUES] = cython.cast(cython.long, heap_alloc(8 * MAX_WORKQUEUES))
    return segment().area[AREA_WORKQUEUES] != 0
