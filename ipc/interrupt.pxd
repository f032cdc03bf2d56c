# The interrupt controller: pending vectors, the soft interrupt flag, entry and exit, accounting.
#
# A vector is a bit of the target's `pending` word. raise_vector() sets it; if it was clear, the transport is made to
# ring. Whoever takes interrupts on the target exchanges the word for 0 and counts once per vector. So for every
# transport, exactly: raised = taken + merged + pending. A spurious ring finds 0 and counts nothing. What was asked for
# lies in the kernel's queues; a vector only says that there is something.
#
# Interrupts are switched off by a flag and not by a system call: the handler sees the flag and returns, and
# local_irq_restore() takes what has come meanwhile. Only this CPU's own interrupts look at the flag, so a compiler
# barrier is enough.
from ipc.atomic cimport barrier, read_once, read_once_int, unlikely, vlong
from ipc.gate cimport SLICE_OVER, gate_stop
from ipc.processor cimport processor, this_processor

cdef extern from * nogil:
    """
    #include <signal.h>
    #define EMU_SIGNAL() (SIGRTMIN + 3)
    #define EMU_TIMER_SIGNAL() (SIGRTMIN + 4)    /* the higher number: of both, the interrupt's is delivered first */
    """
    int INTERRUPT_SIGNAL "EMU_SIGNAL"()
    int TIMER_SIGNAL "EMU_TIMER_SIGNAL"()

cdef void raise_vector(processor *target, long vector) noexcept nogil
cdef void raise_mask(unsigned long *mask, long vector) noexcept nogil     # clears from mask what was merged
cdef void take_interrupts(processor *me) noexcept nogil                   # entry: interrupts are on
cdef void serve_pending(processor *me) noexcept nogil                     # the same without the exit work
cdef int install_handler() noexcept nogil

cdef inline int irq_save(processor *me) noexcept nogil:
    """local_irq_save() with the processor at hand."""
    cdef int flags = read_once_int(&me.irq_off)    # a copy of a vint would be volatile, and go through the stack
    me.irq_off = 1
    barrier()
    return flags

cdef inline void irq_restore(processor *me, int flags) noexcept nogil:
    barrier()
    if flags == 0:
        me.irq_off = 0
        barrier()
        if unlikely(me.pending != 0):
            take_interrupts(me)

cdef inline int local_irq_save() noexcept nogil:
    return irq_save(this_processor())

cdef inline void local_irq_restore(int flags) noexcept nogil:
    irq_restore(this_processor(), flags)

cdef inline void local_irq_disable() noexcept nogil:
    this_processor().irq_off = 1
    barrier()

cdef inline void local_irq_enable() noexcept nogil:
    local_irq_restore(0)

cdef inline void poll_interrupts(processor *me) noexcept nogil:
    """Take what is pending, if interrupts are on: what a doorbell needs and what any transport may do."""
    if unlikely(me.pending != 0) and me.irq_off == 0:
        take_interrupts(me)

cdef inline void preempt_disable() noexcept nogil:
    this_processor().preempt_count += 1
    barrier()

cdef inline void preempt_enable() noexcept nogil:
    cdef processor *me = this_processor()
    barrier()
    me.preempt_count -= 1
    if unlikely(me.need_resched & SLICE_OVER) and me.preempt_count == 0 and me.irq_off == 0 and me.in_interrupt == 0:
        me.need_resched &= ~SLICE_OVER
        gate_stop(me)

cdef void count_taken(processor *me, long vectors) noexcept nogil
cdef void leave_interrupt(processor *me) noexcept nogil
cdef bint set_pending(processor *me, processor *target, long vector) noexcept nogil

cdef extern from * nogil:
    """
    #ifndef EMU_SIGACTION
    #define EMU_SIGACTION
    typedef struct sigaction emu_sigaction_t;
    #endif
    """
    ctypedef struct siginfo_t:
        int si_code
    ctypedef struct sigset_t:
        pass
    ctypedef struct sigaction_t "emu_sigaction_t":
        void (*sa_sigaction)(int, siginfo_t *, void *) noexcept nogil
        sigset_t sa_mask
        int sa_flags
    int SI_MESGQ, SA_SIGINFO, SA_RESTART, SA_NODEFER
    int sigaction(int signo, const sigaction_t *new, sigaction_t *old)
    int sigemptyset(sigset_t *s)
    int sigaddset(sigset_t *s, int signo)
    int vector_index "__builtin_ctzl"(long vector)

cdef void on_signal(int signo, siginfo_t *info, void *context) noexcept nogil
