# How an interrupt travels. One small interface (the function pointers of struct private_page), one file each:
#
#   ring, ring_many   make it reach a CPU whose pending word has just become non-zero
#   idle_begin        from here on no interrupt is lost ...
#   idle_wait         ... until this returns because of one
#   idle_end          the CPU goes back to work
#   signalled         called in the signal handler before anything is taken
#   overdue           a waiter has waited for overdue_ns: make sure
from ipc.processor cimport processor

cdef enum:
    TRANSPORT_SIGNAL = 0
    TRANSPORT_MQUEUE = 1
    TRANSPORT_CLUSTER = 2
    TRANSPORT_DOORBELL = 3

cdef void ring_in_order(unsigned long *mask) noexcept nogil          # ring() for each, token holders first
cdef void block_interrupt_signal(processor *me) noexcept nogil
cdef void unblock_interrupt_signal(processor *me) noexcept nogil
cdef void wait_for_signal() noexcept nogil
cdef void send_signal(processor *target) noexcept nogil
cdef void repoke(processor *target) noexcept nogil
cdef void no_signal_work(processor *me, bint from_queue) noexcept nogil

cdef extern from * nogil:
    """
    #ifndef EMU_SIGMASK
    #define EMU_SIGMASK
    #include <signal.h>
    static inline void emu_mask_interrupts(int how)
    { sigset_t s; sigemptyset(&s); sigaddset(&s, SIGRTMIN + 3); sigprocmask(how, &s, 0); }
    static inline void emu_sigsuspend(void)
    {
        static sigset_t open_mask;           /* asked for once: a system call less for each wait */
        static int known;
        if (!known) { sigprocmask(SIG_BLOCK, 0, &open_mask); sigdelset(&open_mask, SIGRTMIN + 3); known = 1; }
        sigsuspend(&open_mask);
    }
    #endif
    """
    int SIG_BLOCK, SIG_UNBLOCK
    void mask_interrupts "emu_mask_interrupts"(int how)
    void suspend_for_interrupt "emu_sigsuspend"()
