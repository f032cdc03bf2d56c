"""Log-linear histograms against a plain model: four buckets per doubling, a percentile within 12 %."""

from __future__ import annotations

from collections import Counter

from hypothesis import example, given
from hypothesis import strategies as st

from cpus import selftest_kernel, status
from cpus.layout import CONSTANTS
from emu import observe

BUCKETS = CONSTANTS["HISTOGRAM_BUCKETS"]
LARGEST = (1 << 49) - 1  # the last value with a bucket of its own
values = st.integers(0, 63).flatmap(lambda bits: st.integers(0, (1 << bits) - 1 if bits else 0))
measured = values.map(lambda value: min(value, LARGEST))


def model_bucket(value: int) -> int:
    """Two exact octaves; from 4 on, the octave and the two bits below the top one."""
    if value < 4:
        return max(value, 0)
    octave = value.bit_length() - 1
    return min(4 * (octave - 1) + (value >> (octave - 2)) % 4, BUCKETS - 1)


@given(values)
@example(0)
@example(3)
@example(4)
@example(LARGEST)
@example(LARGEST + 1)
@example((1 << 63) - 1)
def test_bucket(value: int) -> None:
    assert selftest_kernel.bucket(value) == model_bucket(value)


@given(measured)
@example(7)
@example(8)
def test_bounds_of_a_bucket_hold_its_values(value: int) -> None:
    low, high = status.bucket_bounds(selftest_kernel.bucket(value))
    assert low <= value <= high
    assert selftest_kernel.bucket(low) == selftest_kernel.bucket(high) == selftest_kernel.bucket(value)
    assert high - low <= low / 4


def test_buckets_are_next_to_each_other() -> None:
    last = -1
    for index in range(BUCKETS):
        low, high = status.bucket_bounds(index)
        assert low == last + 1
        last = high
    assert last == LARGEST


@given(st.lists(measured, max_size=50))
def test_against_a_counter(numbers: list[int]) -> None:
    found = selftest_kernel.histogram_of(numbers)
    assert found["count"] == len(numbers)
    assert found["total"] == sum(numbers)
    assert found["max"] == max(numbers, default=0)
    assert found["bucket"] == Counter(map(model_bucket, numbers))


@given(st.lists(measured, min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99]))
def test_percentiles_are_within_an_eighth(numbers: list[int], share: float) -> None:
    found = selftest_kernel.histogram_of(numbers)
    full = [0] * BUCKETS
    for index, count in found["bucket"].items():
        full[index] = count
    exact = sorted(numbers)[max(1, round(len(numbers) * share)) - 1]
    shown = observe.percentile(found | {"bucket": full}, share)
    assert abs(shown - exact) <= exact / 8 + 0.5


def test_a_negative_value_is_none() -> None:
    """A clock that went backward must not write outside of the buckets."""
    assert selftest_kernel.bucket(-1) == 0
    assert selftest_kernel.bucket(-(1 << 62)) == 0
