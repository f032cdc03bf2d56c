"""Kernel versions and switches: what --kernel, --patch, --revert and --series come to.

The table itself is cpus/patch_table.py. A version is text and is compared number by number: 4.9 is older than 4.10.
Between two boundaries of the table the lower one's behaviour holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cpus.patch_table import (
    BY_NAME,
    FIRST_INDEX,
    LAST_OF_SERIES,
    MEMCG_CACHES,
    NEWEST,
    NO,
    OLDEST,
    SWITCHES,
    YES,
    Switch,
)
from emu.errors import NotSupportedError, UsageError, did_you_mean, one_line

LAST_SERIES = max(switch.series for switch in SWITCHES)


class Unsafe(NamedTuple):
    """A switch whose value can break an invariant, given the values of the others."""

    switch: str
    value: str
    safe: str  # no, or explorer-only


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def parse_version(version: object, where: str = "--kernel") -> tuple[int, ...]:
    """`"4.10"` -> (4, 10). Text only: as a number 4.10 is 4.1."""
    if not isinstance(version, str):
        raise UsageError(
            f"{where}: {one_line(repr(version))} is not text, and unquoted 4.10 is the number 4.1; "
            'write the version in quotes, as in kernel = "4.10"'
        )
    parts = version.split(".")
    if len(parts) not in (2, 3) or not all(_is_number(part) for part in parts):
        raise UsageError(f"{where}: {one_line(version)!r} is not a kernel version; write X.Y, as in 4.12")
    numbers = tuple(int(part) for part in parts)
    last = LAST_OF_SERIES.get(numbers[0])
    newest = _numbers(NEWEST["slub"])
    if last is not None and numbers[1] > last and numbers[:2] < newest:
        raise UsageError(f"{where}: there was no Linux {version}: {numbers[0]}.x ended with {numbers[0]}.{last}")
    return numbers


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 4 and text == str(int(text))


def check_kernel(kernel: str, allocator: str = "slab", where: str = "--kernel") -> tuple[int, ...]:
    """Refuse a version that is not modelled for ALLOCATOR (exit 4), or is none at all (exit 1)."""
    if allocator not in NEWEST:
        allowed = ", ".join(NEWEST)
        raise UsageError(f"--allocator: {one_line(allocator)!r} is not one of {allowed}")
    numbers = parse_version(kernel, where)
    if numbers < _numbers(OLDEST) or numbers[:2] > _numbers(NEWEST["slub"]):
        raise NotSupportedError(f"{where}: Linux {kernel} is not modelled; {OLDEST} to {NEWEST['slub']} are")
    if numbers[:2] > _numbers(NEWEST[allocator]):
        raise NotSupportedError(
            f"{where}: Linux {kernel} has no SLAB, it was removed in 6.8; use --allocator slub, or --kernel up to 6.7"
        )
    return numbers


def require_memcg_caches(kernel: str, what: str = "per-memcg caches") -> None:
    """Refuse WHAT on a version without per-memcg kmem caches (exit 4)."""
    first, gone = MEMCG_CACHES
    if not _numbers(first) <= parse_version(kernel)[:2] < _numbers(gone):
        raise NotSupportedError(
            f"{what}: Linux {kernel} has no per-memcg kmem caches, {first} to 5.8 have; use --kernel {first} to 5.8"
        )


def value_at(switch: Switch, version: tuple[int, ...]) -> str:
    """The value that a kernel version had: that of the last boundary at or below it."""
    value: str = switch.defaults[0][1]
    for first, later in switch.defaults:
        if _numbers(first) <= version:
            value = later
    return value


def defaults(kernel: str) -> dict[str, str]:
    """Return every switch as KERNEL had it."""
    version = parse_version(kernel)
    return {switch.name: value_at(switch, version) for switch in SWITCHES}


def resolve(
    kernel: str,
    allocator: str = "slab",
    patch: Iterable[str] = (),
    revert: Iterable[str] = (),
    series: int | None = None,
) -> dict[str, str]:
    """Return every switch's value: the version's, then --series, then --patch and --revert."""
    return resolve_changes(kernel, allocator, parse_changes(patch, revert), series)


def resolve_changes(
    kernel: str, allocator: str, changes: Mapping[str, str], series: int | None = None
) -> dict[str, str]:
    """The same with --patch and --revert given as name -> value."""
    check_kernel(kernel, allocator)
    values = defaults(kernel)
    if series is not None:
        values |= series_values(series, values)
    return override(values, changes)


def parse_changes(patch: Iterable[str], revert: Iterable[str]) -> dict[str, str]:
    """`NAME[=VARIANT]` texts and names to revert -> name -> value. A switch may not be given two values."""
    wanted: dict[str, tuple[str, str]] = {}
    for text in patch:
        name, value = parse_patch(text)
        _want(wanted, name, value, f"--patch {text}")
    for name in revert:
        _want(wanted, name, find_switch(name, f"--revert {one_line(name)}").reverted, f"--revert {name}")
    return {name: value for name, (value, _) in wanted.items()}


def _want(wanted: dict[str, tuple[str, str]], name: str, value: str, option: str) -> None:
    if name in wanted and wanted[name][0] != value:
        raise UsageError(f"{option}: contradicts {wanted[name][1]}; give one of them")
    wanted[name] = (value, option)


def parse_patch(text: str) -> tuple[str, str]:
    """`NAME` or `NAME=VARIANT` -> (name, value)."""
    name, has_value, value = text.partition("=")
    switch = find_switch(name, f"--patch {one_line(text)}")
    return (name, check_value(name, value, f"--patch {one_line(text)}")) if has_value else (name, switch.applied)


def find_switch(name: str, where: str = "") -> Switch:
    """The row of switch NAME; UsageError with the nearest name if there is none."""
    if name not in BY_NAME:
        prefix = f"{where}: " if where else ""
        hint = did_you_mean(name, BY_NAME)
        raise UsageError(f"{prefix}no patch {one_line(name)!r}{hint or '; `emu patches` lists them'}")
    row: Switch = BY_NAME[name]
    return row


def check_value(name: str, value: object, where: str = "") -> str:
    """VALUE if switch NAME has it."""
    switch = find_switch(name, where)
    allowed = [v.name for v in switch.values]
    if not isinstance(value, str) or value not in allowed:
        prefix = f"{where}: " if where else ""
        shown = one_line(str(value))
        raise UsageError(
            f"{prefix}{name} has no value {shown!r}, but {', '.join(allowed)}{did_you_mean(shown, allowed)}"
        )
    return value


def series_values(number: int, values: Mapping[str, str]) -> dict[str, str]:
    """--series N: patches 1..N of thread 002 on, the rest off.

    Patch 11 brought the wait before an old shared array is freed, so that goes with it.
    """
    if not 0 <= number <= LAST_SERIES:
        raise UsageError(f"--series: {number} is not a number of patches from 0 to {LAST_SERIES}")
    chosen = {s.name: s.applied if s.series <= number else s.reverted for s in SWITCHES if s.series}
    wait = values["shared-array-free"]
    if number < LAST_SERIES:
        chosen["shared-array-free"] = "none"
    elif wait == "none":
        chosen["shared-array-free"] = "sync"
    return chosen


def override(values: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """VALUES with CHANGES, both name -> value. refill-private-slab brings grow-in-two along."""
    new = dict(values)
    for name, value in changes.items():
        new[name] = check_value(name, value)
    if new["refill-private-slab"] == "on" and new["grow-in-two"] == "off":
        if changes.get("grow-in-two") == "off":
            raise UsageError("grow-in-two off: refill-private-slab needs it; revert refill-private-slab as well")
        new["grow-in-two"] = "on"
    return new


def unsafe(values: Mapping[str, str]) -> list[Unsafe]:
    """Return the switches of VALUES with which an invariant can be broken, seen together with the others."""
    found = []
    for switch in SWITCHES:
        value = next(v for v in switch.values if v.name == values[switch.name])
        if value.safe == YES or (value.unless and values[value.unless[0]] == value.unless[1]):
            continue
        found.append(Unsafe(switch.name, value.name, value.safe))
    return found


def safety(values: Mapping[str, str], names: Iterable[str] | None = None) -> str:
    """`yes`, `no` or `explorer-only` for VALUES as a whole, or for the switches NAMES of it."""
    wanted = None if names is None else set(names)
    kinds = {row.safe for row in unsafe(values) if wanted is None or row.switch in wanted}
    return NO if NO in kinds else next(iter(kinds), YES)


def switch_bytes(values: Mapping[str, str]) -> dict[int, int]:
    """Index in the page of switches -> number of the value: what a machine is booted with."""
    return {
        FIRST_INDEX + i: [v.name for v in switch.values].index(values[switch.name]) for i, switch in enumerate(SWITCHES)
    }


def difference(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """The switches that differ: name -> (old value, new value)."""
    return {name: (old[name], new[name]) for name in old if old[name] != new[name]}
