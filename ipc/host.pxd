# What is asked of the host's kernel, as bare system calls: usable in a signal handler and without the GIL.
from ipc.syscall cimport host_syscall

cdef extern from * nogil:
    """
    #ifndef EMU_HOST
    #define EMU_HOST
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <errno.h>
    #include <fcntl.h>
    #include <limits.h>
    #include <linux/futex.h>
    #include <mqueue.h>
    #include <sched.h>
    #include <signal.h>
    #include <string.h>
    #include <sys/mman.h>
    #include <sys/prctl.h>
    #include <sys/syscall.h>
    #include <sys/wait.h>
    #include <time.h>
    #include <unistd.h>
    /* A shared futex. timeout_ns < 0 waits without limit. Answers 0, or the error number. */
    static inline int emu_futex_wait(volatile int *word, int value, long timeout_ns)
    {
        struct timespec ts = { timeout_ns / 1000000000L, timeout_ns % 1000000000L };
        return -emu_syscall(SYS_futex, (long)word, FUTEX_WAIT, value, timeout_ns < 0 ? 0 : (long)&ts, 0, 0);
    }
    static inline int emu_futex_wait_bits(volatile int *word, int value, unsigned bits)
    { return -emu_syscall(SYS_futex, (long)word, FUTEX_WAIT_BITSET, value, 0, 0, bits); }
    static inline int emu_futex_wake(volatile int *word, int many)
    { return emu_syscall(SYS_futex, (long)word, FUTEX_WAKE, many, 0, 0, 0); }
    static inline int emu_futex_wake_bits(volatile int *word, int many, unsigned bits)
    { return emu_syscall(SYS_futex, (long)word, FUTEX_WAKE_BITSET, many, 0, 0, bits); }
    static inline int emu_tgkill(int pid, int signo) { return -emu_syscall(SYS_tgkill, pid, pid, signo, 0, 0, 0); }
    /* Without siginfo a real-time signal that finds no queue entry is still delivered (it merges). */
    static inline int emu_kill(int pid, int signo) { return -emu_syscall(SYS_kill, pid, signo, 0, 0, 0, 0); }
    static inline int emu_reserve(int fd, long offset, long length)
    { return -emu_syscall(SYS_fallocate, fd, 0, offset, length, 0, 0); }
    static inline long emu_monotonic(void)
    { struct timespec t; clock_gettime(CLOCK_MONOTONIC_RAW, &t); return t.tv_sec * 1000000000L + t.tv_nsec; }
    static inline int emu_set_policy(int pid, int policy, int priority)
    {
        struct sched_param p = { .sched_priority = priority };
        return -emu_syscall(SYS_sched_setscheduler, pid, policy, (long)&p, 0, 0, 0);
    }
    static inline int emu_set_fifo(int pid, int priority)
    { return emu_set_policy(pid, priority ? SCHED_FIFO : SCHED_OTHER, priority); }
    /* A process that does not preempt whoever wakes it. */
    static inline int emu_set_batch(int pid) { return emu_set_policy(pid, SCHED_BATCH, 0); }
    static inline int emu_get_errno(void) { return errno; }
    static inline void emu_set_errno(int e) { errno = e; }
    /* Pin to the n-th allowed core (modulo their number). */
    static inline int emu_pin(int pid, int n)
    {
        cpu_set_t allowed, one;
        int i;
        if (sched_getaffinity(0, sizeof allowed, &allowed)) return errno;
        n %= CPU_COUNT(&allowed);
        for (i = 0; i < CPU_SETSIZE; i++)
            if (CPU_ISSET(i, &allowed) && n-- == 0) break;
        CPU_ZERO(&one); CPU_SET(i, &one);
        return sched_setaffinity(pid, sizeof one, &one) ? errno : 0;
    }
    #endif
    """
    int EAGAIN, EINTR, ETIMEDOUT, EPERM, ESRCH
    int futex_wait "emu_futex_wait"(int *word, int value, long timeout_ns)
    int futex_wait_bits "emu_futex_wait_bits"(int *word, int value, unsigned int bits)
    int futex_wake "emu_futex_wake"(int *word, int many)
    int futex_wake_bits "emu_futex_wake_bits"(int *word, int many, unsigned int bits)
    int tgkill "emu_tgkill"(int pid, int signo)
    int kill_plain "emu_kill"(int pid, int signo)
    int reserve "emu_reserve"(int fd, long offset, long length)
    long monotonic_ns "emu_monotonic"()
    int set_fifo "emu_set_fifo"(int pid, int priority)
    int set_batch "emu_set_batch"(int pid)
    int get_errno "emu_get_errno"()
    void set_errno "emu_set_errno"(int e)
    int pin_to_core "emu_pin"(int pid, int n)
    int getpid()
    int getppid()
    int gettid()
