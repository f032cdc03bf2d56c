"""Cross-call operations as functions that the coordinator can run anywhere; the answer is a long.

Slab and memcg operations have theirs beside their code. Times are recorded in the context that runs the operation.
"""

import cython
from cython.cimports.cpus.rcu import synchronize_sched
from cython.cimports.cpus.smp import (
    kick_all_cpus_sync,
    on_each_cpu,
    on_each_cpu_mask,
    smp_call_function,
    smp_call_function_single,
)
from cython.cimports.ipc.atomic import atomic_fetch_add, vlong
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.cpumask import cpumask, cpumask_clear, cpumask_set_cpu
from cython.cimports.ipc.interrupt import local_irq_restore, local_irq_save
from cython.cimports.ipc.memory import segment

if not cython.compiled:
    raise ImportError("cpus.entry is not built; run `make setup`")


def kick(args):
    """kick_all_cpus_sync(): the number of CPUs interrupted."""
    return kick_all_cpus_sync()


def touch_nothing(info):
    pass


def count_call(info):
    atomic_fetch_add(cython.cast(cython.pointer(vlong), info), 1)


def call_single(args):
    """smp_call_function_single(args[0], wait=args[1]); counts in the word at args[2] if that is not 0."""
    func = count_call if args[2] else touch_nothing
    return smp_call_function_single(
        args[0], func, cython.cast(cython.p_void, cython.cast(cython.ulong, args[2])), args[1] != 0
    )


def call_many(args):
    """args[0] times smp_call_function(wait=args[1]); each call counts in the word at args[2]. The last answer."""
    called: cython.long = 0
    func = count_call if args[2] else touch_nothing
    for _ in range(args[0]):
        called = smp_call_function(func, cython.cast(cython.p_void, cython.cast(cython.ulong, args[2])), args[1] != 0)
    return called


def each_cpu(args):
    """on_each_cpu(wait): args[0] the word to count in."""
    func = count_call if args[0] else touch_nothing
    return on_each_cpu(func, cython.cast(cython.p_void, cython.cast(cython.ulong, args[0])), True)


def each_of_mask(args):
    """on_each_cpu_mask: CPUs 0..63 by the bits of args[0]; args[1] the word to count in."""
    mask: cpumask
    cpumask_clear(cython.address(mask))
    bits = cython.cast(cython.ulong, args[0])
    for i in range(64):
        if bits >> i & 1:
            cpumask_set_cpu(i, cython.address(mask))
    func = count_call if args[1] else touch_nothing
    return on_each_cpu_mask(
        cython.address(mask), func, cython.cast(cython.p_void, cython.cast(cython.ulong, args[1])), True
    )


def sync_sched(args):
    """synchronize_sched(); its length in cycles."""
    start = get_cycles()
    synchronize_sched()
    return get_cycles() - start


def interrupts_off(args):
    """Keep interrupts off for args[0] microseconds."""
    flags = local_irq_save()
    spin_for(args)
    local_irq_restore(flags)
    return 0


def spin_for(args):
    """Compute for args[0] microseconds."""
    until = get_cycles() + args[0] * segment().cycles_per_us
    while get_cycles() < until:
        pass
    return 0


def nothing(args):
    """A round trip of the mailbox."""
    return 0


def entry_points() -> dict:
    """Address of each operation, by name."""
    return {
        "kick": cython.cast(cython.long, cython.cast(cython.p_void, kick)),
        "call_single": cython.cast(cython.long, cython.cast(cython.p_void, call_single)),
        "call_many": cython.cast(cython.long, cython.cast(cython.p_void, call_many)),
        "each_cpu": cython.cast(cython.long, cython.cast(cython.p_void, each_cpu)),
        "each_of_mask": cython.cast(cython.long, cython.cast(cython.p_void, each_of_mask)),
        "sync_sched": cython.cast(cython.long, cython.cast(cython.p_void, sync_sched)),
        "interrupts_off": cython.cast(cython.long, cython.cast(cython.p_void, interrupts_off)),
        "spin_for": cython.cast(cython.long, cython.cast(cython.p_void, spin_for)),
        "nothing": cython.cast(cython.long, cython.cast(cython.p_void, nothing)),
    }
