"""What can go wrong, as exceptions: one class per exit code.

A message is one line and says what, where, the value, what is allowed, and what to do. Nothing here imports anything
at the start, since every command pays for it.
"""

from __future__ import annotations

from collections.abc import Iterable

EXIT_OK = 0
EXIT_INTERNAL = 5  # a fault of the program's own: the coordinator died


class EmuError(Exception):
    """Base of all errors that a user is told of in one line."""

    exit_code = EXIT_INTERNAL


class UsageError(EmuError):
    """The command line or the configuration is wrong; nothing was started."""

    exit_code = 1


class ViolationError(EmuError):
    """An invariant of the modelled kernel was violated."""

    exit_code = 2


class ResourceError(EmuError):
    """The host lacks memory, queues, processes or descriptors; the message names the limit and its value."""

    exit_code = 3


class NotSupportedError(EmuError):
    """This host, or the modelled kernel version, does not have it."""

    exit_code = 4


class DiedError(EmuError):
    """A CPU or the coordinator died, or was stuck."""

    exit_code = 5


class RegressionError(EmuError):
    """A comparison found a regression beyond its threshold."""

    exit_code = 6


class UntrustworthyError(EmuError):
    """The figures are not trustworthy and --strict was given."""

    exit_code = 7


class Interrupted(KeyboardInterrupt):
    """SIGINT, SIGTERM or SIGHUP asked us to stop. No Exception, so that nothing on the way catches it by mistake."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by signal {signum}")
        self.signum = signum
        self.exit_code = 128 + signum


# The short names.
Violation = ViolationError
NotSupported = NotSupportedError
Died = DiedError
Regression = RegressionError
Untrustworthy = UntrustworthyError


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'slab-test'?`, or nothing if no known name is close."""
    from difflib import get_close_matches

    names = list(known)
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    if not close:
        close = get_close_matches(name.lower().replace("_", "-"), names, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def one_line(text: str) -> str:
    """Text as it may stand in an error message: a line break in a value must not make a second line."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
