# mm/page_alloc.c: drain_all_pages, in every form that was discussed or merged (switch pcp-drain).
from ipc.cpumask cimport cpumask
from cpus.cpu cimport cpu
from cpus.mmzone cimport zone

cdef enum:
    DRAIN_SKIPPED = -1            # somebody else is draining, or a kworker may not wait for kworkers
    RESCHED_NS = 50000            # how long who waits for the spinlock gives its host core away

# only: one zone, or NULL for all. Interrupts must be on. How many CPUs were asked or emptied, or DRAIN_SKIPPED.
cdef long drain_all_pages(zone *only) noexcept nogil
cdef void drain_local_pages(void *info) noexcept nogil        # info: the zone, or NULL
cdef void page_alloc_cpu_dead(long cpu) noexcept nogil
cdef bint init_drain() noexcept nogil

cdef void spin_for_drain_lock() noexcept nogil
cdef long drain_by(int variant, zone *only) noexcept nogil
cdef long drain_everybody(zone *only) noexcept nogil
cdef long drain_mask(cpumask *mask, zone *only, bint self_clear) noexcept nogil
cdef void set_or_clear_each_zone(cpumask *mask, zone *only) noexcept nogil
cdef void clear_then_set(cpumask *mask, zone *only) noexcept nogil
cdef void set_or_clear(cpumask *mask, zone *only) noexcept nogil
cdef void only_set(cpumask *mask, zone *only) noexcept nogil
cdef long drain_static_mask(int variant, zone *only) noexcept nogil
cdef long drain_private_mask(zone *only) noexcept nogil
cdef long drain_remotely(zone *only) noexcept nogil
cdef void drain_and_clear(void *info) noexcept nogil
cdef void count_avoided(long sent, long other, bint own_too) noexcept nogil
cdef void log_drain(long asked) noexcept nogil
