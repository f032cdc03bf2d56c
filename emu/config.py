"""RunConfig: what a run is configured to be, checked, and frozen.

Three sources, the later ones winning: the defaults of emu/options.py, a --config file, the command line.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from emu import options, patches
from emu.bootparams import parse_append
from emu.errors import UsageError, did_you_mean, one_line
from emu.tomlfile import TomlFile

Where = Callable[[str], str]
# The options that Machine calls by another name, and those it does not have.
OTHER_NAME = {"slice": "slice_ms", "poll_limit": "poll_limit_ms", "trace": "trace_records"}
NOT_MACHINE = ("params", "loops", "duration", "repeat", "levels")


class RunConfig(msgspec.Struct, frozen=True, kw_only=True):
    """All common options of a run, resolved. Sizes in bytes, durations in seconds, the rest as named."""

    cpus: int = 4
    nodes: int = 1
    kernel: str = "4.12"
    allocator: str = "slab"
    ipi: str = "signal"
    patches: dict[str, str] = msgspec.field(default_factory=dict)
    levels: tuple[int, ...] = ()  # of --series; `patches` are those of the first
    params: dict[str, Any] = msgspec.field(default_factory=dict)
    seed: int = 0
    loops: int | None = None
    duration: float | None = None
    repeat: int = 1
    memory: int = 256 << 20
    max_segment: int | None = None
    hz: int = 250
    slice: float = 2.0
    gate: str = "auto"
    boost: str = "auto"
    preempt: str = "none"
    pin: bool | None = None
    poll_limit: float = 10.0
    append: str = ""
    trace: int = 0
    lock_detail: bool = False
    on_cpu_death: str = "stop"

    def machine_options(self) -> dict[str, Any]:
        """The keyword arguments of Machine."""
        return {
            OTHER_NAME.get(name, name): dict(value) if isinstance(value, dict) else value
            for name, value in msgspec.structs.asdict(self).items()
            if name not in NOT_MACHINE
        }

    def with_patches(self, changes: Mapping[str, str]) -> RunConfig:
        """The same with some switches set: name -> value."""
        return msgspec.structs.replace(self, patches=patches.override(self.patches, changes))

    def as_dict(self) -> dict[str, Any]:
        """The `config` of a result, in the order of the fields."""
        return dict(msgspec.to_builtins(self))


def configure(
    given: Mapping[str, Any],
    file: str | None = None,
    params: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Make the configuration of GIVEN, what the command line said (option -> text, list or bool), and of FILE.

    DEFAULTS are a workload's own (option -> value), where they differ from those of everybody.
    """
    values: dict[str, Any] = {}
    changes: dict[str, str] = {}
    file_params: dict[str, Any] = {}
    places: dict[str, str] = {}
    if file is not None:
        toml = TomlFile(file)
        values, changes, file_params = _from_file(toml)
        places = {name: toml.where(name) for name in values}
    chosen = _from_command_line(given)
    _one_of(chosen, values)
    values |= chosen

    def where(name: str) -> str:
        return f"--{name}" if name in chosen else places.get(name, f"--{name}")

    changes |= patches.parse_changes(values.pop("patch", []), values.pop("revert", []))
    values = {name: value for name, value in (defaults or {}).items() if not _replaced(name, values)} | values
    return _build(values, changes, file_params | dict(params or {}), where)


def _replaced(default: str, values: dict[str, Any]) -> bool:
    """A default number of loops goes when a duration is given, and the other way round."""
    return {"loops": "duration", "duration": "loops"}.get(default) in values


def _from_command_line(given: Mapping[str, Any]) -> dict[str, Any]:
    """Option -> value for what was given."""
    chosen: dict[str, Any] = {}
    for option in options.OPTIONS:
        value = given.get(option.name)
        if value is None:
            continue
        try:
            chosen[option.name] = options.from_text(option, value) if isinstance(value, str) else value
        except ValueError as error:
            raise UsageError(f"--{option.name}: {error}") from None
    return chosen


