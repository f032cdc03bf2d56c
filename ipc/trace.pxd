# Per-CPU event rings: 16-byte records, overwriting the oldest, off by default.
#
# A record is {cycles, event and argument}: the event in the top 16 bits of the second word, a 48-bit argument below
# (an address in the segment, a CPU, a count). Written by the owner only, so no atomics; the head counts all records
# ever written, so what was overwritten is head - size.
from ipc.atomic cimport barrier, unlikely
from ipc.clock cimport get_cycles
from ipc.memory cimport switch_on
from ipc.processor cimport processor, this_processor

cdef enum:
    SWITCH_TRACE = 0

    # Hardware events; the kernel's begin at 64 (cpus/events.pxd).
    EV_NONE = 0
    EV_IPI_RAISE = 1              # argument: target | vectors << 16
    EV_IPI_ENTRY = 2              # vectors taken
    EV_IPI_EXIT = 3
    EV_IPI_MERGED = 4
    EV_LOCK_WAIT = 5              # lock address
    EV_LOCK_TAKEN = 6
    EV_LOCK_RELEASED = 7
    EV_SLOT_TAKEN = 8
    EV_SLOT_GIVEN = 9
    EV_PAUSE = 10                 # gate closed: generation
    EV_RESUME = 11

cdef struct event_record:
    long cycles
    unsigned long what

cdef struct event_ring:
    long head
    long mask                     # records - 1, a power of two less one
    long _pad[6]
    event_record record[1]        # mask + 1 of them

cdef void record_event(processor *me, long event, unsigned long argument) noexcept nogil

cdef inline void trace(long event, unsigned long argument) noexcept nogil:
    if unlikely(switch_on(SWITCH_TRACE)):
        record_event(this_processor(), event, argument)
