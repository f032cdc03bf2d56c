# Sets of CPUs, as include/linux/cpumask.h has them.
from ipc.processor cimport MAX_CPUS

cdef enum:
    MASK_LONGS = 16

cdef struct cpumask:
    unsigned long bits[MASK_LONGS]

cdef extern from * nogil:
    """
    #ifndef EMU_MASK
    #define EMU_MASK
    static inline void emu_set_bit(unsigned long *m, long i)
    { __atomic_fetch_or(m + (i >> 6), 1UL << (i & 63), __ATOMIC_SEQ_CST); }
    static inline void emu_clear_bit(unsigned long *m, long i)
    { __atomic_fetch_and(m + (i >> 6), ~(1UL << (i & 63)), __ATOMIC_SEQ_CST); }
    static inline int emu_test_bit(const unsigned long *m, long i)
    { return __atomic_load_n(m + (i >> 6), __ATOMIC_RELAXED) >> (i & 63) & 1; }
    /* The first set bit at or after i, or -1. */
    static inline long emu_next_bit(const unsigned long *m, long i)
    {
        long w = i >> 6;
        unsigned long v;
        if (i >= 1024) return -1;
        v = __atomic_load_n(m + w, __ATOMIC_RELAXED) & (~0UL << (i & 63));
        while (!v) { if (++w >= 16) return -1; v = __atomic_load_n(m + w, __ATOMIC_RELAXED); }
        return (w << 6) + __builtin_ctzl(v);
    }
    static inline int emu_weight(const unsigned long *m)
    { int w, n = 0; for (w = 0; w < 16; w++) n += __builtin_popcountl(m[w]); return n; }
    #endif
    """
    void set_bit "emu_set_bit"(unsigned long *m, long i)
    void clear_bit "emu_clear_bit"(unsigned long *m, long i)
    bint test_bit "emu_test_bit"(unsigned long *m, long i)
    long next_bit "emu_next_bit"(unsigned long *m, long i)
    int mask_weight "emu_weight"(unsigned long *m)

cdef inline void cpumask_set_cpu(long cpu, cpumask *m) noexcept nogil:
    set_bit(m.bits, cpu)

cdef inline void cpumask_clear_cpu(long cpu, cpumask *m) noexcept nogil:
    clear_bit(m.bits, cpu)

cdef inline bint cpumask_test_cpu(long cpu, cpumask *m) noexcept nogil:
    return test_bit(m.bits, cpu)

cdef inline long cpumask_next(long cpu, cpumask *m) noexcept nogil:
    """The first CPU of `m` after `cpu`, or -1. Start with -1."""
    return next_bit(m.bits, cpu + 1)

cdef inline int cpumask_weight(cpumask *m) noexcept nogil:
    return mask_weight(m.bits)

cdef inline void cpumask_clear(cpumask *m) noexcept nogil:
    for i in range(MASK_LONGS):
        m.bits[i] = 0

cdef inline void cpumask_copy(cpumask *dst, cpumask *src) noexcept nogil:
    for i in range(MASK_LONGS):
        dst.bits[i] = (<volatile unsigned long *>src.bits)[i]

cdef inline void cpumask_and(cpumask *dst, cpumask *a, cpumask *b) noexcept nogil:
    for i in range(MASK_LONGS):
        dst.bits[i] = (<volatile unsigned long *>a.bits)[i] & (<volatile unsigned long *>b.bits)[i]

cdef inline bint cpumask_empty(cpumask *m) noexcept nogil:
    for i in range(MASK_LONGS):
        if m.bits[i]:
            return False
    return True
