"""Operations for the tests of the machine: programs, slots, work items, readers, rings, masks, histograms."""

import cython
from cython.cimports.cpus.cpu import TASK_DONE, TASK_RUN, this_cpu, wake_up_process
from cython.cimports.cpus.rcu import call_rcu_sched, note_quiescent_state, rcu_barrier_sched, synchronize_sched
from cython.cimports.cpus.selftest import compute, pause_turns, release, run_log, set_word, wait_for_word, word
from cython.cimports.cpus.selftest_calls import SECTION_IRQ, SECTION_PREEMPT, log_add
from cython.cimports.cpus.workqueue import alloc_workqueue, flush_workqueue, init_work, queue_work
from cython.cimports.ipc.atomic import atomic_fetch_add, smp_mb, xchg
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.cpumask import (
    MASK_LONGS,
    cpumask_and,
    cpumask_clear,
    cpumask_clear_cpu,
    cpumask_copy,
    cpumask_empty,
    cpumask_next,
    cpumask_set_cpu,
    cpumask_test_cpu,
    cpumask_weight,
)
from cython.cimports.ipc.gate import the_gate
from cython.cimports.ipc.histogram import HISTOGRAM_BUCKETS, bucket_of, histogram, histogram_add
from cython.cimports.ipc.interrupt import local_irq_restore, local_irq_save, preempt_disable, preempt_enable
from cython.cimports.ipc.memory import heap_alloc, segment
from cython.cimports.ipc.processor import processor_of, this_processor
from cython.cimports.ipc.trace import trace

if not cython.compiled:
    raise ImportError("cpus.selftest_kernel is not built; run `make setup`")


def user_step(c, t):
    """A program in user mode: computes until its word is set."""
    if the_gate().on and c.hw.slot < 0:
        t.arg[TASK_WITHOUT_SLOT] += 1
    compute(t.arg[TASK_SPIN_US])
    return TASK_DONE if read_once(word(t.arg[TASK_STOP])) else TASK_RUN


def start_task(args):
    """Start a program on CPU args[0]: it computes args[2] us per step until word args[1] is set. Its address."""
    t = cython.cast(cython.pointer(task), heap_alloc(cython.sizeof(task)))
    if t == cython.NULL:
        return 0
    t.step = user_step
    t.arg[TASK_STOP] = args[1]
    t.arg[TASK_SPIN_US] = args[2]
    t.done.waiter = -1
    wake_up_process(t, args[0])
    return cython.cast(cython.long, t)


def task_state(address: int) -> dict:
    """What a program has done."""
    t = cython.cast(cython.pointer(task), cython.cast(cython.ulong, address))
    return {"steps": t.steps, "done": t.done.done != 0, "without_slot": t.arg[TASK_WITHOUT_SLOT]}


def sample_slots(args):
    """args[0] times look at who holds a slot. args[1]: words for the most CPUs seen with one at the same instant, pairs
    of CPUs seen with the same one, CPUs seen with a number that is none, and looks in which somebody held one.

    Who has the same slot and the same count of moves in two looks one after the other has held it all the time.
    """
    out = word(args[1])
    slots: cython.long[1024]
    moves: cython.long[1024]
    used: cython.long[256]
    count = segment().nr_cpus
    for _ in range(args[0]):
        for cpu in range(count):
            moves[cpu] = cython.cast(cython.pointer(vlong), cython.address(processor_of(cpu).gate_moves))[0]
            slots[cpu] = cython.cast(cython.pointer(vlong), cython.address(processor_of(cpu).slot))[0]
        smp_mb()
        held: cython.long = 0
        for i in range(256):
            used[i] = 0
        for cpu in range(count):
            slot = cython.cast(cython.pointer(vlong), cython.address(processor_of(cpu).slot))[0]
            now = cython.cast(cython.pointer(vlong), cython.address(processor_of(cpu).gate_moves))[0]
            if slot < 0 or slot != slots[cpu] or now != moves[cpu]:
                continue
            held += 1
            if slot >= the_gate().tokens:
                out[2] += 1
            else:
                out[1] += used[slot]
                used[slot] += 1
        if held > out[0]:
            out[0] = held
        out[3] += held > 0
    return 0


