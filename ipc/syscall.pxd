# System calls without libc's wrappers: the answer is the kernel's own, a negative error number, and errno is left alone.
#
# A signal handler must leave errno as it was. One that never touches it has nothing to save; and each wrapper costs a
# process that has just been switched to three pages more (its code, the linkage table, errno), a quarter of what an
# interrupt takes. Where the instruction is not known, libc's wrapper is used and errno put back.

cdef extern from * nogil:
    """
    #ifndef EMU_SYSCALL
    #define EMU_SYSCALL
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <errno.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    static inline long emu_syscall(long number, long a, long b, long c, long d, long e, long f)
    {
    #if defined(__x86_64__) && !defined(__ILP32__)
        long answer;
        register long r10 __asm__("r10") = d;
        register long r8 __asm__("r8") = e;
        register long r9 __asm__("r9") = f;
        __asm__ volatile("syscall" : "=a"(answer) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                         : "rcx", "r11", "memory");
        return answer;
    #elif defined(__aarch64__)
        register long x8 __asm__("x8") = number;
        register long x0 __asm__("x0") = a;
        register long x1 __asm__("x1") = b;
        register long x2 __asm__("x2") = c;
        register long x3 __asm__("x3") = d;
        register long x4 __asm__("x4") = e;
        register long x5 __asm__("x5") = f;
        __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
        return x0;
    #else
        int saved = errno;
        long answer = syscall(number, a, b, c, d, e, f);
        if (answer < 0) answer = -errno;
        errno = saved;
        return answer;
    #endif
    }
    #endif
    """
    long host_syscall "emu_syscall"(long number, long a, long b, long c, long d, long e, long f)
