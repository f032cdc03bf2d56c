"""The loops of ipi-bench. A round: stamp, call, stamp; the samples go to arrays in the segment.

Two times are kept of each call. `acked` ends at the last target's ack, before the sender gives anything back: what an
interrupt costs. `returned` ends when the call returns: what the caller waits.
"""

import cython
from cython.cimports.cpus.cpu import AREA_WORKLOAD, TASK_DONE, cpu_of, cpu_relax, nr_cpu_ids, this_cpu, wake_up_process
from cython.cimports.cpus.locks import CLASS_WORKLOAD_LOCK
from cython.cimports.cpus.smp import (
    on_each_cpu_cond,
    on_each_cpu_mask,
    smp_call_function,
    smp_call_function_many,
    smp_call_function_single,
)
from cython.cimports.ipc.atomic import atomic_fetch_add, barrier, read_once, write_once
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.cpumask import cpumask_clear, cpumask_set_cpu
from cython.cimports.ipc.host import getpid
from cython.cimports.ipc.interrupt import (
    local_irq_restore,
    local_irq_save,
    poll_interrupts,
    preempt_disable,
    preempt_enable,
)
from cython.cimports.ipc.lock import spin_lock, spin_lock_init, spin_unlock
from cython.cimports.ipc.memory import heap_alloc, segment
from cython.cimports.ipc.processor import COORDINATOR
from cython.cimports.ipc.random import draw

if not cython.compiled:
    raise ImportError("workloads.ipi_bench_loop is not built; run `make setup`")


# --- handlers ------------------------------------------------------------------------------------


def do_nothing(info):
    pass


def note_time(info):
    write_once(cython.address(cython.cast(cython.pointer(bench), info).handled_at), get_cycles())


def count_handled(info):
    atomic_fetch_add(cython.address(cython.cast(cython.pointer(bench), info).handled), 1)


def take_lock(info):
    lock = cython.address(cython.cast(cython.pointer(bench), info).lock)
    spin_lock(lock)
    spin_unlock(lock)


# --- the sender ----------------------------------------------------------------------------------


def one_round(b, action, target):
    if action == CALL_SELF:
        smp_call_function_single(this_cpu().hw.id, note_time, b, True)
    elif action == CALL_ONE:
        smp_call_function_single(target, do_nothing, b, True)
    elif action == CALL_ONE_TIMED:
        smp_call_function_single(target, note_time, b, True)
    elif action == CALL_NO_WAIT:
        smp_call_function_single(target, count_handled, b, False)
    elif action == CALL_MANY:
        smp_call_function(do_nothing, b, True)
    elif action == CALL_MASK:
        on_each_cpu_mask(cython.address(b.mask), do_nothing, b, True)
    elif action == CALL_LOCK:
        smp_call_function(take_lock, b, True)


def wait_between(gap_us, spin):
    if gap_us == 0:
        return
    if not spin:
        usleep(gap_us)
        return
    me = cython.address(this_cpu().hw)
    until = get_cycles() + gap_us * segment().cycles_per_us
    while get_cycles() < until:  # as the floor waits; a virtual host punishes long loops of PAUSE
        poll_interrupts(me)


def send(args):
    """args: action, rounds, warm-up rounds, gap in us, whether to spin in the gap, target. Returns the rounds made.

    Preemption is off for the whole loop, as in Norov's module for each call: with the gate a sender would otherwise
    stand in line for its core between two rounds.
    """
    b = the_bench()
    c = this_cpu()
    rounds: cython.long = args[1]
    sent: cython.long = 0
    write_once(cython.address(b.handled), 0)
    preempt_disable()
    for i in range(-args[2], rounds):
        start = get_cycles()
        one_round(b, args[0], args[5])
        end = get_cycles()
        sent += 1
        if i >= 0:
            b.acked[i] = read_once(cython.address(c.acked_at)) - start
            b.returned[i] = end - start
            b.delivered[i] = read_once(cython.address(b.handled_at)) - start
        wait_between(args[3], args[4] != 0)
    if args[0] == CALL_NO_WAIT:
        while read_once(cython.address(b.handled)) != sent:
            cpu_relax()
    preempt_enable()
    return rounds


