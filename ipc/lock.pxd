# Locks: futex words of our own. Each knows its owner, is entered in the owner's list of held locks before it is taken,
# and counts acquisitions, contention, wait and hold time per class and CPU.
#
# A spinlock is taken with interrupts off by spin_lock_irqsave(); it spins briefly and then sleeps, since its holder may
# be off its host core. A mutex sleeps, gives its slot away and serves interrupts meanwhile. Neither a pthread mutex (its
# owner's death is told, but only to the next locker, and it cannot be waited for together with an interrupt) nor a
# semaphore (it has no owner) would do.
from ipc.atomic cimport vint, vlong
from ipc.cpumask cimport cpumask
from ipc.histogram cimport histogram
from ipc.interrupt cimport local_irq_restore, local_irq_save
from ipc.processor cimport processor

cdef enum:
    SWITCH_LOCK_DETAIL = 3
    NR_LOCK_CLASSES = 16
    OWNER_BIAS = 2                # coordinator is 1, CPU 0 is 2
    SLEEPERS = 1 << 30
    HELD_SPIN = 0                 # low bits of an entry of the held list
    HELD_MUTEX = 1
    HELD_READ = 2
    HELD_WRITE = 3
    HELD_KINDS = 3
    SPINS = 200                   # about 5 us: longer than a list operation, shorter than a host tick

cdef struct lock_stat:
    long acquisitions
    long contended
    histogram wait                # cycles, contended acquisitions only
    histogram hold                # cycles

cdef struct spinlock:
    vint word                     # 0, or owner + OWNER_BIAS, and SLEEPERS
    short lock_class
    short broken                  # its owner died in it
    long since                    # cycles when it was taken; the owner's
    lock_stat *detail             # statistics of this very lock, with --lock-detail

cdef struct mutex:
    vlong owner                   # 0, or owner + OWNER_BIAS
    vint coordinator_waits
    short lock_class
    short broken
    long since
    lock_stat *detail
    cpumask waiters

cdef struct rwsem:
    vlong count                   # readers, or -(owner + OWNER_BIAS) of a writer
    vlong writer                  # owner + OWNER_BIAS
    vint coordinator_waits
    short lock_class
    short broken
    long since
    lock_stat *detail
    cpumask waiters

cdef void spin_lock_init(spinlock *lock, int lock_class) noexcept nogil
cdef void spin_lock_detail(spinlock *lock) noexcept nogil      # --lock-detail: statistics of its own, too
cdef void spin_lock_forget(spinlock *lock) noexcept nogil      # before it is freed
cdef void spin_lock(spinlock *lock) noexcept nogil             # plain: the caller says what interrupts are
cdef bint spin_trylock(spinlock *lock) noexcept nogil
cdef void spin_unlock(spinlock *lock) noexcept nogil

cdef void mutex_init(mutex *lock, int lock_class) noexcept nogil
cdef void mutex_lock(mutex *lock) noexcept nogil
cdef bint mutex_trylock(mutex *lock) noexcept nogil
cdef void mutex_unlock(mutex *lock) noexcept nogil
cdef bint mutex_is_locked_by_me(mutex *lock) noexcept nogil

cdef void rwsem_init(rwsem *lock, int lock_class) noexcept nogil
cdef void down_read(rwsem *lock) noexcept nogil
cdef void up_read(rwsem *lock) noexcept nogil
cdef void down_write(rwsem *lock) noexcept nogil
cdef void up_write(rwsem *lock) noexcept nogil

cdef int break_locks(long cpu) noexcept nogil                  # of a dead CPU; how many were held

cdef inline int spin_lock_irqsave(spinlock *lock) noexcept nogil:
    cdef int flags = local_irq_save()
    spin_lock(lock)
    return flags

cdef inline void spin_unlock_irqrestore(spinlock *lock, int flags) noexcept nogil:
    spin_unlock(lock)
    local_irq_restore(flags)

cdef lock_stat *stat_of(processor *me, int lock_class) noexcept nogil
cdef void hold(processor *me, void *lock, int kind) noexcept nogil
cdef void let_go(processor *me, void *lock, int kind) noexcept nogil
cdef void count_one(lock_stat *stat, long waited) noexcept nogil
cdef void count_taken(processor *me, int lock_class, lock_stat *detail, long waited) noexcept nogil
cdef void count_released(processor *me, int lock_class, lock_stat *detail, long since) noexcept nogil
cdef void wait_for_spinlock(spinlock *lock, int mine) noexcept nogil
cdef void wait_for_mutex(processor *me, mutex *lock) noexcept nogil
cdef void wake_waiter(processor *me, cpumask *waiters, vint *coordinator_waits) noexcept nogil
cdef void take_rwsem(processor *me, rwsem *lock, bint write) noexcept nogil
cdef bint try_rwsem(rwsem *lock, long writer) noexcept nogil
cdef bint xchg_sleepers(spinlock *lock, int mine) noexcept nogil
cdef void note_waiter(processor *me, cpumask *waiters, vint *coordinator_waits, int waits) noexcept nogil
cdef void wait_begin(processor *me, void *lock, cpumask *waiters, vint *coordinator_waits) noexcept nogil
cdef void wait_end(processor *me, cpumask *waiters, vint *coordinator_waits) noexcept nogil
cdef void leave_readers(processor *dead, rwsem *lock) noexcept nogil
cdef void release_rwsem(processor *me, rwsem *lock, bint last) noexcept nogil
