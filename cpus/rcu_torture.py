"""Grace periods under load: a pipeline of ageing objects, as rcutorture has it.

The writer puts a new object in place of the current one. The old one is 1 from then on, and one more with every grace
period that ends. A reader takes the current object in a section, dawdles, and looks how old it is when the section ends:
0 or 1. 2 means that a grace period began after the object was replaced and ended although the reader was in its section.
"""

import cython
from cython.cimports.cpus.cpu import TASK_DONE, TASK_RUN, kernel_enter, kernel_exit, smp_processor_id, wake_up_process
from cython.cimports.cpus.rcu import call_rcu_sched, rcu, synchronize_sched, synchronize_sched_expedited
from cython.cimports.ipc.atomic import atomic_fetch_add, read_once, spin_pause, write_once, xchg
from cython.cimports.ipc.interrupt import local_irq_restore, local_irq_save, preempt_disable, preempt_enable
from cython.cimports.ipc.memory import heap_alloc
from cython.cimports.ipc.processor import COORDINATOR

if not cython.compiled:
    raise ImportError("cpus.rcu_torture is not built; run `make setup`")


def begin(s, t, step):
    t.step = step
    t.done.waiter = COORDINATOR
    atomic_fetch_add(cython.address(s.running), 1)
    wake_up_process(t, smp_processor_id())


def start_reader(args):
    s = cython.cast(cython.pointer(torture_state), cython.cast(cython.ulong, args[0]))
    t = cython.address(s.tasks[smp_processor_id()])
    t.arg[0] = args[0]
    t.arg[1] = args[1]
    begin(s, t, read_step)
    return 0


def start_writer(args):
    s = cython.cast(cython.pointer(torture_state), cython.cast(cython.ulong, args[0]))
    t = cython.address(s.tasks[smp_processor_id()])
    t.arg[0] = args[0]
    begin(s, t, write_step)
    return 0


def read_step(c, t):
    s = cython.cast(cython.pointer(torture_state), cython.cast(cython.ulong, t.arg[0]))
    seen: cython.long[11]  # PIPE_LEN, and 0
    for i in range(PIPE_LEN + 1):
        seen[i] = 0
    for _ in range(SECTIONS):
        was = kernel_enter()
        flags: cython.int = 0
        if t.arg[1] == 0:
            flags = local_irq_save()
        else:
            preempt_disable()
        e = cython.address(s.element[read_once(cython.address(s.current))])
        turns = t.arg[2] % 40 if t.arg[2] % 101 else 20000
        t.arg[2] += 1
        for _ in range(turns):
            spin_pause()
        age = read_once(cython.address(e.age))
        if t.arg[1] == 0:
            local_irq_restore(flags)
        else:
            preempt_enable()
        kernel_exit(was)
        seen[age if age < PIPE_LEN else PIPE_LEN] += 1
    for i in range(PIPE_LEN + 1):
        if seen[i]:
            atomic_fetch_add(cython.address(s.seen[i]), seen[i])
    if atomic_fetch_add(cython.address(s.sections), SECTIONS) + SECTIONS >= s.wanted:
        write_once(cython.address(s.stop), 1)
    if read_once(cython.address(s.stop)):
        atomic_fetch_add(cython.address(s.running), -1)
        return TASK_DONE
    return TASK_RUN


def take_element(s):
    for i in range(ELEMENTS):
        if read_once(cython.address(s.element[i].used)) == 0:
            write_once(cython.address(s.element[i].age), 0)
            write_once(cython.address(s.element[i].used), 1)
            return i
    return -1


def grow_older(e):
    if read_once(cython.address(e.age)) + 1 >= PIPE_LEN:
        write_once(cython.address(e.used), 0)
        return
    write_once(cython.address(e.age), read_once(cython.address(e.age)) + 1)


def age_callback(head):
    e = cython.cast(cython.pointer(torture_element), head)
    grow_older(e)
    if read_once(cython.address(e.used)) and read_once(cython.address(e.owner.stop)) == 0:
        call_rcu_sched(cython.address(e.head), age_callback)


def write_step(c, t):
    s = cython.cast(cython.pointer(torture_state), cython.cast(cython.ulong, t.arg[0]))
    if read_once(cython.address(s.stop)):
        atomic_fetch_add(cython.address(s.running), -1)
        return TASK_DONE
    fresh = take_element(s)
    if fresh < 0:
        atomic_fetch_add(cython.address(s.empty), 1)
        for _ in range(2000):
            spin_pause()
        return TASK_RUN
    was = kernel_enter()
    old = cython.address(s.element[xchg(cython.address(s.current), fresh)])
    write_once(cython.address(old.age), 1)
    atomic_fetch_add(cython.address(s.updates), 1)
    if s.how == BY_CALLBACK:
        old.owner = s
        call_rcu_sched(cython.address(old.head), age_callback)
    else:
        if s.how == BY_SYNC:
            synchronize_sched()
        elif s.how == BY_EXPEDITED:
            synchronize_sched_expedited()
        for i in range(ELEMENTS):
            e = cython.address(s.element[i])
            if read_once(cython.address(e.used)) and read_once(cython.address(e.age)) > 0:
                grow_older(e)
    kernel_exit(was)
    for _ in range(200):
        spin_pause()
    return TASK_RUN


# --- Python ---------------------------------------------------------------------------------------


def new_state(how: int, sections: int) -> int:
    """A state with one object in place; its address. how: BY_..., sections: when to stop."""
    s = cython.cast(cython.pointer(torture_state), heap_alloc(cython.sizeof(torture_state)))
    if s == cython.NULL:
        raise MemoryError("the segment is full")
    s.how = how
    s.wanted = sections
    s.element[0].used = 1
    return cython.cast(cython.ulong, s)


def outcome(address: int) -> dict:
    """What there is so far."""
    s = cython.cast(cython.pointer(torture_state), cython.cast(cython.ulong, address))
    seen = []
    for i in range(PIPE_LEN + 1):
        seen.append(s.seen[i])
    counts = {"running": s.running, "updates": s.updates, "empty": s.empty, "sections": s.sections}
    return counts | {"seen": seen}


def grace_periods() -> tuple:
    """Grace periods (begun, completed) since boot."""
    return rcu().gp_started, rcu().gp_completed


HOW = {"callback": BY_CALLBACK, "sync": BY_SYNC, "expedited": BY_EXPEDITED, "nothing": BY_NOTHING}


def entry_points() -> dict:
    """Address of each operation, by name."""
    return {
        "rcu_torture_reader": cython.cast(cython.long, cython.cast(cython.p_void, start_reader)),
        "rcu_torture_writer": cython.cast(cython.long, cython.cast(cython.p_void, start_writer)),
    }
