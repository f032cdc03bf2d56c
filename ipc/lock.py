"""Spinlocks, mutexes and read-write semaphores between CPU processes."""

import cython
from cython.cimports.ipc.atomic import (
    atomic_fetch_add,
    barrier,
    cmpxchg,
    cmpxchg_int,
    read_once,
    read_once_int,
    spin_pause,
    write_once_int,
    xchg,
    xchg_int,
)
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.cpumask import clear_bit, next_bit, set_bit
from cython.cimports.ipc.histogram import histogram_add
from cython.cimports.ipc.host import futex_wait, futex_wake
from cython.cimports.ipc.memory import heap_alloc, heap_free, segment, switch_on
from cython.cimports.ipc.park import PARK_NS, park, park_begin, park_end, sleep_begin, sleep_end, wake_cpu
from cython.cimports.ipc.processor import MAX_HELD_LOCKS, WAIT_MUTEX, WAIT_NONE, processor_of, this_processor
from cython.cimports.ipc.trace import EV_LOCK_RELEASED, EV_LOCK_TAKEN, EV_LOCK_WAIT, trace

if not cython.compiled:
    raise ImportError("ipc.lock is not built; run `make setup`")


def stat_of(me, lock_class):
    return cython.address(cython.cast(cython.pointer(lock_stat), me.lock_stats)[lock_class])


def hold(me, lock, kind):
    """Enter the lock in the list of held ones, before it is taken: who dies in between must not keep it."""
    was = local_irq_save()  # or a handler's entry would overwrite ours
    n = me.held_count
    if n < MAX_HELD_LOCKS:
        me.held[n] = cython.cast(cython.p_void, cython.cast(cython.ulong, lock) | kind)
    barrier()
    me.held_count = n + 1
    me.preempt_count += kind == HELD_SPIN
    local_irq_restore(was)


def let_go(me, lock, kind):
    """Take the lock out of the list, wherever it stands: locks are not always released in the order of taking."""
    was = local_irq_save()
    wanted = cython.cast(cython.p_void, cython.cast(cython.ulong, lock) | kind)
    n = me.held_count - 1
    i = n
    while i >= 0 and me.held[i] != wanted:
        i -= 1
    while 0 <= i < n:
        me.held[i] = me.held[i + 1]
        i += 1
    barrier()
    me.held_count = n
    me.preempt_count -= kind == HELD_SPIN
    local_irq_restore(was)


def count_one(stat, waited):
    stat.acquisitions += 1
    if waited >= 0:
        stat.contended += 1
        histogram_add(cython.address(stat.wait), waited)


def count_taken(me, lock_class, detail, waited):
    count_one(stat_of(me, lock_class), waited)
    if detail != cython.NULL:
        count_one(detail, waited)


def count_released(me, lock_class, detail, since):
    held = get_cycles() - since
    histogram_add(cython.address(stat_of(me, lock_class).hold), held)
    if detail != cython.NULL:
        histogram_add(cython.address(detail.hold), held)


def spin_lock_init(lock, lock_class):
    lock.word = 0
    lock.lock_class = lock_class
    lock.broken = 0
    lock.detail = cython.NULL


def spin_lock_detail(lock):
    if switch_on(SWITCH_LOCK_DETAIL):
        lock.detail = cython.cast(cython.pointer(lock_stat), heap_alloc(cython.sizeof(lock_stat)))


def spin_lock_forget(lock):
    heap_free(lock.detail)
    lock.detail = cython.NULL


def wait_for_spinlock(lock, mine):
    """Spin briefly, then sleep on the word: whoever takes it from here on leaves SLEEPERS set, so none is forgotten."""
    for _ in range(SPINS):
        if read_once_int(cython.address(lock.word)) == 0 and cmpxchg_int(cython.address(lock.word), 0, mine) == 0:
            return
        spin_pause()
    while xchg_sleepers(lock, mine) != 0:
        word = read_once_int(cython.address(lock.word))
        if word & SLEEPERS:
            futex_wait(cython.cast(cython.p_int, cython.address(lock.word)), word, PARK_NS)


def xchg_sleepers(lock, mine):
    """Take a free lock as one that has sleepers (0), or mark a held one so that its owner wakes us (1)."""
    word = read_once_int(cython.address(lock.word))
    if word == 0:
        return cmpxchg_int(cython.address(lock.word), 0, mine | SLEEPERS) != 0
    if word & SLEEPERS == 0:
        cmpxchg_int(cython.address(lock.word), word, word | SLEEPERS)
    return True


