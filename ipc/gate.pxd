# The gate: at most as many CPUs run as the host allows cores, and for the length of a broadcast nobody does.
#
# Why. A signal to a process that is runnable but not running is taken when the host's scheduler next picks it: one
# tick per runnable process. With 128 CPUs on 2 cores a broadcast then takes half a second. Parked processes answer at
# once. So there are as many tokens as host cores; a CPU runs programs only while it holds one, and answers interrupts
# wherever it is parked.
#
# Options that were measured and lose: yielding every 20 us (4 times slower, and needs the program's help), SCHED_BATCH,
# SCHED_IDLE and short slices (2 to 5 times), the gate alone (5 to 16 times: a woken CPU must preempt the runner, and the
# host lets the runner finish its slice). Chosen: the closed gate. The sender publishes a generation number, rings the
# token holders first, and each of them, on its way out of the interrupt, waits on that word instead of going back to
# work. All host cores are free for handlers until the last ack.
#
# - A number and not a flag: a CPU that wakes late would take the next broadcast's flag for its own.
# - While it waits it serves its own queue, or two senders would wait for each other's targets for ever.
# - A sender never pauses: its handler would see its own generation. The last of several senders opens the gate.
# - Nor does a CPU that has set a vector and not yet rung for it (preempt_count covers that): others find the vector
#   set and rely on its ring, the one that closed the gate among them.
# - Who is granted a token while the gate is closed waits too.
#
# What remains: a program that sits in an irq-off section when the gate closes keeps its core until it restores them.
from ipc.atomic cimport vint, vlong
from ipc.clock cimport get_cycles
from ipc.cpumask cimport cpumask
from ipc.processor cimport processor
from ipc.syscall cimport host_syscall

cdef enum:
    GATE_AREA = 0x70002000
    MAX_TOKENS = 256
    GATE_NONE = 0
    GATE_WANTS = 1
    GATE_GRANTED = 2              # + token
    SLICE_OVER = 1                # bits of processor.need_resched
    RESCHED = 2
    KEEP_SLOT_NS = 1000000        # an ack is waited for so long with the slot kept

cdef struct gate:
    vint on
    vint tokens
    vint broadcast                # generation that closes the gate, 0 when open; a futex word
    vint generation
    vint closing                  # senders that keep it closed
    vint closed_form              # --gate closes for broadcasts
    long tick_ns
    long slice_cycles
    long pinned                   # CPUs are pinned: token t is host core t, of the CPUs whose home it is
    long _pad[2]
    cpumask want                  # CPUs that wait for a slot
    cpumask urgent                # of those: woken by a lock or an ack, served first
    vlong token[MAX_TOKENS]       # 0, or holder + 1

cdef inline gate *the_gate() noexcept nogil:
    return <gate *><unsigned long>GATE_AREA

cdef void gate_enter(processor *me, bint urgent) noexcept nogil      # get a slot; waits, serving interrupts
cdef void gate_leave(processor *me) noexcept nogil                   # give it away
cdef void gate_stop(processor *me) noexcept nogil                    # slice over: let the next one run
cdef void gate_pause(processor *me) noexcept nogil                   # interrupt exit while a broadcast is under way
cdef void gate_close(processor *me) noexcept nogil
cdef void gate_open(processor *me) noexcept nogil
cdef void gate_forget(long cpu) noexcept nogil                       # a CPU died: free its token, its closing
cdef void arm_timer(processor *me) noexcept nogil
cdef void arm_timer_if_due(processor *me) noexcept nogil              # after a tick, on the way out of its interrupt
cdef int setup_timer() noexcept nogil                                # in each CPU process, once

cdef inline void timer_interrupt(processor *me) noexcept nogil:
    if me.slot < 0:
        return
    if get_cycles() - me.slot_since >= the_gate().slice_cycles:
        me.need_resched |= SLICE_OVER
    me.timer_due = 1

cdef inline void gate_exit_check(processor *me) noexcept nogil:
    cdef gate *g = the_gate()
    if me.slot >= 0 and g.broadcast != 0 and me.sending == 0 and me.preempt_count == 0:
        gate_pause(me)

cdef extern from * nogil:
    """
    #ifndef EMU_TIMER
    #define EMU_TIMER
    #include <signal.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>
    static int emu_timer;         /* one per process; used by ipc/gate alone */
    static int emu_make_timer(int signo)
    {
        struct sigevent ev = { 0 };
        ev.sigev_notify = SIGEV_THREAD_ID;   /* other threads of a body's libraries must not get it */
        ev.sigev_signo = signo;
        ev._sigev_un._tid = syscall(SYS_gettid);
        return emu_syscall(SYS_timer_create, CLOCK_MONOTONIC, (long)&ev, (long)&emu_timer, 0, 0, 0);
    }
    /* At the next multiple of ns, where the host's own tick is, too: one timer interrupt for it and for all CPUs. */
    static void emu_start_timer(long ns)
    {
        struct itimerspec t = { { 0, 0 }, { 0, 0 } };
        struct timespec now;
        long at;
        clock_gettime(CLOCK_MONOTONIC, &now);
        at = now.tv_sec * 1000000000L + now.tv_nsec;
        at += ns - at % ns;
        t.it_value.tv_sec = at / 1000000000L;
        t.it_value.tv_nsec = at % 1000000000L;
        emu_syscall(SYS_timer_settime, emu_timer, TIMER_ABSTIME, (long)&t, 0, 0, 0);
    }
    #endif
    """
    int make_timer "emu_make_timer"(int signo)
    void start_timer "emu_start_timer"(long ns)

cdef long take_free_token(processor *me) noexcept nogil
cdef bint grant_to(long cpu, long token) noexcept nogil
cdef long waiter_for(unsigned long *mask, long first, long token) noexcept nogil
cdef long next_waiter(long after, long token) noexcept nogil
cdef void pass_on(processor *me, long token) noexcept nogil
cdef void start_slice(processor *me, long token) noexcept nogil
cdef long wait_for_token(processor *me, bint urgent) noexcept nogil