def _one_of(chosen: dict[str, Any], values: dict[str, Any]) -> None:
    """The command line's --loops replaces the file's --duration, and the other way round."""
    if "loops" in chosen:
        values.pop("duration", None)
    if "duration" in chosen:
        values.pop("loops", None)


def _from_file(toml: TomlFile) -> tuple[dict[str, Any], dict[str, str], dict[str, Any]]:
    """(option -> value, switch -> value, parameters) of a file."""
    values: dict[str, Any] = {}
    changes: dict[str, str] = {}
    params: dict[str, Any] = {}
    tables = {"patches": changes, "params": params}
    for key, value in toml.values.items():
        if key in tables:
            if not isinstance(value, dict):
                raise UsageError(f"{toml.where(key)}: {one_line(repr(value))[:60]} is not a table; write [{key}]")
            for name, item in value.items():
                place = toml.where(name, key)
                tables[key][name] = patches.check_value(name, item, place) if key == "patches" else _param(item, place)
            continue
        option = options.BY_NAME.get(key)
        if option is None:
            hint = did_you_mean(key, [*options.BY_NAME, *tables])
            raise UsageError(f"{toml.where(key)}: no such option{hint or '; `emu run --help` lists them'}")
        if option.kind == "version":
            patches.parse_version(value, toml.where(key))
        try:
            values[key] = options.from_toml(option, value)
        except ValueError as error:
            raise UsageError(f"{toml.where(key)}: {error}") from None
    given = {key: values.pop(key, []) for key in ("patch", "revert")}
    for key, found in given.items():
        try:
            both = patches.parse_changes(given["patch"], given["revert"]) if found else {}
        except UsageError as error:
            raise UsageError(f"{toml.where(key)}: {error}") from None
        changes |= both
    return values, changes, params


def _param(value: object, where: str) -> object:
    """A workload's parameter: text, a finite number, or true and false."""
    if not isinstance(value, (str, int, float)) or value in (float("inf"), float("-inf")) or value != value:  # noqa: PLR0124
        raise UsageError(f"{where}: {one_line(repr(value))[:60]} is not text, a finite number, true or false")
    return value


def parse_params(texts: list[str]) -> dict[str, Any]:
    """--param k=v, as often as wanted -> {k: v}, as text."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--param: {one_line(text)!r} is not NAME=VALUE, as in size=64")
        if name in found:
            raise UsageError(f"--param: {name} is given twice")
        found[name] = value
    return found


def _build(values: dict[str, Any], changes: dict[str, str], params: dict[str, Any], where: Where) -> RunConfig:
    """Check what concerns several options at once, resolve the switches, draw what was left open."""
    merged = {option.name: option.default for option in options.OPTIONS} | values
    if merged["loops"] is not None and merged["duration"] is not None:
        raise UsageError(f"{where('duration')}: --loops {merged['loops']} is given too; give one of them")
    if merged["nodes"] > merged["cpus"]:
        raise UsageError(
            f"{where('nodes')}: {merged['nodes']} nodes for {merged['cpus']} CPUs; use at most as many nodes as CPUs"
        )
    if merged["gate"] == "on" and merged["boost"] == "on":
        raise UsageError(f"{where('boost')}: on together with --gate on; they are not combined, choose one")
    patches.check_kernel(merged["kernel"], merged["allocator"], where("kernel"))
    parse_append(merged["append"], merged["cpus"], where("append"))
    series = merged.pop("series")
    levels = series if isinstance(series, tuple) else () if series is None else (series,)
    try:
        resolved = patches.resolve_changes(merged["kernel"], merged["allocator"], changes, next(iter(levels), None))
    except UsageError as error:
        raise UsageError(f"--patch, --revert: {error}") from None
    if merged["seed"] is None:
        merged["seed"] = int.from_bytes(os.urandom(8), "little")
    fields = {name.replace("-", "_"): value for name, value in merged.items() if name not in ("patch", "revert")}
    return RunConfig(patches=resolved, levels=levels, params=params, **fields)
