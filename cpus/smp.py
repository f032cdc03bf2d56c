"""kernel/smp.c: the call-single queues, csds, and the calls made with them.

A request (csd) is linked into the target's lock-less queue; the vector only says that there is something. A csd belongs
to one (sender, target) pair, as the kernel's cfd_data has them, and is locked while in use. The sender of a synchronous
call waits for one word, `acks`: the requests still out, and a bit that says it sleeps. Whoever brings the count to zero
wakes it only if that bit is set: no wake-up is lost, none is paid for by a sender that still spins, and there is one
per broadcast.

A waiter has its interrupts on and serves them: two CPUs that call each other would wait for ever otherwise.
"""

import cython
from cython.cimports.cpus.cpu import LAT_CALL_MANY, LAT_IPI, LAT_KICK, cpu_of, cpu_online_mask, this_cpu
from cython.cimports.cpus.events import EV_CALL_BEGIN, EV_CALL_END, EV_CSD_ENTRY, EV_CSD_EXIT, EV_CSD_QUEUE
from cython.cimports.cpus.ledger import caller, ledger_find, ledger_served, ledger_wait, locks_held
from cython.cimports.cpus.llist import llist_add, llist_del_all_reversed
from cython.cimports.cpus.smp_overdue import complete_requests_of_dead, look_after_overdue
from cython.cimports.cpus.switches import CALL_MULTICAST, CALL_MULTICAST_ALWAYS
from cython.cimports.cpus.vmstat import IPIS_AVOIDED_EMPTY, IPIS_SENT, KICK_IPIS, KICKS
from cython.cimports.ipc.atomic import (
    atomic_fetch_add,
    barrier,
    cmpxchg,
    prefetch_write,
    read_once,
    smp_load_acquire,
    smp_mb,
    smp_store_release,
    spin_pause,
    write_once,
    xchg,
)
from cython.cimports.ipc.boost import SWITCH_BOOST, boost_sender
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.cpumask import (
    cpumask_and,
    cpumask_clear,
    cpumask_clear_cpu,
    cpumask_next,
    cpumask_set_cpu,
    cpumask_test_cpu,
    cpumask_weight,
)
from cython.cimports.ipc.gate import KEEP_SLOT_NS, gate_close, gate_enter, gate_leave, gate_open
from cython.cimports.ipc.histogram import histogram_add
from cython.cimports.ipc.interrupt import (
    local_irq_restore,
    local_irq_save,
    poll_interrupts,
    preempt_disable,
    preempt_enable,
    raise_mask,
    raise_vector,
)
from cython.cimports.ipc.memory import heap_alloc, segment, switch_on, switch_value
from cython.cimports.ipc.park import PARK_NS, park, park_begin, park_end, wake_cpu
from cython.cimports.ipc.processor import (
    CALL_FUNCTION_SINGLE_VECTOR,
    CALL_FUNCTION_VECTOR,
    WAIT_CSD,
    WAIT_NONE,
    private,
    processor_of,
)
from cython.cimports.ipc.trace import trace

if not cython.compiled:
    raise ImportError("cpus.smp is not built; run `make setup`")


def csds_of(c):
    """This sender's csds, one per target; made at its first call, since all of them are N squared. NULL: no memory."""
    if c.cfd == cython.NULL:
        c.cfd = cython.cast(
            cython.pointer(call_single_data), heap_alloc(segment().nr_cpus * cython.sizeof(call_single_data))
        )
    return c.cfd


def csd_lock(c, csd):
    """Wait until the previous use of this csd is over, and take it."""
    if read_once(cython.address(csd.flags)) & CSD_FLAG_LOCK:
        wait_for_csd(c, csd)
    csd.flags = CSD_FLAG_LOCK


def wait_for_csd(c, csd):
    reason = c.hw.waiting_for
    c.hw.waiting_since = get_cycles()
    c.hw.waiting_for = WAIT_CSD
    while read_once(cython.address(csd.flags)) & CSD_FLAG_LOCK:
        flags = read_once(cython.address(csd.flags))
        seen = park_begin(cython.address(c.hw))
        if flags & CSD_FLAG_LOCK and cmpxchg(cython.address(csd.flags), flags, flags | CSD_FLAG_WAITER) == flags:
            park(cython.address(c.hw), seen, PARK_NS)
        park_end(cython.address(c.hw))
    c.hw.waiting_for = reason


