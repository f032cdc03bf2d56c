"""Operations for the tests of the machine: locks, sections, calls, tasks, work items and readers to order, and plants.

A plant puts a faulty part in place of a sound one, in the process that is told to, through the pointers by which the
hardware reaches the kernel and the transport: so a sound machine pays nothing for it. Each oracle of the tests is
shown to catch its plant.
"""

import cython
from cython.cimports.cpus.cpu import TASK_DONE, TASK_RUN, this_cpu, wake_up_process
from cython.cimports.cpus.locks import CLASS_WORKLOAD_LOCK, locks
from cython.cimports.cpus.rcu import call_rcu_sched, note_quiescent_state, rcu_barrier_sched, synchronize_sched
from cython.cimports.cpus.smp import (
    CSD_FLAG_SYNCHRONOUS,
    acknowledge,
    csd_unlock,
    handle_call_function,
    llist_del_all_reversed,
    on_each_cpu,
    on_each_cpu_cond,
    on_each_cpu_mask,
    run_request,
    smp_call_function,
    smp_call_function_many,
    smp_call_function_single,
)
from cython.cimports.cpus.workqueue import alloc_workqueue, flush_workqueue, init_work, queue_work
from cython.cimports.ipc.atomic import atomic_fetch_add, barrier, smp_mb, spin_pause, xchg
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
    next_bit,
)
from cython.cimports.ipc.gate import the_gate
from cython.cimports.ipc.histogram import HISTOGRAM_BUCKETS, bucket_of, histogram, histogram_add
from cython.cimports.ipc.host import futex_wait, futex_wake, get_errno, set_errno
from cython.cimports.ipc.interrupt import (
    INTERRUPT_SIGNAL,
    SA_NODEFER,
    SA_RESTART,
    SA_SIGINFO,
    local_irq_restore,
    local_irq_save,
    poll_interrupts,
    preempt_disable,
    preempt_enable,
    sigaction,
    sigaction_t,
    sigemptyset,
    take_interrupts,
)
from cython.cimports.ipc.lock import (
    down_read,
    down_write,
    mutex_init,
    mutex_lock,
    mutex_trylock,
    mutex_unlock,
    rwsem_init,
    spin_lock,
    spin_lock_init,
    spin_trylock,
    spin_unlock,
    up_read,
    up_write,
)
from cython.cimports.ipc.memory import heap_alloc, heap_free, lock_heap, segment
from cython.cimports.ipc.park import wake_cpu
from cython.cimports.ipc.processor import MODE_KERNEL, MODE_USER, private, processor_of, this_processor
from cython.cimports.ipc.trace import trace
from cython.cimports.ipc.transport_mqueue import mq_take

if not cython.compiled:
    raise ImportError("cpus.selftest is not built; run `make setup`")

lost = cython.declare(cython.long, 0)
sound_ring = cython.declare(cython.p_void, cython.NULL)


# --- words --------------------------------------------------------------------------------------


def wake_word(w):
    futex_wake(cython.cast(cython.p_int, w), 1 << 30)
    wake_cpu(processor_of(-1))


def set_word(w, value):
    """Store a word and wake who waits for it, the coordinator's waits among them."""
    xchg(w, value)
    wake_word(w)


def wait_for_word(w):
    """Wait until the word is not 0; interrupts are served, if they are on."""
    while read_once(w) == 0:
        futex_wait(cython.cast(cython.p_int, w), 0, 1000000)
        poll_interrupts(this_processor())


def compute(us):
    until = get_cycles() + us * segment().cycles_per_us
    while get_cycles() < until:
        spin_pause()


def pause_turns(turns):
    for _ in range(turns):
        spin_pause()


def peek(address: int, offset: cython.long = 0) -> int:
    """The word at address + 8 * offset."""
    return read_once(word(address) + offset)


def peek_int(address: int) -> int:
    """The 32-bit word at address."""
    return cython.cast(cython.pointer(vint), cython.cast(cython.ulong, address))[0]


