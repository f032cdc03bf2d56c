"""Random micro-delays: they multiply the times per second that a window of a race is hit, and change nothing else."""

import cython
from cython.cimports.cpus.cpu import cpu_relax, smp_processor_id
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.memory import segment

if not cython.compiled:
    raise ImportError("cpus.delay is not built; run `make setup`")


def random_delay():
    """Every other time, wait for up to DELAY_US, serving interrupts."""
    z = cython.cast(cython.ulong, get_cycles() + smp_processor_id())
    z = (z ^ (z >> 30)) * cython.cast(cython.ulong, 0xBF58476D1CE4E5B9)
    z ^= z >> 27
    if z & 1:
        return
    until = get_cycles() + cython.cast(cython.long, (z >> 8) % (DELAY_US * segment().cycles_per_us))
    while get_cycles() < until:
        cpu_relax()
