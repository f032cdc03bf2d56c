# struct call_single_data, apart from cpus/smp because struct cpu contains one.
from ipc.atomic cimport vlong

ctypedef void (*smp_call_func_t)(void *info) noexcept nogil

cdef struct call_single_data:
    call_single_data *next
    smp_call_func_t func
    void *info
    vlong flags                   # CSD_FLAG_*
    long sender                   # who waits, or may come to
    long target
    long since                    # cycles when it was queued
    unsigned long site            # who called, for the ledger of the CPU that serves it
