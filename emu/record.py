"""A run's folder: written whole or not at all, never overwritten, and read with suspicion.

    RUN/run.json        the document of `emu run --json`, and under `run` how it came about
    RUN/samples.npz     arrays of numbers: each figure of each repeat, and what the workload kept
    RUN/events.npz      the machine's event rings, if they were on
    RUN/segment.bin     a failed machine's memory, if it was kept (a sparse file)

It is written under a temporary name beside its place, every file is fsynced, then the folder is renamed and its parent
fsynced: at any instant there is a whole run or none. What a killed run leaves is a hidden folder `.NAME.tmp-PID`.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import time
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from emu.errors import ResourceError, UsageError, one_line
from emu.figures import Number, flatten
from emu.record_segment import give_name
from emu.results import SCHEMA, to_json

if TYPE_CHECKING:
    import numpy as np

DOCUMENT = "run.json"
SAMPLES = "samples.npz"
EVENTS = "events.npz"
SEGMENT = "segment.bin"
MOST_JSON = 256 << 20
MOST_NPZ = 4 << 30
OLDEST_SCHEMA = max(1, SCHEMA - 2)
NEEDED: dict[str, type | tuple[type, ...]] = {
    "schema": int,
    "workload": str,
    "command": str,
    "verdict": str,
    "config": dict,
    "host": dict,
    "result": dict,
}

Arrays = Mapping[str, Sequence[Number]]


class Run:
    """A stored run. `document` is the JSON, `warnings` what is odd about the folder itself."""

    def __init__(self, path: Path, document: dict[str, Any], warnings: Sequence[str] = ()) -> None:
        self.path = path
        self.document = document
        self.warnings = list(warnings)
        self._samples: dict[str, np.ndarray[Any, Any]] | None = None

    @property
    def name(self) -> str:
        """The folder's name."""
        return str(self.document.get("run", {}).get("name") or self.path.name)

    @property
    def workload(self) -> str:
        """The workload that ran."""
        return str(self.document["workload"])

    @property
    def figures(self) -> dict[str, Number]:
        """Path -> figure of the result: medians where the run was repeated."""
        return flatten(self.document)

    @property
    def samples(self) -> dict[str, np.ndarray[Any, Any]]:
        """Path -> one value for each repeat; UsageError if the file is damaged. Without a file: the figures, once."""
        if self._samples is None:
            self._samples = read_arrays(self.path / SAMPLES) if (self.path / SAMPLES).exists() else {}
            if not self._samples:
                import numpy as np

                self._samples = {path: np.array([value]) for path, value in self.figures.items()}
        return self._samples

    @property
    def events(self) -> dict[str, np.ndarray[Any, Any]]:
        """The event rings: cpu, cycles, event, argument, ns (empty without --trace)."""
        return read_arrays(self.path / EVENTS) if (self.path / EVENTS).exists() else {}

    @property
    def segment(self) -> Path | None:
        """The kept memory of a failed machine."""
        return self.path / SEGMENT if (self.path / SEGMENT).exists() else None

    def frame(self) -> Any:
        """The samples as a table with the columns figure, repeat, value: a pandas DataFrame where pandas is
        installed, a numpy structured array where it is not."""
        from emu.record_frame import frame

        return frame([self])


