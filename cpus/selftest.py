"""Operations for the tests of the machine: words that are waited for, locks, the heap.

Its sisters have the calls (selftest_calls), the kernel's other parts (selftest_kernel) and the faults (plants). No
kernel code calls any of them. An operation is `long f(long *args)`, as in cpus/entry.
"""

import cython
from cython.cimports.cpus.locks import CLASS_WORKLOAD_LOCK, locks
from cython.cimports.ipc.atomic import spin_pause, xchg
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.host import futex_wait, futex_wake
from cython.cimports.ipc.interrupt import local_irq_restore, local_irq_save, poll_interrupts
from cython.cimports.ipc.lock import (
    down_read,
    down_write,
    mutex_init,
    mutex_lock,
    mutex_trylock,
    mutex_unlock,
    rwsem_init,
    spin_lock,
    spin_lock_init,
    spin_trylock,
    spin_unlock,
    up_read,
    up_write,
)
from cython.cimports.ipc.memory import heap_alloc, heap_free, lock_heap, segment
from cython.cimports.ipc.park import wake_cpu
from cython.cimports.ipc.processor import processor_of, this_processor
from cython.cimports.ipc.random import draw

if not cython.compiled:
    raise ImportError("cpus.selftest is not built; run `make setup`")


def wake_word(w):
    futex_wake(cython.cast(cython.p_int, w), 1 << 30)
    wake_cpu(processor_of(-1))


def set_word(w, value):
    """Store a word and wake who waits for it, the coordinator's waits among them."""
    xchg(w, value)
    wake_word(w)


def wait_for_word(w):
    """Wait until the word is not 0; interrupts are served, if they are on."""
    while read_once(w) == 0:
        futex_wait(cython.cast(cython.p_int, w), 0, 1000000)
        poll_interrupts(this_processor())


def compute(us):
    until = get_cycles() + us * segment().cycles_per_us
    while get_cycles() < until:
        spin_pause()


def pause_turns(turns):
    for _ in range(turns):
        spin_pause()


def peek(address: int, offset: cython.long = 0) -> int:
    """The word at address + 8 * offset."""
    return read_once(word(address) + offset)


def peek_int(address: int) -> int:
    """The 32-bit word at address."""
    return cython.cast(cython.pointer(vint), cython.cast(cython.ulong, address))[0]


def poke(address: int, value: int, offset: cython.long = 0) -> None:
    """Store a word and wake who waits for it."""
    set_word(word(address) + offset, value)


def poke_int(address: int, value: int) -> None:
    """Store a 32-bit word."""
    cython.cast(cython.pointer(vint), cython.cast(cython.ulong, address))[0] = value


def lock_init(args):
    """Make the lock at args[0] one of kind args[1]."""
    at = cython.cast(cython.p_void, cython.cast(cython.ulong, args[0]))
    if args[1] == KIND_SPIN:
        spin_lock_init(cython.cast(cython.pointer(spinlock), at), CLASS_WORKLOAD_LOCK)
    elif args[1] == KIND_MUTEX:
        mutex_init(cython.cast(cython.pointer(mutex), at), CLASS_WORKLOAD_LOCK)
    else:
        rwsem_init(cython.cast(cython.pointer(rwsem), at), CLASS_WORKLOAD_LOCK)
    return 0


def take(lock, kind):
    """Spinlocks: the caller has switched interrupts off."""
    at = cython.cast(cython.p_void, cython.cast(cython.ulong, lock))
    if kind == KIND_SPIN:
        spin_lock(cython.cast(cython.pointer(spinlock), at))
    elif kind == KIND_MUTEX:
        mutex_lock(cython.cast(cython.pointer(mutex), at))
    elif kind == KIND_READ:
        down_read(cython.cast(cython.pointer(rwsem), at))
    elif kind == KIND_WRITE:
        down_write(cython.cast(cython.pointer(rwsem), at))


def release(lock, kind):
    at = cython.cast(cython.p_void, cython.cast(cython.ulong, lock))
    if kind == KIND_SPIN:
        spin_unlock(cython.cast(cython.pointer(spinlock), at))
    elif kind == KIND_MUTEX:
        mutex_unlock(cython.cast(cython.pointer(mutex), at))
    elif kind == KIND_READ:
        up_read(cython.cast(cython.pointer(rwsem), at))
    elif kind == KIND_WRITE:
        up_write(cython.cast(cython.pointer(rwsem), at))


def count_locked(args):
    """args[3] times: lock args[0] of kind args[1], add 1 to word args[2] by load and store, args[4] pauses apart."""
    w = word(args[2])
    for _ in range(args[3]):
        flags = local_irq_save() if args[1] == KIND_SPIN else 1
        take(args[0], args[1])
        value = w[0]
        pause_turns(args[4])
        w[0] = value + 1
        release(args[0], args[1])
        if args[1] == KIND_SPIN:
            local_irq_restore(flags)
    return args[3]


def read_pairs(args):
    """args[2] times: read both words at args[1] under rwsem args[0] (args[3]: the kind); how often they differed."""
    w = word(args[1])
    torn: cython.long = 0
    for _ in range(args[2]):
        take(args[0], args[3])
        first = w[0]
        pause_turns(20)
        torn += first != w[1]
        release(args[0], args[3])
    return torn


