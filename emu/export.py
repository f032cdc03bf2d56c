"""A run in the formats of other tools: one entry per format."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from emu.record import Run


class Format(NamedTuple):
    """One format: how it is called, the endings of its files, what makes it, and whether it is text."""

    name: str
    endings: tuple[str, ...]
    make: Callable[[Run], bytes]
    text: bool
    doc: str


def _perfetto(run: Run) -> bytes:
    from emu.export_perfetto import need_perfetto, perfetto
    from emu.export_timeline import timeline

    need_perfetto()
    return perfetto(timeline(run))


def _chrome(run: Run) -> bytes:
    from emu.export_chrome import chrome
    from emu.export_timeline import timeline
    from emu.results import to_json

    made = timeline(run)
    about = {"run": run.name, "command": run.document["command"], "flows": made.flows, "unjoined": made.unjoined}
    return to_json(chrome(made, about | {"dropped": made.dropped}))


def _ftrace(run: Run) -> bytes:
    from emu.export_ftrace import ftrace

    return ftrace(run).encode()


def _csv(run: Run) -> bytes:
    from emu.export_samples import to_csv

    return to_csv(run).encode()


def _parquet(run: Run) -> bytes:
    from emu.export_samples import to_parquet

    return to_parquet(run)


def _hdr(run: Run) -> bytes:
    from emu.export_samples import to_hdr

    return to_hdr(run).encode()


FORMATS = (
    Format("perfetto", (".perfetto-trace", ".pftrace"), _perfetto, False, "protobuf, for ui.perfetto.dev"),
    Format("chrome", (".json",), _chrome, True, "Chrome's trace JSON"),
    Format("ftrace", (".txt",), _ftrace, True, "text with the kernel's tracepoint names; emu run replay reads it"),
    Format("csv", (".csv",), _csv, True, "the samples: run, figure, repeat, value"),
    Format("parquet", (".parquet",), _parquet, False, "the same, by pyarrow"),
    Format("hdr", (".hlog",), _hdr, True, "HDR histogram log of all latencies, lock waits and holds"),
)
BY_NAME = {one.name: one for one in FORMATS}


def by_ending(path: str) -> Format | None:
    """The format that a file's name asks for."""
    return next((one for one in FORMATS if path.endswith(one.endings)), None)
