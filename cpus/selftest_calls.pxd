# Sections and cross-calls for the tests of the machine.
from ipc.atomic cimport read_once, vlong, write_once
from ipc.cpumask cimport cpumask
from cpus.cpu cimport cpu
from cpus.selftest cimport run_log

cdef enum:
    SECTION_IRQ = 0
    SECTION_PREEMPT = 1
    SECTION_BOTH = 2

# One sender's side of scftorture's checks.
cdef struct scf_check:
    long cpu                      # that must run it, or -1
    vlong before                  # stored by the sender before the call
    vlong after                   # stored by the function
    vlong ran
    vlong wrong_cpu
    vlong missed_in
    long delay_us
    long missed_out
    long refused
    long sent
    long _pad[6]

cdef long irq_section(long *args) noexcept nogil
cdef long irq_nesting(long *args) noexcept nogil
cdef long compute_until(long *args) noexcept nogil
cdef long preempt_hog(long *args) noexcept nogil
cdef long count_own(long *args) noexcept nogil
cdef void count_plain(void *info) noexcept nogil
cdef long send_counts(long *args) noexcept nogil
cdef long log_add(run_log *log, long value) noexcept nogil
cdef void note_run(void *info) noexcept nogil
cdef bint wanted(long cpu, void *info) noexcept nogil
cdef long call_one(long *args) noexcept nogil
cdef long call_mask(long *args) noexcept nogil
cdef long call_each(long *args) noexcept nogil
cdef long call_cond(long *args) noexcept nogil
cdef void scf_handler(void *info) noexcept nogil
cdef void scf_single(scf_check *check, long target, bint wait, long round) noexcept nogil
cdef void scf_many(scf_check *check, bint wait, long round) noexcept nogil
cdef long scf_torture(long *args) noexcept nogil
