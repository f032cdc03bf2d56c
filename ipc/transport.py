"""What the transports share, and the choice of one."""

import cython
from cython.cimports.ipc import transport_cluster, transport_doorbell, transport_mqueue, transport_signal
from cython.cimports.ipc.boost import SWITCH_BOOST, boost_begin, boost_raise
from cython.cimports.ipc.cpumask import next_bit
from cython.cimports.ipc.gate import the_gate
from cython.cimports.ipc.host import EAGAIN, kill_plain, tgkill
from cython.cimports.ipc.interrupt import INTERRUPT_SIGNAL
from cython.cimports.ipc.memory import switch_on
from cython.cimports.ipc.processor import private, processor_of, this_processor

if not cython.compiled:
    raise ImportError("ipc.transport is not built; run `make setup`")

NAMES = ("signal", "mqueue", "cluster", "doorbell")


def send_signal(target):
    """tgkill; where the user's signal queue is full, a kill without siginfo, which the host never refuses."""
    mine: cython.bint = switch_on(SWITCH_BOOST) and boost_begin(target)
    if tgkill(target.pid, INTERRUPT_SIGNAL()) == EAGAIN:
        this_processor().irqs.queue_full += 1
        kill_plain(target.pid, INTERRUPT_SIGNAL())
    if mine:
        boost_raise(target)


def ring_in_order(mask):
    """While the gate is closed, whoever holds a host core is told first, so that the cores come free for the rest."""
    ring = private().ring
    ordered: cython.bint = the_gate().broadcast != 0
    if ordered:
        cpu: cython.long = next_bit(mask, 0)
        while cpu >= 0:
            if processor_of(cpu).slot >= 0:
                ring(processor_of(cpu))
            cpu = next_bit(mask, cpu + 1)
    cpu = next_bit(mask, 0)
    while cpu >= 0:
        if not (ordered and processor_of(cpu).slot >= 0):
            ring(processor_of(cpu))
        cpu = next_bit(mask, cpu + 1)


def repoke(target):
    """A second ring for a request that was not answered in time. Nothing is raised, so nothing is counted but this."""
    this_processor().irqs.repokes += 1
    private().ring(target)


def select(name: str, poll_limit_ns: int) -> None:
    """Choose the transport of this machine, before the fork. poll_limit_ns: doorbell's --poll-limit."""
    private().overdue_ns = 1_000_000_000
    if name == "signal":
        transport_signal.use()
    elif name == "mqueue":
        transport_mqueue.use()
    elif name == "cluster":
        transport_cluster.use()
    elif name == "doorbell":
        transport_doorbell.use()
        private().overdue_ns = poll_limit_ns
    else:
        raise ValueError(f"transport {name!r}: one of {', '.join(NAMES)}")