def csd_unlock(csd):
    sender = csd.sender
    if xchg(cython.address(csd.flags), 0) & CSD_FLAG_WAITER:
        wake_cpu(processor_of(sender))


def acknowledge(csd):
    """Unlock a synchronous request and take it off its sender's count. The csd is the sender's again after the first
    line, so only the sender's own words are touched below; a spurious wake-up is harmless."""
    sender = cpu_of(csd.sender)
    if xchg(cython.address(csd.flags), 0) & CSD_FLAG_LOCK == 0:
        return
    write_once(cython.address(sender.acked_at), get_cycles())
    if atomic_fetch_add(cython.address(sender.acks), -1) == ACK_SLEEPER + 1:
        wake_cpu(cython.address(sender.hw))


def run_request(c, csd):
    """Run one request. `serving` is what would be answered for if this CPU died now: a request is taken off it before
    it is given back, since its sender may use it again at once. Who dies in between is found by look_after_overdue."""
    func = csd.func
    info = csd.info
    following = csd.next
    site = csd.site
    c.served_target = csd.target
    start = get_cycles()
    trace(EV_CSD_ENTRY, cython.cast(cython.ulong, csd))
    if read_once(cython.address(csd.flags)) & CSD_FLAG_SYNCHRONOUS:
        func(info)
        trace(EV_CSD_EXIT, cython.cast(cython.ulong, csd))
        served = get_cycles() - start
        c.csd_run += 1
        c.serving = following
        barrier()
        acknowledge(csd)
    else:
        c.csd_run += 1
        c.serving = following
        barrier()
        csd_unlock(csd)
        func(info)
        trace(EV_CSD_EXIT, 0)
        served = get_cycles() - start
    ledger_served(c, site, cython.cast(cython.ulong, cython.cast(cython.p_void, func)), served)


def handle_call_function(me, vectors):
    """generic_smp_call_function_single_interrupt: run all that is queued, first come first served."""
    c = cython.cast(cython.pointer(cpu), me)
    csd = cython.cast(cython.pointer(call_single_data), llist_del_all_reversed(cython.address(c.call_single_queue)))
    c.serving = csd
    while csd != cython.NULL:
        run_request(c, csd)
        csd = c.serving


def enqueue(c, csd, target, func, info, flags, site):
    """Queue one request; true if the target's queue was empty."""
    csd.func = func
    csd.info = info
    csd.sender = c.hw.id
    csd.target = target
    csd.since = get_cycles()
    csd.site = site
    smp_store_release(cython.address(csd.flags), flags)
    c.csd_enqueued += 1
    trace(EV_CSD_QUEUE, cython.cast(cython.ulong, csd))
    was_empty: cython.bint = llist_add(cython.address(cpu_of(target).call_single_queue), csd)
    if cpu_of(target).hw.dead:
        complete_requests_of_dead(target)
    return was_empty


def wait_for_acks(c, targets):
    """csd_lock_wait for all requests of a synchronous call. Spins only for a single target: a broadcast's targets may
    need this very core."""
    me = cython.address(c.hw)
    start = get_cycles()
    spin = CSD_SPIN_US * segment().cycles_per_us if targets == 1 else 0
    while smp_load_acquire(cython.address(c.acks)) != 0 and get_cycles() - start < spin:
        spin_pause()
        poll_interrupts(me)
    if smp_load_acquire(cython.address(c.acks)) == 0:
        return
    me.waiting_since = start
    me.waiting_for = WAIT_CSD
    overdue = private().overdue_ns
    # a limit below the host's tick makes it set its timer, 5 us and more in a guest: only where there is a slot to give
    gives_slot: cython.bint = me.sending == 0 and me.slot >= 0
    nap = KEEP_SLOT_NS if gives_slot and overdue > KEEP_SLOT_NS else overdue
    slept: cython.long = 0
    while True:
        seen = park_begin(me)
        acks = read_once(cython.address(c.acks))
        if acks & ~cython.cast(cython.long, ACK_SLEEPER) == 0:
            break
        if acks & ACK_SLEEPER or cmpxchg(cython.address(c.acks), acks, acks | ACK_SLEEPER) == acks:
            park(me, seen, nap)
            slept = (get_cycles() - start) // segment().cycles_per_us * 1000
        if slept >= KEEP_SLOT_NS and me.sending == 0 and me.slot >= 0:
            gate_leave(me)
        if slept >= overdue:
            look_after_overdue(c)
            overdue = slept + private().overdue_ns
    park_end(me)
    smp_load_acquire(cython.address(c.acks))
    write_once(cython.address(c.acks), 0)
    gate_enter(me, True)
    me.waiting_for = WAIT_NONE


