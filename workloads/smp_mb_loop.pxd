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
    litmus_line arrived[2]
    litmus_line x[SLOTS]          # cpu_partial: 1, and 0 when the cache is dead
    litmus_line y[SLOTS]          # c.partial: 0, and 1 when a slab is linked
    long saw_x[SLOTS]
    long saw_y[SLOTS]

# Mailed to CPUs 0 and 1 at the same time.
cdef long run_litmus(long *args) noexcept nogil      # litmus, kind, tries: hits (CPU 0)
cdef long run_oracle(long *args) noexcept nogil      # litmus, cache, rounds, value of dead-caches: slabs left (CPU 0)

cdef void meet(litmus *l, long me, long turn) noexcept nogil
cdef void link_side(litmus *l, long i, long kind) noexcept nogil
cdef long count_hits(litmus *l) noexcept nogil
cdef long fill_slab(kmem_cache *cachep, void **objects) noexcept nogil
cdef void stagger(long turn) noexcept nogil
