"""Names for addresses in this process's compiled modules, as the kernel's %pS gives them: `drain_cpu_caches`.

The functions are static, so the dynamic linker knows nothing of them; the symbol tables of the files do. Where those
were stripped a place is told as `slab_drain+0x3a50`.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from functools import cache
from pathlib import Path
from typing import NamedTuple

SECTION = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")
SYMTAB, FUNCTION = 2, 2
PACKAGES = ("ipc", "cpus", "workloads")
OF_CYTHON = re.compile(r"__pyx_f(?:use_\d+)?_(.*)")


class Symbol(NamedTuple):
    """One function: offset in its file, and name."""

    offset: int
    size: int
    name: str


class Mapping(NamedTuple):
    """One mapped file: its addresses, and what to take off one to get an offset in the file's symbols."""

    start: int
    end: int
    base: int
    path: str


def name_of(address: int) -> str:
    """The function that ADDRESS is in, `module+0x..` without symbols, or the bare address."""
    for place in mappings():
        if place.start <= address < place.end:
            offset = address - place.base
            known = symbols(place.path)
            at = bisect_right(known, (offset, 1 << 63, "")) - 1
            if at >= 0 and offset < known[at].offset + max(known[at].size, 1):
                return known[at].name
            return f"{Path(place.path).name.partition('.')[0]}+{offset:#x}"
    return f"{address:#x}"


def mappings() -> list[Mapping]:
    """The executable parts of our modules in this process."""
    return _mappings(Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace"))


@cache
def _mappings(text: str) -> list[Mapping]:
    base: dict[str, int] = {}
    found = []
    for line in text.splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) < 6 or Path(fields[5]).parent.name not in PACKAGES or ".so" not in fields[5]:
            continue
        start, end = (int(word, 16) for word in fields[0].split("-"))
        if int(fields[2], 16) == 0:
            base[fields[5]] = start
        if "x" in fields[1] and fields[5] in base:
            found.append(Mapping(start, end, base[fields[5]], fields[5]))
    return found


@cache
def symbols(path: str) -> list[Symbol]:
    """The functions of an ELF file by offset; none if it has no symbol table, or is none."""
    try:
        data = Path(path).read_bytes()
        return sorted(_symbols(data))
    except (OSError, struct.error, IndexError, UnicodeDecodeError):
        return []


def _symbols(data: bytes) -> list[Symbol]:
    if data[:6] != b"\x7fELF\x02\x01":
        return []
    offset, (size, number) = struct.unpack_from("<Q", data, 40)[0], struct.unpack_from("<HH", data, 58)
    sections = [SECTION.unpack_from(data, offset + i * size) for i in range(number)]
    found = []
    for _, kind, _, _, start, length, link, _, _, _ in sections:
        if kind != SYMTAB:
            continue
        names = data[sections[link][4] : sections[link][4] + sections[link][5]]
        for name, info, _, section, value, extent in SYMBOL.iter_unpack(data[start : start + length]):
            if info & 15 == FUNCTION and section:
                text = names[name : names.index(b"\0", name)].decode("ascii")
                found.append(Symbol(value, extent, plain(text)))
    return found


def plain(symbol: str) -> str:
    """`__pyx_f_4cpus_10slab_drain_drain_cpu_caches` -> `drain_cpu_caches`; gcc's `.constprop.0` goes too."""
    symbol = symbol.partition(".")[0]
    match = OF_CYTHON.fullmatch(symbol)
    if match is None:
        return symbol
    rest = match[1]
    while part := re.match(r"(\d+)", rest):
        length = int(part[1])
        rest = rest[part.end() + length :].removeprefix("_")
    return rest or symbol
