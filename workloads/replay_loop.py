"""The program that every CPU of a replay runs.

An object's first eight bytes say whose it is: they are written after the allocation and looked at before the free, so
that memory that was handed out twice shows. What is timed is the allocator's call alone.
"""

import cython
from cython.cimports.cpus.cgroup import cgroup_mkdir
from cython.cimports.cpus.cpu import (
    TASK_DONE,
    TASK_RUN,
    cpu_relax,
    kernel_enter,
    kernel_exit,
    run_local_work,
    wake_up_process,
)
from cython.cimports.cpus.memcontrol import mem_cgroup_init, mem_cgroup_write_kmem_limit, the_memcgs
from cython.cimports.cpus.mm_types import __GFP_ACCOUNT, __GFP_ZERO, GFP_ATOMIC, GFP_KERNEL, NUMA_NO_NODE, page
from cython.cimports.cpus.page_alloc import __free_pages, alloc_pages_node
from cython.cimports.cpus.slab import kfree, kmalloc, kmem_cache_alloc, kmem_cache_free
from cython.cimports.cpus.workqueue import flush_workqueue
from cython.cimports.ipc.atomic import (
    atomic_fetch_add,
    cmpxchg,
    cmpxchg_int,
    read_once,
    read_once_ptr,
    smp_load_acquire_int,
    unlikely,
    write_once,
    xchg_int,
)
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.gate import the_gate
from cython.cimports.ipc.histogram import histogram_add
from cython.cimports.ipc.park import PARK_NS, park, park_begin, park_end, sleep_begin, sleep_end, wake_cpu
from cython.cimports.ipc.processor import WAIT_COMPLETION, WAIT_NONE, processor_of
from cython.cimports.libc.stdio import snprintf
from cython.cimports.posix.unistd import pread
from cython.cimports.workloads.replay_stream_loop import (
    CHUNK_BYTES,
    GFP_SHIFT,
    KIND_MASK,
    KIND_SHIFT,
    MEMCG_SHIFT,
    OP_ALLOC,
    OP_END,
    OP_KFREE,
    OP_KFREE_NULL,
    OP_MASK,
    OP_PAGE_ALLOC,
    OP_PAGE_END,
)

if not cython.compiled:
    raise ImportError("workloads.replay_loop is not built; run `make setup`")

ENOMEM = cython.declare(cython.long, 12)


def step(c, t):
    """Some records of this CPU's stream."""
    r = the_replay()
    own = r.cpus[c.hw.id]
    if unlikely(own.begun_ns == 0):
        own.begun_ns = own_ns()
    for _ in range(STEP_RECORDS):
        if unlikely(read_once(cython.address(r.stop)) != 0):
            return finish(r, own)
        if unlikely(own.at == own.buffer.count):
            if own.buffer.next != 0:
                if not load_chunk(r, own, own.buffer.next):
                    return finish(r, own)
            elif not next_pass(r, own):
                return finish(r, own)
            continue
        rec = cython.address(own.buffer.records[own.at])
        op = rec.what & OP_MASK
        if (op == OP_END or op == OP_PAGE_END) and not another_pass(r, own.pass_number):
            return finish(r, own)
        own.clock_us += rec.wait_us
        if unlikely(r.recorded != 0) and not wait_for_time(r, own, c):
            return finish(r, own)
        if not run_record(r, own, c, rec):
            return finish(r, own)
        own.at += 1
        write_once(cython.address(own.records), read_once(cython.address(own.records)) + 1)
    return TASK_RUN


def finish(r, own):
    write_once(cython.address(own.cpu_ns), own_ns() - own.begun_ns)
    write_once(cython.address(own.end_cycles), get_cycles())
    atomic_fetch_add(cython.address(r.running), -1)
    return TASK_DONE


def load_chunk(r, own, at):
    """The next part of the stream, out of the file that the parser has written."""
    own.at = 0
    done: cython.long = 0
    into = cython.cast(cython.p_char, cython.address(own.buffer))
    while done < CHUNK_BYTES:
        got = pread(r.fd, into + done, CHUNK_BYTES - done, at + done)
        if got <= 0:
            own.error = READ_FAILED
            own.buffer.count = 0
            write_once(cython.address(r.stop), 1)
            return False
        done += got
    return True


# --- passes --------------------------------------------------------------------------------------


def another_pass(r, pass_number):
    """Whether a pass follows this one. All CPUs get the same answer: the first that asks decides."""
    while True:
        horizon = read_once(cython.address(r.horizon))
        if horizon >> 1 > pass_number:
            return True
        if horizon & 1:
            return False
        over: cython.bint = read_once(cython.address(r.stop)) != 0
        if r.loops and pass_number + 1 >= r.loops:
            over = True
        if r.deadline and get_cycles() >= r.deadline:
            over = True
        cmpxchg(cython.address(r.horizon), horizon, horizon + (1 if over else 2))


