"""RCU-sched: grace periods, callbacks, barriers, expedited grace periods.

A reader is an irq-off or preempt-off section. A grace period waits until each online CPU was in none at some instant
after it began. A CPU says so itself when it takes an interrupt in user mode or switches tasks; one that is idle, asleep
in a wait of its own, or stopped by the gate in user mode is seen to be so by its `dynticks` (even, or changed by two),
which it changes with full barriers. A remote look at a CPU's mode would prove nothing: it is stored without a barrier.

One grace period serves all who wait: who arrives while one is under way waits for the next, since the current one began
before. There is no grace-period thread; whoever waits drives it, and CPUs with callbacks do so from their tick. The
modelled delays are the kernel's: idle CPUs are looked for one jiffy after the start (one more per 256 CPUs and for fast
ticks), laggards are prodded after HZ/10. Jiffies are real time at the machine's --hz.
"""

import cython
from cython.cimports.cpus.cpu import (
    LAT_GRACE_PERIOD,
    LAT_RCU_BARRIER,
    cpu_of,
    cpu_online_mask,
    record_latency,
    this_cpu,
)
from cython.cimports.cpus.events import EV_CALLBACK, EV_GP_BEGIN, EV_GP_END
from cython.cimports.cpus.locks import CLASS_RCU_LOCK, locks
from cython.cimports.cpus.smp import smp_call_function_single
from cython.cimports.cpus.vmstat import GRACE_PERIODS, RCU_BARRIER_IPIS, RCU_BARRIERS
from cython.cimports.ipc.atomic import atomic_fetch_add, smp_load_acquire, smp_mb, write_once, xchg
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.cpumask import (
    clear_bit,
    cpumask_clear_cpu,
    cpumask_copy,
    cpumask_empty,
    cpumask_next,
    cpumask_test_cpu,
    cpumask_weight,
    next_bit,
    set_bit,
)
from cython.cimports.ipc.gate import arm_timer, the_gate
from cython.cimports.ipc.interrupt import local_irq_restore, local_irq_save, raise_vector
from cython.cimports.ipc.lock import mutex_lock, mutex_unlock, spin_lock_init, spin_lock_irqsave, spin_unlock_irqrestore
from cython.cimports.ipc.memory import heap_alloc
from cython.cimports.ipc.park import park, park_begin, park_end, sleep_begin, sleep_end, wake_cpu
from cython.cimports.ipc.processor import MODE_IDLE, RESCHEDULE_VECTOR, WAIT_GRACE_PERIOD, WAIT_NONE, processor_of
from cython.cimports.ipc.trace import trace

if not cython.compiled:
    raise ImportError("cpus.rcu is not built; run `make setup`")


def init_rcu():
    state = cython.cast(cython.pointer(rcu_state), heap_alloc(cython.sizeof(rcu_state)))
    if state == cython.NULL:
        return -1
    spin_lock_init(cython.address(state.lock), CLASS_RCU_LOCK)
    segment().area[AREA_RCU] = cython.cast(cython.long, state)
    return 0


def jiffies():
    """Ticks since boot at the machine's --hz."""
    tick = the_gate().tick_ns
    if tick == 0:
        tick = 4_000_000
    return (get_cycles() - segment().boot_cycles) // (segment().cycles_per_us * tick // 1000)


def first_look():
    """Jiffies from the start of a grace period to its first look for idle CPUs (jiffies_till_first_fqs)."""
    tick = the_gate().tick_ns
    return 1 + (0 < tick < 4_000_000) + (0 < tick < 2_000_000) + segment().nr_cpus // 256


def want_grace_period():
    """Ask for the grace period that begins after now; its number. The caller's earlier stores are visible to it."""
    state = rcu()
    smp_mb()
    flags = spin_lock_irqsave(cython.address(state.lock))
    needed = state.gp_started + 1
    if needed > state.gp_wanted:
        state.gp_wanted = needed
    start_grace_period()
    spin_unlock_irqrestore(cython.address(state.lock), flags)
    return needed


