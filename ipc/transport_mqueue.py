"""Interrupts by POSIX message queue: one queue per CPU.

A running CPU is told by mq_notify's signal; an idle one sits in mq_receive and gets the message itself, which leaves
the notification armed. A notification fires once, and only when a message comes to an empty queue: so the handler
re-arms first and then drains until the queue is empty. The signal is blocked while the CPU idles, or a message that
comes between its last look and mq_receive would be taken by the handler and the CPU would sleep on its own work.

The descriptors stay blocking, because O_NONBLOCK belongs to the open description, which fork shares; who must not
block uses the timed calls with a time-out in the past. A full queue is no error: the bit is set and a message is there.
"""

from pathlib import Path

import cython
import posix_ipc
from cython.cimports.ipc.boost import SWITCH_BOOST, boost_begin, boost_raise
from cython.cimports.ipc.gate import the_gate
from cython.cimports.ipc.interrupt import INTERRUPT_SIGNAL
from cython.cimports.ipc.memory import switch_on
from cython.cimports.ipc.processor import private, processor_of, this_processor
from cython.cimports.ipc.transport import block_interrupt_signal, repoke, ring_in_order, unblock_interrupt_signal

if not cython.compiled:
    raise ImportError("ipc.transport_mqueue is not built; run `make setup`")

MESSAGES = 8
MESSAGE_BYTES = 8
_queues: list = []


class QueueError(Exception):
    """The queues could not be made; the text names the limit."""


def ring(target):
    mine: cython.bint = switch_on(SWITCH_BOOST) and boost_begin(target)
    if mq_ring(target.mq) != 0:
        this_processor().irqs.queue_full += 1
    if mine:
        boost_raise(target)


def arm_notification(me):
    mq_arm(me.mq, INTERRUPT_SIGNAL())


def signalled(me, from_queue):
    if from_queue:
        mq_arm(me.mq, INTERRUPT_SIGNAL())
    while mq_take(me.mq) >= 0:
        pass


def idle_begin(me):
    me.idle = 1
    block_interrupt_signal(me)


def idle_wait(me):
    """The signal is blocked, the timer's too: a CPU that keeps its tick while idle must look for it by itself."""
    if me.timer_armed == 0:
        mq_sleep(me.mq)
    elif mq_sleep_for(me.mq, the_gate().tick_ns) < 0:
        unblock_interrupt_signal(me)


def idle_end(me):
    me.idle = 0
    unblock_interrupt_signal(me)


def use():
    ops = private()
    ops.ring = ring
    ops.ring_many = ring_in_order
    ops.idle_begin = idle_begin
    ops.idle_wait = idle_wait
    ops.idle_end = idle_end
    ops.signalled = signalled
    ops.overdue = repoke


def create_queues(count: int) -> None:
    """One queue per CPU, unlinked at once and inherited by fork. Raises QueueError; then none is left."""
    import os

    try:
        for cpu in range(count):
            name = f"/emu-{os.getpid()}-{os.urandom(16).hex()}"
            queue = posix_ipc.MessageQueue(
                name, posix_ipc.O_CREX, mode=0o600, max_messages=MESSAGES, max_message_size=MESSAGE_BYTES
            )
            queue.unlink()
            _queues.append(queue)
            processor_of(cpu).mq = queue.mqd
    except (OSError, posix_ipc.Error) as error:
        made = len(_queues)
        close_queues()
        raise QueueError(limit_text(count, made, error)) from error


def limit_text(count: int, made: int, error: Exception) -> str:
    """Which limit stopped us, with its value: posix_ipc's own words name the wrong one for RLIMIT_MSGQUEUE."""
    import resource

    try:
        queues_max = Path("/proc/sys/fs/mqueue/queues_max").read_text(encoding="ascii").strip()
    except OSError:
        queues_max = "unknown"
    bytes_max = resource.getrlimit(resource.RLIMIT_MSGQUEUE)[0]
    return (
        f"message queues: {count} needed, {made} made ({error}); limits: fs.mqueue.queues_max = {queues_max}, "
        f"RLIMIT_MSGQUEUE = {bytes_max} bytes; use fewer CPUs, raise the limit, or --ipi signal"
    )


def close_queues() -> None:
    """Close every descriptor of the coordinator: the limit counts open queues, not names."""
    while _queues:
        _queues.pop().close()
