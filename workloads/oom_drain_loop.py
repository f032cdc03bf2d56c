"""What the tasks of oom-drain do.

A sender sends messages to its receiver: each costs two slab objects and a page. It also has a working set of pages that
may be reclaimed, which it walks over and over: what was taken from it is mapped again. The receiver frees what has
come. Whoever finds no memory leaves its step and tries again at its next one; who is killed gives everything back.
"""

import cython
from cython.cimports.cpus.cpu import TASK_DONE, TASK_RUN, kernel_enter, kernel_exit, wake_up_process
from cython.cimports.cpus.llist import llist_add, llist_del_all_reversed
from cython.cimports.cpus.mm_types import GFP_HIGHUSER_MOVABLE, GFP_KERNEL, page
from cython.cimports.cpus.mmzone import holds_pages, zone
from cython.cimports.cpus.oom_kill import oom_task_add, oom_task_exit
from cython.cimports.cpus.page_alloc import __free_pages, alloc_pages_node
from cython.cimports.cpus.slab import kfree, kmalloc
from cython.cimports.cpus.vmscan import lru_cache_add, mark_page_accessed, page_unmap
from cython.cimports.ipc.atomic import atomic_fetch_add, read_once, read_once_ptr, vlong, write_once
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.memory import heap_alloc
from cython.cimports.ipc.processor import COORDINATOR

if not cython.compiled:
    raise ImportError("workloads.oom_drain_loop is not built; run `make setup`")

ENOMEM = cython.declare(cython.long, 12)


def pair_of(t):
    return cython.address(the_storm().pairs[t.arg[0]])


def free_message(m):
    __free_pages(cython.cast(cython.pointer(page), m.data), 0)
    kfree(m.skb)
    kfree(m)


def receive_all(p):
    m = cython.cast(cython.pointer(message), llist_del_all_reversed(cython.address(p.inbox)))
    while m != cython.NULL:
        following = m.next
        free_message(m)
        p.received += 1
        atomic_fetch_add(cython.address(p.in_flight), -1)
        m = following


def count_holders():
    found: cython.long = 0
    for id in range(segment().nr_cpus):
        found += holds_pages(id, cython.cast(cython.pointer(zone), cython.NULL))
    return found


def note_failure(p):
    p.failed += 1
    p.failed_with_pages += count_holders() != 0


def send_one(p):
    """False when memory is out; then nothing is kept."""
    m = cython.cast(cython.pointer(message), kmalloc(MESSAGE_BYTES, GFP_KERNEL))
    if m == cython.NULL:
        return False
    m.skb = kmalloc(SKB_BYTES, GFP_KERNEL)
    if m.skb == cython.NULL:
        kfree(m)
        return False
    m.data = alloc_pages_node(-1, 0, GFP_KERNEL)
    if m.data == cython.NULL:
        kfree(m.skb)
        kfree(m)
        return False
    atomic_fetch_add(cython.address(p.in_flight), 1)
    llist_add(cython.address(p.inbox), m)
    p.sent += 1
    return True


def fault_one(p, pages):
    """Use the next page of the working set, and map it if it is not there."""
    slot = cython.address(p.slots[p.at])
    p.at = p.at + 1 if p.at + 1 < pages else 0
    if read_once_ptr(slot) != cython.NULL:
        if p.at & 7 == 0:
            mark_page_accessed(slot)
        return True
    got = alloc_pages_node(-1, 0, GFP_HIGHUSER_MOVABLE)
    if got == cython.NULL:
        return False
    lru_cache_add(got, slot)
    p.faults += 1
    if p.at > p.mapped:
        p.mapped = p.at
    return True


def give_back(p):
    """Everything that this pair holds."""
    for i in range(the_storm().pressure_pages):
        if read_once_ptr(cython.address(p.slots[i])) != cython.NULL:
            page_unmap(cython.address(p.slots[i]))
    receive_all(p)


def sample(s, p):
    p.steps += 1
    if p.steps % SAMPLE_EVERY == 0 and read_once(cython.address(s.phase)) <= PHASE_PRESSURE:
        found = cython.address(s.samples[read_once(cython.address(s.phase))][count_holders()])
        atomic_fetch_add(cython.cast(cython.pointer(vlong), found), 1)


