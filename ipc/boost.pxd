# Boosted delivery: with CAP_SYS_NICE the target of an interrupt is SCHED_FIFO while one is pending for it, so a process
# that is runnable but not running answers at once. See boost.py.
from ipc.processor cimport processor

cdef enum:
    SWITCH_BOOST = 1
    LOWER_LATER = 1 << 30         # in processor.pending, beside the vectors

cdef bint boost_begin(processor *target) noexcept nogil        # before ringing; true: boost_raise() after it
cdef void boost_raise(processor *target) noexcept nogil
cdef void boost_lower(processor *me) noexcept nogil
cdef bint lower_once(processor *me) noexcept nogil
cdef void boost_sender(bint on) noexcept nogil
