# Time inside the machine is cycles; files and tables hold nanoseconds.
from ipc.host cimport monotonic_ns

cdef extern from * nogil:
    """
    #ifndef EMU_CLOCK
    #define EMU_CLOCK
    #if defined(__x86_64__)
    #include <x86intrin.h>
    static inline long emu_cycles(void) { return (long)__rdtsc(); }
    #else
    #include <time.h>
    static inline long emu_cycles(void)
    { struct timespec t; clock_gettime(CLOCK_MONOTONIC_RAW, &t); return t.tv_sec * 1000000000L + t.tv_nsec; }
    #endif
    #endif
    """
    long get_cycles "emu_cycles"()

# Cycles per microsecond; set once by calibrate() before the fork, the same in every CPU.
cdef long cycles_per_us(double seconds) noexcept nogil
