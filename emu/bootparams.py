"""The kernel boot parameters of --append."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from emu.errors import UsageError, did_you_mean, one_line
from emu.units import parse_cpulist, parse_integer


class Parameter(NamedTuple):
    """One boot parameter: how it is written, and what is allowed."""

    form: str
    doc: str
    check: Callable[[str, int], bool]  # (value, CPUs) -> allowed; ValueError says why not


def _integer(low: int, high: int) -> Callable[[str, int], bool]:
    return lambda text, cpus: low <= parse_integer(text) <= high


def _fraction(text: str, cpus: int) -> bool:
    """0 is the kernel's default; else at most an eighth of a zone per CPU list."""
    number = parse_integer(text)
    return number == 0 or 8 <= number <= 1 << 20


def _slab_debug(text: str, cpus: int) -> bool:
    letters = text.partition(",")[0]
    return bool(letters) and set(letters) <= set("FZPUQ") and len(set(letters)) == len(letters)


PARAMETERS = {
    "slab_max_order": Parameter("slab_max_order=N", "a page order from 0 to 10", _integer(0, 10)),
    "noaliencache": Parameter("noaliencache", "no value", lambda text, cpus: not text),
    "slab_debug": Parameter("slab_debug=FLAGS[,CACHE]", "letters of FZPUQ, and perhaps a cache", _slab_debug),
    "cgroup.memory": Parameter("cgroup.memory=nokmem", "nokmem", lambda text, cpus: text == "nokmem"),
    "percpu_pagelist_fraction": Parameter("percpu_pagelist_fraction=N", "0, or 8 to 1048576", _fraction),
    "isolcpus": Parameter("isolcpus=LIST", "a list of CPUs", lambda text, cpus: bool(parse_cpulist(text, cpus))),
}


def parse_append(text: str, cpus: int, where: str = "--append") -> dict[str, str]:
    """`"slab_max_order=0 noaliencache"` -> {"slab_max_order": "0", "noaliencache": ""}."""
    found: dict[str, str] = {}
    for word in text.split():
        name, _, value = word.partition("=")
        shown = one_line(word)
        parameter = PARAMETERS.get(name)
        if parameter is None:
            known = ", ".join(p.form for p in PARAMETERS.values())
            hint = did_you_mean(name, PARAMETERS)
            raise UsageError(f"{where}: no boot parameter {one_line(name)!r}{hint or f'; there are {known}'}")
        if name in found:
            raise UsageError(f"{where}: {name} is given twice")
        try:
            allowed = parameter.check(value, cpus)
        except ValueError as error:
            raise UsageError(f"{where}: {shown}: {one_line(value)!r} {error}") from None
        if not allowed:
            raise UsageError(f"{where}: {shown}: {one_line(value)!r} is not {parameter.doc}")
        found[name] = value
    return found
