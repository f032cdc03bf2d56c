# Store buffering: a CPU that links a slab and looks at cpu_partial, another that zeroes it and looks at the list.
from ipc.atomic cimport vlong
from cpus.slab_def cimport kmem_cache

cdef enum:
    SLOTS = 512                   # tries between two counts
    # What the first CPU stores with.
    PLAIN_STORE = 0
    UNLOCKED = 1                  # this_cpu_cmpxchg, as the kernel's
    LOCKED = 2                    # the same with the prefix: a barrier

# Each word on a line of its own.
cdef struct litmus_line:
    vlong word
    long _pad[7]

cdef struct litmus:
    litmus_line start             # cycles
    litmus_line ready[2]          # the batch that each has prepared for
    litmus_line x[SLOTS]          # cpu_partial: 1, and 0 when the cache is dead
    litmus_line y[SLOTS]          # c.partial: 0, and 1 when a slab is linked
    vlong saw_x[SLOTS]            # what was read, and the batch above it; the other side may have missed it
    vlong saw_y[SLOTS]
    vlong tries                   # in which both took part
    vlong hits
    # The oracle's.
    litmus_line round             # that CPU 0 has prepared; -1: the end
    litmus_line at                # cycles: when both act
    litmus_line done              # that CPU 1 has finished
    vlong rounds

# Mailed to CPUs 0 and 1 at the same time.
cdef long run_litmus(long *args) noexcept nogil      # litmus, kind, tries
cdef long run_oracle(long *args) noexcept nogil      # litmus, cache, rounds, value of dead-caches, most microseconds: slabs left (CPU 0)

cdef void link_side(litmus *t, long i, long batch, long kind) noexcept nogil
cdef bint in_time(long at) noexcept nogil
cdef void one_try(litmus *t, long me, long i, long batch, long kind) noexcept nogil
cdef void count_hits(litmus *t, long batch) noexcept nogil
cdef void wait_for(vlong *word, long value) noexcept nogil
cdef long deactivate_rounds(litmus *t, kmem_cache *cachep, int how) noexcept nogil
cdef long fill_slab(kmem_cache *cachep, void **objects) noexcept nogil
cdef litmus *litmus_at(long address) noexcept nogil
cdef void stagger(long turn) noexcept nogil

cdef extern from "sched.h" nogil:
    int sched_yield()
