"""Cycles, nanoseconds, and the calibration of one to the other."""

import cython

if not cython.compiled:
    raise ImportError("ipc.clock is not built; run `make setup`")


def cycles_per_us(seconds):
    """Cycles per microsecond, measured against CLOCK_MONOTONIC_RAW for `seconds` (busy, so keep it short)."""
    t0 = monotonic_ns()
    c0 = get_cycles()
    while monotonic_ns() - t0 < cython.cast(cython.long, seconds * 1e9):
        pass
    ns = monotonic_ns() - t0
    cycles = get_cycles() - c0
    return (cycles * 1000 + ns // 2) // ns


def calibrate() -> int:
    """Cycles per microsecond of this host's clock (1,000 where cycles are nanoseconds)."""
    best = cycles_per_us(0.004)
    return best


def cycles() -> int:
    """The cycle counter now."""
    return get_cycles()
