"""mm/page_alloc.c: drain_all_pages, which brings the pages on all CPUs' lists back to the buddy allocator.

Who is asked, and how, is the subject of the thread "Reduce cross CPU IPI interference" (Gilad Ben-Yossef, 2012), and of
two patches since. The mask of CPUs with pages is looked at from outside, racily: a drain promises only that pages
which were on a list before the call, and which nobody has touched since, are gone when it returns.

What goes wrong with a static mask, which all callers share, when nobody guards it:

- mask-v6 sets or clears a CPU's bit for each zone in turn, so the last populated zone decides, without any race.
- mask-clear-set clears the mask first. Between one caller's stores and its calls another may clear it again.
- mask-merged gives each CPU's bit one store. What remains: a caller looks at an empty CPU, a page comes, a second
  caller sees it and sets the bit, and the first now clears it before the second has sent (Mel Gorman, 2012-01-30).

The lock of mask-spinlock is taken with interrupts on: who waits for it must answer the interrupts of who holds it. Nor
may it keep its host core: the holder waits for answers inside the lock, may have given its own core away meanwhile, and
needs one to go on. So it is Miller's second form, a loop of trylock, cpu_relax and cond_resched (docs/decisions/0022).
It is counted under pcpu_drain_mutex, as the mutexes are.
"""

import cython
from cython.cimports.cpus.cpu import (
    LAT_DRAIN,
    count_event,
    cpu_of,
    cpu_online_mask,
    cpu_relax,
    record_latency,
    this_cpu,
)
from cython.cimports.cpus.delay import delay_point
from cython.cimports.cpus.events import (
    EV_DRAIN_BEGIN,
    EV_DRAIN_END,
    EV_DRAIN_SEND,
    EV_MASK_CLEAR,
    EV_MASK_CLEAR_CPU,
    EV_MASK_SET_CPU,
)
from cython.cimports.cpus.locks import CLASS_PCPU_DRAIN_MUTEX, locks
from cython.cimports.cpus.mmzone import drain_log, holds_pages, mm_root, mm_system, pageset_of
from cython.cimports.cpus.pcp import drain_pages
from cython.cimports.cpus.smp import on_each_cpu, on_each_cpu_mask, smp_call_function_single
from cython.cimports.cpus.switches import (
    PCP_DRAIN,
    PCP_DRAIN_ALL,
    PCP_DRAIN_MASK_CLEAR_SET,
    PCP_DRAIN_MASK_MUTEX,
    PCP_DRAIN_MASK_PRIVATE,
    PCP_DRAIN_MASK_SELF_CLEAR,
    PCP_DRAIN_MASK_SPINLOCK,
    PCP_DRAIN_MASK_TRYLOCK,
    PCP_DRAIN_MASK_V6,
    PCP_DRAIN_REMOTE,
    PCP_DRAIN_WORKQUEUE,
)
from cython.cimports.cpus.vmstat import (
    IPIS_AVOIDED_EMPTY,
    IPIS_AVOIDED_OFFLINE,
    IPIS_AVOIDED_OTHER,
    IPIS_AVOIDED_SELF,
    PCP_DRAIN_SKIPPED,
    PCP_GLOBAL_DRAIN,
    PCP_GLOBAL_IPI_SAVED,
    PGALLOC,
    PGALLOC_DMA,
    PGALLOC_DMA32,
    PGFREE,
)
from cython.cimports.cpus.workqueue import (
    WQ_PERCPU,
    alloc_workqueue,
    init_work,
    queue_work_on,
    run_own_items,
    workqueue_struct,
)
from cython.cimports.ipc.atomic import atomic_fetch_add, cmpxchg, read_once, write_once
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.cpumask import (
    cpumask_clear,
    cpumask_clear_cpu,
    cpumask_copy,
    cpumask_next,
    cpumask_set_cpu,
    cpumask_weight,
)
from cython.cimports.ipc.histogram import histogram_add
from cython.cimports.ipc.interrupt import local_irq_restore, local_irq_save
from cython.cimports.ipc.lock import (
    SPINS,
    mutex_lock,
    mutex_trylock,
    mutex_unlock,
    spin_lock_init,
    spin_trylock,
    spin_unlock,
    stat_of,
)
from cython.cimports.ipc.memory import heap_alloc, segment, switch_value
from cython.cimports.ipc.park import park, park_begin, park_end, sleep_begin, sleep_end, wake_cpu
from cython.cimports.ipc.processor import WAIT_COMPLETION, WAIT_NONE, WAIT_SLOT, processor_of, this_processor
from cython.cimports.ipc.trace import trace

