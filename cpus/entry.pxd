# Operations that can be mailed to a CPU: `long f(long *args)`, each the kernel operation and nothing else.
cdef long kick(long *args) noexcept nogil
cdef long call_single(long *args) noexcept nogil
cdef long call_many(long *args) noexcept nogil
cdef long each_cpu(long *args) noexcept nogil
cdef long each_of_mask(long *args) noexcept nogil
cdef long sync_sched(long *args) noexcept nogil
cdef long interrupts_off(long *args) noexcept nogil
cdef long spin_for(long *args) noexcept nogil
cdef long nothing(long *args) noexcept nogil
cdef void touch_nothing(void *info) noexcept nogil
cdef void count_call(void *info) noexcept nogil
