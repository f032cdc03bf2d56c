# The primitives of the Linux kernel memory model, on the host's own memory.
#
# Every word that two CPUs share is a `vlong`; a word that a futex waits on is a `vint`; the C types are volatile, a
# cheap safety net under read_once and write_once. C macros are generic and Cython's declarations are not, hence one
# name per type. The names and the ordering are the kernel's (tools/memory-model/Documentation/explanation.txt):
# read-modify-write operations that return a value are full barriers.

cdef extern from * nogil:
    """
    #ifndef EMU_ATOMIC
    #define EMU_ATOMIC
    typedef volatile long vlong;
    typedef volatile int vint;
    #define emu_load(p)      __atomic_load_n((p), __ATOMIC_RELAXED)
    #define emu_store(p, v)  __atomic_store_n((p), (v), __ATOMIC_RELAXED)
    #define emu_acquire(p)   __atomic_load_n((p), __ATOMIC_ACQUIRE)
    #define emu_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    #define emu_xchg(p, v)   __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)
    #define emu_add(p, v)    __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST)
    #define emu_or(p, v)     __atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST)
    #define emu_and(p, v)    __atomic_fetch_and((p), (v), __ATOMIC_SEQ_CST)
    static inline long emu_cmpxchg(vlong *p, long old, long new_)
    { __atomic_compare_exchange_n(p, &old, new_, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); return old; }
    static inline int emu_cmpxchg_int(vint *p, int old, int new_)
    { __atomic_compare_exchange_n(p, &old, new_, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); return old; }
    static inline void *emu_cmpxchg_ptr(void *p, void *old, void *new_)
    { __atomic_compare_exchange_n((void **)p, &old, new_, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); return old; }
    static inline void *emu_load_ptr(void *p) { return __atomic_load_n((void **)p, __ATOMIC_RELAXED); }
    static inline void *emu_acquire_ptr(void *p) { return __atomic_load_n((void **)p, __ATOMIC_ACQUIRE); }
    static inline void emu_store_ptr(void *p, void *v) { __atomic_store_n((void **)p, v, __ATOMIC_RELAXED); }
    static inline void emu_release_ptr(void *p, void *v) { __atomic_store_n((void **)p, v, __ATOMIC_RELEASE); }
    static inline void *emu_xchg_ptr(void *p, void *v)
    { return __atomic_exchange_n((void **)p, v, __ATOMIC_SEQ_CST); }
    #define emu_mb()      __atomic_thread_fence(__ATOMIC_SEQ_CST)
    #define emu_rmb()     __atomic_thread_fence(__ATOMIC_ACQUIRE)
    #define emu_wmb()     __atomic_thread_fence(__ATOMIC_RELEASE)
    #define emu_barrier() __asm__ __volatile__("" ::: "memory")
    #define emu_prefetchw(p) __builtin_prefetch((const void *)(p), 1)
    #if defined(__x86_64__)
    #define emu_pause()   __builtin_ia32_pause()
    #else
    #define emu_pause()   __asm__ __volatile__("yield" ::: "memory")
    #endif
    /* The compiler knows no more where the pointer came from: it stays in one register. */
    static inline void *emu_hide(void *p) { __asm__("" : "+r"(p)); return p; }
    #define emu_likely(x)   __builtin_expect(!!(x), 1)
    #define emu_unlikely(x) __builtin_expect(!!(x), 0)
    #endif
    """
    ctypedef long vlong
    ctypedef int vint

    long read_once "emu_load"(vlong *p)
    void write_once "emu_store"(vlong *p, long v)
    long smp_load_acquire "emu_acquire"(vlong *p)
    void smp_store_release "emu_release"(vlong *p, long v)
    long xchg "emu_xchg"(vlong *p, long v)
    long cmpxchg "emu_cmpxchg"(vlong *p, long old, long new)
    long atomic_fetch_add "emu_add"(vlong *p, long v)
    long atomic_fetch_or "emu_or"(vlong *p, long v)
    long atomic_fetch_and "emu_and"(vlong *p, long v)

    int read_once_int "emu_load"(vint *p)
    void write_once_int "emu_store"(vint *p, int v)
    int smp_load_acquire_int "emu_acquire"(vint *p)
    void smp_store_release_int "emu_release"(vint *p, int v)
    int xchg_int "emu_xchg"(vint *p, int v)
    int cmpxchg_int "emu_cmpxchg_int"(vint *p, int old, int new)
    int atomic_fetch_add_int "emu_add"(vint *p, int v)
    int atomic_fetch_or_int "emu_or"(vint *p, int v)

    # A pointer field is passed by its address: read_once_ptr(&cachep.cpu_cache).
    void *read_once_ptr "emu_load_ptr"(void *p)
    void write_once_ptr "emu_store_ptr"(void *p, void *v)
    void *smp_load_acquire_ptr "emu_acquire_ptr"(void *p)
    void smp_store_release_ptr "emu_release_ptr"(void *p, void *v)
    void *xchg_ptr "emu_xchg_ptr"(void *p, void *v)
    void *cmpxchg_ptr "emu_cmpxchg_ptr"(void *p, void *old, void *new)

    void smp_mb "emu_mb"()
    void smp_rmb "emu_rmb"()
    void smp_wmb "emu_wmb"()
    void barrier "emu_barrier"()      # the compiler only: enough between a CPU and its own interrupts
    void spin_pause "emu_pause"()     # the instruction alone; kernel code calls cpu_relax(), which also polls
    void prefetch_write "emu_prefetchw"(void *p)  # a line of another core is fetched while something else is done
    void *optimizer_hide_var "emu_hide"(void *p)
    bint likely "emu_likely"(bint x)
    bint unlikely "emu_unlikely"(bint x)
