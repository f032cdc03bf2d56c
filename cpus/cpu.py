"""The life of an emulated CPU: its loop, idle, interrupts' exit work, tasks, and mail from the coordinator.

A CPU runs, in this order: mail, softirqs, kworkers, then the oldest runnable task, one step at a time. When nothing is
left it gives its host core away and idles in the transport's wait. Work that an interrupt brings while a program runs
in user mode is done on top of it, on the way out of the interrupt: so a Python body, too, is interrupted by kworkers.
"""

import cython
from cython.cimports.cpus.events import EV_TASK_MIGRATE
from cython.cimports.cpus.llist import llist_add, llist_del_all_reversed
from cython.cimports.cpus.rcu import note_quiescent_state, rcu_softirq
from cython.cimports.cpus.smp import handle_call_function
from cython.cimports.cpus.vmstat import TASK_MIGRATIONS
from cython.cimports.cpus.workqueue import run_kworkers
from cython.cimports.ipc.atomic import (
    atomic_fetch_add,
    read_once,
    read_once_ptr,
    smp_load_acquire,
    smp_store_release,
    spin_pause,
)
from cython.cimports.ipc.gate import RESCHED, arm_timer, gate_enter, gate_leave, gate_stop, timer_interrupt
from cython.cimports.ipc.interrupt import poll_interrupts, raise_vector
from cython.cimports.ipc.memory import heap_alloc
from cython.cimports.ipc.park import complete
from cython.cimports.ipc.processor import RESCHEDULE_VECTOR, private, processor_of
from cython.cimports.ipc.trace import trace
from cython.cimports.ipc.transport import let_ticks_in

if not cython.compiled:
    raise ImportError("cpus.cpu is not built; run `make setup`")

LATENCIES = (
    "ipi",
    "kick",
    "call_many",
    "drain",
    "tune",
    "create",
    "shrink",
    "grace_period",
    "rcu_barrier",
    "reclaim",
)


def cpu_relax():
    spin_pause()
    poll_interrupts(this_processor())


def reschedule_interrupt(me, vectors):
    me.need_resched |= RESCHED


def timer_vector(me, vectors):
    c = cython.cast(cython.pointer(cpu), me)
    c.ticks += 1
    if c.rcu_count:
        c.softirq_pending = 1  # a look whether a grace period has ended for them
    timer_interrupt(me)


def set_need_resched(target):
    if target.hw.id == this_processor().id:
        target.hw.need_resched |= RESCHED
    else:
        raise_vector(cython.address(target.hw), RESCHEDULE_VECTOR)


def stop_if_slice_over(me):
    """Let another CPU have the host core. In user mode that is a context switch, so a quiescent state."""
    if me.need_resched & SLICE_OVER == 0:
        return
    me.need_resched &= ~SLICE_OVER
    if me.mode == MODE_USER:
        atomic_fetch_add(cython.address(me.dynticks), 1)
        gate_stop(me)
        atomic_fetch_add(cython.address(me.dynticks), 1)
    else:
        gate_stop(me)


def exit_interrupt():
    """The kernel's part of the outermost interrupt's exit; ipc/interrupt calls it, interrupts on, of a CPU not idle."""
    me = this_processor()
    if me.preempt_count != 0 or me.id < 0:
        return
    stop_if_slice_over(me)
    c = cython.cast(cython.pointer(cpu), me)
    if c.softirq_pending and me.mode == MODE_KERNEL and me.dynticks & 1 == 0 and me.irq_off == 0:
        softirq_asleep(c)
    if me.mode != MODE_USER or c.in_exit_work or me.slot < 0:
        return
    c.in_exit_work = 1
    me.mode = MODE_KERNEL
    me.need_resched &= ~RESCHED
    note_quiescent_state(c)
    if has_exit_work(c):
        let_ticks_in()
        serve_call(c)
        while run_local_work(c):
            pass
    me.mode = MODE_USER
    c.in_exit_work = 0


def has_exit_work(c):
    return (
        c.softirq_pending != 0
        or read_once_ptr(cython.address(c.work_list)) != cython.NULL
        or c.work_head != cython.NULL
        or read_once(cython.address(c.mail.command)) == MAIL_CALL
    )


def softirq_asleep(c):
    """Asleep in the kernel, for a mutex: callbacks run all the same. Its holder may be waiting for them in an
    rcu_barrier(). They are readers, so it is no quiescent state meanwhile."""
    atomic_fetch_add(cython.address(c.hw.dynticks), 1)
    rcu_softirq(c)
    atomic_fetch_add(cython.address(c.hw.dynticks), 1)


def exit_to_user():
    me = this_processor()
    poll_interrupts(me)
    if me.need_resched and me.in_interrupt == 0 and me.irq_off == 0:
        exit_interrupt()


def run_local_work(me):
    did: cython.bint = rcu_softirq(me)
    return run_kworkers(me) or did