def poke(address: int, value: int, offset: cython.long = 0) -> None:
    """Store a word and wake who waits for it."""
    set_word(word(address) + offset, value)


def poke_int(address: int, value: int) -> None:
    """Store a 32-bit word."""
    cython.cast(cython.pointer(vint), cython.cast(cython.ulong, address))[0] = value


# --- locks --------------------------------------------------------------------------------------


def lock_init(args):
    """Make the lock at args[0] one of kind args[1]."""
    at = cython.cast(cython.p_void, cython.cast(cython.ulong, args[0]))
    if args[1] == KIND_SPIN:
        spin_lock_init(cython.cast(cython.pointer(spinlock), at), CLASS_WORKLOAD_LOCK)
    elif args[1] == KIND_MUTEX:
        mutex_init(cython.cast(cython.pointer(mutex), at), CLASS_WORKLOAD_LOCK)
    else:
        rwsem_init(cython.cast(cython.pointer(rwsem), at), CLASS_WORKLOAD_LOCK)
    return 0


def take(lock, kind):
    """Spinlocks: the caller has switched interrupts off."""
    at = cython.cast(cython.p_void, cython.cast(cython.ulong, lock))
    if kind == KIND_SPIN:
        spin_lock(cython.cast(cython.pointer(spinlock), at))
    elif kind == KIND_MUTEX:
        mutex_lock(cython.cast(cython.pointer(mutex), at))
    elif kind == KIND_READ:
        down_read(cython.cast(cython.pointer(rwsem), at))
    elif kind == KIND_WRITE:
        down_write(cython.cast(cython.pointer(rwsem), at))


def release(lock, kind):
    at = cython.cast(cython.p_void, cython.cast(cython.ulong, lock))
    if kind == KIND_SPIN:
        spin_unlock(cython.cast(cython.pointer(spinlock), at))
    elif kind == KIND_MUTEX:
        mutex_unlock(cython.cast(cython.pointer(mutex), at))
    elif kind == KIND_READ:
        up_read(cython.cast(cython.pointer(rwsem), at))
    elif kind == KIND_WRITE:
        up_write(cython.cast(cython.pointer(rwsem), at))


def count_locked(args):
    """args[3] times: lock args[0] of kind args[1], add 1 to the word args[2] by load and store, args[4] pauses apart."""
    w = word(args[2])
    for _ in range(args[3]):
        flags = local_irq_save() if args[1] == KIND_SPIN else 1
        take(args[0], args[1])
        value = w[0]
        pause_turns(args[4])
        w[0] = value + 1
        release(args[0], args[1])
        if args[1] == KIND_SPIN:
            local_irq_restore(flags)
    return args[3]


def read_pairs(args):
    """args[2] times: read both words at args[1] under rwsem args[0] (args[3]: the kind); how often they differed."""
    w = word(args[1])
    torn: cython.long = 0
    for _ in range(args[2]):
        take(args[0], args[3])
        first = w[0]
        pause_turns(20)
        torn += first != w[1]
        release(args[0], args[3])
    return torn


def write_pairs(args):
    """args[2] times: add 1 to both words at args[1] under rwsem args[0] (args[3]: the kind)."""
    w = word(args[1])
    for _ in range(args[2]):
        take(args[0], args[3])
        w[0] = w[0] + 1
        pause_turns(20)
        w[1] = w[1] + 1
        release(args[0], args[3])
    return args[2]


def try_lock(args):
    """Try lock args[0] of kind args[1] once; 1 if it was taken. It is given back."""
    at = cython.cast(cython.p_void, cython.cast(cython.ulong, args[0]))
    taken: cython.bint = False
    flags = local_irq_save()
    if args[1] == KIND_SPIN:
        taken = spin_trylock(cython.cast(cython.pointer(spinlock), at))
    elif args[1] == KIND_MUTEX:
        taken = mutex_trylock(cython.cast(cython.pointer(mutex), at))
    if taken:
        release(args[0], args[1])
    local_irq_restore(flags)
    return taken


