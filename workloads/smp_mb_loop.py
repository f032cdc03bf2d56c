"""Store buffering, bare and in SLUB's own code, on two CPUs that run at the same time.

Bare: CPU 0 exchanges y from 0 to 1 and reads x; CPU 1 stores 0 to x, has a full barrier, reads y. A hit is that both
read the old value: CPU 0's store was still in its store buffer when it read x.

In SLUB: CPU 0 frees the first object of a full slab, which links it into its partial list and reads cpu_partial; CPU 1
deactivates the cache. A hit is that a slab is left on CPU 0's partial list.
"""

import cython
from cython.cimports.cpus.cpu import smp_processor_id, this_cpu
from cython.cimports.cpus.mm_types import GFP_KERNEL
from cython.cimports.cpus.rcu import note_quiescent_state
from cython.cimports.cpus.slab import kmem_cache_alloc, kmem_cache_free
from cython.cimports.cpus.slab_death import slub_deactivate
from cython.cimports.cpus.slub_def import cpu_slab_of, slub_of
from cython.cimports.cpus.slub_drain import slub_shrink
from cython.cimports.ipc.atomic import read_once, smp_load_acquire, smp_mb, smp_store_release, spin_pause, write_once
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.interrupt import poll_interrupts
from cython.cimports.ipc.memory import heap_alloc, heap_free, segment
from cython.cimports.ipc.percpu import this_cpu_cmpxchg, this_cpu_cmpxchg_locked
from cython.cimports.ipc.processor import this_processor

if not cython.compiled:
    raise ImportError("workloads.smp_mb_loop is not built; run `make setup`")

MOST_OBJECTS = cython.declare(cython.long, 64)


def litmus_at(address):
    return cython.cast(cython.pointer(litmus), cython.cast(cython.ulong, address))


def stagger(turn):
    """Not always the same first."""
    for _ in range(turn % 7):
        spin_pause()


def in_time(at):
    """Wait until a moment. False when it is over: this CPU was off its host core, and sits the try out.

    Nobody waits for the other: on a busy host two CPUs that met for every try would hardly ever meet.
    """
    if get_cycles() > at:
        return False
    while get_cycles() < at:
        pass
    return True


def link_side(t, i, batch, kind):
    y = cython.address(t.y[i].word)
    if kind == PLAIN_STORE:
        write_once(y, 1)
    elif kind == UNLOCKED:
        this_cpu_cmpxchg(this_processor(), y, cython.NULL, cython.cast(cython.p_void, 1))
    else:
        this_cpu_cmpxchg_locked(y, cython.NULL, cython.cast(cython.p_void, 1))
    seen = read_once(cython.address(t.x[i].word))
    write_once(cython.address(t.saw_x[i]), batch * 2 + seen)


