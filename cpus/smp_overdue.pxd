# Requests that are not answered in time, or whose target has died.
from cpus.cpu cimport cpu

cdef int complete_requests_of_dead(long cpu) noexcept nogil    # how many
cdef void look_after_overdue(cpu *c) noexcept nogil            # by the sender, while it waits