def hold_lock(args):
    """Take lock args[0] of kind args[1], set word args[2], wait for word args[3], give it back."""
    flags = local_irq_save() if args[1] == KIND_SPIN else 1
    take(args[0], args[1])
    set_word(word(args[2]), 1)
    wait_for_word(word(args[3]))
    release(args[0], args[1])
    if args[1] == KIND_SPIN:
        local_irq_restore(flags)
    return 1


def hold_two(args):
    """Take lock args[0] of kind args[1], then args[2] of kind args[3], set word args[4], wait for args[5], give back."""
    take(args[0], args[1])
    flags = local_irq_save() if args[3] == KIND_SPIN else 1
    take(args[2], args[3])
    set_word(word(args[4]), 1)
    wait_for_word(word(args[5]))
    release(args[2], args[3])
    local_irq_restore(flags)
    release(args[0], args[1])
    return 1


def lock_pairs(args):
    """args[3] times: take spinlock args[0], then args[1]. With args[2], set that word and wait for args[4] between."""
    for _ in range(args[3]):
        flags = local_irq_save()
        take(args[0], KIND_SPIN)
        if args[2]:
            set_word(word(args[2]), 1)
            wait_for_word(word(args[4]))
        take(args[1], KIND_SPIN)
        release(args[1], KIND_SPIN)
        release(args[0], KIND_SPIN)
        local_irq_restore(flags)
    return args[3]


def lock_unlisted(args):
    """Planted: take mutex args[0], forget that it is held, set word args[1], wait for word args[2]."""
    take(args[0], KIND_MUTEX)
    this_processor().held_count -= 1
    set_word(word(args[1]), 1)
    wait_for_word(word(args[2]))
    return 0


def slab_mutex() -> int:
    """Address of the kernel's slab_mutex."""
    return cython.cast(cython.long, cython.address(locks().slab_mutex))


def heap_churn(args):
    """args[0] allocations of drawn sizes (seed args[1]), 32 alive at a time, each filled with its own pattern and
    looked at before it is freed. How many were not as they had been left."""
    blocks: cython.p_void[32]
    sizes: cython.long[32]
    marks: cython.long[32]
    state: cython.ulong = args[1]
    wrong: cython.long = 0
    for i in range(32):
        blocks[i] = cython.NULL
    for n in range(args[0] + 32):
        i = n % 32
        if blocks[i] != cython.NULL:
            w = cython.cast(cython.pointer(cython.long), blocks[i])
            for k in range(sizes[i]):
                wrong += w[k] != marks[i]
            heap_free(blocks[i])
            blocks[i] = cython.NULL
        if n < args[0]:
            sizes[i] = 1 + cython.cast(cython.long, draw(cython.address(state)) % 300)
            marks[i] = cython.cast(cython.long, draw(cython.address(state)))
            blocks[i] = heap_alloc(sizes[i] * 8)
            if blocks[i] == cython.NULL:
                continue
            w = cython.cast(cython.pointer(cython.long), blocks[i])
            for k in range(sizes[i]):
                wrong += w[k] != 0
                w[k] = marks[i]
    return wrong


def heap_lock_forever(args):
    """Take the heap's lock, set word args[0], and never come back."""
    lock_heap()
    xchg(word(args[0]), 1)
    wait_for_word(word(args[1]))
    return 0


# --- interrupts off -----------------------------------------------------------------------------


def irq_section(args):
    """A section of kind args[0]: set word args[1], wait for word args[2], leave it. Requests run here within the
    section, and up to the end: within | to the end << 32."""
    c = this_cpu()
    flags: cython.int = 1
    if args[0] != SECTION_PREEMPT:
        flags = local_irq_save()
    if args[0] != SECTION_IRQ:
        preempt_disable()
    before = c.csd_run
    set_word(word(args[1]), 1)
    wait_for_word(word(args[2]))
    within = c.csd_run - before
    if args[0] != SECTION_IRQ:
        preempt_enable()
    if args[0] != SECTION_PREEMPT:
        local_irq_restore(flags)
    return within | (c.csd_run - before) << 32


