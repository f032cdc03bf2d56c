"""The command line: finds the command, imports it, turns errors into one line and an exit code. No more than that."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from emu.commands import COMMANDS
from emu.errors import EXIT_INTERNAL, EmuError, Interrupted, UsageError, did_you_mean, one_line

if TYPE_CHECKING:
    from emu.parser import Parser

DESCRIPTION = """\
Emulate the per-CPU memory caches of Linux: real processes, real interrupts,
real locks, and every patch a switch."""
EPILOG = """\
examples:
  emu list
  emu run memcg-create --loops 1000 --cpus 8 --kernel 4.11 --both
  emu run ipi-bench --cpus 16 --ipi mqueue --json | jq .result
  emu kernel 4.11 4.12
  emu patches pcp-drain

exit status:
  0 ok  1 usage  2 an invariant was violated  3 a resource is lacking
  4 not supported here  5 a CPU or the coordinator died  6 a regression
  7 figures not trustworthy (--strict)  129, 130, 143 interrupted
"""


def top_parser(full: bool = False) -> Parser:
    """Return the parser of `emu` itself; FULL with that of every command, for man pages and completion."""
    from emu.parser import Parser

    parser = Parser(prog="emu", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands", parser_class=Parser)
    for name, text in COMMANDS.items():
        if full:
            whole = import_module(f"emu.commands.{name}").parser()
            shown = {"description": whole.description, "epilog": whole.epilog}
            commands.add_parser(name, help=text, parents=[whole], add_help=False, **shown)
        else:
            commands.add_parser(name, help=text)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ARGV and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _complete_standard_streams()
    try:
        code = dispatch(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # `emu ... | head`: who closed it has seen enough. Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Interrupted as stop:
        return stop.exit_code
    except KeyboardInterrupt:
        return 130
    except EmuError as error:
        return _report(error, error.exit_code, arguments)
    except Exception as error:  # noqa: BLE001 - the last place that can turn it into one line
        return _report(error, EXIT_INTERNAL, arguments)


def dispatch(argv: list[str]) -> int:
    """Hand ARGV to its command."""
    name = argv[0] if argv else "--help"
    if name in ("-h", "--help"):
        (sys.stdout if argv else sys.stderr).write(top_parser().format_help())
        return 0 if argv else UsageError.exit_code
    if name == "--version":
        from emu import __version__

        sys.stdout.write(f"emu {__version__}\n")
        return 0
    if name not in COMMANDS:
        kind = "option" if name.startswith("-") else "command"
        hint = did_you_mean(name, COMMANDS)
        raise UsageError(f"no {kind} {one_line(name)!r}{hint or '; `emu --help` lists them'}")
    code: int = import_module(f"emu.commands.{name}").main(argv[1:])
    return code


def _report(error: Exception, code: int, argv: Sequence[str]) -> int:
    if "--debug" in argv:
        import traceback

        traceback.print_exception(error)
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    # A message with a traceback in it says what happened in its first line, and why in its last.
    text = lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1].strip()}"
    if not isinstance(error, EmuError):
        text = f"internal error: {type(error).__name__}: {text}; --debug shows where"
    sys.stderr.write(f"emu: {text}\n")
    return code


def _complete_standard_streams() -> None:
    """A stream that was closed at the start becomes /dev/null, before its number goes to something else."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - for the life of the process
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
