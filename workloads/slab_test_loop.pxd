# The loops of slab-test and slab-bulk, and where they note what they measured.
from ipc.atomic cimport vlong
from ipc.memory cimport segment
from ipc.processor cimport MAX_CPUS, processor
from cpus.cpu cimport AREA_WORKLOAD
from cpus.slab_def cimport kmem_cache

cdef enum:
    # args[0] of run_test(): kernel-facts 12.1, in its order.
    TEST_SINGLE = 0
    TEST_SINGLE_PAIR = 1
    TEST_CONCURRENT = 2
    TEST_CONCURRENT_PAIR = 3
    TEST_REMOTE_FREE = 4
    TEST_ONE_ALLOC = 5

    MEETINGS = 3                  # before the first phase, between the two, after the second
    OWN_CORE_SPINS = 200000       # looks before a waiter gives its host core away, where every CPU has its own ...
    SPINS = 200                   # ... and where not
    WAKE_EVERY = 256              # rounds of the producer of the sixth test, where consumers sleep
    BULK_MAX = 256

# Sums over all contexts, taken while every CPU waits.
cdef struct tally:
    long acquisitions             # list_lock
    long contended
    long wait_cycles
    long holds
    long hold_cycles
    long refills
    long growing                  # of them, those that had to grow

cdef struct slab_test_cpu:
    long cycles[2]                # of each phase
    long done[2]                  # operations of each phase
    void **v                      # its objects

# In the segment, area[AREA_WORKLOAD].
cdef struct slab_test:
    vlong arrived
    vlong round                   # meetings that are over
    vlong failed                  # an allocation found no memory: everybody ends
    long count                    # of each kind of operation, per CPU
    long leaked                   # what nobody consumed in the last test, freed afterwards
    tally at[MEETINGS]
    slab_test_cpu per_cpu[MAX_CPUS]

cdef inline slab_test *the_slab_test() noexcept nogil:
    return <slab_test *>segment().area[AREA_WORKLOAD]

# Mailed to a CPU.
cdef long run_test(long *args) noexcept nogil         # test, size, tests run before this one; to all CPUs
cdef long touch_ram(long *args) noexcept nogil        # bytes
cdef long bulk_loop(long *args) noexcept nogil        # cache, BULK_*, objects a step, steps; cycles, or -ENOMEM

cdef enum:
    # args[1] of bulk_loop()
    BULK_FOR_LOOP = 0
    BULK_FASTPATH = 1
    BULK_FALLBACK = 2
    BULK_QUICK_REUSE = 3
    BULK_KFREE = 4                # kfree_bulk: each object's own cache is looked up

cdef void meet(slab_test *b, long number) noexcept nogil
cdef void wait_for_round(slab_test *b, processor *me, long number) noexcept nogil
cdef void sum_up(tally *t) noexcept nogil
cdef void first_phase(slab_test *b, slab_test_cpu *own, long test, long size, long id) noexcept nogil
cdef void second_phase(slab_test *b, slab_test_cpu *own, long test, long id) noexcept nogil
cdef long alloc_all(slab_test *b, void **v, long size) noexcept nogil
cdef long free_all(slab_test *b, void **v) noexcept nogil
cdef long alloc_free(slab_test *b, long size) noexcept nogil
cdef long free_for_all(slab_test *b) noexcept nogil
cdef long produce(slab_test *b, long size) noexcept nogil
cdef long consume(slab_test *b, void **v) noexcept nogil
cdef long share(slab_test *b) noexcept nogil
cdef bint crowded() noexcept nogil
cdef void wake_all() noexcept nogil
cdef void wait_for_object(slab_test *b, void **slot) noexcept nogil
cdef void free_the_leaked(slab_test *b) noexcept nogil
cdef long one_by_one(kmem_cache *cachep, long size, void **objects) noexcept nogil
