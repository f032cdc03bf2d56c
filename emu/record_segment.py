"""A failed machine's memory, copied into a sparse file that observers map like the machine itself."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from emu.format import size

MOST = 8 << 30  # bytes really used; a segment is 64 GiB of mostly nothing
CHUNK = 16 << 20


def keep_segment(folder: str, most: int = MOST) -> tuple[int, str]:
    """Copy this process's machine into a file without a name on the disk of FOLDER: who is killed leaves none.

    Returns (its descriptor, nothing) or (-1, why not).
    """
    from ipc import memory

    source = memory.descriptor()
    if source < 0:
        return -1, "the failed machine's memory is not kept: it is gone"
    used = os.fstat(source).st_blocks * 512
    if used > most:
        return -1, f"the failed machine's memory is not kept: {size(used)}, at most {size(most)} are"
    descriptor = -1
    try:
        descriptor = nameless(folder)
        os.ftruncate(descriptor, os.fstat(source).st_size)
        copy_extents(source, descriptor)
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        return -1, f"the failed machine's memory is not kept: {error.strerror}"
    return descriptor, ""


def nameless(folder: str) -> int:
    """A file without a name, which os.link() can give one later where the file system allows it."""
    try:
        return os.open(folder or ".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        descriptor, name = tempfile.mkstemp(prefix=".emu-segment-", dir=folder or ".")
        Path(name).unlink()
        return descriptor


def give_name(descriptor: int, target: Path) -> None:
    """Put such a file in its place; where it cannot be linked its data is copied."""
    try:
        os.link(f"/proc/self/fd/{descriptor}", target, follow_symlinks=True)
        os.fsync(descriptor)
        return
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.ENOENT, errno.EPERM, errno.EOPNOTSUPP):
            raise
    with target.open("xb") as new:
        os.ftruncate(new.fileno(), os.fstat(descriptor).st_size)
        copy_extents(descriptor, new.fileno())
        os.fsync(new.fileno())


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
