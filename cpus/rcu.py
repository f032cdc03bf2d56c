"""RCU-sched grace periods.

A reader is an irq-off or preempt-off section. A CPU says itself that it is in none, by counting qs_seq up, when it
takes an interrupt in user mode or switches tasks; in idle, or stopped by the gate in user mode, it is in none by nature
(`eqs`, entered and left with full barriers). A remote look at the CPU's mode would prove nothing: it is stored without
a barrier.
"""

import cython
from cython.cimports.cpus.cpu import LAT_GRACE_PERIOD, cpu_of, cpu_online_mask, record_latency, this_cpu
from cython.cimports.cpus.events import EV_GP_BEGIN, EV_GP_END
from cython.cimports.cpus.vmstat import GRACE_PERIODS
from cython.cimports.ipc.atomic import read_once, smp_mb
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.cpumask import cpumask_next, cpumask_test_cpu, cpumask_weight
from cython.cimports.ipc.gate import gate_enter, gate_leave
from cython.cimports.ipc.interrupt import raise_vector
from cython.cimports.ipc.memory import segment
from cython.cimports.ipc.park import park, park_begin, park_end
from cython.cimports.ipc.processor import RESCHEDULE_VECTOR, WAIT_GRACE_PERIOD, WAIT_NONE
from cython.cimports.ipc.trace import trace

if not cython.compiled:
    raise ImportError("cpus.rcu is not built; run `make setup`")


def passed(id, snapshot):
    c = cpu_of(id)
    return (
        read_once(cython.address(c.qs_seq)) != snapshot
        or read_once(cython.address(c.eqs)) != 0
        or c.hw.dead != 0
        or not cpumask_test_cpu(id, cpu_online_mask())
    )


def wait_for_cpu(me, id, snapshot):
    """Wait until CPU `id` has passed a quiescent state, prodding it once a millisecond."""
    hw = cython.address(me.hw)
    while not passed(id, snapshot):
        seen = park_begin(hw)
        if not passed(id, snapshot):
            park(hw, seen, GP_POLL_NS)
            if not passed(id, snapshot):
                raise_vector(cython.address(cpu_of(id).hw), RESCHEDULE_VECTOR)
        park_end(hw)


def synchronize_sched():
    me = this_cpu()
    if cpumask_weight(cpu_online_mask()) <= 1:
        return
    start = get_cycles()
    snapshot: cython.long[1024]
    count: cython.long = segment().nr_cpus
    me.counter[GRACE_PERIODS] += 1
    trace(EV_GP_BEGIN, me.counter[GRACE_PERIODS])
    smp_mb()
    for id in range(count):
        snapshot[id] = read_once(cython.address(cpu_of(id).qs_seq))
    me.hw.waiting_since = start
    me.hw.waiting_for = WAIT_GRACE_PERIOD
    gate_leave(cython.address(me.hw))
    cpu: cython.long = cpumask_next(-1, cpu_online_mask())
    while cpu >= 0:
        if cpu != me.hw.id:
            me.hw.waiting_on = cpu
            wait_for_cpu(me, cpu, snapshot[cpu])
        cpu = cpumask_next(cpu, cpu_online_mask())
    gate_enter(cython.address(me.hw), True)
    me.hw.waiting_for = WAIT_NONE
    smp_mb()
    trace(EV_GP_END, me.counter[GRACE_PERIODS])
    record_latency(LAT_GRACE_PERIOD, start)


def call_rcu_sched(head, func):
    """Queue a callback on this CPU; rcu_softirq() runs it after a grace period."""
    me = this_cpu()
    head.func = func
    head.next = cython.NULL
    if me.rcu_head == cython.NULL:
        me.rcu_head = head
    else:
        cython.cast(cython.pointer(rcu_head), me.rcu_tail).next = head
    me.rcu_tail = head
    me.rcu_count += 1
    me.softirq_pending = 1


def rcu_softirq(me):
    if me.softirq_pending == 0:
        return False
    me.softirq_pending = 0
    head = cython.cast(cython.pointer(rcu_head), me.rcu_head)
    me.rcu_head = cython.NULL
    if head == cython.NULL:
        return False
    synchronize_sched()
    while head != cython.NULL:
        following = head.next
        head.func(head)
        me.rcu_done += 1
        me.rcu_count -= 1
        head = following
    return True
