"""Which files become compiled modules, and how they are compiled."""

import sys
from pathlib import Path

import Cython
from setuptools import Extension

ROOT = Path(__file__).resolve().parent.parent
COMPILED_PACKAGES = ("ipc", "cpus")
LAYOUT = "cpus.layout"
# The generated source of the layout module, among stand-ins for the .pxd files.
LAYOUT_FOLDER = Path("build/layout")
LAYOUT_SOURCE = LAYOUT_FOLDER / "cpus" / "layout.pyx"

DIRECTIVES = {
    "language_level": 3,
    "infer_types": True,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
}

C_FLAGS = [
    "-O2",
    "-g",
    # Page frames are looked at as slabs, freelists and bytes in turn.
    "-fno-strict-aliasing",
    # A constant that does not fit: write 1LL << 40.
    "-Werror=shift-count-overflow",
    # The rest silences what Cython's own output provokes.
    "-Wno-unused-function",
    "-Wno-unused-variable",
    "-Wno-unused-but-set-variable",
    "-Wno-sign-compare",
    "-Wno-maybe-uninitialized",
    # Cython does not know `volatile`: a pointer to a vlong is a pointer to long to it.
    "-Wno-discarded-qualifiers",
    # A call through the procedure linkage table touches one page more.
    "-fno-plt",
]


LINK_FLAGS = [
    # Two mappings a module instead of five: each is copied at each fork.
    "-Wl,-z,noseparate-code",
    "-Wl,-z,norelro",
]


class Module(Extension):
    """An extension module."""

    # cythonize() puts extensions that fail in a set; newer setuptools compare them by value, unhashable.
    __hash__ = object.__hash__


def sources() -> dict[str, Path]:
    """Dotted name -> source, relative to the root, of every hand-written compiled module."""
    found = {}
    for package in COMPILED_PACKAGES:
        for py in sorted((ROOT / package).glob("*.py")):
            # A .pxd alone is declarations; a .py alone is ordinary Python.
            if py.stem != "__init__" and py.with_suffix(".pxd").exists():
                found[f"{package}.{py.stem}"] = py.relative_to(ROOT)
    for py in sorted((ROOT / "workloads").glob("*_loop.py")):
        found[f"workloads.{py.stem}"] = py.relative_to(ROOT)
    return found


def declaration_files() -> list[Path]:
    """The .pxd files, relative to the root, that the layout module describes."""
    files = [pxd for package in COMPILED_PACKAGES for pxd in sorted((ROOT / package).glob("*.pxd"))]
    return [pxd.relative_to(ROOT) for pxd in files if pxd.stem != "__init__"]


def extensions() -> list[Module]:
    """All extensions; their sources are still Python, the build command translates them."""
    modules = sources() | {LAYOUT: LAYOUT_SOURCE}
    return [
        Module(
            name,
            [str(source)],
            extra_compile_args=C_FLAGS,
            extra_link_args=LINK_FLAGS,
            include_dirs=["."],
            libraries=["rt"],
        )
        for name, source in modules.items()
    ]


def remove_stale() -> None:
    """Remove built modules whose source is gone: they could still be imported."""
    names = {ext.name for ext in extensions()}
    for package in (*COMPILED_PACKAGES, "workloads"):
        for built in (ROOT / package).glob("*.so"):
            if f"{package}.{built.name.split('.')[0]}" not in names:
                built.unlink()


def fingerprint() -> str:
    """Changes when everything has to be compiled again although no source changed."""
    return repr((Cython.__version__, sys.version, sorted(DIRECTIVES.items()), C_FLAGS))
