# The ledger of calls: who interrupted whom from where, for what, whom it spared, and what that cost.
#
# One table per context, written by its owner alone with interrupts off, found by (call site, function, locks held). The
# call site is the return address of smp's caller, as the kernel's own call_site fields are; names are looked up later.
from cpus.cpu cimport cpu
from ipc.processor cimport MODE_IDLE, WAIT_NONE

cdef enum:
    AREA_LEDGER = 14              # segment().area[]: struct ledger of the coordinator, then of CPU 0, 1, ...
    LEDGER_ROWS = 32              # a power of two; what does not fit is counted as dropped
    LEDGER_TARGET = 1 << 30       # in `locks`: a row of the interrupted side

cdef struct ledger_row:
    unsigned long site            # 0: free
    unsigned long func
    long locks                    # bit per lock class: mutexes and spinlocks that the sender held
    long calls
    long sent                     # CPUs called
    long not_raised               # of those: their queue was not empty, so no interrupt
    long empty                    # CPUs spared because they hold nothing (on_each_cpu_cond)
    long offline                  # CPUs spared because they are offline
    long itself                   # the sender was among the targets: a plain call
    long waits                    # calls that waited for answers
    long wait_cycles
    long wait_max
    long blocked                  # contexts that waited for one of `locks` when such a wait ended
    long blocked_cycles           # how long they had waited for it during such waits
    long busy                     # target: requests served by a CPU that had work on a core
    long busy_cycles              # target: what the function took from it

cdef struct ledger:
    long dropped
    long _pad[7]
    ledger_row row[LEDGER_ROWS]

cdef extern from * nogil:
    """
    #ifndef EMU_CALLER
    #define EMU_CALLER
    static inline __attribute__((always_inline)) unsigned long emu_caller(void) {
        return (unsigned long)__builtin_return_address(0);
    }
    #endif
    """
    unsigned long caller "emu_caller"()

cdef ledger_row *ledger_find(cpu *c, unsigned long site, unsigned long func, long locks) noexcept nogil   # never NULL
cdef long locks_held(cpu *c) noexcept nogil
cdef void ledger_wait(cpu *c, ledger_row *row, long start, long end) noexcept nogil
cdef ledger_row *served_row(cpu *c, unsigned long site, unsigned long func) noexcept nogil
cdef ledger *ledger_of(long id) noexcept nogil
cdef void count_blocked(ledger_row *row, void *lock, long other, long start, long now) noexcept nogil

cdef inline void ledger_served(cpu *c, unsigned long site, unsigned long func, long cycles) noexcept nogil:
    """A request was run here. It cost work only if this CPU had some, and a host core to do it on."""
    cdef ledger_row *row = <ledger_row *>c.served_row
    if row == NULL or row.site != site or row.func != func:
        row = served_row(c, site, func)
    row.calls += 1
    if c.hw.mode != MODE_IDLE and c.hw.waiting_for == WAIT_NONE:
        row.busy += 1
        row.busy_cycles += cycles
