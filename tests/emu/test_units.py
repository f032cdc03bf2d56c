"""Numbers with units, in both directions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu import format as show
from emu.units import parse_cpulist, parse_duration, parse_integer, parse_milliseconds, parse_size


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("256M", 256 << 20),
        ("1G", 1 << 30),
        ("4096", 4096),
        ("1.5K", 1536),
        ("2g", 2 << 30),
        ("3MiB", 3 << 20),
        ("0", 0),
    ],
)
def test_sizes(text, value):
    assert parse_size(text) == value


@pytest.mark.parametrize("text", ["", "M", "-1M", "1 M", "1.5", "1X", "1e3", "0x10", "∞", "1MM"])
def test_no_sizes(text):
    with pytest.raises(ValueError, match="is not"):
        parse_size(text)


@pytest.mark.parametrize(("text", "value"), [("45s", 45), ("5m", 300), ("2h", 7200), ("500ms", 0.5), ("0.5s", 0.5)])
def test_durations(text, value):
    assert parse_duration(text) == value


@pytest.mark.parametrize("text", ["", "5", "5 m", "1ns", "10d", "-5s", "s", "5S", "1e3s", "5ss"])
def test_no_durations(text):
    with pytest.raises(ValueError, match="unit"):
        parse_duration(text)


def test_milliseconds():
    assert parse_milliseconds("2") == parse_milliseconds("2ms") == 2.0
    with pytest.raises(ValueError, match="milliseconds"):
        parse_milliseconds("2s")


@given(st.integers(-(10**30), 10**30))
def test_integers_are_never_cut_off(number):
    assert parse_integer(str(number)) == number


@pytest.mark.parametrize("text", ["", "1.0", "1e3", "0x10", "٣", "1_000", " 1", "1" * 50])
def test_no_integers(text):
    with pytest.raises(ValueError, match="whole"):
        parse_integer(text)


def test_cpulist():
    assert parse_cpulist("0-2,5", 8) == [0, 1, 2, 5]
    assert parse_cpulist("7", 8) == [7]


@pytest.mark.parametrize("text", ["", "0-", "3-1", "0,0", "0-3,2", "8", "a", "-1", "0,,1", "1,0"])
def test_no_cpulist(text):
    with pytest.raises(ValueError, match="CPU"):
        parse_cpulist(text, 8)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1234, "1.23 us"),
        (9996, "10.0 us"),
        (99_960, "100 us"),
        (1.5e9, "1.50 s"),
        (None, "-"),
    ],
)
def test_nanoseconds(value, text):
    assert show.nanoseconds(value) == text


def test_sizes_and_counts():
    assert show.size(256 << 20) == "256 MiB"
    assert show.size(1536) == "1.5 KiB"
    assert show.count(9999) == "9999"
    assert show.count(1_234_567) == "1.23M"


def test_spread_is_shown_with_every_repeated_figure():
    assert show.spread([]) == "-"
    assert show.spread([1000]) == "1.00 us (once)"
    assert show.spread([1000, 2000, 3000]) == "2.00 us (1.50 us .. 2.50 us)"


def test_table_lines_up():
    assert show.table(("a", "n"), [("xx", 1), ("y", 100)]) == "a     n\nxx    1\ny   100"


@given(st.floats(1e-9, 1e15))
def test_significant_keeps_its_digits(value):
    assert float(show.significant(value)) == pytest.approx(value, rel=0.006)
