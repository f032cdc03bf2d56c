# Faults to plant.
from ipc.atomic cimport read_once
from ipc.interrupt cimport siginfo_t
from ipc.processor cimport processor
from cpus.cpu cimport cpu
from cpus.smp_types cimport call_single_data

cdef enum:
    PLANT_ACK_BEFORE_WORK = 1     # a request is answered for before it has run
    PLANT_UNLOCK_EARLY = 2        # a request is given back before it was read
    PLANT_LOST_REQUEST = 3        # the last of several queued requests is dropped
    PLANT_RUN_TWICE = 4
    PLANT_NO_RING = 5             # every third ring is lost, and nobody rings again
    PLANT_LOSSY_RING = 6          # the same with the waiters' second ring in place
    PLANT_NO_REARM = 7            # mqueue: the notification is not asked for again
    PLANT_IGNORE_IRQ_OFF = 8      # the handler takes interrupts in irq-off sections
    PLANT_UNCOUNTED = 9           # interrupts are taken and not counted

ctypedef void (*ring_function)(processor *target) noexcept nogil

cdef void run_plain(cpu *c, call_single_data *csd) noexcept nogil
cdef void ack_before_work(processor *me, long vectors) noexcept nogil
cdef void unlock_early(processor *me, long vectors) noexcept nogil
cdef long count_requests(call_single_data *csd) noexcept nogil
cdef void lose_last(processor *me, long vectors) noexcept nogil
cdef void run_twice(processor *me, long vectors) noexcept nogil
cdef void uncounted(processor *me, long vectors) noexcept nogil
cdef void lossy_ring(processor *target) noexcept nogil
cdef void lossy_ring_many(unsigned long *mask) noexcept nogil
cdef void no_overdue(processor *target) noexcept nogil
cdef void drain_only(processor *me, bint from_queue) noexcept nogil
cdef void heedless_handler(int signo, siginfo_t *info, void *context) noexcept nogil
cdef void plant_handler(long which) noexcept nogil
cdef long plant(long *args) noexcept nogil
