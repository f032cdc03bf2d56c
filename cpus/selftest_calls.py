"""Operations for the tests of the machine: sections with interrupts off, cross-calls that leave a mark, scftorture."""

import cython
from cython.cimports.cpus.cpu import this_cpu
from cython.cimports.cpus.selftest import compute, pause_turns, release, run_log, set_word, take, wait_for_word, word
from cython.cimports.cpus.smp import (
    on_each_cpu,
    on_each_cpu_cond,
    on_each_cpu_mask,
    smp_call_function,
    smp_call_function_many,
    smp_call_function_single,
)
from cython.cimports.ipc.atomic import atomic_fetch_add, spin_pause
from cython.cimports.ipc.cpumask import cpumask_test_cpu
from cython.cimports.ipc.interrupt import local_irq_restore, local_irq_save, preempt_disable, preempt_enable
from cython.cimports.ipc.memory import segment
from cython.cimports.ipc.processor import this_processor
from cython.cimports.ipc.random import draw

if not cython.compiled:
    raise ImportError("cpus.selftest_calls is not built; run `make setup`")


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
    counted = cython.cast(cython.p_void, cython.cast(cython.ulong, args[0]))
    for _ in range(args[2]):
        smp_call_function_single(args[1], count_plain, counted, True)
    return args[2]


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


SIZES = {"check": cython.sizeof(scf_check)}


def entry_points() -> dict:
    """Address of each operation, by name."""
    return {
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
    }
