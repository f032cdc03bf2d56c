"""A failed machine's memory, copied into a sparse file that observers map like the machine itself."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from emu.format import size

MOST = 8 << 30  # bytes really used; a segment is 64 GiB of mostly nothing
CHUNK = 16 << 20


def keep_segment(most: int = MOST) -> tuple[Path | None, str]:
    """Copy this process's machine; (the file, nothing) or (nothing, why not)."""
    from ipc import memory

    source = memory.descriptor()
    if source < 0:
        return None, "the failed machine's memory is not kept: it is gone"
    used = os.fstat(source).st_blocks * 512
    if used > most:
        return None, f"the failed machine's memory is not kept: {size(used)}, at most {size(most)} are"
    descriptor, name = tempfile.mkstemp(prefix="emu-segment-")
    try:
        os.ftruncate(descriptor, os.fstat(source).st_size)
        copy_extents(source, descriptor)
    except OSError as error:
        Path(name).unlink()
        return None, f"the failed machine's memory is not kept: {error.strerror}"
    finally:
        os.close(descriptor)
    return Path(name), ""


def copy_extents(source: int, target: int) -> None:
    """Copy what is there and leave the holes out."""
    at = 0
    while True:
        try:
            begin = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing more
                return
            raise
        end = os.lseek(source, begin, os.SEEK_HOLE)
        for offset in range(begin, end, CHUNK):
            block = os.pread(source, min(CHUNK, end - offset), offset)
            # Memory that was backed and never written is zero: no reason to fill the disk with it.
            if block.strip(b"\0"):
                os.pwrite(target, block, offset)
        at = end