# --- busy targets --------------------------------------------------------------------------------


def busy_pure(c, t):
    b = the_bench()
    atomic_fetch_add(cython.address(b.started), 1)
    while read_once(cython.address(b.stop)) == 0:
        pass
    atomic_fetch_add(cython.address(b.finished), 1)
    return TASK_DONE


def busy_irq_off(c, t):
    b = the_bench()
    section = SECTION_NS * segment().cycles_per_us // 1000
    atomic_fetch_add(cython.address(b.started), 1)
    while read_once(cython.address(b.stop)) == 0:
        flags = local_irq_save()
        until = get_cycles() + section
        while get_cycles() < until:
            barrier()
        local_irq_restore(flags)
    atomic_fetch_add(cython.address(b.finished), 1)
    return TASK_DONE


def busy_poll(c, t):
    b = the_bench()
    atomic_fetch_add(cython.address(b.started), 1)
    while read_once(cython.address(b.stop)) == 0:
        cpu_relax()
    atomic_fetch_add(cython.address(b.finished), 1)
    return TASK_DONE


def start_busy(args):
    """args: first CPU, how many, kind. Gives each a task that runs until stop_busy()."""
    b = the_bench()
    write_once(cython.address(b.stop), 0)
    write_once(cython.address(b.started), 0)
    write_once(cython.address(b.finished), 0)
    for id in range(args[0], args[0] + args[1]):
        t = cython.address(b.tasks[id])
        t.memcg = cython.NULL
        t.done.done = 0
        t.done.waiter = COORDINATOR
        t.step = busy_pure
        if args[2] == BUSY_IRQ_OFF:
            t.step = busy_irq_off
        elif args[2] == BUSY_POLL:
            t.step = busy_poll
        wake_up_process(t, id)
    return args[1]


# --- interrupts that are avoided -----------------------------------------------------------------


def has_nothing(cpu, info):
    """A condition as has_cpu_slab() is: one word of the other CPU's own memory."""
    return read_once(cython.address(cpu_of(cpu).acks)) == -1


def avoid(args):
    """One on_each_cpu_cond() that finds no CPU to interrupt; its length in cycles."""
    start = get_cycles()
    on_each_cpu_cond(has_nothing, do_nothing, cython.NULL, True, False)
    return get_cycles() - start


def dirty(args):
    """Write to that word of every CPU, without changing it: the lines are then in this host core's cache."""
    for id in range(nr_cpu_ids()):
        atomic_fetch_add(cython.address(cpu_of(id).acks), 0)
    return 0


# --- torture -------------------------------------------------------------------------------------


def tally_one(b, wrong):
    """Count a request of this CPU; it is wrong, too, if this is not the process that the CPU booted in."""
    t = cython.address(b.tallies[this_cpu().hw.id])
    t.run += 1
    if wrong or getpid() != this_cpu().hw.pid:
        t.wrong_cpu += 1


def check_csd(info):
    """A request of a broadcast, or one that is waited for: its csd said who it was meant for."""
    c = this_cpu()
    tally_one(cython.cast(cython.pointer(bench), info), c.served_target != c.hw.id)


def check_info(info):
    """A single request that nobody waits for: its csd is the sender's again, so `info` is the target's own tally."""
    b = the_bench()
    tally_one(b, info != cython.cast(cython.p_void, cython.address(b.tallies[this_cpu().hw.id])))


def storm_mask(b, me, chosen):
    """A call of every CPU whose bit is set in `chosen`, modulo 64; waited for if that is one: a single call."""
    mask: cpumask
    count: cython.long = 0
    cpumask_clear(cython.address(mask))
    for id in range(nr_cpu_ids()):
        if id != me and chosen >> (id & 63) & 1:
            cpumask_set_cpu(id, cython.address(mask))
            b.sent[me * nr_cpu_ids() + id] += 1
            count += 1
    smp_call_function_many(cython.address(mask), check_csd, b, count == 1 or chosen >> 63 != 0)
    return count


