"""The operator's bench: boots a machine, runs workloads on it, checks and reports."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

# What a notebook calls, and where it is: imported when it is asked for, since every start of `emu` imports this.
_FACES = {
    "attach": "emu.attached",
}


def __getattr__(name: str) -> Any:
    if name not in _FACES:
        raise AttributeError(f"module 'emu' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_FACES[name]), name)
