"""Boot of the CPU processes, their Python bodies, and what is done when one dies.

CPUs are forked by the coordinator's main thread, before it has any other thread and, where possible, before numpy is
imported: a fork costs as much as the parent has pages. A CPU never returns to Python unless it is given a Python body,
so the interpreter's after-fork work is done at its first body.
"""

import cython
from cython.cimports.cpus.cpu import MAIL_BODY, MAIL_CALL, MAIL_NONE, cpu_of, mail_function, run_cpu, this_cpu
from cython.cimports.cpus.smp_overdue import complete_requests_of_dead
from cython.cimports.cpus.workqueue import adopt_work_of_dead
from cython.cimports.ipc.atomic import (
    atomic_fetch_add,
    read_once,
    read_once_int,
    smp_load_acquire,
    smp_store_release,
    vlong,
    write_once,
)
from cython.cimports.ipc.boost import SWITCH_BOOST
from cython.cimports.ipc.cpumask import cpumask_clear_cpu, cpumask_set_cpu
from cython.cimports.ipc.gate import gate_forget, setup_timer
from cython.cimports.ipc.host import futex_wait, getpid, pin_to_core, set_batch
from cython.cimports.ipc.interrupt import install_handler, raise_vector
from cython.cimports.ipc.lock import break_locks
from cython.cimports.ipc.memory import break_heap_lock, heap_alloc, heap_free, segment, switch_on
from cython.cimports.ipc.park import complete, wake_cpu
from cython.cimports.ipc.processor import (
    COORDINATOR,
    MODE_DEAD,
    MODE_IDLE,
    MODE_KERNEL,
    MODE_USER,
    RESCHEDULE_VECTOR,
    private,
    processor_of,
    this_processor,
)
from cython.cimports.ipc.transport import SIG_BLOCK, SIG_UNBLOCK, mask_interrupts
from cython.cimports.ipc.transport_mqueue import arm_notification
from cython.cimports.libc.string import memcpy

if not cython.compiled:
    raise ImportError("cpus.boot is not built; run `make setup`")


def become_cpu(id, parent, pin, queue):
    """What a fresh child does: tie its life to the coordinator's, take its place, and say that it is ready.

    SCHED_BATCH: the target of an interrupt must not preempt its sender, which has others to ring for. On a host core
    that both share that costs two context switches for each target (decision 14). Boosting sets policies of its own.
    """
    tie_to_parent(parent)
    name_process(id)
    plain_signals()
    me = processor_of(id)
    private().this_processor = me
    me.pid = getpid()
    if pin:
        pin_to_core(0, cython.cast(cython.int, id))
    if not switch_on(SWITCH_BOOST):
        set_batch(me.pid)
    me.mode = MODE_IDLE
    install_handler()
    setup_timer()
    if queue:
        arm_notification(me)
    mask_interrupts(SIG_UNBLOCK)
    cpumask_set_cpu(id, cython.address(segment().online))
    atomic_fetch_add(cython.address(segment().ready), 1)
    wake_cpu(processor_of(COORDINATOR))


def live(id: int, runner) -> None:
    """A CPU's life after boot. Leaves nogil code only for Python bodies; ends the process."""
    c = cpu_of(id)
    python_ready = False
    while True:
        with cython.nogil:
            command = run_cpu(c)
            if command != MAIL_BODY:
                leave(c)
        if not python_ready:
            PyOS_AfterFork_Child()
            python_ready = True
        index = c.mail.args[0]
        params = cython.cast(cython.p_char, c.mail.args[1])[: c.mail.args[2]] if c.mail.args[2] else b""
        smp_store_release(cython.address(c.mail.command), MAIL_NONE)
        c.current = cython.address(c.body_task)
        c.hw.mode = MODE_USER
        text: bytes = runner(id, index, params)
        c.hw.mode = MODE_KERNEL
        c.current = cython.NULL
        reply(c, text, len(text))


def take_off_line(id):
    """The dead mark first: whoever queues a request from now on completes it itself. Then what was queued before."""
    me = processor_of(id)
    me.dead = 1
    me.mode = MODE_DEAD
    cpumask_set_cpu(id, cython.address(segment().dead))
    cpumask_clear_cpu(id, cython.address(segment().online))
    complete_requests_of_dead(id)


def leave(c):
    """The machine is shut down. Others end a little later, and may wait for this CPU's answer or token meanwhile."""
    mask_interrupts(SIG_BLOCK)
    take_off_line(c.hw.id)
    gate_forget(c.hw.id)
    _exit(0)


def reply(c, text, length):
    """Hand a body's result over; a length of -1 says that there was no memory for it."""
    block = heap_alloc(length + 1)
    if block != cython.NULL:
        memcpy(block, text, length)
    c.body_reply = block
    c.body_reply_length = length if block != cython.NULL else -1
    complete(cython.address(c.body_done))


def fork_cpus(count: int, pids: list, runner, pin: bool, queue: bool) -> None:
    """Fork `count` CPUs. runner(cpu, index, params) -> bytes runs body `index` in a CPU's process.

    Each pid is appended to `pids` as soon as it is known. Raises OSError when a fork fails; the caller ends those made.
    """
    parent = getpid()
    mask_interrupts(SIG_BLOCK)
    PyOS_BeforeFork()
    for id in range(count):
        pid = fork()
        if pid == 0:
            become_cpu(id, parent, pin, queue)
            live(id, runner)
        if pid < 0:
            PyOS_AfterFork_Parent()
            raise OSError(11, "fork")
        processor_of(id).pid = pid
        pids.append(pid)
    PyOS_AfterFork_Parent()