def save(
    place: Path,
    document: Mapping[str, Any],
    *,
    samples: Arrays | None = None,
    events: Mapping[str, Any] | None = None,
    segment: int | None = None,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Write a run's folder at PLACE and return it.

    samples, events: name -> array; segment: a file's descriptor, which stays the caller's; about: what stands under
    `run` beside the name. Raises UsageError if PLACE is taken, ResourceError where it cannot be written: nothing is
    left then.
    """
    if place.exists() or place.is_symlink():
        raise UsageError(f"{one_line(str(place))}: exists; a run is never overwritten, give another -o or --name")
    temporary = place.with_name(f".{place.name[:200]}.tmp-{os.getpid()}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir(mode=0o755)
        whole = dict(document)
        whole["run"] = {"name": place.name, "written": timestamp(), **(about or {})}
        whole["run"]["digest"] = digest(whole)
        write(temporary / DOCUMENT, to_json(whole))
        for name, arrays in ((SAMPLES, samples), (EVENTS, events)):
            if arrays:
                write(temporary / name, npz(arrays))
        if segment is not None:
            give_name(segment, temporary / SEGMENT)
        sync(temporary)
        # Onto an empty folder this succeeds, onto any other it fails: nothing is ever replaced.
        temporary.rename(place)
        sync(place.parent)
    except OSError as error:
        raise ResourceError(_why(place, error)) from error
    finally:
        with suppress(OSError):
            shutil.rmtree(temporary)
    return place


def _why(place: Path, error: OSError) -> str:
    shown = one_line(str(place))
    if error.errno in (errno.EEXIST, errno.ENOTEMPTY) and place.exists():
        return f"{shown}: was made by another run meanwhile; this one is not written"
    return f"{shown}: cannot be written: {error.strerror}; give another place with -o DIR"


def write(path: Path, data: bytes) -> None:
    """One file, on the disk when this returns."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Have a folder's names on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def npz(arrays: Mapping[str, Any]) -> bytes:
    """numpy's archive of arrays, by any names. Not numpy.savez: its arguments must not be called `file`."""
    import numpy as np

    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, values in arrays.items():
            part = io.BytesIO()
            np.lib.format.write_array(part, np.asarray(values), allow_pickle=False)
            archive.writestr(f"{name.replace('/', '|')}.npy", part.getvalue())
    return whole.getvalue()


def read_arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Name -> array of such an archive; UsageError if it is damaged or holds anything but numbers."""
    import numpy as np

    shown = one_line(str(path))
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MOST_NPZ:
                raise UsageError(f"{shown}: more than {MOST_NPZ >> 30} GiB of samples")
            found = {}
            for entry in archive.infolist():
                with archive.open(entry) as part:
                    # Never a pickle: it would run what somebody else wrote.
                    found[entry.filename.removesuffix(".npy").replace("|", "/")] = np.lib.format.read_array(
                        part, allow_pickle=False
                    )
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, NotImplementedError, MemoryError) as error:
        raise UsageError(f"{shown}: damaged: {one_line(str(error) or type(error).__name__)}") from None
    for name, values in found.items():
        if values.ndim != 1 or values.dtype.kind not in "iuf":
            raise UsageError(f"{shown}: {one_line(name)} is no row of numbers")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise UsageError(f"{shown}: {one_line(name)} has a value that is no number (NaN or infinite)")
    return found


def load(path: Path | str) -> Run:
    """Read a run's folder, or a file that `emu run --json` wrote. UsageError for what is neither, or is damaged."""
    place = Path(path)
    shown = one_line(str(path))
    file = place / DOCUMENT if place.is_dir() else place
    try:
        if file.stat().st_size > MOST_JSON:
            raise UsageError(f"{shown}: {file.stat().st_size} bytes; a result has at most {MOST_JSON}")
        if not file.is_file():
            raise UsageError(f"{shown}: not a regular file; give a run's folder or its JSON")
        data = file.read_bytes()
    except FileNotFoundError:
        what = f"no {DOCUMENT} in it; not a run's folder" if place.is_dir() else "no such run"
        raise UsageError(f"{shown}: {what}; `emu runs` lists them") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{shown}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return check(place, data, shown)


def check(place: Path, data: bytes, shown: str) -> Run:
    """Make a Run of the bytes of its document, if they are one."""
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        cut = " (it is cut short)" if "truncated" in str(error) else ""
        raise UsageError(f"{shown}: not JSON{cut}: {one_line(str(error))}") from None
    schema = document.get("schema") if isinstance(document, dict) else None
    if not isinstance(schema, int) or isinstance(schema, bool):
        raise UsageError(f"{shown}: not a result of emu: it has no schema number")
    if not OLDEST_SCHEMA <= schema <= SCHEMA:
        age = "a newer" if schema > SCHEMA else "too old a"
        raise UsageError(
            f"{shown}: schema {schema}, written by {age} percpu-emu; this one reads {OLDEST_SCHEMA} to {SCHEMA}"
        )
    for key, kind in NEEDED.items():
        if not isinstance(document.get(key), kind):
            raise UsageError(f"{shown}: not a result of emu run, or hand-edited: {key} is missing or not as it was")
    about = document.get("run", {})
    if not isinstance(about, dict):
        raise UsageError(f"{shown}: hand-edited: run is not as it was")
    warnings = []
    if "digest" in about and about["digest"] != digest(document):
        warnings.append(f"{shown}: was edited after it was written (its digest differs)")
    return Run(place, document, warnings)


def digest(document: Mapping[str, Any]) -> str:
    """A digest of all but itself: tells an edited result, not a forged one."""
    about = {key: value for key, value in document.get("run", {}).items() if key != "digest"}
    # Through JSON, so that it is the same before it was written and after it was read.
    plain = msgspec.json.decode(to_json(dict(document) | {"run": about}))
    return hashlib.sha256(msgspec.json.encode(plain, order="sorted")).hexdigest()[:32]


def timestamp() -> str:
    """Now, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
