"""Interrupts to idle CPUs by one futex wake per 32 of them, to running ones by signal.

An idle CPU reads its cluster's word, looks at its pending word, and waits on the word with its own bit. The sender
changes the word before it wakes, so no wake-up is lost; other CPUs of the cluster may see EAGAIN, nothing more. A CPU
that the sender saw running gets a signal; should it go idle at that moment, its handler changes the word itself.
"""

import cython
from cython.cimports.ipc.atomic import atomic_fetch_add_int, read_once_int, smp_mb
from cython.cimports.ipc.cpumask import next_bit
from cython.cimports.ipc.host import futex_wait_bits, futex_wake_bits
from cython.cimports.ipc.processor import private, processor_of
from cython.cimports.ipc.transport import repoke, ring_in_order, send_signal

if not cython.compiled:
    raise ImportError("ipc.transport_cluster is not built; run `make setup`")


def bit_of(cpu):
    return cython.cast(cython.uint, 1) << (cpu % CLUSTER_CPUS)


def wake_cluster(cpu, bits):
    word = cython.address(cluster_of(cpu).word)
    atomic_fetch_add_int(word, 1)
    futex_wake_bits(cython.cast(cython.p_int, word), CLUSTER_CPUS, bits)


def ring(target):
    if target.idle:
        wake_cluster(target.id, bit_of(target.id))
    else:
        send_signal(target)


def take_idle_targets(mask, first):
    """Take the idle CPUs of one cluster out of the mask; their bits in the cluster's word."""
    bits: cython.uint = 0
    cpu: cython.long = next_bit(mask, first)
    while 0 <= cpu < first + CLUSTER_CPUS:
        if processor_of(cpu).idle:
            bits |= bit_of(cpu)
            mask[cpu >> 6] &= ~(cython.cast(cython.ulong, 1) << (cpu & 63))
        cpu = next_bit(mask, cpu + 1)
    return bits


def ring_many(mask):
    bits: cython.uint[32]
    cpu: cython.long = next_bit(mask, 0)
    for i in range(32):
        bits[i] = 0
    while cpu >= 0:
        first = cpu - cpu % CLUSTER_CPUS
        bits[first // CLUSTER_CPUS] = take_idle_targets(mask, first)
        cpu = next_bit(mask, first + CLUSTER_CPUS)
    ring_in_order(mask)  # what is left is running
    for i in range(32):
        if bits[i]:
            wake_cluster(i * CLUSTER_CPUS, bits[i])


def idle_begin(me):
    me.idle = 1
    smp_mb()
    me.blocked = read_once_int(cython.address(cluster_of(me.id).word))


def idle_wait(me):
    word = cython.cast(cython.p_int, cython.address(cluster_of(me.id).word))
    futex_wait_bits(word, cython.cast(cython.int, me.blocked), bit_of(me.id))


def idle_end(me):
    me.idle = 0
    smp_mb()


def signalled(me, from_queue):
    if me.idle:
        atomic_fetch_add_int(cython.address(cluster_of(me.id).word), 1)


def use():
    ops = private()
    ops.ring = ring
    ops.ring_many = ring_many
    ops.idle_begin = idle_begin
    ops.idle_wait = idle_wait
    ops.idle_end = idle_end
    ops.signalled = signalled
    ops.overdue = repoke