def next_pass(r, own):
    if not another_pass(r, own.pass_number):
        return False
    own.pass_number += 1
    own.clock_us = own.pass_number * r.pass_us
    return load_chunk(r, own, own.first)


# --- records -------------------------------------------------------------------------------------


def run_record(r, own, c, rec):
    """One operation, when its turn has come. False: the replay is to stop."""
    op = rec.what & OP_MASK
    if op == OP_KFREE_NULL:
        kfree(cython.NULL)
        own.ops[op] += 1
        return True
    slot = cython.address(r.slots[rec.slot])
    turn = cython.cast(cython.int, (own.pass_number * slot.per_pass + rec.seq) & TURN_MASK)
    if unlikely((smp_load_acquire_int(cython.address(slot.seq)) & TURN_MASK) != turn):
        if not wait_turn(r, own, c, slot, turn):
            return False
    own.ops[op] += 1
    if op == OP_ALLOC:
        memcg = rec.what >> MEMCG_SHIFT
        if memcg and r.memcgs != cython.NULL:
            c.current.memcg = r.memcgs[memcg - 1]
        do_alloc(r, own, slot, rec)
    elif op < OP_PAGE_ALLOC:
        do_free(r, own, slot, rec, op)
    elif op == OP_PAGE_ALLOC:
        do_page_alloc(own, slot, rec)
    else:
        do_page_free(own, slot, rec)
    # A full barrier: what a waiter has written before its bit is seen by wake_waiters().
    if unlikely(xchg_int(cython.address(slot.seq), (turn + 1) & TURN_MASK) & WAITED):
        wake_waiters(r, slot)
    return True


def do_alloc(r, own, slot, rec):
    gfp: cython.long = GFP_KERNEL
    if rec.what >> GFP_SHIFT & 1:
        gfp = GFP_ATOMIC
    if rec.what >> GFP_SHIFT & 2:
        gfp |= __GFP_ZERO
    if rec.what >> MEMCG_SHIFT and r.memcgs != cython.NULL:
        gfp |= __GFP_ACCOUNT
    which = rec.what >> KIND_SHIFT & KIND_MASK
    kind = cython.address(r.kinds[which])
    begun = get_cycles()
    if kind.cache == cython.NULL:
        obj = kmalloc(kind.size, gfp)
    else:
        obj = kmem_cache_alloc(kind.cache, gfp)
    cycles = get_cycles() - begun
    slot.object = obj
    if unlikely(obj == cython.NULL):
        own.failed += 1
        return
    if kind.size >= 8:
        cython.cast(cython.p_ulong, obj)[0] = rec.slot
    histogram_add(cython.address(own.cost[COST_ALLOC]), cycles)
    own.kinds[which].allocs += 1
    own.kinds[which].alloc_cycles += cycles


def do_free(r, own, slot, rec, op):
    """As the trace freed it; what the trace did not show, by the cache of the object."""
    obj = slot.object
    if unlikely(obj == cython.NULL):
        return  # its allocation found no memory
    slot.object = cython.NULL
    which = rec.what >> KIND_SHIFT & KIND_MASK
    kind = cython.address(r.kinds[which])
    if kind.size >= 8 and cython.cast(cython.p_ulong, obj)[0] != rec.slot:
        own.corrupt += 1
    cached: cython.bint = op != OP_KFREE and kind.cache != cython.NULL
    begun = get_cycles()
    if cached:
        kmem_cache_free(kind.cache, obj)
    else:
        kfree(obj)
    cycles = get_cycles() - begun
    histogram_add(cython.address(own.cost[COST_FREE]), cycles)
    own.kinds[which].frees += 1
    own.kinds[which].free_cycles += cycles


def do_page_alloc(own, slot, rec):
    begun = get_cycles()
    p = alloc_pages_node(NUMA_NO_NODE, rec.what >> KIND_SHIFT & KIND_MASK, GFP_KERNEL)
    histogram_add(cython.address(own.cost[COST_PAGE_ALLOC]), get_cycles() - begun)
    slot.object = p
    own.failed += p == cython.NULL


def do_page_free(own, slot, rec):
    p = cython.cast(cython.pointer(page), slot.object)
    if unlikely(p == cython.NULL):
        return
    slot.object = cython.NULL
    begun = get_cycles()
    __free_pages(p, rec.what >> KIND_SHIFT & KIND_MASK)
    histogram_add(cython.address(own.cost[COST_PAGE_FREE]), get_cycles() - begun)