def start_grace_period():
    """With the lock held: begin the next one if it is wanted and none is under way."""
    state = rcu()
    if state.gp_started != state.gp_completed or state.gp_wanted <= state.gp_completed:
        return
    cpumask_copy(cython.address(state.qsmask), cpu_online_mask())
    smp_mb()
    cpu: cython.long = cpumask_next(-1, cython.address(state.qsmask))
    while cpu >= 0:
        write_once(cython.address(cpu_of(cpu).rcu_snapshot), smp_load_acquire(cython.address(cpu_of(cpu).hw.dynticks)))
        cpu = cpumask_next(cpu, cython.address(state.qsmask))
    state.gp_cycles = get_cycles()
    state.prodded = 0
    write_once(cython.address(state.gp_started), state.gp_started + 1)
    trace(EV_GP_BEGIN, state.gp_started)


def end_grace_period():
    """With the lock held: if nobody is waited for any more, complete it and begin the next. True if it ended."""
    state = rcu()
    if state.gp_started == state.gp_completed or not cpumask_empty(cython.address(state.qsmask)):
        return False
    trace(EV_GP_END, state.gp_started)
    write_once(cython.address(state.gp_completed), state.gp_started)
    start_grace_period()
    return True


def report_quiescent_state(me):
    state = rcu()
    flags = spin_lock_irqsave(cython.address(state.lock))
    me.rcu_reported = state.gp_started
    ended: cython.bint = False
    if me.hw.id >= 0 and cpumask_test_cpu(me.hw.id, cython.address(state.qsmask)):
        cpumask_clear_cpu(me.hw.id, cython.address(state.qsmask))
        ended = end_grace_period()
    spin_unlock_irqrestore(cython.address(state.lock), flags)
    if ended:
        wake_waiters()


def quiescent_by_nature(cpu):
    """Idle, asleep or stopped in user mode now, or at some instant since the grace period began; or gone."""
    c = cpu_of(cpu)
    now = smp_load_acquire(cython.address(c.hw.dynticks))
    if now & 1 == 0 or now - c.rcu_snapshot >= 2:
        return True
    return c.hw.dead != 0 or not cpumask_test_cpu(cpu, cpu_online_mask())


def force_quiescent_state():
    """Look for CPUs that will not report by themselves; prod those that take too long."""
    state = rcu()
    age = (get_cycles() - state.gp_cycles) // segment().cycles_per_us
    tick_us = the_gate().tick_ns // 1000 if the_gate().tick_ns else 4000
    if state.gp_started == state.gp_completed or age < first_look() * tick_us:
        return
    flags = spin_lock_irqsave(cython.address(state.lock))
    prod: cython.bint = age >= 100_000 and state.prodded == 0
    state.prodded |= prod
    cpu: cython.long = cpumask_next(-1, cython.address(state.qsmask))
    while cpu >= 0:
        if quiescent_by_nature(cpu):
            cpumask_clear_cpu(cpu, cython.address(state.qsmask))
        elif prod:
            raise_vector(processor_of(cpu), RESCHEDULE_VECTOR)
        cpu = cpumask_next(cpu, cython.address(state.qsmask))
    ended: cython.bint = end_grace_period()
    spin_unlock_irqrestore(cython.address(state.lock), flags)
    if ended:
        wake_waiters()


def wake_waiters():
    state = rcu()
    cpu: cython.long = next_bit(state.waiters.bits, 0)
    while cpu >= 0:
        wake_cpu(processor_of(cpu))
        cpu = next_bit(state.waiters.bits, cpu + 1)
    if state.coordinator_waits:
        wake_cpu(processor_of(-1))


def note_rcu_waiter(me, waits):
    if me.id < 0:
        rcu().coordinator_waits = waits
    elif waits:
        set_bit(rcu().waiters.bits, me.id)
    else:
        clear_bit(rcu().waiters.bits, me.id)