def ready() -> int:
    """How many CPUs have booted."""
    return read_once(cython.address(segment().ready))


def event_count() -> int:
    """The coordinator's event word: read it, look at what you wait for, then wait_event()."""
    return read_once_int(cython.address(this_processor().event))


def wait_event(seen: int, timeout_ms: int) -> None:
    """Sleep until something happened for the coordinator since event_count() was `seen`, or the time is up."""
    me = this_processor()
    was: cython.int = seen
    nanoseconds: cython.long = timeout_ms * 1_000_000
    with cython.nogil:
        me.sleeping = 1
        futex_wait(cython.cast(cython.p_int, cython.address(me.event)), was, nanoseconds)
        me.sleeping = 0


def post_call(id: int, function: int, args: tuple) -> None:
    """Mail a compiled function `long f(long *args)` to a CPU. One call at a time per CPU."""
    c = cpu_of(id)
    for i, value in enumerate(args):
        c.mail.args[i] = value
    c.mail.function = cython.cast(mail_function, cython.cast(cython.ulong, function))
    c.mail.done.done = 0
    c.mail.died = 0
    smp_store_release(cython.address(c.mail.command), MAIL_CALL)
    raise_vector(cython.address(c.hw), RESCHEDULE_VECTOR)


def call_done(id: int) -> bool:
    """Whether the mailed function has returned."""
    return smp_load_acquire(cython.cast(cython.pointer(vlong), cython.address(cpu_of(id).mail.done.done))) != 0


def call_died(id: int) -> bool:
    """Whether the CPU has died before the function returned."""
    return read_once(cython.address(cpu_of(id).mail.died)) != 0


def is_dead(id: int) -> bool:
    """Whether the CPU's process is gone."""
    return processor_of(id).dead != 0


def adopt_work(id: int) -> None:
    """A CPU has died: have another one run the work items that it leaves. In the main thread."""
    adopt_work_of_dead(id)


def call_result(id: int) -> int:
    """What the mailed function returned."""
    return cpu_of(id).mail.result


def call_here(function: int, args: tuple) -> int:
    """Run a compiled function in the coordinator's own context."""
    values: cython.long[8]
    for i, value in enumerate(args):
        values[i] = value
    f = cython.cast(mail_function, cython.cast(cython.ulong, function))
    with cython.nogil:
        result = f(values)
    return result


def post_body(id: int, index: int, params: bytes) -> bool:
    """Order a CPU to run body `index`. False when no memory is left for the parameters."""
    c = cpu_of(id)
    length: cython.long = len(params)
    block = heap_alloc(length + 1)
    if block == cython.NULL:
        return False
    memcpy(block, cython.cast(cython.p_char, params), length)
    c.mail.args[0] = index
    c.mail.args[1] = cython.cast(cython.long, block)
    c.mail.args[2] = length
    c.body_done.done = 0
    c.body_done.waiter = COORDINATOR
    c.body_reply = cython.NULL
    smp_store_release(cython.address(c.mail.command), MAIL_BODY)
    raise_vector(cython.address(c.hw), RESCHEDULE_VECTOR)
    return True


def body_accepted(id: int) -> bool:
    """Whether the CPU has taken the order, so that its mailbox is free."""
    return smp_load_acquire(cython.address(cpu_of(id).mail.command)) == MAIL_NONE


def body_done(id: int) -> bool:
    """Whether the body has returned."""
    return smp_load_acquire(cython.cast(cython.pointer(vlong), cython.address(cpu_of(id).body_done.done))) != 0


def take_reply(id: int) -> bytes:
    """What the body returned, as it was handed over; empty when there was no memory for it."""
    c = cpu_of(id)
    text = b""
    if c.body_reply != cython.NULL:
        text = cython.cast(cython.p_char, c.body_reply)[: c.body_reply_length]
        heap_free(c.body_reply)
        c.body_reply = cython.NULL
    heap_free(cython.cast(cython.p_void, cython.cast(cython.ulong, c.mail.args[1])))
    return text


def shut_down(count: int) -> None:
    """Tell every CPU to end at its next look."""
    segment().shutting_down = 1
    for id in range(count):
        if processor_of(id).pid and not processor_of(id).dead:
            raise_vector(processor_of(id), RESCHEDULE_VECTOR)


def cpu_died(id: int) -> int:
    """A CPU's process is gone: take it off line, answer for it, free what it held. Returns the locks that broke.

    Called by the supervisor thread.
    """
    take_off_line(id)
    broken = break_locks(id) + break_heap_lock(id)
    gate_forget(id)
    mail = cython.address(cpu_of(id).mail)
    if smp_load_acquire(cython.cast(cython.pointer(vlong), cython.address(mail.done.done))) == 0:
        write_once(cython.address(mail.died), 1)
    write_once(cython.address(mail.command), MAIL_NONE)
    complete(cython.address(cpu_of(id).mail.done))
    complete(cython.address(cpu_of(id).body_done))
    return broken


def this_id() -> int:
    """The id of the context that asks: a CPU, or -1 for the coordinator."""
    return this_cpu().hw.id