def send_step(c, t):
    s = the_storm()
    p = pair_of(t)
    phase = read_once(cython.address(s.phase))
    was = kernel_enter()
    if phase == PHASE_STOP or read_once(cython.address(p.oom.killed)):
        give_back(p)
        oom_task_exit(p.oom)
        if read_once(cython.address(p.oom.killed)):
            p.victim_cycles = get_cycles() - p.oom.killed_at
        kernel_exit(was)
        atomic_fetch_add(cython.address(s.running), -1)
        return TASK_DONE
    pages = s.calm_pages if phase == PHASE_CALM else s.pressure_pages
    for _ in range(BURST):
        full: cython.bint = phase != PHASE_EXHAUST and read_once(cython.address(p.in_flight)) >= SOCKET_MESSAGES
        if not fault_one(p, pages) or (not full and not send_one(p)):
            note_failure(p)
            break
    write_once(cython.address(p.oom.pages), p.mapped + read_once(cython.address(p.in_flight)))
    sample(s, p)
    kernel_exit(was)
    return TASK_RUN


def receive_step(c, t):
    s = the_storm()
    p = pair_of(t)
    phase = read_once(cython.address(s.phase))
    was = kernel_enter()
    over: cython.bint = read_once(cython.address(p.oom.gone)) != 0
    if phase != PHASE_EXHAUST or over:
        receive_all(p)
    kernel_exit(was)
    if over:
        atomic_fetch_add(cython.address(s.running), -1)
        return TASK_DONE
    return TASK_RUN


def set_up(args):
    s = cython.cast(cython.pointer(storm), heap_alloc(cython.sizeof(storm)))
    if s == cython.NULL:
        return -ENOMEM
    s.nr_pairs = args[0]
    s.calm_pages = args[1]
    s.pressure_pages = args[2]
    s.pairs = cython.cast(cython.pointer(pair), heap_alloc(s.nr_pairs * cython.sizeof(pair)))
    if s.pairs == cython.NULL:
        return -ENOMEM
    for i in range(s.nr_pairs):
        p = cython.address(s.pairs[i])
        size = s.pressure_pages * cython.sizeof(cython.p_void)
        p.slots = cython.cast(cython.pointer(cython.p_void), heap_alloc(size))
        p.oom = oom_task_add()
        if p.slots == cython.NULL or p.oom == cython.NULL:
            return -ENOMEM
        for which in range(2):
            t = cython.address(p.sender) if which == 0 else cython.address(p.receiver)
            t.step = send_step if which == 0 else receive_step
            t.arg[0] = i
            # A receiver runs on the next CPU, so messages are freed where they were not allocated.
            t.cpu = (i + which) % segment().nr_cpus
            t.done.waiter = COORDINATOR
    segment().area[AREA_WORKLOAD] = cython.cast(cython.long, s)
    return 0


def start(args):
    s = the_storm()
    s.running = 2 * s.nr_pairs
    for i in range(s.nr_pairs):
        wake_up_process(cython.address(s.pairs[i].sender), s.pairs[i].sender.cpu)
        wake_up_process(cython.address(s.pairs[i].receiver), s.pairs[i].receiver.cpu)
    return 0


def set_phase(args):
    write_once(cython.address(the_storm().phase), args[0])
    return 0


def entry_points() -> dict:
    """Address of each function that is mailed to a CPU, by name."""
    return {
        "set_up": cython.cast(cython.long, cython.cast(cython.p_void, set_up)),
        "start": cython.cast(cython.long, cython.cast(cython.p_void, start)),
        "set_phase": cython.cast(cython.long, cython.cast(cython.p_void, set_phase)),
    }


def running() -> int:
    """Tasks that have not ended."""
    return read_once(cython.address(the_storm().running))


def outcome() -> dict:
    """What was counted."""
    s = the_storm()
    per_us = segment().cycles_per_us
    total = {"sent": 0, "received": 0, "faults": 0, "failed": 0, "failed_with_pages": 0, "victim_ns": 0}
    for i in range(s.nr_pairs):
        p = cython.address(s.pairs[i])
        total["sent"] += p.sent
        total["received"] += p.received
        total["faults"] += p.faults
        total["failed"] += p.failed
        total["failed_with_pages"] += p.failed_with_pages
        total["victim_ns"] = max(total["victim_ns"], p.victim_cycles * 1000 // per_us)
    cpus = range(segment().nr_cpus + 1)
    return {
        **total,
        "calm": [s.samples[PHASE_CALM][i] for i in cpus],
        "pressure": [s.samples[PHASE_PRESSURE][i] for i in cpus],
    }