def wait_for_grace_period(me, needed):
    """Sleep until grace period `needed` is over, driving it: one look per jiffy."""
    state = rcu()
    hw = cython.address(me.hw)
    tick = the_gate().tick_ns if the_gate().tick_ns else 4_000_000
    hw.waiting_since = get_cycles()
    hw.waiting_on = needed
    hw.waiting_for = WAIT_GRACE_PERIOD
    note_rcu_waiter(hw, True)
    note_quiescent_state(me)
    sleep_begin(hw)
    while True:
        seen = park_begin(hw)
        if smp_load_acquire(cython.address(state.gp_completed)) >= needed:
            break
        park(hw, seen, tick)
        force_quiescent_state()
    park_end(hw)
    sleep_end(hw)
    note_rcu_waiter(hw, False)
    hw.waiting_for = WAIT_NONE
    smp_mb()


def synchronize_sched():
    me = this_cpu()
    if cpumask_weight(cpu_online_mask()) <= 1:
        return
    start = get_cycles()
    me.counter[GRACE_PERIODS] += 1
    wait_for_grace_period(me, want_grace_period())
    record_latency(LAT_GRACE_PERIOD, start)


def call_rcu_sched(head, func):
    """Queue a callback on this CPU (the coordinator's go to CPU 0's queue at boot time only: it has no softirqs)."""
    me = this_cpu()
    head.func = func
    head.next = cython.NULL
    head.gp = want_grace_period()
    flags = local_irq_save()
    if me.rcu_callbacks == cython.NULL:
        me.rcu_callbacks = head
    else:
        me.rcu_tail.next = head
    me.rcu_tail = head
    me.rcu_count += 1
    local_irq_restore(flags)
    arm_timer(cython.address(me.hw))


def run_callbacks(me):
    """Run callbacks whose grace period is over, at most a batch; how many."""
    limit = CALLBACK_BATCH if me.rcu_count < CALLBACK_FLOOD else me.rcu_count
    done = smp_load_acquire(cython.address(rcu().gp_completed))
    ran: cython.long = 0
    while ran < limit:
        flags = local_irq_save()
        head = me.rcu_callbacks
        if head == cython.NULL or head.gp > done:
            local_irq_restore(flags)
            break
        me.rcu_callbacks = head.next
        local_irq_restore(flags)
        trace(EV_CALLBACK, cython.cast(cython.ulong, head))
        head.func(head)
        ran += 1
        flags = local_irq_save()
        me.rcu_count -= 1
        me.rcu_done += 1
        local_irq_restore(flags)
    return ran


def rcu_softirq(me):
    """RCU_SOFTIRQ: help the grace period on, then run what is due."""
    if me.softirq_pending == 0 or me.in_softirq:
        return False
    me.softirq_pending = 0
    me.in_softirq = 1
    note_quiescent_state(me)
    force_quiescent_state()
    ran: cython.bint = run_callbacks(me) > 0
    me.in_softirq = 0
    head = me.rcu_callbacks
    if head != cython.NULL:
        if head.gp <= smp_load_acquire(cython.address(rcu().gp_completed)):
            me.softirq_pending = 1
        arm_timer(cython.address(me.hw))
    return ran


def barrier_callback(head):
    marker_is_over(this_cpu())


def marker_is_over(c):
    """The marker of a CPU has run, or the CPU has died: once."""
    state = rcu()
    if xchg(cython.address(c.rcu_marker_out), 0) and atomic_fetch_add(cython.address(state.barrier_out), -1) == 1:
        wake_cpu(processor_of(state.barrier_waiter))


def pass_over_the_dead():
    """Callbacks of a CPU that died never run: what their end would allow is not done, so nobody need wait for it."""
    for cpu in range(segment().nr_cpus):
        if cpu_of(cpu).hw.dead:
            marker_is_over(cpu_of(cpu))


def queue_barrier_marker(info):
    """On each CPU with callbacks, interrupts off: a marker behind all of them."""
    me = this_cpu()
    atomic_fetch_add(cython.address(rcu().barrier_out), 1)
    xchg(cython.address(me.rcu_marker_out), 1)
    call_rcu_sched(cython.address(me.rcu_barrier_head), barrier_callback)


