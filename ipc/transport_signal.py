"""Interrupts by signal: tgkill of one real-time signal to the CPU's only thread, wherever it is.

A signal that comes between the last look and the wait would be lost to a loop around pause(). So an idle CPU blocks the
signal, looks, and waits in sigsuspend, which opens the mask atomically.
"""

import cython
from cython.cimports.ipc.processor import private
from cython.cimports.ipc.transport import (
    block_interrupt_signal,
    repoke,
    ring_in_order,
    send_signal,
    suspend_for_interrupt,
    unblock_interrupt_signal,
)

if not cython.compiled:
    raise ImportError("ipc.transport_signal is not built; run `make setup`")


def idle_begin(me):
    me.idle = 1
    block_interrupt_signal(me)


def idle_wait(me):
    suspend_for_interrupt()


def idle_end(me):
    me.idle = 0
    unblock_interrupt_signal(me)


def use():
    ops = private()
    ops.ring = send_signal
    ops.ring_many = ring_in_order
    ops.idle_begin = idle_begin
    ops.idle_wait = idle_wait
    ops.idle_end = idle_end
    ops.signalled = cython.NULL
    ops.overdue = repoke
