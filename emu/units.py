"""Numbers with units, as they are read from the command line and from configuration files.

Every function raises ValueError with a text that says what is allowed; the caller says where the value stood.
"""

from __future__ import annotations

import re

SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
NUMBER = re.compile(r"[+-]?(\d{1,40})", re.ASCII)
DECIMAL = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)\s*([A-Za-z]*)", re.ASCII)


def parse_integer(text: str) -> int:
    """`"22"` -> 22. Decimal digits only; nothing is cut off."""
    if not NUMBER.fullmatch(text):
        raise ValueError("is not a whole number")
    return int(text)


def parse_size(text: str) -> int:
    """`"256M"` -> bytes. K, M, G and T are powers of 1024, an optional B or iB behind them changes nothing."""
    match = DECIMAL.fullmatch(text)
    unit = match[2].upper().removesuffix("B").removesuffix("I") if match else None
    if match is None or unit not in SIZES or " " in text:
        raise ValueError("is not a size; write a number with K, M or G, as in 256M")
    size = float(match[1]) * SIZES[unit]
    if not unit and "." in match[1]:
        raise ValueError("is not a whole number of bytes")
    return int(match[1]) if "." not in match[1] and not unit else int(size)


def parse_duration(text: str) -> float:
    """`"45s"`, `"5m"`, `"2h"`, `"500ms"` -> seconds. The unit may not be left out."""
    match = DECIMAL.fullmatch(text)
    if match is None or match[2] not in SECONDS or " " in text:
        raise ValueError("is not a duration; write a number and its unit ms, s, m or h, as in 45s")
    return float(match[1]) * SECONDS[match[2]]


def parse_milliseconds(text: str) -> float:
    """`"2"` or `"2ms"` -> 2.0."""
    match = DECIMAL.fullmatch(text)
    if match is None or match[2] not in ("", "ms") or " " in text:
        raise ValueError("is not a number of milliseconds, as in 2 or 0.5")
    return float(match[1])


def parse_cpulist(text: str, cpus: int) -> list[int]:
    """`"0-2,5"` -> [0, 1, 2, 5]: rising, each once, all below CPUS."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part, re.ASCII)
        if match is None:
            raise ValueError("is not a list of CPUs, as in 1-3,6")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or (found and first <= found[-1]):
            raise ValueError("is not a rising list of CPUs, each once, as in 1-3,6")
        if last >= cpus:
            raise ValueError(f"names CPU {last}, but there are only CPUs 0 to {cpus - 1}")
        found += range(first, last + 1)
    return found


def parse_levels(text: str) -> tuple[int, ...]:
    """`"6,7,10..11"` -> (6, 7, 10, 11): in the order given, each once; `..` or `-` is all from one to the other."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"([+-]?\d{1,3})(?:(?:\.\.|-)(\d{1,3}))?", part, re.ASCII)
        if match is None:
            raise ValueError("is not a number, nor several as in 6,7,10 or 0..11")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"goes down from {first} to {last}")
        found += range(first, last + 1)
    if len(set(found)) < len(found):
        raise ValueError("has a number twice")
    return tuple(found)