def spin_lock(lock):
    me = this_processor()
    mine = cython.cast(cython.int, me.id) + OWNER_BIAS
    hold(me, lock, HELD_SPIN)
    waited: cython.long = -1
    if cmpxchg_int(cython.address(lock.word), 0, mine) != 0:
        start = get_cycles()
        trace(EV_LOCK_WAIT, cython.cast(cython.ulong, lock))
        wait_for_spinlock(lock, mine)
        waited = get_cycles() - start
    lock.since = get_cycles()
    trace(EV_LOCK_TAKEN, cython.cast(cython.ulong, lock))
    count_taken(me, lock.lock_class, lock.detail, waited)


def spin_trylock(lock):
    me = this_processor()
    hold(me, lock, HELD_SPIN)
    taken: cython.bint = cmpxchg_int(cython.address(lock.word), 0, cython.cast(cython.int, me.id) + OWNER_BIAS) == 0
    if taken:
        lock.since = get_cycles()
        count_taken(me, lock.lock_class, lock.detail, -1)
    else:
        let_go(me, lock, HELD_SPIN)
    return taken


def spin_unlock(lock):
    me = this_processor()
    count_released(me, lock.lock_class, lock.detail, lock.since)
    trace(EV_LOCK_RELEASED, cython.cast(cython.ulong, lock))
    if xchg_int(cython.address(lock.word), 0) & SLEEPERS:
        futex_wake(cython.cast(cython.p_int, cython.address(lock.word)), 1)
    let_go(me, lock, HELD_SPIN)


def mutex_init(lock, lock_class):
    lock.owner = 0
    lock.coordinator_waits = 0
    lock.lock_class = lock_class
    lock.broken = 0
    lock.detail = cython.NULL


def note_waiter(me, waiters, coordinator_waits, waits):
    if me.id < 0:
        write_once_int(coordinator_waits, waits)
    elif waits:
        set_bit(waiters.bits, me.id)
    else:
        clear_bit(waiters.bits, me.id)


def wait_begin(me, lock, waiters, coordinator_waits):
    """What a stuck report and the lock's next holder see of a context that goes to sleep for it."""
    me.waiting_since = get_cycles()
    me.waiting_on = cython.cast(cython.long, lock)
    me.waiting_for = WAIT_MUTEX
    note_waiter(me, waiters, coordinator_waits, True)
    sleep_begin(me)


def wait_end(me, waiters, coordinator_waits):
    park_end(me)
    note_waiter(me, waiters, coordinator_waits, False)
    sleep_end(me)
    me.waiting_for = WAIT_NONE


def wait_for_mutex(me, lock):
    mine = me.id + OWNER_BIAS
    for _ in range(SPINS):
        if read_once(cython.address(lock.owner)) == 0 and cmpxchg(cython.address(lock.owner), 0, mine) == 0:
            return
        spin_pause()
    wait_begin(me, lock, cython.address(lock.waiters), cython.address(lock.coordinator_waits))
    while True:
        seen = park_begin(me)
        if cmpxchg(cython.address(lock.owner), 0, mine) == 0:
            break
        park(me, seen, PARK_NS)
    wait_end(me, cython.address(lock.waiters), cython.address(lock.coordinator_waits))


def mutex_lock(lock):
    me = this_processor()
    hold(me, lock, HELD_MUTEX)
    waited: cython.long = -1
    if cmpxchg(cython.address(lock.owner), 0, me.id + OWNER_BIAS) != 0:
        start = get_cycles()
        trace(EV_LOCK_WAIT, cython.cast(cython.ulong, lock))
        wait_for_mutex(me, lock)
        waited = get_cycles() - start
    lock.since = get_cycles()
    trace(EV_LOCK_TAKEN, cython.cast(cython.ulong, lock))
    count_taken(me, lock.lock_class, lock.detail, waited)


def mutex_trylock(lock):
    me = this_processor()
    hold(me, lock, HELD_MUTEX)
    taken: cython.bint = cmpxchg(cython.address(lock.owner), 0, me.id + OWNER_BIAS) == 0
    if taken:
        lock.since = get_cycles()
        count_taken(me, lock.lock_class, lock.detail, -1)
    else:
        let_go(me, lock, HELD_MUTEX)
    return taken


def wake_waiter(me, waiters, coordinator_waits):
    """Wake the next one in turn. A woken waiter tries again; one that died in its wait is passed over in 50 ms."""
    cpu = next_bit(waiters.bits, me.id + 1)
    if cpu < 0:
        cpu = next_bit(waiters.bits, 0)
    if cpu >= 0:
        wake_cpu(processor_of(cpu))
    if coordinator_waits[0]:
        wake_cpu(processor_of(-1))


def mutex_unlock(lock):
    me = this_processor()
    count_released(me, lock.lock_class, lock.detail, lock.since)
    trace(EV_LOCK_RELEASED, cython.cast(cython.ulong, lock))
    xchg(cython.address(lock.owner), 0)
    wake_waiter(me, cython.address(lock.waiters), cython.address(lock.coordinator_waits))
    let_go(me, lock, HELD_MUTEX)


