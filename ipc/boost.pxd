# Boosted delivery: with CAP_SYS_NICE the target of an interrupt is SCHED_FIFO while one is pending for it, so a process
# that is runnable but not running answers at once. See boost.py.
from ipc.atomic cimport cmpxchg_int, read_once_int, write_once_int
from ipc.host cimport set_fifo
from ipc.processor cimport processor

cdef enum:
    SWITCH_BOOST = 1
    LOWER_LATER = 1 << 30         # in processor.pending, beside the vectors
    BOOST_NONE = 0                # states of processor.boost
    BOOST_RAISING = 1
    BOOST_RAISED = 2
    BOOST_FINISHED = 3

cdef bint boost_begin(processor *target) noexcept nogil        # before ringing; true: boost_raise() after it
cdef void boost_raise(processor *target) noexcept nogil
cdef void boost_sender(bint on) noexcept nogil

cdef inline bint lower_once(processor *me) noexcept nogil:
    """Take one raise back. True if it was complete: then another may have come while this process was switched away."""
    cdef int state = read_once_int(&me.boost)
    if state == BOOST_NONE or state == BOOST_FINISHED:
        return False
    if state == BOOST_RAISING and cmpxchg_int(&me.boost, BOOST_RAISING, BOOST_FINISHED) == BOOST_RAISING:
        return False
    write_once_int(&me.boost, BOOST_NONE)
    set_fifo(me.pid, 0)
    return True

cdef inline void boost_lower(processor *me) noexcept nogil:
    """Lowering switches away, and signals come meanwhile. Their handlers answer and leave the lowering to this one, or
    each would be one level deeper. What was raised while none of them looked is seen by the look behind the count."""
    cdef bint again = True
    while again:
        me.in_interrupt += 1
        while lower_once(me):
            pass
        me.in_interrupt -= 1
        again = me.boost == BOOST_RAISING or me.boost == BOOST_RAISED