if not cython.compiled:
    raise ImportError("cpus.pcp_drain is not built; run `make setup`")


def drain_local_pages(info):
    """Give this CPU's pages back. Called on each CPU that is asked, from whatever it was doing."""
    flags = local_irq_save()
    drain_pages(this_cpu().hw.id, cython.cast(cython.pointer(zone), info))
    local_irq_restore(flags)


def drain_and_clear(info):
    """mask-self-clear: the bit goes after the pages, with interrupts off: none can come in between."""
    flags = local_irq_save()
    me = this_cpu().hw.id
    drain_pages(me, cython.cast(cython.pointer(zone), info))
    cpumask_clear_cpu(me, cython.address(mm_root().cpus_with_pcps))
    trace(EV_MASK_CLEAR_CPU, me)
    local_irq_restore(flags)


# --- masks ----------------------------------------------------------------------------------------


def set_or_clear_each_zone(mask, only):
    """The bug of the series' v6, seen by Milton Miller: each zone overwrites what the one before has found."""
    system = mm_root()
    cpu: cython.long = cpumask_next(-1, cpu_online_mask())
    while cpu >= 0:
        for i in range(system.nr_populated):
            if pageset_of(cpu, system.populated[i]).count != 0:
                cpumask_set_cpu(cpu, mask)
                trace(EV_MASK_SET_CPU, cpu)
            else:
                cpumask_clear_cpu(cpu, mask)
                trace(EV_MASK_CLEAR_CPU, cpu)
        cpu = cpumask_next(cpu, cpu_online_mask())


def only_set(mask, only):
    cpu: cython.long = cpumask_next(-1, cpu_online_mask())
    while cpu >= 0:
        if holds_pages(cpu, only):
            cpumask_set_cpu(cpu, mask)
            trace(EV_MASK_SET_CPU, cpu)
        cpu = cpumask_next(cpu, cpu_online_mask())


def clear_then_set(mask, only):
    cpumask_clear(mask)
    trace(EV_MASK_CLEAR, 0)
    delay_point()
    only_set(mask, only)


def set_or_clear(mask, only):
    # since v3.4, mm: only IPI CPUs to drain local pages if they exist (Ben-Yossef 2012)
    cpu: cython.long = cpumask_next(-1, cpu_online_mask())
    while cpu >= 0:
        has_pcps: cython.bint = holds_pages(cpu, only)
        delay_point()
        if has_pcps:
            cpumask_set_cpu(cpu, mask)
            trace(EV_MASK_SET_CPU, cpu)
        else:
            cpumask_clear_cpu(cpu, mask)
            trace(EV_MASK_CLEAR_CPU, cpu)
        cpu = cpumask_next(cpu, cpu_online_mask())


def drain_mask(mask, only, self_clear):
    """Call the CPUs of a mask that others may be changing: it is read once. How many are in it after the call."""
    delay_point()
    targets: cpumask
    cpumask_copy(cython.address(targets), mask)
    trace(EV_DRAIN_SEND, cpumask_weight(cython.address(targets)))
    func = drain_and_clear if self_clear else drain_local_pages
    count_avoided(on_each_cpu_mask(cython.address(targets), func, only, True), 0, False)
    return cpumask_weight(cython.address(targets) if self_clear else mask)


