"""Boosted delivery: raise the target to SCHED_FIFO until it has answered.

The plain protocol (signal, raise; the handler lowers) leaks: the handler may lower before the sender raises, and the
target stays SCHED_FIFO for ever (53 of 160,000 sends); three of those on one core and the next broadcast hangs, since
SCHED_FIFO of equal priority does not preempt. Hence a handshake of four states, each change a compare-and-swap:
NONE -> RAISING (sender, before it rings) -> RAISED (sender), or FINISHED (the handler was first, the sender lowers).
RAISING comes before the ring: a target that has answered before its sender gets there would never lower what follows.

Whoever is raised gets a signal after it, and lowers itself on the way out of that. In an irq-off section it cannot, and
what the signal was for may have been polled before: then LOWER_LATER is set among the pending vectors, so that the end
of the section takes an interrupt of no vector.

The word is cleared before the call that lowers: that call switches away at once, and a store behind it would happen a
turn later. What remains: a second sender that raises between that store and that call loses its boost, which costs
latency of one turn and leaks nothing; the waiter rings again.
"""

import cython
from cython.cimports.ipc.atomic import cmpxchg_int, write_once_int
from cython.cimports.ipc.host import set_fifo
from cython.cimports.ipc.processor import this_processor

if not cython.compiled:
    raise ImportError("ipc.boost is not built; run `make setup`")

kept_raised = cython.declare(cython.bint, False)  # this process: for a series of broadcasts


def boost_begin(target):
    return cmpxchg_int(cython.address(target.boost), BOOST_NONE, BOOST_RAISING) == BOOST_NONE


def boost_raise(target):
    set_fifo(target.pid, 1)
    if cmpxchg_int(cython.address(target.boost), BOOST_RAISING, BOOST_RAISED) != BOOST_RAISING:
        set_fifo(target.pid, 0)
        write_once_int(cython.address(target.boost), BOOST_NONE)


def boost_sender(on):
    """The sender outranks its targets while it sends, or the first of them would take its core."""
    if not kept_raised:
        set_fifo(this_processor().pid, 2 if on else 0)


def keep_raised(on: bool) -> bool:
    """Raise this process for a series of broadcasts, instead of for each: the coordinator's, in a measurement.

    Returns whether it was kept so before.
    """
    global kept_raised
    before: cython.bint = kept_raised
    kept_raised = on
    set_fifo(this_processor().pid, 2 if on else 0)
    return before


def available() -> bool:
    """Whether this process may raise priorities: tried, and put back."""
    import os

    if set_fifo(os.getpid(), 2) != 0:
        return False
    return set_fifo(os.getpid(), 0) == 0
