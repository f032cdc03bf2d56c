from ipc.processor cimport processor

cdef void use() noexcept nogil
cdef void ring(processor *target) noexcept nogil
cdef void overdue(processor *target) noexcept nogil
cdef void idle_begin(processor *me) noexcept nogil
cdef void idle_wait(processor *me) noexcept nogil
cdef void idle_end(processor *me) noexcept nogil
cdef void signalled(processor *me, bint from_queue) noexcept nogil
