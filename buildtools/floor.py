"""Builds the plain-C floor program, which the emulator's own times are compared with."""

import os
import shlex
import subprocess
import sysconfig
from pathlib import Path

from buildtools.modules import ROOT

SOURCE = ROOT / "benchmarks" / "floor" / "floor.c"


def build(destination: Path, force: bool = False) -> None:
    """Compile the floor program to DESTINATION/emu/bin/floor, if its source is there and newer."""
    target = destination / "emu" / "bin" / "floor"
    if not SOURCE.exists():
        return
    if not force and target.exists() and target.stat().st_mtime >= newest_source():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    # Renamed into place, since a running program cannot be written over.
    scratch = target.with_suffix(".new")
    subprocess.run([*compiler, "-O2", "-pthread", "-o", str(scratch), str(SOURCE), "-lrt"], check=True)
    scratch.replace(target)


def newest_source() -> float:
    """Modification time of the newest file beside the source, headers included."""
    return max(path.stat().st_mtime for path in SOURCE.parent.glob("*.[ch]"))