def rcu_barrier_sched():
    """Wait until every callback queued before the call, on any CPU, has run.

    One waited single call to each other CPU that has callbacks; the own CPU is a direct call. Who finds that a whole
    barrier has passed since it arrived returns without work.
    """
    me = this_cpu()
    state = rcu()
    start = get_cycles()
    snapshot = (smp_load_acquire(cython.address(state.barrier_seq)) + 3) & ~cython.cast(cython.long, 1)
    mutex_lock(cython.address(locks().rcu_barrier_mutex))
    if smp_load_acquire(cython.address(state.barrier_seq)) >= snapshot:
        mutex_unlock(cython.address(locks().rcu_barrier_mutex))
        return
    atomic_fetch_add(cython.address(state.barrier_seq), 1)
    me.counter[RCU_BARRIERS] += 1
    state.barrier_waiter = me.hw.id
    xchg(cython.address(state.barrier_out), 1)
    cpu: cython.long = cpumask_next(-1, cpu_online_mask())
    while cpu >= 0:
        if cpu_of(cpu).rcu_count:
            me.counter[RCU_BARRIER_IPIS] += cpu != me.hw.id
            smp_call_function_single(cpu, queue_barrier_marker, cython.NULL, True)
        cpu = cpumask_next(cpu, cpu_online_mask())
    atomic_fetch_add(cython.address(state.barrier_out), -1)
    wait_for_markers(me)
    atomic_fetch_add(cython.address(state.barrier_seq), 1)
    mutex_unlock(cython.address(locks().rcu_barrier_mutex))
    record_latency(LAT_RCU_BARRIER, start)


def wait_for_markers(me):
    """Sleep until the last marker has run. Markers on this CPU run here: it is its own softirq."""
    state = rcu()
    hw = cython.address(me.hw)
    tick = the_gate().tick_ns if the_gate().tick_ns else 4_000_000
    hw.waiting_for = WAIT_GRACE_PERIOD
    hw.waiting_since = get_cycles()
    sleep_begin(hw)
    while True:
        seen = park_begin(hw)
        if smp_load_acquire(cython.address(state.barrier_out)) == 0:
            break
        park(hw, seen, tick)
        force_quiescent_state()
        pass_over_the_dead()
        if me.rcu_count and me.in_softirq == 0:
            me.softirq_pending = 1
            sleep_end(hw)
            rcu_softirq(me)
            sleep_begin(hw)
    park_end(hw)
    sleep_end(hw)
    hw.waiting_for = WAIT_NONE


def expedited_handler(info):
    """sync_sched_exp_handler: an idle CPU answers at once; any other at its next context switch, which this asks for.

    The interrupt came while interrupts were on; what it cannot see is a preempt-off section, hence need_resched.
    """
    me = this_cpu()
    if me.hw.preempt_count == 0:
        note_quiescent_state(me)
    else:
        me.hw.need_resched |= 2


def synchronize_sched_expedited():
    """A grace period hurried by one non-waiting single call to each CPU that is not idle."""
    me = this_cpu()
    if cpumask_weight(cpu_online_mask()) <= 1:
        return
    start = get_cycles()
    me.counter[GRACE_PERIODS] += 1
    atomic_fetch_add(cython.address(rcu().expedited), 1)
    needed = want_grace_period()
    rcu().gp_cycles = 0  # long ago: idle CPUs are looked for at once
    cpu: cython.long = cpumask_next(-1, cpu_online_mask())
    while cpu >= 0:
        if cpu != me.hw.id and cpu_of(cpu).hw.mode != MODE_IDLE:
            smp_call_function_single(cpu, expedited_handler, cython.NULL, False)
        cpu = cpumask_next(cpu, cpu_online_mask())
    force_quiescent_state()
    wait_for_grace_period(me, needed)
    record_latency(LAT_GRACE_PERIOD, start)