def do_nothing(info):
    pass


def row_of(c, site, func):
    """The ledger's row of a call by this context, under the locks that it holds."""
    return ledger_find(c, site, cython.cast(cython.ulong, cython.cast(cython.p_void, func)), locks_held(c))


def smp_call_function_single(cpu, func, info, wait):
    return call_single(cpu, func, info, wait, caller())


def call_single(cpu, func, info, wait, site):
    c = this_cpu()
    if cpu == c.hw.id:
        row_of(c, site, func).itself += 1
        flags = local_irq_save()
        func(info)
        local_irq_restore(flags)
        return 0
    if not cpumask_test_cpu(cpu, cpu_online_mask()) or csds_of(c) == cython.NULL:
        c.csd_enqueued += 1
        c.csd_refused += 1
        row_of(c, site, func).offline += 1
        return -1
    preempt_disable()
    row = row_of(c, site, func)
    start = get_cycles()
    csd = cython.address(c.cfd[cpu]) if wait else cython.address(c.csd)
    csd_lock(c, csd)
    trace(EV_CALL_BEGIN, 1)
    if wait:
        write_once(cython.address(c.acks), 1)
    c.counter[IPIS_SENT] += 1
    row.calls += 1
    row.sent += 1
    # since v2.6.39, the vector is raised only if the queue was empty before, in every modelled version
    if enqueue(c, csd, cpu, func, info, CSD_FLAG_LOCK | (CSD_FLAG_SYNCHRONOUS if wait else 0), site):
        raise_vector(processor_of(cpu), CALL_FUNCTION_SINGLE_VECTOR)
    else:
        row.not_raised += 1
    if wait:
        wait_for_acks(c, 1)
        histogram_add(cython.address(c.latency[LAT_IPI]), c.acked_at - start)
        ledger_wait(c, row, start, c.acked_at)
    trace(EV_CALL_END, 1)
    preempt_enable()
    return 0


def smp_call_function_many(mask, func, info, wait):
    """Call `func` on every online CPU of the mask but this one. The mask is copied first, so callers may race on it.

    Returns the number of CPUs called, or -1 when no memory was left for the csds.
    """
    return call_many(mask, func, info, wait, caller())


def call_many(mask, func, info, wait, site):
    c = this_cpu()
    targets: cpumask
    preempt_disable()
    cpumask_and(cython.address(targets), mask, cpu_online_mask())
    if c.hw.id >= 0:
        cpumask_clear_cpu(c.hw.id, cython.address(targets))
    count = cpumask_weight(cython.address(targets))
    if count == 0:
        preempt_enable()
        return 0
    if count == 1:
        call_single(cpumask_next(-1, cython.address(targets)), func, info, wait, site)
        preempt_enable()
        return 1
    if csds_of(c) == cython.NULL:
        preempt_enable()
        return -1
    call_targets(c, cython.address(targets), count, func, info, wait, site)
    preempt_enable()
    return count


def call_targets(c, targets, count, func, info, wait, site):
    row = row_of(c, site, func)
    start = get_cycles()
    trace(EV_CALL_BEGIN, count)
    if wait:
        write_once(cython.address(c.acks), count)
    flags = CSD_FLAG_LOCK | (CSD_FLAG_SYNCHRONOUS if wait else 0)
    row.not_raised += queue_for_targets(c, targets, func, info, flags, site)
    c.counter[IPIS_SENT] += count
    row.calls += 1
    row.sent += count
    if wait:
        gate_close(cython.address(c.hw))
        if switch_on(SWITCH_BOOST):
            boost_sender(True)
    raise_mask(targets.bits, CALL_FUNCTION_VECTOR)
    if wait:
        wait_for_acks(c, count)
        histogram_add(cython.address(c.latency[LAT_CALL_MANY]), c.acked_at - start)
        ledger_wait(c, row, start, c.acked_at)
        gate_open(cython.address(c.hw))
        if switch_on(SWITCH_BOOST):
            boost_sender(False)
    trace(EV_CALL_END, count)


