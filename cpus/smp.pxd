# kernel/smp.c: calls of functions on other CPUs.
from ipc.cpumask cimport cpumask
from ipc.processor cimport processor
from cpus.cpu cimport cpu
from cpus.ledger cimport ledger_row
from cpus.smp_types cimport call_single_data, smp_call_func_t

cdef enum:
    CSD_FLAG_LOCK = 1             # in use: queued, or running
    CSD_FLAG_SYNCHRONOUS = 2      # unlocked after the function, not before
    CSD_FLAG_WAITER = 4           # its sender sleeps until it is unlocked
    ACK_SLEEPER = 1 << 30         # in cpu.acks: the sender sleeps
    CSD_SPIN_US = 20              # the sender of a call to one CPU looks so long before it sleeps
    CSD_TIMEOUT_S = 5             # CONFIG_CSD_LOCK_WAIT_DEBUG's default

ctypedef bint (*smp_cond_func_t)(long cpu, void *info) noexcept nogil

# All take effect on online CPUs only. Interrupts must be on; with them off, two CPUs that call each other never end.
cdef int smp_call_function_single(long cpu, smp_call_func_t func, void *info, bint wait) noexcept nogil
cdef int smp_call_function_many(cpumask *mask, smp_call_func_t func, void *info, bint wait) noexcept nogil
cdef int smp_call_function(smp_call_func_t func, void *info, bint wait) noexcept nogil
cdef int on_each_cpu(smp_call_func_t func, void *info, bint wait) noexcept nogil
cdef int on_each_cpu_mask(cpumask *mask, smp_call_func_t func, void *info, bint wait) noexcept nogil
cdef int on_each_cpu_cond(smp_cond_func_t cond, smp_call_func_t func, void *info, bint wait, bint fail_mask) noexcept nogil
cdef int kick_all_cpus_sync() noexcept nogil        # how many CPUs were interrupted

cdef void handle_call_function(processor *me, long vectors) noexcept nogil

cdef void do_nothing(void *info) noexcept nogil
cdef call_single_data *csds_of(cpu *c) noexcept nogil
cdef void csd_lock(cpu *c, call_single_data *csd) noexcept nogil
cdef void wait_for_csd(cpu *c, call_single_data *csd) noexcept nogil
cdef void csd_unlock(call_single_data *csd) noexcept nogil
cdef void acknowledge(call_single_data *csd) noexcept nogil
cdef bint enqueue(
    cpu *c, call_single_data *csd, long target, smp_call_func_t func, void *info, long flags, unsigned long site
) noexcept nogil
cdef void wait_for_acks(cpu *c, long targets) noexcept nogil
cdef void run_request(cpu *c, call_single_data *csd) noexcept nogil
cdef void call_targets(
    cpu *c, cpumask *targets, long count, smp_call_func_t func, void *info, bint wait, unsigned long site
) noexcept nogil
cdef long queue_for_targets(
    cpu *c, cpumask *targets, smp_call_func_t func, void *info, long flags, unsigned long site) noexcept nogil
# The same as the public ones, for a call site: the public ones take their caller's.
cdef int call_single(long cpu, smp_call_func_t func, void *info, bint wait, unsigned long site) noexcept nogil
cdef int call_many(cpumask *mask, smp_call_func_t func, void *info, bint wait, unsigned long site) noexcept nogil
cdef int call_mask(cpumask *mask, smp_call_func_t func, void *info, bint wait, unsigned long site) noexcept nogil
cdef void count_offline(smp_call_func_t func, unsigned long site) noexcept nogil
cdef ledger_row *row_of(cpu *c, unsigned long site, smp_call_func_t func) noexcept nogil
