"""A grid of configurations, one run each: resumable, sequential on one host, or on the workers of a Dask cluster.

    workload = "memcg-create"
    args = []                          # its own options and operands
    seed = 7                           # drawn and remembered if not given
    figures = ["result.elapsed_ns"]    # columns; by default a few counts and the time

    [options]                          # of emu run, the same everywhere
    loops = 100

    [grid]                             # a cell for each combination
    cpus = [2, 4, 8]
    kernel = ["4.11", "4.12"]
    slab-create-no-ipi = ["off", "on"] # a patch

Each finished cell is a run's folder in DIR/cells, called by a digest of what it depends on: the workload, its
arguments, the resolved configuration with its seed, and the code. A cell whose folder is there is not run again, so a
sweep that was killed at any instant goes on where it was. A cell that failed for the moment (out of memory, a death)
has no folder.
"""

from __future__ import annotations

import hashlib
import itertools
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from cpus.patch_table import BY_NAME
from emu import options, record
from emu.config import RunConfig
from emu.errors import NotSupportedError, ResourceError, UsageError, did_you_mean, one_line
from emu.figures import Number
from emu.tomlfile import TomlFile

FIGURES = ("elapsed_ns", "interrupts.CAL.sum", "vmstat.ipis_sent", "vmstat.grace_periods")
MOST_CELLS = 10_000
MEMORY = "sweep.json"
KEYS = ("workload", "args", "seed", "figures", "options", "grid")
# What a cell may be called, beside the verdicts of a run.
UNSUPPORTED, TO_DO, FAILED = "not supported", "to do", "failed"


@dataclass
class Cell:
    """One combination: where it stands in the grid, how it is run, and what came of it."""

    point: dict[str, Any]
    argv: list[str]
    key: str
    state: str = TO_DO
    said: str = ""
    run: record.Run | None = None

    def figure(self, path: str) -> Number | None:
        """A figure of its result; None if it has none."""
        return None if self.run is None else self.run.figures.get(path)


@dataclass
class Sweep:
    """All cells, in the order of the grid, and the folder that remembers them."""

    folder: Path
    workload: str
    axes: dict[str, list[Any]]
    figures: list[str]
    seed: int
    cells: list[Cell] = field(default_factory=list)

    @property
    def left(self) -> list[Cell]:
        """The cells that are still to be run."""
        return [cell for cell in self.cells if cell.state in (TO_DO, FAILED)]

    @property
    def columns(self) -> list[str]:
        """Those of the table."""
        return [*self.axes, "state", *self.figures]

    def rows(self) -> list[tuple[Any, ...]]:
        """One row per cell."""
        return [
            (*cell.point.values(), cell.state, *(cell.figure(path) for path in self.figures)) for cell in self.cells
        ]

    def frame(self) -> Any:
        """The table as pandas has it, or as a numpy array with named fields; NaN for what a cell lacks."""
        from emu.record_frame import table

        nothing = float("nan")
        return table(self.columns, [tuple(nothing if cell is None else cell for cell in row) for row in self.rows()])


def load(path: str, folder: str | None = None) -> Sweep:
    """Read a sweep's file and what is done of it; UsageError for whatever is wrong in it. Nothing is started."""
    toml = TomlFile(path, "emu sweep ")
    for key in toml.values:
        if key not in KEYS:
            raise UsageError(f"{toml.where(key)}: no such key{did_you_mean(key, KEYS) or '; ' + ', '.join(KEYS)}")
    workload = _typed(toml, "workload", str, None, "text")
    args = _typed(toml, "args", list, [], "a list of text")
    if not all(isinstance(arg, str) for arg in args):
        raise UsageError(f"{toml.where('args')}: is not a list of text")
    place = Path(folder) if folder else Path(path).with_suffix(".sweep")
    axes = _axes(toml)
    figures = _typed(toml, "figures", list, list(FIGURES), "a list of figures, as result.elapsed_ns")
    if not all(isinstance(name, str) for name in figures):
        raise UsageError(f"{toml.where('figures')}: is not a list of text")
    made = Sweep(place, workload, axes, figures, _seed(toml, place))
    common = _options(toml)
    for values in itertools.product(*axes.values()):
        point = dict(zip(axes, values, strict=True))
        made.cells.append(_cell(made, args, common, point, toml))
    return made