def write_pairs(args):
    """args[2] times: add 1 to both words at args[1] under rwsem args[0] (args[3]: the kind)."""
    w = word(args[1])
    for _ in range(args[2]):
        take(args[0], args[3])
        w[0] = w[0] + 1
        pause_turns(20)
        w[1] = w[1] + 1
        release(args[0], args[3])
    return args[2]


def try_lock(args):
    """Try lock args[0] of kind args[1] once; 1 if it was taken. It is given back."""
    at = cython.cast(cython.p_void, cython.cast(cython.ulong, args[0]))
    taken: cython.bint = False
    flags = local_irq_save()
    if args[1] == KIND_SPIN:
        taken = spin_trylock(cython.cast(cython.pointer(spinlock), at))
    elif args[1] == KIND_MUTEX:
        taken = mutex_trylock(cython.cast(cython.pointer(mutex), at))
    if taken:
        release(args[0], args[1])
    local_irq_restore(flags)
    return taken


def hold_lock(args):
    """Take lock args[0] of kind args[1], set word args[2], wait for word args[3], give it back."""
    flags = local_irq_save() if args[1] == KIND_SPIN else 1
    take(args[0], args[1])
    set_word(word(args[2]), 1)
    wait_for_word(word(args[3]))
    release(args[0], args[1])
    if args[1] == KIND_SPIN:
        local_irq_restore(flags)
    return 1


def hold_two(args):
    """Take lock args[0] of kind args[1], then args[2] of kind args[3], set args[4], wait for args[5], give back."""
    take(args[0], args[1])
    flags = local_irq_save() if args[3] == KIND_SPIN else 1
    take(args[2], args[3])
    set_word(word(args[4]), 1)
    wait_for_word(word(args[5]))
    release(args[2], args[3])
    local_irq_restore(flags)
    release(args[0], args[1])
    return 1


def lock_pairs(args):
    """args[3] times: take spinlock args[0], then args[1]. With args[2], set that word and wait for args[4] between."""
    for _ in range(args[3]):
        flags = local_irq_save()
        take(args[0], KIND_SPIN)
        if args[2]:
            set_word(word(args[2]), 1)
            wait_for_word(word(args[4]))
        take(args[1], KIND_SPIN)
        release(args[1], KIND_SPIN)
        release(args[0], KIND_SPIN)
        local_irq_restore(flags)
    return args[3]


def lock_unlisted(args):
    """Planted: take mutex args[0], forget that it is held, set word args[1], wait for word args[2]."""
    take(args[0], KIND_MUTEX)
    this_processor().held_count -= 1
    set_word(word(args[1]), 1)
    wait_for_word(word(args[2]))
    return 0


def slab_mutex() -> int:
    """Address of the kernel's slab_mutex."""
    return cython.cast(cython.long, cython.address(locks().slab_mutex))


def heap_churn(args):
    """args[0] allocations of drawn sizes (seed args[1]), 32 alive at a time, each filled with its own pattern and
    looked at before it is freed. How many were not as they had been left."""
    blocks: cython.p_void[32]
    sizes: cython.long[32]
    marks: cython.long[32]
    state: cython.ulong = args[1]
    wrong: cython.long = 0
    for i in range(32):
        blocks[i] = cython.NULL
    for n in range(args[0] + 32):
        i = n % 32
        if blocks[i] != cython.NULL:
            w = cython.cast(cython.pointer(cython.long), blocks[i])
            for k in range(sizes[i]):
                wrong += w[k] != marks[i]
            heap_free(blocks[i])
            blocks[i] = cython.NULL
        if n < args[0]:
            sizes[i] = 1 + cython.cast(cython.long, draw(cython.address(state)) % 300)
            marks[i] = cython.cast(cython.long, draw(cython.address(state)))
            blocks[i] = heap_alloc(sizes[i] * 8)
            if blocks[i] == cython.NULL:
                continue
            w = cython.cast(cython.pointer(cython.long), blocks[i])
            for k in range(sizes[i]):
                wrong += w[k] != 0
                w[k] = marks[i]
    return wrong


def heap_lock_forever(args):
    """Take the heap's lock, set word args[0], and never come back."""
    lock_heap()
    xchg(word(args[0]), 1)
    wait_for_word(word(args[1]))
    return 0


def entry_points() -> dict:
    """Address of each operation, by name."""
    return {
        "lock_init": cython.cast(cython.long, cython.cast(cython.p_void, lock_init)),
        "count_locked": cython.cast(cython.long, cython.cast(cython.p_void, count_locked)),
        "read_pairs": cython.cast(cython.long, cython.cast(cython.p_void, read_pairs)),
        "write_pairs": cython.cast(cython.long, cython.cast(cython.p_void, write_pairs)),
        "try_lock": cython.cast(cython.long, cython.cast(cython.p_void, try_lock)),
        "hold_lock": cython.cast(cython.long, cython.cast(cython.p_void, hold_lock)),
        "hold_two": cython.cast(cython.long, cython.cast(cython.p_void, hold_two)),
        "lock_pairs": cython.cast(cython.long, cython.cast(cython.p_void, lock_pairs)),
        "lock_unlisted": cython.cast(cython.long, cython.cast(cython.p_void, lock_unlisted)),
        "heap_churn": cython.cast(cython.long, cython.cast(cython.p_void, heap_churn)),
        "heap_lock_forever": cython.cast(cython.long, cython.cast(cython.p_void, heap_lock_forever)),
    }
