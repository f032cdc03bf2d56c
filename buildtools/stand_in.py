"""Stand-ins for .pxd files: the same types and constants, without functions, variables and classes.

A cimported function makes the module that cimports it load, at run time, the module that has it, and so
does every inline function that calls one. The layout module must load nothing: an observer that looks at
a struct would otherwise load the whole kernel.
"""

import re
from pathlib import Path

from buildtools.pxd import blocks

OURS = ("ipc", "cpus")
KEPT = re.compile(r"(cdef|cpdef|ctypedef)\s+(public\s+|api\s+)*(extern|enum|struct|packed|union)\b|ctypedef\b")
NAMES = (
    re.compile(r"cp?def\s+class\s+(\w+)"),
    re.compile(r"cp?def\s+[^(]*?(\w+)\s*\("),  # a function
    re.compile(r"cdef\s+.*?\(\s*\*\s*(\w+)"),  # a function pointer
    re.compile(r"cdef\s+.*?(\w+)\s*(?:\[.*)?$"),  # a variable
)
CIMPORT = re.compile(r"from\s+([\w.]+)\s+cimport\s+(.+)")


def stand_ins(texts: dict[Path, str]) -> dict[Path, str]:
    """Return the stand-in of each file, given the text of all of them."""
    dropped = {".".join(path.with_suffix("").parts): dropped_names(text) for path, text in texts.items()}
    return {path: stand_in(text, dropped) for path, text in texts.items()}


def dropped_names(text: str) -> set[str]:
    """Names that a stand-in does not declare."""
    found = set()
    for _, header, _ in blocks(text):
        if is_dropped(header):
            found.update(match[1] for pattern in NAMES if (match := pattern.match(header)))
    return found


def is_dropped(header: str) -> bool:
    """Tell whether a top-level statement declares something other than a type or constant."""
    return header.startswith("@") or (header.startswith(("cdef", "cpdef")) and not KEPT.match(header))


def stand_in(text: str, dropped: dict[str, set[str]]) -> str:
    """Return TEXT without what is dropped; the rest keeps its line numbers."""
    lines = text.splitlines()
    statements = blocks(text)
    ends = [number - 1 for number, _, _ in statements[1:]] + [len(lines)] * bool(statements)
    for (number, header, _), end in zip(statements, ends, strict=True):
        match = CIMPORT.match(header)
        if is_dropped(header):
            replacement = ""
        elif match and match[1].split(".")[0] in OURS:
            names = [name.strip(" ()") for name in match[2].split(",")]
            kept = [name for name in names if name and name.split(" as ")[0] not in dropped.get(match[1], ())]
            replacement = f"from {match[1]} cimport {', '.join(kept)}" if kept else ""
        else:
            continue
        lines[number - 1 : end] = [replacement] + [""] * (end - number)
    return "\n".join(lines) + "\n"