def _typed(toml: TomlFile, key: str, kind: type, default: Any, wanted: str) -> Any:
    if key not in toml.values:
        if default is None:
            raise UsageError(f"{toml.path}:1:1: {key} is missing; write {key} = ...")
        return default
    value = toml.values[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UsageError(f"{toml.where(key)}: {one_line(repr(value))[:60]} is not {wanted}")
    return value


def _seed(toml: TomlFile, folder: Path) -> int:
    """The file's, the one that was drawn when the sweep was begun, or a new one."""
    seed: int = _typed(toml, "seed", int, -1, "a whole number")
    if "seed" in toml.values:
        if not 0 <= seed < 1 << 64:
            raise UsageError(f"{toml.where('seed')}: {seed} is not from 0 to 2^64-1")
        return seed
    try:
        remembered = msgspec.json.decode((folder / MEMORY).read_bytes())["seed"]
        if isinstance(remembered, int) and 0 <= remembered < 1 << 64:
            return remembered
    except (OSError, msgspec.DecodeError, KeyError, TypeError):
        pass  # not begun yet
    return secrets.randbits(63)


def _axes(toml: TomlFile) -> dict[str, list[Any]]:
    """The grid: name -> values."""
    grid = _typed(toml, "grid", dict, None, "a table; write [grid]")
    if not grid:
        raise UsageError(f"{toml.where('grid')}: has no axis; write one, as cpus = [2, 4, 8]")
    cells = 1
    for name, values in grid.items():
        place = toml.where(name, "grid")
        if not isinstance(values, list) or not values:
            raise UsageError(f"{place}: {one_line(repr(values))[:60]} is not a list of values, as [2, 4, 8]")
        if len({repr(value) for value in values}) != len(values):
            raise UsageError(f"{place}: a value is there twice")
        for value in values:
            _setting(name, value, place)
        cells *= len(values)
    if cells > MOST_CELLS:
        raise UsageError(f"{toml.where('grid')}: {cells} cells; at most {MOST_CELLS}")
    return dict(grid)


def _options(toml: TomlFile) -> list[str]:
    """The common options as arguments."""
    found: list[str] = []
    for name, value in _typed(toml, "options", dict, {}, "a table; write [options]").items():
        found += _setting(name, value, toml.where(name, "options"))
    return found


def _setting(name: str, value: object, place: str) -> list[str]:
    """One option or patch as arguments of emu run."""
    if name in BY_NAME:
        from emu.patches import check_value

        return ["--patch", f"{name}={check_value(name, value, place)}"]
    option = options.BY_NAME.get(name)
    if option is None or name == "seed":
        hint = "; it stands at the top of the file" if name == "seed" else did_you_mean(
            name, [*options.BY_NAME, *BY_NAME]
        )
        raise UsageError(f"{place}: no such option or patch{hint}")
    if option.kind == "version":
        from emu.patches import parse_version

        parse_version(value, place)
    try:
        options.from_toml(option, value)
    except ValueError as error:
        raise UsageError(f"{place}: {error}") from None
    if option.kind == "flag":
        return [f"--{name}" if value else f"--no-{name}"]
    if option.kind == "list":
        return [word for item in value for word in (f"--{name}", str(item))]  # type: ignore[attr-defined]
    return [f"--{name}", str(value)]


def _cell(made: Sweep, args: Sequence[str], common: Sequence[str], point: Mapping[str, Any], toml: TomlFile) -> Cell:
    argv = [made.workload, *args, *common]
    for name, value in point.items():
        argv += _setting(name, value, toml.where(name, "grid"))
    argv += ["--seed", str(made.seed)]
    shown = ", ".join(f"{name} = {value}" for name, value in point.items())
    try:
        key = digest(made.workload, args, resolved(argv))
    except NotSupportedError as error:
        return Cell(dict(point), argv, "", UNSUPPORTED, str(error))
    except UsageError as error:
        raise UsageError(f"{one_line(toml.path)}: cell {one_line(shown)}: {error}") from None
    cell = Cell(dict(point), argv, key)
    place = made.folder / "cells" / key
    if place.exists():
        cell.run = record.load(place)
        cell.state = str(cell.run.document["verdict"])
    return cell


def resolved(argv: Sequence[str]) -> RunConfig:
    """The configuration of `emu run ARGV`, checked as that would."""
    from emu.commands import run
    from emu.config import configure, parse_params
    from emu.parser import given_options
    from emu.workload import find

    workload = find(argv[0])
    whole = run.parser(workload.defaults)
    workload.call("add_options", whole)
    args = whole.parse_all(list(argv))
    args.quiet = True
    config = configure(given_options(args), args.config, parse_params(args.param), workload.defaults)
    workload.call("check", config, args)
    return config


def digest(workload: str, args: Sequence[str], config: RunConfig) -> str:
    """What a cell depends on, in 20 characters."""
    from emu.record_keep import code_version

    whole = [workload, _source(workload), list(args), config.as_dict(), code_version()]
    return hashlib.sha256(msgspec.json.encode(whole, order="sorted")).hexdigest()[:20]


def _source(workload: str) -> str:
    """The text of a workload that is a file of the user's own: it is code, too."""
    return Path(workload).read_text(encoding="utf-8", errors="replace") if workload.endswith(".py") else ""


def begin(made: Sweep) -> None:
    """Make the folder and remember the seed; ResourceError where it cannot be."""
    try:
        (made.folder / "cells").mkdir(parents=True, exist_ok=True)
        file = made.folder / MEMORY
        if not file.exists():
            temporary = made.folder / f".{MEMORY}.tmp-{secrets.token_hex(4)}"
            record.write(temporary, msgspec.json.encode({"schema": 1, "seed": made.seed}) + b"\n")
            temporary.rename(file)
            record.sync(made.folder)
    except OSError as error:
        raise ResourceError(
            f"{one_line(str(made.folder))}: {error.strerror}; give the sweep's folder with -o DIR"
        ) from error


def finish(made: Sweep, cell: Cell, document: dict[str, Any] | None, exit_code: int, said: str) -> None:
    """Keep a cell's result, if it is one that another try would give again."""
    if document is None or exit_code not in (0, 2, 7):
        cell.state, cell.said = FAILED, said or f"exit code {exit_code}"
        if exit_code == NotSupportedError.exit_code:
            cell.state = UNSUPPORTED
        return
    place = made.folder / "cells" / cell.key
    record.save(place, document, about={"argv": cell.argv, "point": cell.point})
    cell.run = record.load(place)
    cell.state = str(cell.run.document["verdict"])


def run_here(made: Sweep, stop: Any, advance: Any) -> None:
    """Run what is left, one cell after the other: two at once would measure each other."""
    from emu import cell as child

    for cell in made.left:
        if stop.signum:
            return
        found = child.run(cell.argv, stop)
        if stop.signum:
            return
        finish(made, cell, found.document, found.exit_code, found.said)
        advance()


def cell_texts(made: Sweep) -> Iterator[str]:
    """What is to be said of the cells that have no result."""
    for cell in made.cells:
        if cell.said:
            shown = ", ".join(f"{name} = {value}" for name, value in cell.point.items())
            yield f"cell {shown}: {cell.state}: {cell.said}"