def irq_nesting(args):
    """Two nested irq-off sections in two nested preempt-off ones: one bit per look that is as it should be."""
    me = this_processor()
    good: cython.long = me.irq_off == 0 and me.preempt_count == 0
    outer = local_irq_save()
    preempt_disable()
    good |= (me.irq_off == 1 and outer == 0) << 1
    inner = local_irq_save()
    preempt_disable()
    good |= (inner == 1 and me.preempt_count == 2) << 2
    preempt_enable()
    local_irq_restore(inner)
    good |= (me.irq_off == 1 and me.preempt_count == 1) << 3
    preempt_enable()
    local_irq_restore(outer)
    good |= (me.irq_off == 0 and me.preempt_count == 0) << 4
    return good


def compute_until(args):
    """Set word args[0] and compute, without a look at anything else, until word args[1] is set."""
    set_word(word(args[0]), 1)
    while read_once(word(args[1])) == 0:
        spin_pause()
    return 0


def preempt_hog(args):
    """Compute args[0] us with preemption off: how often the slot changed hands within, and right after << 32."""
    me = this_processor()
    preempt_disable()
    before = me.gate_moves
    compute(args[0])
    within = me.gate_moves - before
    preempt_enable()
    return within | (me.gate_moves - before) << 32


def count_own(args):
    """args[1] times add 1 to the word args[0] by load and store; with args[2], interrupts are off meanwhile."""
    w = word(args[0])
    for _ in range(args[1]):
        flags = local_irq_save() if args[2] else 1
        value = w[0]
        pause_turns(10)
        w[0] = value + 1
        local_irq_restore(flags)
    return args[1]


def count_plain(info):
    w = cython.cast(cython.pointer(vlong), info)
    w[0] = w[0] + 1


def send_counts(args):
    """args[2] times have CPU args[1] add 1 to the word args[0] in its handler."""
    for _ in range(args[2]):
        smp_call_function_single(args[1], count_plain, cython.cast(cython.p_void, cython.cast(cython.ulong, args[0])), True)
    return args[2]


# --- calls --------------------------------------------------------------------------------------


def log_add(log, value):
    i = atomic_fetch_add(cython.address(log.next), 1)
    if i < log.size:
        write_once(cython.address(log.entry[0]) + i, value)
    return i


def note_run(info):
    """Enter CPU | interrupts off << 16 | depth of interrupts << 17; take as long as the log says."""
    log = cython.cast(cython.pointer(run_log), info)
    me = this_processor()
    if atomic_fetch_add(cython.address(log.inside), 1) > 0:
        atomic_fetch_add(cython.address(log.overlaps), 1)
    if log.waits:
        set_word(cython.address(log.entered), 1)
        wait_for_word(cython.address(log.release))
    if log.delay_us:
        compute(log.delay_us)
    log_add(log, me.id | me.irq_off << 16 | me.in_interrupt << 17)
    atomic_fetch_add(cython.address(log.inside), -1)


def wanted(cpu, info):
    return cpumask_test_cpu(cpu, cython.cast(cython.pointer(cpumask), cython.cast(cython.pointer(run_log), info).mask))


def call_one(args):
    """smp_call_function_single(args[0], wait=args[1]) with log args[2], args[3] times; the last answer."""
    answer: cython.long = 0
    for _ in range(args[3]):
        answer = smp_call_function_single(
            args[0], note_run, cython.cast(cython.p_void, cython.cast(cython.ulong, args[2])), args[1] != 0
        )
    return answer


def call_mask(args):
    """smp_call_function_many on the mask at args[0], wait=args[1], log args[2]; with args[3] on_each_cpu_mask."""
    mask = cython.cast(cython.pointer(cpumask), cython.cast(cython.ulong, args[0]))
    info = cython.cast(cython.p_void, cython.cast(cython.ulong, args[2]))
    if args[3]:
        return on_each_cpu_mask(mask, note_run, info, args[1] != 0)
    return smp_call_function_many(mask, note_run, info, args[1] != 0)


