from ipc.processor cimport processor

cdef extern from * nogil:
    """
    #ifndef EMU_MQUEUE
    #define EMU_MQUEUE
    #include <mqueue.h>
    #include <signal.h>
    static const struct timespec emu_long_ago;
    static inline int emu_mq_send(int mq)
    { char c = 0; return mq_timedsend(mq, &c, 1, 0, &emu_long_ago); }
    static inline int emu_mq_take(int mq)
    { char c[8]; return mq_timedreceive(mq, c, sizeof c, 0, &emu_long_ago); }
    static inline int emu_mq_wait(int mq) { char c[8]; return mq_receive(mq, c, sizeof c, 0); }
    static inline int emu_mq_wait_for(int mq, long ns)
    {
        char c[8];
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += (until.tv_nsec + ns) / 1000000000L;
        until.tv_nsec = (until.tv_nsec + ns) % 1000000000L;
        return mq_timedreceive(mq, c, sizeof c, 0, &until);
    }
    static inline int emu_mq_arm(int mq, int signo)
    {
        struct sigevent ev = { 0 };
        ev.sigev_notify = SIGEV_SIGNAL;
        ev.sigev_signo = signo;
        return mq_notify(mq, &ev);
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