def storm_once(b, me, state):
    """One call, by chance: half broadcasts, a quarter of a random mask, an eighth single each, waiting or not."""
    cpus = nr_cpu_ids()
    drawn = draw(state)
    what = drawn & 7
    if what < 4:
        for id in range(cpus):
            b.sent[me * cpus + id] += id != me
        smp_call_function(check_csd, b, drawn >> 8 & 7 != 0)
        return cpus - 1
    if what < 6:
        return storm_mask(b, me, draw(state))
    target: cython.long = cython.cast(cython.long, (drawn >> 16) % cython.cast(cython.ulong, cpus - 1))
    target += target >= me
    b.sent[me * cpus + target] += 1
    if what == 6:
        smp_call_function_single(target, check_csd, b, True)
    else:
        smp_call_function_single(target, check_info, cython.address(b.tallies[target]), False)
    return 1


def storm(args):
    """args: how many requests to send from here, seed. Every CPU runs one at the same time. Returns those sent."""
    b = the_bench()
    state: cython.ulong = cython.cast(cython.ulong, args[1] + this_cpu().hw.id * 7919 + 1)
    sent: cython.long = 0
    while sent < args[0]:
        sent += storm_once(b, this_cpu().hw.id, cython.address(state))
    return sent


# --- Python's side -------------------------------------------------------------------------------


def prepare() -> bool:
    """Make the bench in the segment of the machine that has just booted. False when memory is out."""
    b = cython.cast(cython.pointer(bench), heap_alloc(cython.sizeof(bench)))
    if b == cython.NULL:
        return False
    cpus = nr_cpu_ids()
    words = MAX_ROUNDS * cython.sizeof(cython.long)
    b.tasks = cython.cast(cython.pointer(task), heap_alloc(cpus * cython.sizeof(task)))
    b.acked = cython.cast(cython.p_long, heap_alloc(words))
    b.returned = cython.cast(cython.p_long, heap_alloc(words))
    b.delivered = cython.cast(cython.p_long, heap_alloc(words))
    b.sent = cython.cast(cython.p_long, heap_alloc(cpus * cpus * cython.sizeof(cython.long)))
    b.tallies = cython.cast(cython.pointer(tally), heap_alloc(cpus * cython.sizeof(tally)))
    if b.tasks == cython.NULL or b.acked == cython.NULL or b.returned == cython.NULL:
        return False
    if b.delivered == cython.NULL or b.sent == cython.NULL or b.tallies == cython.NULL:
        return False
    spin_lock_init(cython.address(b.lock), CLASS_WORKLOAD_LOCK)
    for id in range(0, cpus, 2):
        cpumask_set_cpu(id, cython.address(b.mask))
    segment().area[AREA_WORKLOAD] = cython.cast(cython.long, b)
    return True


def functions() -> dict:
    """Addresses for Machine.call()."""
    return {
        "send": cython.cast(cython.long, cython.cast(cython.p_void, send)),
        "start_busy": cython.cast(cython.long, cython.cast(cython.p_void, start_busy)),
        "storm": cython.cast(cython.long, cython.cast(cython.p_void, storm)),
        "avoid": cython.cast(cython.long, cython.cast(cython.p_void, avoid)),
        "dirty": cython.cast(cython.long, cython.cast(cython.p_void, dirty)),
    }


def samples(kind: str, count: int) -> list:
    """The first samples of the last block, in cycles."""
    b = the_bench()
    array = b.acked if kind == "acked" else b.returned if kind == "returned" else b.delivered
    return [array[i] for i in range(count)]


def busy_started() -> int:
    return read_once(cython.address(the_bench().started))


def busy_finished() -> int:
    return read_once(cython.address(the_bench().finished))


def stop_busy() -> None:
    write_once(cython.address(the_bench().stop), 1)


def tallies() -> list:
    """Per CPU of the torture: requests addressed to it, run there, and those that were not its own."""
    b = the_bench()
    cpus = nr_cpu_ids()
    found = []
    for id in range(cpus):
        addressed: cython.long = 0
        for sender in range(cpus):
            addressed += b.sent[sender * cpus + id]
        found.append((addressed, b.tallies[id].run, b.tallies[id].wrong_cpu))
    return found
