# Named points of the kernel where a race can be widened: random micro-delays, off by default. Off, a point is one
# absolute byte load and a branch that is never taken, and there are none on fast paths.
from ipc.atomic cimport unlikely
from ipc.memory cimport switch_on

cdef enum:
    SWITCH_DELAY = 8              # in the page of switches
    DELAY_US = 60                 # the longest

cdef void random_delay() noexcept nogil

cdef inline void delay_point() noexcept nogil:
    if unlikely(switch_on(SWITCH_DELAY)):
        random_delay()
