"""The gate; gate.pxd says why it is so. Token t is held by CPU token[t] - 1; only a holder passes it on."""

import cython
from cython.cimports.ipc.atomic import (
    atomic_fetch_add_int,
    cmpxchg,
    read_once,
    read_once_int,
    smp_mb,
    write_once,
    write_once_int,
    xchg,
)
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.cpumask import clear_bit, next_bit, set_bit
from cython.cimports.ipc.host import futex_wait, futex_wake
from cython.cimports.ipc.interrupt import TIMER_SIGNAL, serve_pending
from cython.cimports.ipc.park import PARK_NS, park, park_begin, park_end, wake_cpu
from cython.cimports.ipc.processor import WAIT_BROADCAST, WAIT_SLOT, processor_of
from cython.cimports.ipc.trace import EV_PAUSE, EV_RESUME, EV_SLOT_GIVEN, EV_SLOT_TAKEN, trace

if not cython.compiled:
    raise ImportError("ipc.gate is not built; run `make setup`")

PAUSE_NS = cython.declare(cython.long, 2_000_000)


def take_free_token(me):
    """A free token, the CPU's home core's first, and no other if it is pinned there; -1 when all are held."""
    g = the_gate()
    for i in range(1 if g.pinned else g.tokens):
        t = (me.id + i) % g.tokens
        if read_once(cython.address(g.token[t])) == 0 and cmpxchg(cython.address(g.token[t]), 0, me.id + 1) == 0:
            return t
    return -1


def grant_to(cpu, token):
    """Try to hand `token` to a CPU that waits for one."""
    g = the_gate()
    target = processor_of(cpu)
    clear_bit(g.want.bits, cpu)
    clear_bit(g.urgent.bits, cpu)
    write_once(cython.address(g.token[token]), cpu + 1)
    if cmpxchg(cython.address(target.want), GATE_WANTS, GATE_GRANTED + token) != GATE_WANTS:
        return False
    wake_cpu(target)
    return True


def waiter_for(mask, first, token):
    """The first CPU of the mask, from `first` on, that may hold the token; -1 for none."""
    g = the_gate()
    cpu: cython.long = next_bit(mask, first)
    while g.pinned and cpu >= 0 and cpu % g.tokens != token:
        cpu = next_bit(mask, cpu + 1)
    return cpu


def next_waiter(after, token):
    """The next CPU to hold the token: urgent ones first, then round robin after `after`; -1 when nobody waits."""
    g = the_gate()
    cpu = waiter_for(g.urgent.bits, 0, token)
    if cpu < 0:
        cpu = waiter_for(g.want.bits, after + 1, token)
    if cpu < 0:
        cpu = waiter_for(g.want.bits, 0, token)
    return cpu


def pass_on(me, token):
    """Hand the token to the next waiter, or free it; then look again, for one may have come meanwhile."""
    g = the_gate()
    while True:
        cpu = next_waiter(me.id, token)
        while cpu >= 0:
            if grant_to(cpu, token):
                return
            cpu = next_waiter(me.id, token)
        write_once(cython.address(g.token[token]), 0)
        smp_mb()
        if next_waiter(me.id, token) < 0 or cmpxchg(cython.address(g.token[token]), 0, me.id + 1) != 0:
            return


def start_slice(me, token):
    me.slot = token
    me.slot_since = get_cycles()
    me.gate_moves += 1
    trace(EV_SLOT_TAKEN, token)
    arm_timer(me)
    gate_exit_check(me)


def gate_enter(me, urgent):
    g = the_gate()
    if me.id < 0 or me.slot >= 0:
        return
    if g.on == 0:
        me.slot = 0
        me.slot_since = get_cycles()
        arm_timer(me)
        return
    token = take_free_token(me)
    if token < 0:
        token = wait_for_token(me, urgent)
    start_slice(me, token)


