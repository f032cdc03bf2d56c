# The page allocator for tests, bodies and workloads: mailable operations, and its state as plain data.
from cpus.list_head cimport list_head

cdef long page_alloc_op(long *args) noexcept nogil      # nid, order, gfp: page frame, or -1
cdef long page_free_op(long *args) noexcept nogil       # page frame, order
cdef long pages_cycle(long *args) noexcept nogil        # so many times one page, gfp: alloc, free; cycles a pair
cdef long drain_all(long *args) noexcept nogil          # number of a populated zone, or -1: drain_all_pages
cdef long cpu_dead(long *args) noexcept nogil           # CPU: page_alloc_cpu_dead
cdef list list_pages(list_head *head, long most)
cdef long drain_in_kworker(long *args) noexcept nogil   # what drain_all_pages answers to a work item of this CPU
cdef long drain_under_lock(long *args) noexcept nogil   # CPU: drain while that CPU waits for a mutex held here
cdef long take_slab_mutex(long *args) noexcept nogil
cdef long drain_storm(long *args) noexcept nogil        # so many times: a few pages to the own lists, and a drain
