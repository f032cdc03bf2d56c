"""Reads a --config file: TOML, with every complaint naming file, line, column and key.

tomllib tells no positions of what it has read, so they are looked up in the text again; it is small.
"""

from __future__ import annotations

import re
import stat
import tomllib
from pathlib import Path
from typing import Any

from emu.errors import UsageError, one_line

MOST_BYTES = 1 << 20
POSITION = re.compile(r"\(at (?:line (\d+), column (\d+)|end of document)\)")
TABLE = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?")
KEY = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*[=.]""")


class TomlFile:
    """The contents of one file, and where each key stands."""

    def __init__(self, path: str, option: str = "--config ") -> None:
        self.path = path
        self.text = _read(path, option)
        self.values = _parse(path, self.text)

    def where(self, key: str, table: str = "") -> str:
        """`FILE:LINE:COLUMN: KEY`, for a message."""
        name = f"{table}.{key}" if table else key
        line, column = _find(self.text, key, table)
        return f"{one_line(self.path)}:{line}:{column}: {one_line(name)}"


def _read(path: str, option: str) -> str:
    shown = one_line(path)
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{option}{shown}: not a regular file; give a TOML file")
        if status.st_size > MOST_BYTES:
            raise UsageError(f"{option}{shown}: {status.st_size} bytes; a configuration has at most {MOST_BYTES}")
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{option}{shown}: cannot be read: {reason}") from None
    if not data.strip():
        raise UsageError(f"{shown}:1:1: the file is empty; write at least one option, as in cpus = 8")
    if data.startswith(b"\xef\xbb\xbf"):
        raise UsageError(f"{shown}:1:1: starts with a byte order mark; save it as UTF-8 without one")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise UsageError(
            f"{shown}:{line}:{column}: byte {data[error.start]:#04x} is not UTF-8; save it as UTF-8"
        ) from None


def _parse(path: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        match = POSITION.search(message)
        lines = text.count("\n") + 1
        place = f"{match[1]}:{match[2]}" if match and match[1] else f"{lines}:1"
        reason = POSITION.sub("", message).strip()
        raise UsageError(f"{one_line(path)}:{place}: not TOML: {one_line(reason)}") from None
    except RecursionError:
        raise UsageError(f"{one_line(path)}:1:1: not TOML that we read: nested too deeply") from None
    except ValueError as error:  # a number with thousands of digits
        raise UsageError(f"{one_line(path)}:1:1: not TOML that we read: {one_line(str(error))}") from None


def _find(text: str, key: str, table: str) -> tuple[int, int]:
    """Line and column of `key =`, in table [TABLE] or as `TABLE.key`; 1:1 if it is written in some other way."""
    current = ""
    fallback = (1, 1)
    for number, line in enumerate(text.splitlines(), 1):
        if header := TABLE.fullmatch(line):
            current = header[1].strip("\"'")
            continue
        match = KEY.match(line)
        if match is None:
            continue
        found = match[1] or match[2] or match[3] or ""
        column = len(line) - len(line.lstrip()) + 1
        if current == table and found == key:
            return number, column
        if not current and found == table:  # an inline table, or a dotted key
            at = line.find(key, match.end())
            fallback = (number, at + 1 if at >= 0 else column)
        elif found == key and fallback == (1, 1):
            fallback = (number, column)
    return fallback
