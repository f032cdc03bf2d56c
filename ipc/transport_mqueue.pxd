from ipc.processor cimport processor
from ipc.syscall cimport host_syscall

cdef extern from * nogil:
    """
    #ifndef EMU_MQUEUE
    #define EMU_MQUEUE
    #include <mqueue.h>
    #include <signal.h>
    #include <time.h>
    static const struct timespec emu_long_ago;
    static inline int emu_mq_send(int mq)
    { char c = 0; return emu_syscall(SYS_mq_timedsend, mq, (long)&c, 1, 0, (long)&emu_long_ago, 0); }
    static inline int emu_mq_receive(int mq, const struct timespec *until)
    { char c[8]; return emu_syscall(SYS_mq_timedreceive, mq, (long)c, sizeof c, 0, (long)until, 0); }
    static inline int emu_mq_take(int mq) { return emu_mq_receive(mq, &emu_long_ago); }
    static inline int emu_mq_wait(int mq) { return emu_mq_receive(mq, 0); }
    static inline int emu_mq_wait_for(int mq, long ns)
    {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += (until.tv_nsec + ns) / 1000000000L;
        until.tv_nsec = (until.tv_nsec + ns) % 1000000000L;
        return emu_mq_receive(mq, &until);
    }
    static inline int emu_mq_arm(int mq, int signo)
    {
        struct sigevent ev = { 0 };
        ev.sigev_notify = SIGEV_SIGNAL;
        ev.sigev_signo = signo;
        return emu_syscall(SYS_mq_notify, mq, (long)&ev, 0, 0, 0, 0);
    }
    #endif
    """
    int mq_ring "emu_mq_send"(int mq)
    int mq_take "emu_mq_take"(int mq)
    int mq_sleep "emu_mq_wait"(int mq)
    int mq_sleep_for "emu_mq_wait_for"(int mq, long ns)
    int mq_arm "emu_mq_arm"(int mq, int signo)

cdef void use() noexcept nogil
cdef void arm_notification(processor *me) noexcept nogil      # in each CPU process, after the fork
cdef void ring(processor *target) noexcept nogil
cdef void idle_begin(processor *me) noexcept nogil
cdef void idle_wait(processor *me) noexcept nogil
cdef void idle_end(processor *me) noexcept nogil
cdef void signalled(processor *me, bint from_queue) noexcept nogil