def queue_for_targets(c, targets, func, info, flags, site):
    """Queue a request for each target; those that need no interrupt are taken out of the mask, and counted."""
    # since v4.14, smp: only CPUs whose queue was empty are interrupted; before, the whole mask is (Aaron Lu 2017)
    always: cython.bint = switch_value(CALL_MULTICAST) == CALL_MULTICAST_ALWAYS
    spared: cython.long = 0
    cpu: cython.long = cpumask_next(-1, targets)
    while cpu >= 0:
        prefetch_write(cython.address(cpu_of(cpu).hw.pending))  # raise_mask() comes to it next; it is another core's
        csd = cython.address(c.cfd[cpu])
        csd_lock(c, csd)
        if not enqueue(c, csd, cpu, func, info, flags, site) and not always:
            targets.bits[cpu >> 6] &= ~(cython.cast(cython.ulong, 1) << (cpu & 63))
            spared += 1
        cpu = cpumask_next(cpu, targets)
    return spared


def smp_call_function(func, info, wait):
    count_offline(func, caller())
    return call_many(cpu_online_mask(), func, info, wait, caller())


def count_offline(func, site):
    """A call of everybody spares who is offline. (At boot nobody is there yet, so nobody is spared.)"""
    online: cython.long = cpumask_weight(cpu_online_mask())
    if 0 < online < segment().nr_cpus:
        row_of(this_cpu(), site, func).offline += segment().nr_cpus - online


def on_each_cpu(func, info, wait):
    count_offline(func, caller())
    return call_mask(cpu_online_mask(), func, info, wait, caller())


def on_each_cpu_mask(mask, func, info, wait):
    """The others first, their answers included, then this CPU if it is in the mask. The coordinator is in none."""
    return call_mask(mask, func, info, wait, caller())


def call_mask(mask, func, info, wait, site):
    c = this_cpu()
    local: cython.bint = c.hw.id >= 0 and cpumask_test_cpu(c.hw.id, mask)
    called = call_many(mask, func, info, wait, site)
    if local:
        row_of(c, site, func).itself += 1
        flags = local_irq_save()
        func(info)
        local_irq_restore(flags)
    return called


def on_each_cpu_cond(cond, func, info, wait, fail_mask):
    """Call `func` where `cond(cpu, info)`, evaluated here and racily, says so. fail_mask: the cpumask's allocation has
    failed, so one CPU is called after the other."""
    mask: cpumask
    cpumask_clear(cython.address(mask))
    site = caller()
    preempt_disable()
    called: cython.int = 0
    c = this_cpu()
    row = row_of(c, site, func)
    cpu: cython.long = cpumask_next(-1, cpu_online_mask())
    while cpu >= 0:
        if not cond(cpu, info):
            c.counter[IPIS_AVOIDED_EMPTY] += cpu != c.hw.id
            row.empty += cpu != c.hw.id
        elif fail_mask:
            called += cpu != c.hw.id
            call_single(cpu, func, info, True, site)
        else:
            cpumask_set_cpu(cpu, cython.address(mask))
        cpu = cpumask_next(cpu, cpu_online_mask())
    if not fail_mask:
        called = call_mask(cython.address(mask), func, info, wait, site)
    preempt_enable()
    return called


def kick_all_cpus_sync():
    """Make every other CPU take an interrupt: after it none is inside an irq-off section that began before."""
    c = this_cpu()
    smp_mb()
    start = get_cycles()
    c.counter[KICKS] += 1
    count_offline(do_nothing, caller())
    called = call_many(cpu_online_mask(), do_nothing, cython.NULL, True, caller())
    if called > 0:
        c.counter[KICK_IPIS] += called
        histogram_add(cython.address(c.latency[LAT_KICK]), c.acked_at - start)
    return called
