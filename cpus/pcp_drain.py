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
from cython.cimports.cpus.mmzone import holds_pages, mm_root, pageset_of
from cython.cimports.cpus.pcp import drain_pages
from cython.cimports.cpus.pcp_drain_work import drain_by_work, init_drain_works
from cython.cimports.cpus.smp import on_each_cpu, on_each_cpu_mask
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
from cython.cimports.ipc.atomic import atomic_fetch_add, vlong
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
from cython.cimports.ipc.memory import segment, switch_value
from cython.cimports.ipc.park import park, park_begin, park_end, sleep_begin, sleep_end
from cython.cimports.ipc.processor import this_processor
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
    return init_drain_works()
