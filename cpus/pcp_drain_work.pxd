# mm/page_alloc.c: drain_all_pages by work items (switch pcp-drain=workqueue).
from ipc.atomic cimport vlong
from cpus.mmzone cimport zone
from cpus.workqueue cimport work_struct

cdef enum:
    RESCUE_MS = 100               # a work item whose CPU sleeps inside the kernel is run by interrupt after so long

cdef struct drain_work:
    work_struct work              # first: an item is a drain_work
    vlong wanted                  # by the drain that is under way
    long cpu
    zone *only

cdef long drain_by_work(zone *only) noexcept nogil            # as drain_all_pages
cdef bint init_drain_works() noexcept nogil

cdef void drain_local_pages_wq(work_struct *work) noexcept nogil
cdef void run_drain_work(drain_work *d) noexcept nogil
cdef void rescue_by_interrupt(void *info) noexcept nogil
cdef void rescue_sleepers() noexcept nogil
cdef void wait_for_drain_works() noexcept nogil
cdef long queue_drain_works(zone *only) noexcept nogil