def mutex_is_locked_by_me(lock):
    return read_once(cython.address(lock.owner)) == this_processor().id + OWNER_BIAS


def rwsem_init(lock, lock_class):
    lock.count = 0
    lock.writer = 0
    lock.coordinator_waits = 0
    lock.lock_class = lock_class
    lock.broken = 0
    lock.detail = cython.NULL


def try_rwsem(lock, writer):
    """Take it if it is free, for reading or (writer != 0: owner + OWNER_BIAS) for writing."""
    count = read_once(cython.address(lock.count))
    if writer:
        return count == 0 and cmpxchg(cython.address(lock.count), 0, -writer) == 0
    while count >= 0:
        old = cmpxchg(cython.address(lock.count), count, count + 1)
        if old == count:
            return True
        count = old
    return False


def take_rwsem(me, lock, write):
    hold(me, lock, HELD_WRITE if write else HELD_READ)
    waited: cython.long = -1
    writer: cython.long = me.id + OWNER_BIAS if write else 0
    if not try_rwsem(lock, writer):
        start = get_cycles()
        wait_begin(me, lock, cython.address(lock.waiters), cython.address(lock.coordinator_waits))
        while True:
            seen = park_begin(me)
            if try_rwsem(lock, writer):
                break
            park(me, seen, PARK_NS)
        wait_end(me, cython.address(lock.waiters), cython.address(lock.coordinator_waits))
        waited = get_cycles() - start
    count_taken(me, lock.lock_class, lock.detail, waited)


def down_read(lock):
    take_rwsem(this_processor(), lock, False)


def down_write(lock):
    me = this_processor()
    take_rwsem(me, lock, True)
    lock.writer = me.id + OWNER_BIAS
    lock.since = get_cycles()


def release_rwsem(me, lock, last):
    if last:
        cpu: cython.long = next_bit(lock.waiters.bits, 0)
        while cpu >= 0:  # readers may all go on, so all are woken
            wake_cpu(processor_of(cpu))
            cpu = next_bit(lock.waiters.bits, cpu + 1)
        if lock.coordinator_waits:
            wake_cpu(processor_of(-1))


def up_read(lock):
    release_rwsem(this_processor(), lock, atomic_fetch_add(cython.address(lock.count), -1) == 1)
    let_go(this_processor(), lock, HELD_READ)


def up_write(lock):
    me = this_processor()
    count_released(me, lock.lock_class, lock.detail, lock.since)
    lock.writer = 0
    xchg(cython.address(lock.count), 0)
    release_rwsem(me, lock, True)
    let_go(me, lock, HELD_WRITE)


def leave_readers(dead, lock):
    count = read_once(cython.address(lock.count))
    while count > 0:
        seen = cmpxchg(cython.address(lock.count), count, count - 1)
        if seen == count:
            release_rwsem(dead, lock, count == 1)
            return
        count = seen


def break_locks(cpu):
    """Called by the supervisor: give back what a dead CPU holds. Returns how many locks guarded half-made changes.

    A spinlock or mutex guards data of more than one word, so who dies in one leaves the run broken. A read lock guards
    nothing that its holder changes. What is listed may not have been taken yet: a lock's word names its owner, and who
    waits to read waits for a writer. (Who dies to read within the few instructions of an uncontended lock, while others
    read, is taken for a reader: what remains.)
    """
    dead = processor_of(cpu)
    mine = cpu + OWNER_BIAS
    broken: cython.long = 0
    count: cython.long = dead.held_count
    for i in range(count if count < MAX_HELD_LOCKS else MAX_HELD_LOCKS):
        tagged = cython.cast(cython.ulong, dead.held[i])
        kind = tagged & HELD_KINDS
        lock = cython.cast(cython.p_void, tagged - kind)
        if kind == HELD_READ:
            leave_readers(dead, cython.cast(cython.pointer(rwsem), lock))
        elif kind == HELD_MUTEX:
            broken += cmpxchg(cython.address(cython.cast(cython.pointer(mutex), lock).owner), mine, 0) == mine
        elif kind == HELD_SPIN:
            word = cython.address(cython.cast(cython.pointer(spinlock), lock).word)
            if read_once_int(word) & ~SLEEPERS == mine:
                broken += 1
                xchg_int(word, 0)
                futex_wake(cython.cast(cython.p_int, word), 1)
        else:
            count_word = cython.address(cython.cast(cython.pointer(rwsem), lock).count)
            broken += cmpxchg(count_word, -mine, 0) == -mine
    if broken:
        segment().broken = 1
    return broken


def allocate_statistics() -> bool:
    """Statistics of every lock class for the coordinator and each CPU; before the fork."""
    for cpu in range(-1, segment().nr_cpus):
        block = heap_alloc(cython.sizeof(lock_stat) * NR_LOCK_CLASSES)
        if block == cython.NULL:
            return False
        processor_of(cpu).lock_stats = block
    return True
