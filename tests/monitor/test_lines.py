"""Parts, widths, bars and numbers of a frame."""

import pytest

from emu.monitor import lines
from emu.monitor.terminal import split_keys


@pytest.mark.parametrize("width", [0, 1, 3, 4, 7, 10])
def test_fitted_lines_are_as_wide_as_asked_for(width):
    line = [("abc", "head"), ("", ""), ("defg", "")]
    fitted = lines.fit(line, width)
    assert lines.length(fitted) == width
    assert "".join(part for part, _ in fitted) == "abcdefg"[:width].ljust(width)


def test_blocks_beside_each_other_keep_the_longer_ones_rows():
    joined = lines.beside([[("a", "")]], [[("b", "")], [("c", "")]], 3, "|")
    assert ["".join(p for p, _ in line) for line in joined] == ["a  |b", "   |c"]


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("share", [-1.0, 0.0, 0.001, 0.5, 0.999, 1.0, 7.0, float("nan")])
def test_a_bar_has_its_cells_whatever_the_share(share, ascii_only):
    if share == share:  # noqa: PLR0124
        assert len(lines.bar(share, 10, ascii_only)) == 10
    assert len(lines.level(share, ascii_only)) == 1


def test_bars_and_levels_rise():
    bars = [lines.bar(share / 16, 2, False) for share in range(17)]
    assert bars[0].strip() == ""
    assert bars[16] == "██"
    assert len(set(bars)) == 17
    assert [lines.heat(share / 8) for share in range(9)] == [0, 2, 3, 4, 5, 6, 7, 8, 8]
    assert lines.heat(1e-9) == 1  # anything at all is seen


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (7, "7"), (0.5, "0.5"), (999, "999"), (999.7, "1.0k"), (12345, "12.3k"), (999_600, "1.0M"),
        (1.5e9, "1.5G"), (None, "-"), (float("nan"), "?"), (float("inf"), "?"), (1e30, "huge"),
    ],
)  # fmt: skip
def test_counts_take_five_cells_at_most(value, text):
    assert lines.count(value) == text
    assert len(text) <= 5


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.2, "<1ns"), (12, "12ns"), (1234, "1.2us"), (999_990, "1.0ms"), (3e9, "3.0s"), (1e18, "huge")],
)
def test_times_take_six_cells_at_most(value, text):
    assert lines.time(value) == text
    assert len(text) <= 6


@pytest.mark.parametrize(("value", "text"), [(0, "0B"), (1023, "1023B"), (1 << 20, "1.0M"), (1 << 90, "huge")])
def test_sizes_take_six_cells_at_most(value, text):
    assert lines.size(value) == text


def test_rows_cut_what_is_too_long():
    assert lines.row(("abcdef", "12345"), (-4, 3)) == "abcd 123"
    assert lines.row(("a", "1"), (-4, 3)) == "a      1"


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        ("q", ["q"]), ("\t1", ["tab", "1"]), ("\x1b[A\x1b[B", ["up", "down"]), ("\x1b", ["esc"]),
        ("\x1b[Z", ["backtab"]), ("\x1b[5~\x1b[6~", ["pgup", "pgdn"]), ("\x1b[99;5u", []), ("\x00\x01", []),
        ("a\x7f\r", ["a", "backspace", "enter"]), ("\x1bOH\x1b[F", ["home", "end"]), ("\x1b[200~x", ["x"]),
    ],
)  # fmt: skip
def test_keys_are_told_from_sequences(typed, keys):
    assert list(split_keys(typed)) == keys
