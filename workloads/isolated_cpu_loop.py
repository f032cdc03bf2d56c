"""An undisturbed CPU: it reads its clock again and again, and notes each gap in which it took a call interrupt."""

import cython
from cython.cimports.cpus.cpu import TASK_DONE, TASK_RUN, wake_up_process
from cython.cimports.ipc.atomic import read_once, write_once
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.memory import heap_alloc
from cython.cimports.ipc.processor import COORDINATOR

if not cython.compiled:
    raise ImportError("workloads.isolated_cpu_loop is not built; run `make setup`")

MEMBARRIER_CMD_QUERY = cython.declare(cython.long, 0)
COMMANDS = {"global": 1, "global expedited": 2, "register global expedited": 4, "private expedited": 8,
            "register private expedited": 16}  # fmt: skip


def start(args):
    """On the isolated CPU."""
    s = cython.cast(cython.pointer(isolated_state), heap_alloc(cython.sizeof(isolated_state)))
    if s == cython.NULL:
        return -12
    segment().area[AREA_WORKLOAD] = cython.cast(cython.long, s)
    s.running = 1
    s.watcher.step = watch_step
    s.watcher.done.waiter = COORDINATOR
    wake_up_process(cython.address(s.watcher), args[0])
    return 0


def watch_step(c, t):
    """In user mode. The gap around a tick is not counted: it would be there without the callers."""
    s = the_isolated()
    if read_once(cython.address(s.stop)):
        write_once(cython.address(s.running), 0)
        return TASK_DONE
    irqs = cython.address(c.hw.irqs)
    calls = irqs.taken[0] + irqs.taken[1]
    ticks = irqs.taken[2] + irqs.taken[3]
    before = get_cycles()
    for _ in range(20000):
        now = get_cycles()
        if irqs.taken[0] + irqs.taken[1] != calls:
            s.calls += irqs.taken[0] + irqs.taken[1] - calls
            calls = irqs.taken[0] + irqs.taken[1]
            if ticks == irqs.taken[2] + irqs.taken[3] and s.nr_gaps < MOST_GAPS:
                s.gap[s.nr_gaps] = now - before
                s.nr_gaps += 1
        ticks = irqs.taken[2] + irqs.taken[3]
        before = now
    s.turns += 20000
    return TASK_RUN


def membarrier(command):
    return host_membarrier(command)


def ask_to_stop() -> None:
    """End the watching."""
    write_once(cython.address(the_isolated().stop), 1)


def running() -> bool:
    """Whether it watches."""
    return read_once(cython.address(the_isolated().running)) != 0


def turns() -> int:
    """How often it has looked; 0: it has not begun."""
    return read_once(cython.address(the_isolated().turns))


def gaps() -> list:
    """Nanoseconds lost to each interruption."""
    s = the_isolated()
    found = []
    for i in range(s.nr_gaps):
        found.append(s.gap[i] * 1000 // segment().cycles_per_us)
    return found


def host_barriers(times: int) -> dict:
    """The real kernel's own answer: nanoseconds of each membarrier() call, by command; what it refuses is left out."""
    found = {}
    per_us = segment().cycles_per_us
    for name in ("private expedited", "global expedited", "global"):
        command: cython.long = COMMANDS[name]
        register: cython.long = COMMANDS.get("register " + name, 0)
        if (register and membarrier(register) != 0) or membarrier(command) != 0:
            continue
        took = []
        for _ in range(times if name != "global" else min(times, 20)):
            start_ = get_cycles()
            membarrier(command)
            took.append((get_cycles() - start_) * 1000 // per_us)
        found[name] = sorted(took)
    return found


def entry_points() -> dict:
    """Address of each function that is mailed to a CPU, by name."""
    return {"start": cython.cast(cython.long, cython.cast(cython.p_void, start))}