def one_try(t, me, i, batch, kind):
    if me == 0:
        stagger(i)
        link_side(t, i, batch, kind)
        return
    stagger(i // 7)
    write_once(cython.address(t.x[i].word), 0)
    smp_mb()
    seen = read_once(cython.address(t.y[i].word))
    write_once(cython.address(t.saw_y[i]), batch * 2 + seen)


def count_hits(t, batch):
    """Of the tries of a batch in which both took part."""
    for i in range(SLOTS):
        x = read_once(cython.address(t.saw_x[i]))
        y = read_once(cython.address(t.saw_y[i]))
        if x // 2 == batch and y // 2 == batch:
            t.tries += 1
            t.hits += x & 1 == 1 and y & 1 == 0


def run_litmus(args):
    """Batches by the clock. A CPU takes part in a batch if both have reset their words in time: a late reset would look
    like a hit."""
    t = litmus_at(args[0])
    me = smp_processor_id()
    apart = segment().cycles_per_us * 2 // 5
    period = apart * SLOTS + 200 * segment().cycles_per_us
    if me == 0:
        smp_store_release(cython.address(t.start.word), get_cycles() + 2000 * segment().cycles_per_us)
    wait_for(cython.address(t.start.word), 1)
    start = read_once(cython.address(t.start.word))
    for n in range(args[2] // SLOTS):
        batch = n + 1
        # Each resets what the other will store to, so that the stores have to wait for the line.
        for i in range(SLOTS):
            if me == 0:
                write_once(cython.address(t.x[i].word), 1)
            else:
                write_once(cython.address(t.y[i].word), 0)
        smp_store_release(cython.address(t.ready[me].word), batch)
        begin = start + n * period
        for i in range(SLOTS):
            if in_time(begin + i * apart) and smp_load_acquire(cython.address(t.ready[1 - me].word)) == batch:
                one_try(t, me, i, batch, args[1])
        poll_interrupts(this_processor())
        in_time(begin + (SLOTS + 20) * apart)
        if me == 0:
            count_hits(t, batch)
        in_time(begin + (SLOTS + 60) * apart)
    return 0


# --- in SLUB --------------------------------------------------------------------------------------


def wait_for(word, value):
    """Until a word is at least this, or negative; the host core goes to others now and then."""
    spins: cython.long = 0
    while True:
        now = smp_load_acquire(word)
        if now >= value or now < 0:
            return
        spin_pause()
        spins += 1
        if spins & 4095 == 0:
            poll_interrupts(this_processor())
            note_quiescent_state(this_cpu())
            sched_yield()


def fill_slab(cachep, objects):
    """All objects of one slab, and the CPU goes on to another; how many, or -1."""
    num = cachep.num
    for i in range(num + 1):
        objects[i] = kmem_cache_alloc(cachep, GFP_KERNEL)
        if objects[i] == cython.NULL:
            return -1
    return num + 1


def deactivate_rounds(t, cachep, how):
    """CPU 1's part."""
    turn: cython.long = 0
    while True:
        turn += 1
        wait_for(cython.address(t.round.word), turn)
        if read_once(cython.address(t.round.word)) < 0:
            return 0
        in_time(read_once(cython.address(t.at.word)))
        stagger(turn // 3)
        slub_deactivate(cachep, how)
        smp_store_release(cython.address(t.done.word), turn)


def run_oracle(args):
    """Rounds in which a slab was left on the partial list of CPU 0, although its cache was deactivated."""
    t = litmus_at(args[0])
    cachep = cython.cast(cython.pointer(kmem_cache), cython.cast(cython.ulong, args[1]))
    if smp_processor_id() != 0:
        return deactivate_rounds(t, cachep, cython.cast(cython.int, args[3]))
    s = slub_of(cachep)
    cpu_partial = read_once(cython.address(s.cpu_partial))
    min_partial = read_once(cython.address(s.min_partial))
    until = get_cycles() + args[4] * segment().cycles_per_us
    objects: cython.p_void[65]  # MOST_OBJECTS, and one
    left: cython.long = 0
    for n in range(args[2]):
        taken = fill_slab(cachep, objects)
        if taken < 0 or get_cycles() > until:
            break
        write_once(cython.address(t.at.word), get_cycles() + 20 * segment().cycles_per_us)
        smp_store_release(cython.address(t.round.word), n + 1)
        in_time(read_once(cython.address(t.at.word)))
        stagger(n * 5)
        kmem_cache_free(cachep, objects[0])
        note_quiescent_state(this_cpu())  # CPU 1 may be in a synchronize_sched()
        wait_for(cython.address(t.done.word), n + 1)
        left += cpu_slab_of(cachep, 0).partial != cython.NULL
        write_once(cython.address(s.cpu_partial), cpu_partial)
        write_once(cython.address(s.min_partial), min_partial)
        s.dead = 0
        for i in range(1, taken):
            kmem_cache_free(cachep, objects[i])
        slub_shrink(cachep)
        t.rounds += 1
    smp_store_release(cython.address(t.round.word), -1)
    return left


def new_litmus() -> int:
    """Room for one, in the segment; MemoryError if there is none."""
    t = heap_alloc(cython.sizeof(litmus))
    if t == cython.NULL:
        raise MemoryError("the segment is full")
    return cython.cast(cython.ulong, t)


def counts(address: int) -> dict:
    """{tries, hits} of the bare litmus, {rounds} of the oracle."""
    t = litmus_at(address)
    return {"tries": t.tries, "hits": t.hits, "rounds": t.rounds}


def drop_litmus(address: int) -> None:
    """Give it back."""
    heap_free(cython.cast(cython.p_void, cython.cast(cython.ulong, address)))


KINDS = {"plain store": PLAIN_STORE, "unlocked cmpxchg": UNLOCKED, "locked cmpxchg": LOCKED}
TRIES_AT_ONCE = SLOTS


def entry_points() -> dict:
    """Address of each function that is mailed to a CPU, by name."""
    return {
        "litmus": cython.cast(cython.long, cython.cast(cython.p_void, run_litmus)),
        "oracle": cython.cast(cython.long, cython.cast(cython.p_void, run_oracle)),
    }