def drain_everybody(only):
    called = on_each_cpu(drain_local_pages, only, True)
    count_avoided(called, 0, False)
    return cpumask_weight(cpu_online_mask())


def drain_static_mask(variant, only):
    mask = cython.address(mm_root().cpus_with_pcps)
    if variant == PCP_DRAIN_MASK_V6:
        set_or_clear_each_zone(mask, only)
    elif variant == PCP_DRAIN_MASK_SELF_CLEAR:
        only_set(mask, only)
    elif variant == PCP_DRAIN_MASK_CLEAR_SET or variant >= PCP_DRAIN_MASK_SPINLOCK:
        clear_then_set(mask, only)
    else:
        set_or_clear(mask, only)
    return drain_mask(mask, only, variant == PCP_DRAIN_MASK_SELF_CLEAR)


def drain_private_mask(only):
    mask: cpumask
    clear_then_set(cython.address(mask), only)
    return drain_mask(cython.address(mask), only, False)


# --- work items -----------------------------------------------------------------------------------


def run_drain_work(d):
    """Do what the drain under way wants of this CPU, once: its item may come late, when a rescuer has been here."""
    if cmpxchg(cython.address(d.wanted), 1, 0) != 1:
        return
    drain_local_pages(d.only)
    system = mm_root()
    drainer = read_once(cython.address(system.drainer))
    if atomic_fetch_add(cython.address(system.drain_left), -1) == 1:
        wake_cpu(processor_of(drainer - 2))


def drain_local_pages_wq(work):
    run_drain_work(cython.cast(cython.pointer(drain_work), work))


def rescue_by_interrupt(info):
    run_drain_work(cython.cast(cython.pointer(drain_work), info))


def rescue_sleepers():
    """mm_percpu_wq has a rescuer, for workers that cannot come. Here a CPU's only worker may be asleep in the kernel,
    waiting for a lock that the drainer holds: such a CPU is interrupted."""
    system = mm_root()
    works = cython.cast(cython.pointer(drain_work), system.drain_works)
    for cpu in range(segment().nr_cpus):
        d = cython.address(works[cpu])
        if read_once(cython.address(d.wanted)) == 0:
            continue
        hw = cython.address(cpu_of(cpu).hw)
        if hw.dead:
            if cmpxchg(cython.address(d.wanted), 1, 0) == 1:
                atomic_fetch_add(cython.address(system.drain_left), -1)
        elif hw.waiting_for != WAIT_NONE and hw.waiting_for != WAIT_SLOT:
            if system.log != cython.NULL:
                atomic_fetch_add(cython.address(system.log.rescued), 1)
            smp_call_function_single(cpu, rescue_by_interrupt, d, True)


