# One futex word per 32 CPUs, each on a cache line of its own: an idle CPU waits there for its bit, as CPUs of an x2APIC
# cluster share a logical destination.
from ipc.atomic cimport vint
from ipc.processor cimport processor

cdef enum:
    CLUSTER_AREA = 0x70004000
    CLUSTER_CPUS = 32

cdef struct cluster_word:
    vint word
    int _pad[15]

cdef inline cluster_word *cluster_of(long cpu) noexcept nogil:
    return (<cluster_word *><unsigned long>CLUSTER_AREA) + cpu // CLUSTER_CPUS

cdef void use() noexcept nogil
cdef void ring(processor *target) noexcept nogil
cdef void ring_many(unsigned long *mask) noexcept nogil
cdef void idle_begin(processor *me) noexcept nogil
cdef void idle_wait(processor *me) noexcept nogil
cdef void idle_end(processor *me) noexcept nogil
cdef void signalled(processor *me, bint from_queue) noexcept nogil
cdef unsigned int take_idle_targets(unsigned long *mask, long first) noexcept nogil
cdef unsigned int bit_of(long cpu) noexcept nogil
cdef void wake_cluster(long cpu, unsigned int bits) noexcept nogil
