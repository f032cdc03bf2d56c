# How an interrupt travels. One small interface (the function pointers of struct private_page), one file each:
#
#   ring, ring_many   make it reach a CPU whose pending word has just become non-zero
#   idle_begin        from here on no interrupt is lost ...
#   idle_wait         ... until this returns because of one
#   idle_end          the CPU goes back to work
#   signalled         called in the signal handler before anything is taken; NULL where there is nothing to do
#   overdue           a waiter has waited for overdue_ns: make sure
from ipc.interrupt cimport INTERRUPT_SIGNAL, TIMER_SIGNAL
from ipc.processor cimport processor
from ipc.syscall cimport host_syscall

cdef enum:
    TRANSPORT_SIGNAL = 0
    TRANSPORT_MQUEUE = 1
    TRANSPORT_CLUSTER = 2
    TRANSPORT_DOORBELL = 3

cdef void ring_in_order(unsigned long *mask) noexcept nogil          # ring() for each, token holders first
cdef void send_signal(processor *target) noexcept nogil
cdef void repoke(processor *target) noexcept nogil

cdef extern from * nogil:
    """
    #ifndef EMU_SIGMASK
    #define EMU_SIGMASK
    #include <signal.h>
    /* One word: a mask of the host's kernel, whose signal n is bit n - 1. */
    static inline long emu_sigmask(int how, unsigned long change)
    {
        unsigned long old;
        emu_syscall(SYS_rt_sigprocmask, how, change ? (long)&change : 0, (long)&old, sizeof old, 0, 0);
        return old;
    }
    static inline unsigned long emu_timer_bit(void) { return 1UL << (EMU_TIMER_SIGNAL() - 1); }
    static inline unsigned long emu_interrupt_bits(void) { return 1UL << (EMU_SIGNAL() - 1) | emu_timer_bit(); }
    static inline void emu_mask_interrupts(int how) { emu_sigmask(how, emu_interrupt_bits()); }
    static inline void emu_let_ticks_in(void) { emu_sigmask(SIG_UNBLOCK, emu_timer_bit()); }
    static inline void emu_sigsuspend(void)
    {
        static unsigned long open_mask;      /* asked for once: a system call less for each wait */
        static int known;
        if (!known) { open_mask = emu_sigmask(SIG_BLOCK, 0) & ~emu_interrupt_bits(); known = 1; }
        emu_syscall(SYS_rt_sigsuspend, (long)&open_mask, sizeof open_mask, 0, 0, 0, 0);
    }
    #endif
    """
    int SIG_BLOCK, SIG_UNBLOCK
    void mask_interrupts "emu_mask_interrupts"(int how)              # the timer's signal, too
    void let_ticks_in "emu_let_ticks_in"()
    void suspend_for_interrupt "emu_sigsuspend"()

cdef inline void block_interrupt_signal(processor *me) noexcept nogil:
    if me.blocked == 0:
        mask_interrupts(SIG_BLOCK)
        me.blocked = 1

cdef inline void unblock_interrupt_signal(processor *me) noexcept nogil:
    if me.blocked:
        me.blocked = 0
        mask_interrupts(SIG_UNBLOCK)
