"""What a workload is, and how one is found.

A workload is a module: `workloads/NAME.py`, one that another package registers under the entry point group
`percpu_emu.workloads`, or any Python file given by its path. It has

    a docstring                      its help; the first line is shown by `emu list`
    run(ctx, args) -> dict           the work; what it returns is the `result` of the JSON
    render(result) -> str            optional: the result as a table for people
    add_options(parser)              optional: its own options and operands (argparse)
    check(config, args)              optional: raises UsageError before anything is started
    memory_need(config, args)        optional: -> Need, checked before boot
    DEFAULTS = {option: value}       optional: its own defaults of the common options, as in {"kernel": "4.11"}
    SWITCH = "slab-create-no-ipi"    optional: the patch it is about: what --both and --variants go through
    VARIANTS = {name: {switch: value}}   optional: the same where a variant is more than one switch
    BOTH = ("before", "after")       optional: which two of VARIANTS are --both's
    LEVELS = True                    optional: --series may name several levels; they are in config.levels
    JUDGES = False                   optional: it measures, and would not see an unsafe variant's violation

`ctx` is a RunContext (emu/context.py), `config` a RunConfig, `args` what argparse made of the command line.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from cpus.patch_table import BY_NAME
from emu.errors import UsageError, did_you_mean, one_line

GROUP = "percpu_emu.workloads"
PACKAGE = "workloads"


class Need(NamedTuple):
    """Host memory that a run will need, in bytes."""

    metadata_bytes: int  # kmem_caches, array caches, queues: kernel metadata
    ram_bytes: int  # emulated RAM that will really be touched


class Workload:
    """A loaded workload: its module, with defaults for what it leaves out."""

    def __init__(self, name: str, module: ModuleType) -> None:
        self.name = name
        self.module = module

    @property
    def doc(self) -> str:
        """Its help."""
        return (self.module.__doc__ or "").strip()

    @property
    def defaults(self) -> dict[str, Any]:
        """Its own defaults of the common options."""
        return dict(getattr(self.module, "DEFAULTS", {}))

    @property
    def takes_levels(self) -> bool:
        """Whether one run of it goes through several levels of --series."""
        return bool(getattr(self.module, "LEVELS", False))

    @property
    def judges(self) -> bool:
        """Whether an unsafe variant is expected to show a violation in it."""
        return bool(getattr(self.module, "JUDGES", True))

    def call(self, function: str, *args: Any) -> Any:
        """Call one of its optional functions; None if it has none."""
        found = getattr(self.module, function, None)
        return None if found is None else found(*args)

    def variants(self) -> dict[str, dict[str, str]]:
        """Variant -> its switches; empty if the workload is about no patch."""
        table: Mapping[str, Mapping[str, str]] = getattr(self.module, "VARIANTS", {})
        if table:
            return {name: dict(changes) for name, changes in table.items()}
        switch = getattr(self.module, "SWITCH", None)
        return {value.name: {switch: value.name} for value in BY_NAME[switch].values} if switch else {}

    def both(self) -> tuple[str, str] | None:
        """The two variants that --both compares: before and after the patch."""
        switch = getattr(self.module, "SWITCH", None)
        if hasattr(self.module, "BOTH"):
            before, after = self.module.BOTH
            return before, after
        return (BY_NAME[switch].reverted, BY_NAME[switch].applied) if switch else None

    def switches(self) -> set[str]:
        """The switches it is about: what decides whether a violation was to be expected."""
        return {name for changes in self.variants().values() for name in changes}


def folder() -> Path | None:
    """Where the workloads of the distribution are. Looked up by name: emu does not import what is above it."""
    spec = importlib.util.find_spec(PACKAGE)
    return Path(spec.origin).parent if spec and spec.origin else None


def own_names() -> dict[str, str]:
    """Name -> module of the distribution's workloads."""
    home = folder()
    files = sorted(home.glob("*.py")) if home else []
    stems = [f.stem for f in files if not f.stem.startswith("_") and not f.stem.endswith("_loop")]
    return {stem.replace("_", "-"): f"{PACKAGE}.{stem}" for stem in stems}


def foreign_names() -> dict[str, str]:
    """Name -> module of what other distributions registered."""
    from importlib.metadata import entry_points

    return {entry.name: entry.value for entry in entry_points(group=GROUP) if not entry.value.startswith(f"{PACKAGE}.")}


def names() -> dict[str, str]:
    """Name -> module of every workload that can be run by name."""
    return foreign_names() | own_names()


def find(name: str) -> Workload:
    """Load a workload by name or path; UsageError if there is none, or if it cannot be loaded."""
    if name.endswith(".py") or "/" in name:
        return Workload(Path(name).stem, _load_file(name))
    module = own_names().get(name)
    if module is None:
        known = names()
        module = known.get(name)
        if module is None:
            hint = did_you_mean(name, known)
            raise UsageError(f"no workload {one_line(name)!r}{hint or '; `emu list` lists them'}")
    return Workload(name, _load_module(name, module))


def _load_module(name: str, module: str) -> ModuleType:
    try:
        return _complete(name, importlib.import_module(module))
    except Exception as error:
        raise UsageError(f"workload {name}: {_import_failure(error)}") from error


def _load_file(path: str) -> ModuleType:
    file = Path(path)
    shown = one_line(path)
    if not file.is_file():
        raise UsageError(f"workload {shown}: no such file; give a name (`emu list`) or the path of a Python file")
    name = f"emu_workload_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file.resolve())
    if spec is None or spec.loader is None:
        raise UsageError(f"workload {shown}: not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # Its neighbours can be imported, after everything else.
    sys.path.append(str(file.resolve().parent))
    try:
        spec.loader.exec_module(module)
        return _complete(shown, module)
    except Exception as error:
        raise UsageError(f"workload {shown}: {_import_failure(error)}") from error


def _complete(name: str, module: ModuleType) -> ModuleType:
    if not callable(getattr(module, "run", None)):
        raise UsageError(f"workload {name}: {module.__file__} has no function run(ctx, args)")
    return module


def _import_failure(error: BaseException) -> str:
    """One line on why a module could not be imported, with the place."""
    if isinstance(error, UsageError):
        return str(error)
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}: {error.msg}"
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    place = f"{last.tb_frame.f_code.co_filename}:{last.tb_lineno}: " if last is not None else ""
    return one_line(f"{place}{type(error).__name__}: {error}")


def place_of(error: BaseException, module: ModuleType) -> str:
    """`FILE:LINE` of the workload's own code where ERROR came through, innermost; empty if it did not."""
    place, at = "", error.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_filename == module.__file__:
            place = f"{module.__file__}:{at.tb_lineno}"
        at = at.tb_next
    return place