# --- waiting -------------------------------------------------------------------------------------


def wait_turn(r, own, c, slot, turn):
    """Wait until `turn` operations on the slot are done. False: the replay is to stop."""
    own.waits += 1
    begun = get_cycles()
    for _ in range(SPINS if the_gate().on else OWN_CORE_SPINS):
        if smp_load_acquire_int(cython.address(slot.seq)) & TURN_MASK == turn:
            own.wait_cycles += get_cycles() - begun
            return True
        cpu_relax()
    own.sleeps += 1
    came: cython.bint = sleep_for_turn(r, c, slot, turn)
    own.wait_cycles += get_cycles() - begun
    return came


def sleep_for_turn(r, c, slot, turn):
    """Sleep in the kernel, as in a futex, with the host core given away; this CPU's own work items go on."""
    me = cython.address(c.hw)
    was = kernel_enter()
    me.waiting_for = WAIT_COMPLETION
    me.waiting_since = get_cycles()
    me.waiting_on = cython.cast(cython.long, slot)
    write_once(cython.address(r.waiting[me.id]), cython.cast(cython.long, slot))
    came: cython.bint = False
    sleep_begin(me)
    while read_once(cython.address(r.stop)) == 0:
        seen = park_begin(me)
        value = smp_load_acquire_int(cython.address(slot.seq))
        came = (value & TURN_MASK) == turn
        if came:
            break
        if value & WAITED == 0 and cmpxchg_int(cython.address(slot.seq), value, value | WAITED) != value:
            continue
        if (
            read_once_ptr(cython.address(c.work_list)) != cython.NULL
            or c.work_head != cython.NULL
            or c.softirq_pending != 0
        ):
            sleep_end(me)
            run_local_work(c)
            sleep_begin(me)
            continue
        park(me, seen, PARK_NS)
    park_end(me)
    write_once(cython.address(r.waiting[me.id]), 0)
    sleep_end(me)
    me.waiting_for = WAIT_NONE
    kernel_exit(was)
    return came


def wake_waiters(r, slot):
    """Whoever sleeps for this slot looks again; rare, so they are searched for."""
    for id in range(segment().nr_cpus):
        if read_once(cython.address(r.waiting[id])) == cython.cast(cython.long, slot):
            wake_cpu(processor_of(id))


def wait_for_time(r, own, c):
    """--timing recorded: not before its time. False: the replay is to stop."""
    me = cython.address(c.hw)
    per_us = segment().cycles_per_us
    due = r.start_cycles + own.clock_us * per_us
    while read_once(cython.address(r.stop)) == 0:
        left_ns = (due - get_cycles()) * 1000 // per_us
        if left_ns <= 0:
            return True
        if left_ns < SHORT_NS:
            cpu_relax()
            continue
        left_ns -= SHORT_NS // 2
        if left_ns > NAP_NS:
            left_ns = NAP_NS
        was = kernel_enter()
        sleep_begin(me)
        seen = park_begin(me)
        park(me, seen, left_ns)
        park_end(me)
        sleep_end(me)
        kernel_exit(was)
    return False


# --- mailed --------------------------------------------------------------------------------------


def make_memcgs(args):
    """The memcgs that accounted objects are charged to. Their accounting begins with a limit, as before Linux 4.6."""
    r = the_replay()
    error: cython.long = mem_cgroup_init(args[0])
    name: cython.char[32]
    for i in range(r.nr_memcgs):
        if error != 0:
            break
        snprintf(name, 32, "replay-%ld", i)
        memcg = cgroup_mkdir(name)
        if memcg == cython.NULL:
            return -ENOMEM
        r.memcgs[i] = memcg
        error = mem_cgroup_write_kmem_limit(memcg, cython.cast(cython.long, 1) << 50)
    return error


def flush_creations(args):
    """Wait until no child cache is still to be made."""
    if the_replay().memcgs != cython.NULL:
        flush_workqueue(the_memcgs().memcg_kmem_cache_wq)
    return 0


def start(args):
    """Let every CPU that has a stream begin."""
    r = the_replay()
    r.start_cycles = get_cycles()
    if r.seconds_cycles:
        r.deadline = r.start_cycles + r.seconds_cycles
    for id in range(segment().nr_cpus):
        if r.cpus[id] != cython.NULL:
            atomic_fetch_add(cython.address(r.running), 1)
    for id in range(segment().nr_cpus):
        if r.cpus[id] != cython.NULL:
            wake_up_process(cython.address(r.cpus[id].program), id)
    return 0


def stop(args):
    write_once(cython.address(the_replay().stop), 1)
    for id in range(segment().nr_cpus):
        wake_cpu(processor_of(id))
    return 0