def gate_state() -> dict:
    """The gate: tokens held, CPUs that want one, whether it is closed."""
    g = the_gate()
    return {
        "on": g.on != 0,
        "tokens": g.tokens,
        "held": {t: read_once(cython.address(g.token[t])) - 1 for t in range(g.tokens) if g.token[t]},
        "want": [i for i in range(1024) if cpumask_test_cpu(i, cython.address(g.want))],
        "urgent": [i for i in range(1024) if cpumask_test_cpu(i, cython.address(g.urgent))],
        "broadcast": g.broadcast,
        "closing": g.closing,
    }


def work_log(work):
    """Enter the item's number << 16 | CPU, and note whether another item of the log was running."""
    log = cython.cast(cython.pointer(run_log), cython.cast(cython.ulong, work.data[0]))
    if atomic_fetch_add(cython.address(log.inside), 1) > 0:
        atomic_fetch_add(cython.address(log.overlaps), 1)
    if log.waits:
        set_word(cython.address(log.entered), 1)
        wait_for_word(cython.address(log.release))
    if log.delay_us:
        compute(log.delay_us)
    log_add(log, work.data[1] << 16 | this_processor().id)
    atomic_fetch_add(cython.address(log.inside), -1)


def wq_new(args):
    """alloc_workqueue("selftest", args[0])."""
    return cython.cast(cython.long, alloc_workqueue(b"selftest", args[0]))


def wq_queue(args):
    """Queue args[2] items of log args[1] on workqueue args[0], numbered from args[3]; with args[4], each twice. How
    many were taken."""
    wq = cython.cast(cython.pointer(workqueue_struct), cython.cast(cython.ulong, args[0]))
    taken: cython.long = 0
    for i in range(args[2]):
        work = cython.cast(cython.pointer(work_struct), heap_alloc(cython.sizeof(work_struct)))
        if work == cython.NULL:
            break
        init_work(work, work_log)
        work.data[0] = args[1]
        work.data[1] = args[3] + i
        taken += queue_work(wq, work)
        if args[4]:
            taken += queue_work(wq, work)
    return taken


def wq_flush(args):
    """flush_workqueue(args[0]); then the entries of log args[1]."""
    flush_workqueue(cython.cast(cython.pointer(workqueue_struct), cython.cast(cython.ulong, args[0])))
    return read_once(cython.address(cython.cast(cython.pointer(run_log), cython.cast(cython.ulong, args[1])).next))


def reader(args):
    """A read-side section of kind args[0]: set word args[1], wait for word args[2], note the time in word args[3]."""
    flags: cython.int = 1
    if args[0] != SECTION_PREEMPT:
        flags = local_irq_save()
    if args[0] != SECTION_IRQ:
        preempt_disable()
    set_word(word(args[1]), 1)
    wait_for_word(word(args[2]))
    set_word(word(args[3]), get_cycles())
    if args[0] != SECTION_IRQ:
        preempt_enable()
    if args[0] != SECTION_PREEMPT:
        local_irq_restore(flags)
    return 0


def grace_period(args):
    """Set word args[0], then synchronize_sched(); the cycles at its end. With args[1], planted: no wait at all."""
    set_word(word(args[0]), 1)
    if args[1] == 0:
        synchronize_sched()
    return get_cycles()


def rcu_barrier(args):
    """rcu_barrier()."""
    rcu_barrier_sched()
    return 0


def note_callback(head):
    """The head stands before a log's address and a number."""
    after = cython.cast(cython.pointer(cython.long), head + 1)
    log = cython.cast(cython.pointer(run_log), cython.cast(cython.ulong, after[0]))
    log_add(log, after[1] << 16 | this_processor().id)


def queue_callbacks(args):
    """call_rcu_sched() args[1] times, each entering its number in log args[0]."""
    for i in range(args[1]):
        head = cython.cast(cython.pointer(rcu_head), heap_alloc(cython.sizeof(rcu_head) + 16))
        if head == cython.NULL:
            return i
        after = cython.cast(cython.pointer(cython.long), head + 1)
        after[0] = args[0]
        after[1] = i
        call_rcu_sched(head, note_callback)
    return args[1]