def call_each(args):
    """on_each_cpu (args[2]: or smp_call_function), wait=args[0], log args[1]."""
    info = cython.cast(cython.p_void, cython.cast(cython.ulong, args[1]))
    return smp_call_function(note_run, info, args[0] != 0) if args[2] else on_each_cpu(note_run, info, args[0] != 0)


def call_cond(args):
    """on_each_cpu_cond for the CPUs of the log's mask: wait=args[0], log args[1], fail_mask=args[2]."""
    info = cython.cast(cython.p_void, cython.cast(cython.ulong, args[1]))
    return on_each_cpu_cond(wanted, note_run, info, args[0] != 0, args[2] != 0)


# --- scftorture ---------------------------------------------------------------------------------


def draw(state):
    """xorshift64*; the state must not be 0."""
    x = state[0]
    x ^= x >> 12
    x ^= x << 25
    x ^= x >> 27
    state[0] = x
    return (x * cython.cast(cython.ulong, 2685821657736338717)) >> 11


def scf_handler(info):
    """Right CPU? Does it see what the sender stored before? The sender must see what is stored here."""
    check = cython.cast(cython.pointer(scf_check), info)
    if check.cpu >= 0 and check.cpu != this_processor().id:
        atomic_fetch_add(cython.address(check.wrong_cpu), 1)
    if check.before == 0:
        atomic_fetch_add(cython.address(check.missed_in), 1)
    if check.delay_us:
        compute(check.delay_us)
    atomic_fetch_add(cython.address(check.ran), 1)
    check.after = check.before


def scf_single(check, target, wait, round):
    check.cpu = target
    check.before = round + 1
    if wait:
        check.after = 0
    if smp_call_function_single(target, scf_handler, check, wait) != 0:
        check.refused += 1
        return
    check.sent += 1
    if wait and check.after != round + 1:
        check.missed_out += 1


def scf_many(check, wait, round):
    check.cpu = -1
    check.before = round + 1
    if wait:
        check.after = 0
    called = smp_call_function(scf_handler, check, wait)
    check.sent += called
    if wait and called and (check.after != round + 1 or read_once(cython.address(check.ran)) != check.sent):
        check.missed_out += 1


def scf_torture(args):
    """args[1] drawn calls (seed args[2]) with the checks at args[0]: one for synchronous singles, one for synchronous
    broadcasts, one for others, and one for each target of singles that are not waited for. Handlers take up to args[3]
    us. Calls that were wanted of this CPU itself or refused are not sent."""
    me = this_processor()
    count = segment().nr_cpus
    checks = cython.cast(cython.pointer(scf_check), cython.cast(cython.ulong, args[0]))
    state: cython.ulong = args[2]
    for i in range(count + 3):
        checks[i].delay_us = cython.cast(cython.long, draw(cython.address(state)) % (args[3] + 1))
    for round in range(args[1]):
        kind = draw(cython.address(state)) % 16
        target = cython.cast(cython.long, draw(cython.address(state)) % count)
        if target == me.id:
            target = (target + 1) % count
        if kind < 6:
            scf_single(cython.address(checks[0]), target, True, round)
        elif kind < 10:
            scf_single(cython.address(checks[3 + target]), target, False, round)
        elif kind < 12:
            scf_many(cython.address(checks[1]), True, round)
        elif kind < 14:
            scf_many(cython.address(checks[2]), False, round)
        else:
            flags = local_irq_save()
            compute(args[3])
            local_irq_restore(flags)
    return args[1]


# --- tasks and the gate -------------------------------------------------------------------------


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

    Who has the same slot and the same count of moves in two looks one after the other has held it from one to the other.
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


# --- work items ---------------------------------------------------------------------------------


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


# --- readers ------------------------------------------------------------------------------------


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