def wait_for_token(me, urgent):
    g = the_gate()
    reason = me.waiting_for
    me.waiting_for = WAIT_SLOT
    write_once(cython.address(me.want), GATE_WANTS)
    if urgent:
        set_bit(g.urgent.bits, me.id)
    set_bit(g.want.bits, me.id)
    token = take_free_token(me)  # one may have been freed before our bit was seen
    if token >= 0 and cmpxchg(cython.address(me.want), GATE_WANTS, GATE_NONE) != GATE_WANTS:
        pass_on(me, token)  # granted another one at the same moment
        token = -1
    if token < 0:
        while True:
            seen = park_begin(me)
            if read_once(cython.address(me.want)) != GATE_WANTS:
                break
            park(me, seen, PARK_NS)
        park_end(me)
        token = read_once(cython.address(me.want)) - GATE_GRANTED
        write_once(cython.address(me.want), GATE_NONE)
    else:
        clear_bit(g.want.bits, me.id)
        clear_bit(g.urgent.bits, me.id)
    me.waiting_for = reason
    return token


def gate_leave(me):
    token = me.slot
    if token < 0:
        return
    me.slot = -1
    if the_gate().on:
        trace(EV_SLOT_GIVEN, token)
        pass_on(me, token)


def gate_stop(me):
    """The slice is over: if somebody waits, let it run and queue up behind it. Interrupts are on meanwhile."""
    g = the_gate()
    if me.slot < 0:
        return
    if g.on == 0 or next_waiter(me.id, me.slot) < 0:
        me.slot_since = get_cycles()
        return
    gate_leave(me)
    gate_enter(me, False)


def gate_pause(me):
    g = the_gate()
    generation = read_once_int(cython.address(g.broadcast))
    if generation == 0:
        return
    reason = me.waiting_for
    me.waiting_for = WAIT_BROADCAST
    trace(EV_PAUSE, generation)
    me.in_interrupt += 1  # or each signal that comes meanwhile would pause one level deeper
    while read_once_int(cython.address(g.broadcast)) == generation:
        if me.pending != 0:
            serve_pending(me)
        else:
            futex_wait(cython.cast(cython.p_int, cython.address(g.broadcast)), generation, PAUSE_NS)
    me.in_interrupt -= 1
    arm_timer_if_due(me)  # a tick that came meanwhile was no outermost interrupt
    trace(EV_RESUME, generation)
    me.waiting_for = reason


def gate_close(me):
    """Publish a generation. Only a broadcast's sender calls this; it keeps its own slot."""
    g = the_gate()
    if g.on == 0 or g.closed_form == 0:
        return
    me.sending = 1
    atomic_fetch_add_int(cython.address(g.closing), 1)
    generation = atomic_fetch_add_int(cython.address(g.generation), 1) + 1
    write_once_int(cython.address(g.broadcast), generation if generation != 0 else 1)


def gate_open(me):
    g = the_gate()
    if me.sending == 0:
        return
    if atomic_fetch_add_int(cython.address(g.closing), -1) == 1:
        write_once_int(cython.address(g.broadcast), 0)
        futex_wake(cython.cast(cython.p_int, cython.address(g.broadcast)), 1 << 30)
    me.sending = 0


def gate_forget(cpu):
    """Called by the supervisor for a CPU that died: its token moves on, its broadcast no longer closes the gate."""
    g = the_gate()
    dead = processor_of(cpu)
    clear_bit(g.want.bits, cpu)
    clear_bit(g.urgent.bits, cpu)
    xchg(cython.address(dead.want), GATE_NONE)
    if dead.sending:
        gate_open(dead)
    if g.on:
        for t in range(g.tokens):
            if read_once(cython.address(g.token[t])) == cpu + 1:
                pass_on(dead, t)


def arm_timer(me):
    """Ask for one TIMER vector a tick from now, unless one is under way. A CPU without a slot lets it run out."""
    if me.timer_armed or the_gate().tick_ns == 0 or me.id < 0:
        return
    me.timer_armed = 1
    start_timer(the_gate().tick_ns)


def arm_timer_if_due(me):
    if me.timer_due:
        me.timer_due = 0
        arm_timer(me)


def setup_timer():
    return make_timer(TIMER_SIGNAL())


def configure(on: bool, tokens: int, hz: int, slice_cycles: int, closed: bool, pinned: bool) -> None:
    """Set up the gate, before the fork.

    tokens: host cores allowed; hz: ticks per second, 0 for none; pinned: CPU i stays on core i modulo their number.
    """
    g = the_gate()
    g.on = on
    g.tokens = min(tokens, MAX_TOKENS)
    g.closed_form = closed
    g.pinned = pinned
    g.tick_ns = 1_000_000_000 // hz if hz else 0
    g.slice_cycles = slice_cycles
