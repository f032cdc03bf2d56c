"""The options that every run has: one row each, for the parser, the configuration file and the checks alike.

Nothing heavy is imported here: the parser is built from these rows at every start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from emu.errors import did_you_mean, one_line
from emu.units import parse_duration, parse_integer, parse_levels, parse_milliseconds, parse_size

MIB = 1 << 20
GIB = 1 << 30


class Option(NamedTuple):
    """One option. `kind` names its parser in KINDS; low and high are in the units of the parsed value."""

    name: str
    kind: str
    help: str
    default: Any = None
    metavar: str = ""
    low: float = 0
    high: float = 0
    range: str = ""  # as the user reads it
    choices: tuple[str, ...] = ()

    @property
    def field(self) -> str:
        """Its attribute: `max-segment` -> `max_segment`."""
        return self.name.replace("-", "_")


class Kind(NamedTuple):
    """How a value of a kind is read from text, and which TOML types hold it without text."""

    parse: Callable[[str], Any] | None
    types: tuple[type, ...]
    toml: str  # for messages: what to write in a file


KINDS = {
    "int": Kind(parse_integer, (int,), "a whole number"),
    "size": Kind(parse_size, (int, str), "a size such as 256M, in quotes"),
    "duration": Kind(parse_duration, (str,), 'a duration such as "45s", in quotes'),
    "ms": Kind(parse_milliseconds, (int, float, str), "a number of milliseconds"),
    "levels": Kind(parse_levels, (int, str), 'a number, or several as in "6,7,10,11", in quotes'),
    "choice": Kind(None, (str,), "text"),
    "text": Kind(None, (str,), "text"),
    "version": Kind(None, (str,), "text"),
    "flag": Kind(None, (bool,), "true or false"),
    "list": Kind(None, (list,), "a list of text"),
}

OPTIONS: tuple[Option, ...] = (
    Option("cpus", "int", "emulated CPUs, 1 to 1024", 4, "N", 1, 1024, "from 1 to 1024"),
    Option("nodes", "int", "NUMA nodes, 1 to 64; the CPUs are split evenly", 1, "N", 1, 64, "from 1 to 64"),
    Option("kernel", "version", "Linux version to model, 3.0 to 6.12", "4.12", "X.Y"),
    Option("allocator", "choice", "slab (up to 6.7) or slub", "slab", choices=("slab", "slub")),
    Option("patch", "list", "switch a patch on, or to one of its variants", None, "NAME[=VARIANT]"),
    Option("revert", "list", "take a patch out", None, "NAME"),
    Option("series", "levels", "patches 1..N of the 11 of 2016 on, the rest off", None, "N", 0, 11, "from 0 to 11"),
    Option(
        "ipi",
        "choice",
        "what carries an interrupt",
        "signal",
        choices=("signal", "mqueue", "cluster", "doorbell"),
    ),
    Option("seed", "int", "of all randomness; drawn if not given", None, "N", 0, 2**64 - 1, "from 0 to 2^64-1"),
    Option("loops", "int", "iterations, instead of --duration", None, "N", 1, 10**12, "from 1 to 10^12"),
    Option(
        "duration",
        "duration",
        "how long, with its unit: 500ms, 45s, 5m, 2h",
        None,
        "TIME",
        0.001,
        30 * 86400,
        "from 1ms to 720h",
    ),
    Option("repeat", "int", "times to repeat, each on a new machine", 1, "N", 1, 10**6, "from 1 to 10^6"),
    Option("memory", "size", "emulated RAM, 4M to 31G", 256 * MIB, "SIZE", 4 * MIB, 31 * GIB, "from 4M to 31G"),
    Option(
        "max-segment",
        "size",
        "most host memory to use, 32M to 64G; default half of what is free",
        None,
        "SIZE",
        32 * MIB,
        64 * GIB,
        "from 32M to 64G",
    ),
    Option("hz", "int", "timer interrupts a second, 10 to 1000", 250, "N", 10, 1000, "from 10 to 1000"),
    Option("slice", "ms", "ms a CPU runs before the next one's turn", 2.0, "MS", 0.1, 1000, "from 0.1 to 1000 ms"),
    Option("gate", "choice", "run at most as many CPUs as the host has cores", "auto", choices=("auto", "on", "off")),
    Option("boost", "choice", "deliver by real-time priority", "auto", choices=("auto", "on", "off")),
    Option("preempt", "choice", "kernel preemption", "none", choices=("none", "full")),
    Option("pin", "flag", "pin each CPU to a host core"),
    Option(
        "poll-limit",
        "ms",
        "ms a doorbell may go unanswered before a signal is sent",
        10.0,
        "MS",
        0.01,
        10000,
        "from 0.01 to 10000 ms",
    ),
    Option("append", "text", "kernel boot parameters, as in 'noaliencache'", "", "TEXT"),
    Option("trace", "int", "event records kept per CPU; 0 is off", 0, "N", 0, 1 << 24, "from 0 to 16777216"),
    Option("lock-detail", "flag", "lock statistics per cache and node too", False),
    Option(
        "on-cpu-death",
        "choice",
        "what to do when a CPU's process dies",
        "stop",
        choices=("stop", "continue"),
    ),
)

BY_NAME = {option.name: option for option in OPTIONS}


def from_text(option: Option, text: str) -> Any:
    """Read a value of the command line; ValueError says what is wrong with it."""
    parse = KINDS[option.kind].parse
    if parse is not None:
        try:
            value = parse(text)
        except ValueError as error:
            raise ValueError(f"{one_line(text)!r} {error}") from None
        if isinstance(value, tuple):
            for each in value:
                in_range(option, each, str(each))
            return value if len(value) > 1 else value[0]
        return in_range(option, value, text)
    return _in_choices(option, text)


def from_toml(option: Option, value: object) -> Any:
    """Check a value of a configuration file, and read it where it is text with a unit."""
    kind = KINDS[option.kind]
    shown = one_line(repr(value))[:60]
    # A bool is an int to Python, but not to a reader.
    if not isinstance(value, kind.types) or (isinstance(value, bool) and bool not in kind.types):
        raise ValueError(f"{shown} is not {kind.toml}")
    if isinstance(value, list):
        if not all(isinstance(item, str) for item in value):
            raise ValueError(f"{shown} is not {kind.toml}")
        return value
    if isinstance(value, str):
        return from_text(option, value)
    return in_range(option, value, str(value)) if isinstance(value, (int, float)) and option.range else value


def in_range(option: Option, value: float, shown: str) -> Any:
    """VALUE if it is within the option's range; not-a-number is not."""
    if not option.low <= value <= option.high:
        raise ValueError(f"{one_line(shown)} is not {option.range}")
    return float(value) if option.kind in ("ms", "duration") else value


def _in_choices(option: Option, text: str) -> str:
    if option.choices and text not in option.choices:
        allowed = ", ".join(option.choices)
        raise ValueError(f"{one_line(text)!r} is not one of {allowed}{did_you_mean(text, option.choices)}")
    return text