# --- rings, masks, histograms -------------------------------------------------------------------


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


# --- plants -------------------------------------------------------------------------------------


def ack_before_work(me, vectors):
    c = this_cpu()
    csd = cython.cast(cython.pointer(call_single_data), llist_del_all_reversed(cython.address(c.call_single_queue)))
    while csd != cython.NULL:
        following = csd.next
        func = csd.func
        info = csd.info
        c.csd_run += 1
        if read_once(cython.address(csd.flags)) & CSD_FLAG_SYNCHRONOUS:
            acknowledge(csd)
        else:
            csd_unlock(csd)
        func(info)
        csd = following


def unlock_early(me, vectors):
    """Give back all that are not waited for, and read them later."""
    c = this_cpu()
    found: cython.p_void[64]
    count: cython.long = 0
    csd = cython.cast(cython.pointer(call_single_data), llist_del_all_reversed(cython.address(c.call_single_queue)))
    while csd != cython.NULL and count < 64:
        following = csd.next
        found[count] = csd
        count += 1
        if read_once(cython.address(csd.flags)) & CSD_FLAG_SYNCHRONOUS == 0:
            csd_unlock(csd)
        csd = following
    compute(5000)
    for i in range(count):
        run_request(c, cython.cast(cython.pointer(call_single_data), found[i]))


def count_requests(csd):
    count: cython.long = 0
    while csd != cython.NULL:
        count += 1
        csd = csd.next
    return count


def lose_last(me, vectors):
    c = this_cpu()
    csd = cython.cast(cython.pointer(call_single_data), llist_del_all_reversed(cython.address(c.call_single_queue)))
    several: cython.bint = count_requests(csd) > 1
    while csd != cython.NULL:
        following = csd.next
        if several and following == cython.NULL:
            if read_once(cython.address(csd.flags)) & CSD_FLAG_SYNCHRONOUS:
                acknowledge(csd)
            else:
                csd_unlock(csd)
        else:
            run_request(c, csd)
        csd = following


def run_twice(me, vectors):
    c = this_cpu()
    csd = cython.cast(cython.pointer(call_single_data), llist_del_all_reversed(cython.address(c.call_single_queue)))
    while csd != cython.NULL:
        following = csd.next
        csd.func(csd.info)
        run_request(c, csd)
        csd = following


def uncounted(me, vectors):
    for i in range(2):
        if vectors >> i & 1:
            me.irqs.taken[i] -= 1
    handle_call_function(me, vectors)


def lossy_ring(target):
    global lost
    lost += 1
    if lost % 3:
        cython.cast(ring_function, sound_ring)(target)


def lossy_ring_many(mask):
    cpu: cython.long = next_bit(mask, 0)
    while cpu >= 0:
        lossy_ring(processor_of(cpu))
        cpu = next_bit(mask, cpu + 1)


def no_overdue(target):
    pass


def drain_only(me, from_queue):
    while mq_take(me.mq) >= 0:
        pass


def heedless_handler(signo, info, context):
    saved = get_errno()
    me = this_processor()
    private().signalled(me, False)
    was = me.irq_off
    me.irq_off = 0
    take_interrupts(me)
    me.irq_off = was
    set_errno(saved)


def plant_handler(which):
    action: sigaction_t
    ops = private()
    handler = handle_call_function
    if which == PLANT_ACK_BEFORE_WORK:
        handler = ack_before_work
    elif which == PLANT_UNLOCK_EARLY:
        handler = unlock_early
    elif which == PLANT_LOST_REQUEST:
        handler = lose_last
    elif which == PLANT_RUN_TWICE:
        handler = run_twice
    elif which == PLANT_UNCOUNTED:
        handler = uncounted
    elif which == PLANT_IGNORE_IRQ_OFF:
        sigemptyset(cython.address(action.sa_mask))
        action.sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER
        action.sa_sigaction = heedless_handler
        sigaction(INTERRUPT_SIGNAL(), cython.address(action), cython.NULL)
    ops.handler[0] = handler
    ops.handler[1] = handler