def wait_for_drain_works():
    system = mm_root()
    me = this_processor()
    since = get_cycles()
    me.waiting_for = WAIT_COMPLETION
    me.waiting_on = cython.cast(cython.long, system.drain_works)
    sleep_begin(me)
    while True:
        seen = park_begin(me)
        if read_once(cython.address(system.drain_left)) == 0:
            break
        if me.id >= 0 and this_cpu().in_kworker == 0 and run_own_items():
            continue
        park(me, seen, RESCUE_MS * cython.cast(cython.long, 1000000) // 4)
        if get_cycles() - since > RESCUE_MS * 1000 * segment().cycles_per_us:
            park_end(me)
            sleep_end(me)
            rescue_sleepers()
            sleep_begin(me)
            since = get_cycles()
    park_end(me)
    sleep_end(me)
    me.waiting_for = WAIT_NONE


def queue_drain_works(only):
    """An item for each online CPU with pages; how many."""
    system = mm_root()
    works = cython.cast(cython.pointer(drain_work), system.drain_works)
    wq = cython.cast(cython.pointer(workqueue_struct), system.drain_wq)
    mask = cython.address(system.cpus_with_pcps)
    set_or_clear(mask, only)
    targets: cpumask
    cpumask_copy(cython.address(targets), mask)
    asked: cython.long = 0
    own_too: cython.bint = False
    cpu: cython.long = cpumask_next(-1, cpu_online_mask())
    write_once(cython.address(system.drainer), this_processor().id + 2)
    write_once(cython.address(system.drain_left), 1)  # mine, so that it is not zero before all are queued
    while cpu >= 0:
        if cpumask_next(cpu - 1, cython.address(targets)) == cpu:
            d = cython.address(works[cpu])
            d.only = only
            atomic_fetch_add(cython.address(system.drain_left), 1)
            write_once(cython.address(d.wanted), 1)
            queue_work_on(cpu, wq, cython.address(d.work))
            asked += 1
            own_too |= cpu == this_processor().id
        cpu = cpumask_next(cpu, cpu_online_mask())
    atomic_fetch_add(cython.address(system.drain_left), -1)
    trace(EV_DRAIN_SEND, asked)
    count_avoided(0, asked, own_too)
    return asked


def drain_by_work(only):
    # since v4.11, mm, page_alloc: drain per-cpu pages from workqueue context (Gorman 2017)
    lock = cython.address(locks().pcpu_drain_mutex)
    if this_cpu().in_kworker:
        return DRAIN_SKIPPED  # a worker cannot wait for workers
    if only == cython.NULL and not mutex_trylock(lock):
        return DRAIN_SKIPPED
    if only != cython.NULL:
        mutex_lock(lock)
    asked = queue_drain_works(only)
    wait_for_drain_works()
    mutex_unlock(lock)
    return asked


def drain_remotely(only):
    # since v6.0, mm/page_alloc: remotely drain per-cpu lists (Saenz Julienne 2022)
    lock = cython.address(locks().pcpu_drain_mutex)
    if only == cython.NULL and not mutex_trylock(lock):
        return DRAIN_SKIPPED
    if only != cython.NULL:
        mutex_lock(lock)
    emptied: cython.long = 0
    own_too: cython.bint = False
    for cpu in range(segment().nr_cpus):
        if holds_pages(cpu, only):
            flags = local_irq_save()
            drain_pages(cpu, only)
            local_irq_restore(flags)
            emptied += 1
            own_too |= cpu == this_processor().id
    count_avoided(0, emptied, own_too)
    mutex_unlock(lock)
    return emptied


def spin_for_drain_lock():
    lock = cython.address(mm_root().drain_lock)
    me = this_processor()
    start = get_cycles()
    turns: cython.long = 0
    while not spin_trylock(lock):
        cpu_relax()
        turns += 1
        if turns % SPINS == 0:  # cond_resched()
            sleep_begin(me)
            seen = park_begin(me)
            park(me, seen, RESCHED_NS)
            park_end(me)
            sleep_end(me)
    if turns != 0:
        stat = stat_of(me, CLASS_PCPU_DRAIN_MUTEX)
        stat.contended += 1
        histogram_add(cython.address(stat.wait), get_cycles() - start)


# --- the call -------------------------------------------------------------------------------------


def count_avoided(sent, other, own_too):
    """Of all possible CPUs: who was not interrupted, and why. other: asked or emptied by other means, this CPU among
    them if own_too."""
    c = this_cpu()
    possible: cython.long = segment().nr_cpus
    offline: cython.long = possible - cpumask_weight(cpu_online_mask())
    own: cython.long = c.hw.id >= 0 and not own_too
    if sent < 0:
        sent = 0
    c.counter[IPIS_AVOIDED_OFFLINE] += offline
    c.counter[IPIS_AVOIDED_SELF] += own
    c.counter[IPIS_AVOIDED_OTHER] += other
    c.counter[IPIS_AVOIDED_EMPTY] += possible - sent - other - offline - own


def drain_by(variant, only):
    answer: cython.long = DRAIN_SKIPPED
    if variant == PCP_DRAIN_ALL:
        return drain_everybody(only)
    if variant == PCP_DRAIN_WORKQUEUE:
        return drain_by_work(only)
    if variant == PCP_DRAIN_REMOTE:
        return drain_remotely(only)
    if variant == PCP_DRAIN_MASK_PRIVATE:
        return drain_private_mask(only)
    if variant == PCP_DRAIN_MASK_SPINLOCK:
        spin_for_drain_lock()
        answer = drain_static_mask(variant, only)
        spin_unlock(cython.address(mm_root().drain_lock))
        return answer
    lock = cython.address(locks().pcpu_drain_mutex)
    if variant == PCP_DRAIN_MASK_TRYLOCK:
        if not mutex_trylock(lock):
            return DRAIN_SKIPPED
    elif variant == PCP_DRAIN_MASK_MUTEX:
        mutex_lock(lock)
    else:
        return drain_static_mask(variant, only)
    answer = drain_static_mask(variant, only)
    mutex_unlock(lock)
    return answer


def drain_all_pages(only):
    variant = switch_value(PCP_DRAIN)
    start = get_cycles()
    count_event(PCP_GLOBAL_DRAIN)
    trace(EV_DRAIN_BEGIN, variant)
    asked = drain_by(variant, only)
    # The thread's definition: a call is `saved` if fewer than half of the online CPUs, rounded down, were needed.
    if asked == DRAIN_SKIPPED:
        count_event(PCP_DRAIN_SKIPPED)
    elif asked < cpumask_weight(cpu_online_mask()) // 2:
        count_event(PCP_GLOBAL_IPI_SAVED)
    trace(EV_DRAIN_END, asked)
    record_latency(LAT_DRAIN, start)
    if mm_root().log != cython.NULL:
        log_drain(asked)
    return asked


def log_drain(asked):
    """For a workload that watches: how many CPUs a drain asked, and how many had been at pages since the last one."""
    log = mm_root().log
    if asked == DRAIN_SKIPPED:
        atomic_fetch_add(cython.address(log.skipped), 1)
        return
    ran: cython.long = 0
    for cpu in range(segment().nr_cpus):
        counter = cpu_of(cpu).counter
        operations = counter[PGFREE] + counter[PGALLOC] + counter[PGALLOC_DMA] + counter[PGALLOC_DMA32]
        ran += operations != log.operations[cpu]
        log.operations[cpu] = operations
    atomic_fetch_add(cython.address(log.drains), 1)
    atomic_fetch_add(cython.cast(cython.pointer(vlong), cython.address(log.weight[asked])), 1)
    atomic_fetch_add(cython.cast(cython.pointer(vlong), cython.address(log.ran[ran])), 1)


def page_alloc_cpu_dead(cpu):
    """A CPU has gone off line: its pages go back. The caller keeps it so."""
    flags = local_irq_save()
    drain_pages(cpu, cython.cast(cython.pointer(zone), cython.NULL))
    local_irq_restore(flags)
    cpumask_clear_cpu(cpu, cython.address(mm_root().cpus_with_pcps))


def init_drain():
    system = mm_root()
    spin_lock_init(cython.address(system.drain_lock), CLASS_PCPU_DRAIN_MUTEX)
    count: cython.long = segment().nr_cpus
    system.drain_works = heap_alloc(count * cython.sizeof(drain_work))
    system.drain_wq = alloc_workqueue(b"mm_percpu_wq", WQ_PERCPU)
    if system.drain_works == cython.NULL or system.drain_wq == cython.NULL:
        return False
    works = cython.cast(cython.pointer(drain_work), system.drain_works)
    for cpu in range(count):
        works[cpu].cpu = cpu
        init_work(cython.address(works[cpu].work), drain_local_pages_wq)
    return True
