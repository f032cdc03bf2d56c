# this_cpu operations: on a word, or two neighbouring ones, that only this CPU and its own interrupts touch.
#
# One instruction is atomic against a signal of one's own; it needs no lock prefix, and without it is no barrier: other
# CPUs may see the store after later loads. That is what the kernel has (and what the smp_mb() proposal of seed 001 got
# wrong), so __atomic_*, which would be a barrier, is not used. cmpxchg_double() is the other one: a pair of words changed
# by all CPUs, with the prefix. aarch64: plain accesses with the interrupt flag off for the first, a load-exclusive pair
# for the second (not tried on such a host).
from ipc.atomic cimport barrier, likely, read_once_int, unlikely
from ipc.interrupt cimport take_interrupts
from ipc.processor cimport processor, this_processor

cdef extern from * nogil:
    """
    #ifndef EMU_PERCPU
    #define EMU_PERCPU
    #if defined(__x86_64__)
    static inline void *emu_this_cpu_cmpxchg(volatile int *irq_off, void *p, void *old, void *new_)
    {
        __asm__ __volatile__("cmpxchgq %2, %1" : "+a"(old), "+m"(*(void **)p) : "r"(new_) : "memory");
        return old;
    }
    static inline void *emu_this_cpu_cmpxchg_locked(void *p, void *old, void *new_)
    {
        __asm__ __volatile__("lock; cmpxchgq %2, %1" : "+a"(old), "+m"(*(void **)p) : "r"(new_) : "memory");
        return old;
    }
    static inline void emu_this_cpu_add(volatile int *irq_off, long *p, long v)
    {
        __asm__ __volatile__("addq %1, %0" : "+m"(*p) : "er"(v));
    }
    static inline int emu_cmpxchg_double(void *p, void *o1, unsigned long o2, void *n1, unsigned long n2)
    {
        char same;
        __asm__ __volatile__("lock; cmpxchg16b %1" : "=@ccz"(same), "+m"(*(__int128 *)p), "+a"(o1), "+d"(o2)
                             : "b"(n1), "c"(n2) : "memory");
        return same;
    }
    #elif defined(__aarch64__)
    static inline void *emu_this_cpu_cmpxchg(volatile int *irq_off, void *p, void *old, void *new_)
    {
        int was = *irq_off;
        void *seen;
        *irq_off = 1;
        __asm__ __volatile__("" ::: "memory");
        seen = *(void **)p;
        if (seen == old) *(void **)p = new_;
        __asm__ __volatile__("" ::: "memory");
        *irq_off = was;
        return seen;
    }
    static inline void *emu_this_cpu_cmpxchg_locked(void *p, void *old, void *new_)
    { __atomic_compare_exchange_n((void **)p, &old, new_, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); return old; }
    static inline void emu_this_cpu_add(volatile int *irq_off, long *p, long v)
    {
        int was = *irq_off;
        *irq_off = 1;
        __asm__ __volatile__("" ::: "memory");
        *p += v;
        __asm__ __volatile__("" ::: "memory");
        *irq_off = was;
    }
    static inline int emu_cmpxchg_double(void *p, void *o1, unsigned long o2, void *n1, unsigned long n2)
    {
        unsigned long s1, s2;
        int failed;
        do {
            __asm__ __volatile__("ldaxp %0, %1, [%2]" : "=&r"(s1), "=&r"(s2) : "r"(p) : "memory");
            if (s1 != (unsigned long)o1 || s2 != o2) { __asm__ __volatile__("clrex"); return 0; }
            __asm__ __volatile__("stlxp %w0, %1, %2, [%3]" : "=&r"(failed) : "r"(n1), "r"(n2), "r"(p) : "memory");
        } while (failed);
        return 1;
    }
    #else
    #error "this_cpu operations are known for x86-64 and aarch64 only"
    #endif
    #endif
    """
    void *raw_this_cpu_cmpxchg "emu_this_cpu_cmpxchg"(int *irq_off, void *p, void *old, void *new)
    void raw_this_cpu_add "emu_this_cpu_add"(int *irq_off, long *p, long v)
    # For the litmus test only: the same exchange with the barrier that the real one does not have.
    void *this_cpu_cmpxchg_locked "emu_this_cpu_cmpxchg_locked"(void *p, void *old, void *new)
    # Two words that all CPUs change, the first at a multiple of 16; a full barrier.
    bint cmpxchg_double "emu_cmpxchg_double"(void *p, void *old1, unsigned long old2, void *new1, unsigned long new2)

cdef inline bint this_cpu_cmpxchg_pair(void **p, void *old1, long old2, void *new1, long new2) noexcept nogil:
    """Two neighbouring words of this CPU's own, with interrupts off. False: an interrupt had changed them before."""
    if unlikely(p[0] != old1 or (<long *>p)[1] != old2):
        return False
    p[0] = new1
    (<long *>p)[1] = new2
    return True

cdef inline bint this_cpu_cmpxchg_double(
        processor *me, void **p, void *old1, long old2, void *new1, long new2) noexcept nogil:
    """The same with interrupts on.

    Plain accesses between two stores to the interrupt flag, on every host: the instruction, cmpxchg16b without its
    prefix, is as little of a barrier and takes four times as long (docs/decisions).
    """
    cdef int was = read_once_int(&me.irq_off)
    cdef bint same
    me.irq_off = 1
    barrier()
    same = this_cpu_cmpxchg_pair(p, old1, old2, new1, new2)
    barrier()
    me.irq_off = was
    barrier()
    if unlikely(me.pending != 0) and was == 0:
        take_interrupts(me)
    return same

cdef inline void *this_cpu_cmpxchg(processor *me, void *p, void *old, void *new) noexcept nogil:
    """What was there: `old` if it was exchanged."""
    return raw_this_cpu_cmpxchg(<int *>&me.irq_off, p, old, new)

cdef inline void this_cpu_add(processor *me, long *p, long v) noexcept nogil:
    raw_this_cpu_add(<int *>&me.irq_off, p, v)
