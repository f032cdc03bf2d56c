"""Interrupts by a word that the target polls: at kernel entry and exit, in every wait loop, in cpu_relax().

A CPU that sleeps is woken through its event word. A program that has not polled for --poll-limit is interrupted by
signal, which is counted as `fallback`: by whoever waits for it, and by the CPU's own timer tick in any case.
"""

import cython
from cython.cimports.ipc.atomic import atomic_fetch_add_int, read_once_int, smp_mb
from cython.cimports.ipc.host import futex_wait
from cython.cimports.ipc.park import wake_cpu
from cython.cimports.ipc.processor import private, this_processor
from cython.cimports.ipc.transport import ring_in_order, send_signal

if not cython.compiled:
    raise ImportError("ipc.transport_doorbell is not built; run `make setup`")


def ring(target):
    wake_cpu(target)


def overdue(target):
    this_processor().irqs.fallback += 1
    send_signal(target)


def idle_begin(me):
    me.idle = 1
    me.sleeping = 1
    smp_mb()
    me.blocked = read_once_int(cython.address(me.event))


def idle_wait(me):
    futex_wait(cython.cast(cython.p_int, cython.address(me.event)), cython.cast(cython.int, me.blocked), -1)


def idle_end(me):
    me.idle = 0
    me.sleeping = 0


def signalled(me, from_queue):
    if me.idle:
        atomic_fetch_add_int(cython.address(me.event), 1)


def use():
    ops = private()
    ops.ring = ring
    ops.ring_many = ring_in_order
    ops.idle_begin = idle_begin
    ops.idle_wait = idle_wait
    ops.idle_end = idle_end
    ops.signalled = signalled
    ops.overdue = overdue
