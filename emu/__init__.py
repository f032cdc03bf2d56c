"""The operator's bench: boots a machine, runs workloads on it, checks and reports."""

from typing import Any

__version__ = "0.1.0"

# What `import emu` offers, each imported when it is first asked for: the command line must not pay for it.
_API = {
    "load": ("emu.runs", "load_any"),
    "compare": ("emu.compare_runs", "compare"),
    "Machine": ("emu.machine", "Machine"),
    "attach": ("emu.attached", "attach"),
}


def __getattr__(name: str) -> Any:
    if name not in _API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _API[name]
    return getattr(import_module(module), attribute)
