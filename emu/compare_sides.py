"""The sides of a live comparison: what each has, as arguments of `emu run`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cpus.patch_table import BY_NAME
from emu import options, patches
from emu.errors import UsageError, did_you_mean, one_line

MOST_SIDES = 16


class SideSpec(NamedTuple):
    """One side: its name, and what it adds to the common arguments."""

    name: str
    argv: tuple[str, ...]


def from_specs(a: str | None, b: str | None) -> list[SideSpec]:
    """--a and --b: `kernel=4.11,ipi=mqueue`; one that is not given is the common configuration."""
    if a is None and b is None:
        return []
    if a == b:
        raise UsageError(f"--a and --b are the same: {one_line(a or '')}; there is nothing to compare")
    return [SideSpec(text or "as given", settings(text, option)) for option, text in (("--a", a), ("--b", b))]


def settings(text: str | None, option: str) -> tuple[str, ...]:
    """`key=value,...` -> arguments of emu run. A key is an option or a patch."""
    found: list[str] = []
    for part in (text or "").split(",") if text else []:
        key, equals, value = part.partition("=")
        key = key.strip()
        if not equals and key in BY_NAME:
            found += ["--patch", key]
        elif not equals or not value:
            raise UsageError(f"{option} {one_line(part)!r}: write KEY=VALUE, as in kernel=4.11 or pcp-drain=all")
        else:
            found += setting(key, value, option)
    return tuple(found)


def setting(key: str, value: str, option: str) -> list[str]:
    """One KEY=VALUE as arguments."""
    if key in BY_NAME:
        return ["--patch", f"{key}={patches.check_value(key, value, option)}"]
    known = options.BY_NAME.get(key)
    if known is None:
        hint = did_you_mean(key, [*options.BY_NAME, *BY_NAME])
        raise UsageError(f"{option}: {one_line(key)!r} is no option and no patch{hint}")
    if key in ("seed", "repeat"):
        raise UsageError(f"{option}: {key} is the same on both sides, that is what makes them comparable")
    if known.kind == "flag":
        if value not in ("on", "off"):
            raise UsageError(f"{option}: {key}={one_line(value)}: on or off")
        return [f"--{key}" if value == "on" else f"--no-{key}"]
    return [f"--{key}", value]


def from_patch(texts: Sequence[str], base: dict[str, str]) -> list[SideSpec]:
    """--patch NAME[=VARIANT]: without it and with it. BASE is what the common configuration has."""
    if not texts:
        return []
    wanted = patches.parse_changes(texts, [])
    before: dict[str, str] = {}
    for name, value in wanted.items():
        switch = patches.find_switch(name, "--patch")
        before[name] = base[name] if base[name] != value else switch.reverted
        if before[name] == value:
            before[name] = next(v.name for v in switch.values if v.name != value)
    return [
        SideSpec(
            ", ".join(f"{name}={value}" for name, value in side.items()),
            tuple(word for name, value in side.items() for word in ("--patch", f"{name}={value}")),
        )
        for side in (before, wanted)
    ]


def from_vary(text: str | None) -> list[SideSpec]:
    """--vary ipi=signal,mqueue: a side for each value, the first is the reference."""
    if text is None:
        return []
    key, equals, values = text.partition("=")
    chosen = values.split(",")
    if not equals or len(chosen) < 2 or not all(chosen):
        raise UsageError(f"--vary {one_line(text)!r}: write KEY=VALUE,VALUE,..., as in ipi=signal,mqueue,doorbell")
    if len(set(chosen)) != len(chosen):
        raise UsageError(f"--vary {one_line(text)!r}: a value is given twice")
    if len(chosen) > MOST_SIDES:
        raise UsageError(f"--vary {one_line(text)!r}: {len(chosen)} values; at most {MOST_SIDES}")
    return [SideSpec(f"{key}={value}", tuple(setting(key, value, "--vary"))) for value in chosen]