def rcu_read_loop(args):
    """args[1] read-side sections of kind args[2]: how often the object found through word args[0] (then one word per
    object, not 0 when freed) was freed before the section's end."""
    w = word(args[0])
    bad: cython.long = 0
    for n in range(args[1]):
        flags: cython.int = 1
        if args[2] == SECTION_IRQ:
            flags = local_irq_save()
        else:
            preempt_disable()
        found = read_once(w)
        pause_turns(n % 64)
        bad += read_once(w + 1 + found) != 0
        if args[2] == SECTION_IRQ:
            local_irq_restore(flags)
        else:
            preempt_enable()
        note_quiescent_state(this_cpu())
    return bad


def rcu_update_loop(args):
    """args[1] times replace the object, wait for a grace period (args[2]: do not), and free the old one."""
    w = word(args[0])
    for n in range(args[1]):
        xchg(w, n + 1)
        if args[2] == 0:
            synchronize_sched()
        write_once(w + 1 + n, 1)
    return args[1]


def trace_events(args):
    """Enter events 200 with arguments args[0] .. args[0] + args[1] - 1."""
    for i in range(args[1]):
        trace(200, args[0] + i)
    return args[1]


def mask_program(operations: list) -> list:
    """Run operations (name, mask, operand) on three masks, and return what each answered.

    set, clear, test: a CPU; next: the CPU before; copy: from mask; and: with mask; weight, empty, wipe, cpus: nothing.
    """
    masks: cpumask[3]
    answers = []
    for i in range(3):
        cpumask_clear(cython.address(masks[i]))
    for name, number, operand in operations:
        mask = cython.address(masks[cython.cast(cython.long, number)])
        other: cython.long = operand
        if name == "set":
            cpumask_set_cpu(other, mask)
            answers.append(None)
        elif name == "clear":
            cpumask_clear_cpu(other, mask)
            answers.append(None)
        elif name == "test":
            answers.append(bool(cpumask_test_cpu(other, mask)))
        elif name == "next":
            answers.append(cpumask_next(other, mask))
        elif name == "copy":
            cpumask_copy(mask, cython.address(masks[other]))
            answers.append(None)
        elif name == "and":
            cpumask_and(mask, mask, cython.address(masks[other]))
            answers.append(None)
        elif name == "weight":
            answers.append(cpumask_weight(mask))
        elif name == "empty":
            answers.append(bool(cpumask_empty(mask)))
        elif name == "wipe":
            cpumask_clear(mask)
            answers.append(None)
        elif name == "bits":
            answers.append([mask.bits[k] for k in range(MASK_LONGS)])
        else:
            raise ValueError(name)
    return answers


def histogram_of(values: list) -> dict:
    """A histogram of the values, as the kernel's code makes it."""
    h: histogram
    h.count = 0
    h.total = 0
    h.max = 0
    for i in range(HISTOGRAM_BUCKETS):
        h.bucket[i] = 0
    for value in values:
        histogram_add(cython.address(h), value)
    return {
        "count": h.count,
        "total": h.total,
        "max": h.max,
        "bucket": {i: h.bucket[i] for i in range(HISTOGRAM_BUCKETS) if h.bucket[i]},
    }


def bucket(value: int) -> int:
    """The bucket of one value."""
    return bucket_of(value)


def entry_points() -> dict:
    """Address of each operation, by name."""
    return {
        "start_task": cython.cast(cython.long, cython.cast(cython.p_void, start_task)),
        "sample_slots": cython.cast(cython.long, cython.cast(cython.p_void, sample_slots)),
        "wq_new": cython.cast(cython.long, cython.cast(cython.p_void, wq_new)),
        "wq_queue": cython.cast(cython.long, cython.cast(cython.p_void, wq_queue)),
        "wq_flush": cython.cast(cython.long, cython.cast(cython.p_void, wq_flush)),
        "reader": cython.cast(cython.long, cython.cast(cython.p_void, reader)),
        "grace_period": cython.cast(cython.long, cython.cast(cython.p_void, grace_period)),
        "barrier": cython.cast(cython.long, cython.cast(cython.p_void, rcu_barrier)),
        "queue_callbacks": cython.cast(cython.long, cython.cast(cython.p_void, queue_callbacks)),
        "rcu_read_loop": cython.cast(cython.long, cython.cast(cython.p_void, rcu_read_loop)),
        "rcu_update_loop": cython.cast(cython.long, cython.cast(cython.p_void, rcu_update_loop)),
        "trace_events": cython.cast(cython.long, cython.cast(cython.p_void, trace_events)),
    }