def has_work(c):
    return (
        read_once_ptr(cython.address(c.wake_list)) != cython.NULL
        or read_once_ptr(cython.address(c.work_list)) != cython.NULL
        or c.run_queue != cython.NULL
        or c.work_head != cython.NULL
        or c.softirq_pending != 0
        or read_once(cython.address(c.mail.command)) != MAIL_NONE
        or segment().shutting_down != 0
    )


def serve_call(c):
    """Run a function that the coordinator has mailed. Bodies are left to the loop: they need Python."""
    if smp_load_acquire(cython.address(c.mail.command)) != MAIL_CALL:
        return
    c.mail.result = c.mail.function(c.mail.args)
    smp_store_release(cython.address(c.mail.command), MAIL_NONE)
    complete(cython.address(c.mail.done))


def wake_up_process(t, cpu):
    t.cpu = cpu
    if llist_add(cython.address(cpu_of(cpu).wake_list), t) and cpu != this_processor().id:
        raise_vector(processor_of(cpu), RESCHEDULE_VECTOR)


def collect_woken(c):
    """Move tasks from the list others push to onto this CPU's own run queue."""
    t = cython.cast(cython.pointer(task), llist_del_all_reversed(cython.address(c.wake_list)))
    while t != cython.NULL:
        following = t.next
        t.next = cython.NULL
        if c.run_queue == cython.NULL:
            c.run_queue = t
        else:
            c.run_queue_tail.next = t
        c.run_queue_tail = t
        t = following


def run_task(c):
    """One step of the oldest runnable task, in user mode."""
    collect_woken(c)
    t = c.run_queue
    if t == cython.NULL:
        return
    c.run_queue = t.next
    t.next = cython.NULL
    c.current = t
    c.hw.mode = MODE_USER
    answer = t.step(c, t)
    c.hw.mode = MODE_KERNEL
    c.current = cython.NULL
    t.steps += 1
    if answer == TASK_DONE:
        complete(cython.address(t.done))
    elif answer == TASK_MIGRATE and t.cpu != c.hw.id:
        c.counter[TASK_MIGRATIONS] += 1
        trace(EV_TASK_MIGRATE, t.cpu)
        wake_up_process(t, t.cpu)
    else:
        llist_add(cython.address(c.wake_list), t)


def work_until_mail(c):
    """Run until nothing is left, or until mail has come that the caller must see to. Returns that command, or none."""
    me = cython.address(c.hw)
    while has_work(c):
        if segment().shutting_down:
            return MAIL_EXIT
        if me.slot < 0:
            atomic_fetch_add(cython.address(me.dynticks), 1)  # nothing is begun while it waits for its host core
            gate_enter(me, False)
            atomic_fetch_add(cython.address(me.dynticks), 1)
        me.mode = MODE_KERNEL
        me.need_resched = 0
        note_quiescent_state(c)
        serve_call(c)
        while run_local_work(c):
            pass
        command = read_once(cython.address(c.mail.command))
        if command == MAIL_BODY:
            return command
        run_task(c)
        poll_interrupts(me)
    return MAIL_NONE


def idle(c):
    """Wait for an interrupt that brings work. From idle_begin to idle_wait none can be lost."""
    me = cython.address(c.hw)
    gate_leave(me)
    me.mode = MODE_IDLE
    atomic_fetch_add(cython.address(me.dynticks), 1)
    while True:
        private().idle_begin(me)
        poll_interrupts(me)
        if has_work(c):
            break
        if c.rcu_count:
            arm_timer(me)  # a CPU with callbacks keeps its tick
        private().idle_wait(me)
    private().idle_end(me)
    atomic_fetch_add(cython.address(me.dynticks), 1)
    me.mode = MODE_KERNEL


def run_cpu(c):
    """The CPU's loop. Returns MAIL_BODY (the slot is held) or MAIL_EXIT."""
    while True:
        command = work_until_mail(c)
        if command != MAIL_NONE:
            return command
        idle(c)


def init_cpus(nodes: int) -> bool:
    """Give each CPU and the coordinator what they need in memory, and set the vectors' handlers. Before the fork."""
    ops = private()
    ops.handler[0] = handle_call_function
    ops.handler[1] = handle_call_function
    ops.handler[2] = reschedule_interrupt
    ops.handler[3] = timer_vector
    ops.exit_interrupt = exit_interrupt
    count: cython.long = segment().nr_cpus
    for id in range(-1, count):
        c = cpu_of(id)
        c.latency = cython.cast(cython.pointer(histogram), heap_alloc(NR_LATENCIES * cython.sizeof(histogram)))
        if c.latency == cython.NULL:
            return False
        c.node = id * nodes // count if id >= 0 else 0
        c.hw.mode = MODE_KERNEL if id < 0 else MODE_IDLE
        c.hw.dynticks = 1
        c.mail.done.waiter = COORDINATOR
    return True


def struct_size() -> int:
    """Bytes of struct cpu; must not exceed CPU_STRIDE."""
    return cython.sizeof(cpu)
