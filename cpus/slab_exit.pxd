# The unusual end of an allocation or a free. A module of its own: the compiler would make it part of its callers, which
# then had to save registers for it every time.
from ipc.atomic cimport read_once_int
from ipc.memory cimport switch_value
from ipc.processor cimport processor
from ipc.trace cimport SWITCH_TRACE
from cpus.mm_types cimport page

cdef void *alloc_exit(processor *me, void *object, int flags, int was) noexcept nogil      # gives the object
cdef void free_exit(processor *me, void *object, int flags, int was) noexcept nogil
cdef void free_large(page *p, int was) noexcept nogil                                     # of kmalloc_large()

cdef void leave(processor *me, int flags, int was) noexcept nogil

cdef inline bint leaves_slowly(processor *me) noexcept nogil:
    """Interrupts are pending, something is to be scheduled, or events are recorded."""
    return (me.pending | read_once_int(&me.need_resched) | switch_value(SWITCH_TRACE)) != 0
