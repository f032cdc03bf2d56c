"""Imports only go down: workloads -> emu -> cpus -> ipc.

import-linter checks imports, but does not see cimports; this reads both, in .py and .pxd.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ("ipc", "cpus", "emu", "workloads")

IMPORT = re.compile(r"[ \t]*(import|cimport)[ \t]+(.+)")
FROM = re.compile(r"[ \t]*from[ \t]+([\w.]+)[ \t]+(import|cimport)\b(.*)")
# import_module("cpus.slab") with the name written out
DYNAMIC = re.compile(r"\b(?:import_module|__import__)\(\s*[\"']([\w.]+)")
TRIPLE_QUOTED = re.compile(r'"""(?:.*?)"""|\'\'\'(?:.*?)\'\'\'', re.DOTALL)


def violations(package: str, text: str) -> list[str]:
    """Return one line for every import or cimport in TEXT, a file of PACKAGE, that goes up."""
    found = []
    blanked = TRIPLE_QUOTED.sub(lambda match: '""' + "\n" * match[0].count("\n"), text)
    for number, line in enumerate(blanked.splitlines(), 1):
        for kind, module in imported(line.split("#", 1)[0]):
            reason = objection(package, kind, module.split(".")[0])
            if reason:
                found.append(f"line {number}: {kind} {module}: {reason}")
    return found


def imported(line: str) -> list[tuple[str, str]]:
    """(import or cimport, module) of every module that one line names."""
    named = [("import", match) for match in DYNAMIC.findall(line)]
    for statement in line.split(";"):
        if match := FROM.match(statement):
            # `from cython.cimports import ipc` names the package after the import.
            base = match[1]
            names = match[3].strip(" ()").split(",") if base == "cython.cimports" else [""]
            named += [(match[2], f"{base}.{name.strip()}" if name else base) for name in names]
        elif match := IMPORT.match(statement):
            named += [(match[1], name.split(" as ")[0].strip(" \\")) for name in match[2].split(",")]
    # In pure mode a cimport is spelled as an import from cython.cimports.
    pure = "cython.cimports."
    return [("cimport", name.removeprefix(pure)) if name.startswith(pure) else (kind, name) for kind, name in named]


def objection(package: str, kind: str, target: str) -> str | None:
    """Say why PACKAGE may not import TARGET; None if it may."""
    if target not in FLOORS:
        return None
    if package == "emu" and kind == "cimport":
        return "emu is ordinary Python"
    if FLOORS.index(target) > FLOORS.index(package):
        return f"{package} is below {target}"
    return None


def source_files() -> list[Path]:
    found = [path for package in FLOORS for path in (ROOT / package).rglob("*.p*") if path.suffix in (".py", ".pxd")]
    return sorted(path.relative_to(ROOT) for path in found)


@pytest.mark.parametrize("path", source_files(), ids=str)
def test_imports_only_go_down(path: Path) -> None:
    assert violations(path.parts[0], (ROOT / path).read_text()) == []


@pytest.mark.parametrize(
    ("package", "text"),
    [
        ("ipc", "from cpus.slab cimport kmem_cache"),
        ("ipc", "cimport cpus.slab"),
        ("ipc", "from cython.cimports.cpus.slab import kmem_cache"),
        ("ipc", "from cython.cimports import cpus"),
        ("ipc", "import cython, cpus.layout"),
        ("ipc", "from cpus.slab cimport (kmem_cache,\n    slab)"),
        ("cpus", "from emu import record"),
        ("cpus", "    import emu.record as record"),
        ("cpus", 'importlib.import_module("emu.record")'),
        ("emu", "import workloads.memcg_create"),
        ("emu", "from ipc.memory cimport header"),
        ("emu", "from cython.cimports.ipc.memory import header"),
    ],
)
def test_a_planted_violation_is_caught(package: str, text: str) -> None:
    assert len(violations(package, text)) == 1


@pytest.mark.parametrize(
    ("package", "text"),
    [
        ("ipc", "from ipc.atomic cimport read_once"),
        ("ipc", "from libc.stdint cimport uint64_t"),
        ("ipc", '"""Used so:\n\nfrom emu import x\n"""\nimport cython  # import emu'),
        ("cpus", "from cython.cimports.ipc.lock import spin_lock"),
        ("emu", "from cpus.layout import STRUCTS\nimport ipc.memory"),
        ("emu", "from emu.record import Run"),
        ("workloads", "from emu import record\nfrom cython.cimports.cpus.slab import kmalloc"),
    ],
)
def test_what_goes_down_is_allowed(package: str, text: str) -> None:
    assert violations(package, text) == []
