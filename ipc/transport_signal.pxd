from ipc.processor cimport processor

cdef void use() noexcept nogil
cdef void idle_begin(processor *me) noexcept nogil
cdef void idle_wait(processor *me) noexcept nogil
cdef void idle_end(processor *me) noexcept nogil