def plant(args):
    """Put fault args[0] into this context. It stays until the process ends."""
    global sound_ring
    ops = private()
    plant_handler(args[0])
    if args[0] == PLANT_NO_RING or args[0] == PLANT_LOSSY_RING:
        sound_ring = cython.cast(cython.p_void, ops.ring)
        ops.ring = lossy_ring
        ops.ring_many = lossy_ring_many
        if args[0] == PLANT_NO_RING:
            ops.overdue = no_overdue
        else:
            ops.overdue_ns = 20000000
    elif args[0] == PLANT_NO_REARM:
        ops.signalled = drain_only
    return 0


PLANTS = {
    "ack before work": PLANT_ACK_BEFORE_WORK,
    "unlock early": PLANT_UNLOCK_EARLY,
    "lost request": PLANT_LOST_REQUEST,
    "run twice": PLANT_RUN_TWICE,
    "no ring": PLANT_NO_RING,
    "lossy ring": PLANT_LOSSY_RING,
    "no rearm": PLANT_NO_REARM,
    "ignore irq off": PLANT_IGNORE_IRQ_OFF,
    "uncounted": PLANT_UNCOUNTED,
}

SIZES = {
    "log": cython.sizeof(run_log),
    "check": cython.sizeof(scf_check),
    "mask": cython.sizeof(cpumask),
    "spinlock": cython.sizeof(spinlock),
    "mutex": cython.sizeof(mutex),
    "rwsem": cython.sizeof(rwsem),
    "gate": cython.sizeof(gate),
}


def entry_points() -> dict:
    """Address of each operation, by name."""
    return {
        "lock_init": cython.cast(cython.long, cython.cast(cython.p_void, lock_init)),
        "count_locked": cython.cast(cython.long, cython.cast(cython.p_void, count_locked)),
        "read_pairs": cython.cast(cython.long, cython.cast(cython.p_void, read_pairs)),
        "write_pairs": cython.cast(cython.long, cython.cast(cython.p_void, write_pairs)),
        "try_lock": cython.cast(cython.long, cython.cast(cython.p_void, try_lock)),
        "hold_lock": cython.cast(cython.long, cython.cast(cython.p_void, hold_lock)),
        "hold_two": cython.cast(cython.long, cython.cast(cython.p_void, hold_two)),
        "lock_pairs": cython.cast(cython.long, cython.cast(cython.p_void, lock_pairs)),
        "lock_unlisted": cython.cast(cython.long, cython.cast(cython.p_void, lock_unlisted)),
        "heap_churn": cython.cast(cython.long, cython.cast(cython.p_void, heap_churn)),
        "heap_lock_forever": cython.cast(cython.long, cython.cast(cython.p_void, heap_lock_forever)),
        "irq_section": cython.cast(cython.long, cython.cast(cython.p_void, irq_section)),
        "irq_nesting": cython.cast(cython.long, cython.cast(cython.p_void, irq_nesting)),
        "compute_until": cython.cast(cython.long, cython.cast(cython.p_void, compute_until)),
        "preempt_hog": cython.cast(cython.long, cython.cast(cython.p_void, preempt_hog)),
        "count_own": cython.cast(cython.long, cython.cast(cython.p_void, count_own)),
        "send_counts": cython.cast(cython.long, cython.cast(cython.p_void, send_counts)),
        "call_one": cython.cast(cython.long, cython.cast(cython.p_void, call_one)),
        "call_mask": cython.cast(cython.long, cython.cast(cython.p_void, call_mask)),
        "call_each": cython.cast(cython.long, cython.cast(cython.p_void, call_each)),
        "call_cond": cython.cast(cython.long, cython.cast(cython.p_void, call_cond)),
        "scf_torture": cython.cast(cython.long, cython.cast(cython.p_void, scf_torture)),
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
        "plant": cython.cast(cython.long, cython.cast(cython.p_void, plant)),
    }
