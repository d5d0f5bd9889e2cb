"""Run one command line and turn whatever comes of it into an exit code and at most one line on standard error."""

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final

import typer

from callboard.actors.cli.commands import make_command
from callboard.actors.cli.session import Session
from callboard.actors.errors import CallboardError, ServerNotRunning

DONE: Final = 0
FAILED: Final = 1
WRONG_USAGE: Final = 2
NO_SERVER: Final = 3
INTERRUPTED: Final = 130
"""What shells use for a program that Ctrl-C has ended."""

DEBUG: Final = "--debug"


def run(arguments: Sequence[str]) -> int:
    """Run the command and return the exit code."""
    session = Session()
    try:
        done = make_command().main(_debug_first(arguments), prog_name="callboard", standalone_mode=False, obj=session)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) has seen enough. What is still in the buffer must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - nobody should meet a traceback who has not asked for it
        if session.debug:
            traceback.print_exc()
        complain(explain(error))
        return exit_code(error)
    return done if isinstance(done, int) else DONE


def complain(text: str) -> None:
    """Write a problem to standard error: a line, or one for each problem of a configuration."""
    for line in text.splitlines():
        print(f"callboard: {line}", file=sys.stderr)


def exit_code(error: Exception) -> int:
    """Return the exit code that stands for an error."""
    if isinstance(error, ServerNotRunning):
        return NO_SERVER
    return WRONG_USAGE if isinstance(error, typer.TyperException) else FAILED


def explain(error: Exception) -> str:
    """Say in one line what is wrong, and for wrong usage where to read more."""
    if isinstance(error, typer.TyperException):
        message = " ".join(str(getattr(error, "format_message", error.__str__)()).split()).replace("Value error, ", "")
        context = getattr(error, "ctx", None)
        return f"{message} (see `{context.command_path} --help`)" if context is not None else message
    if isinstance(error, CallboardError):
        field = getattr(error, "field", "")
        return f"{field}: {error}" if field else str(error)
    return f"unexpected {type(error).__name__}: {' '.join(str(error).split())} ({DEBUG} shows where)"


def _debug_first(arguments: Sequence[str]) -> list[str]:
    """Put --debug where the command line takes it, in front, from wherever it was written."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    rest = [one for one in arguments[:end] if one != DEBUG]
    return ([DEBUG] if DEBUG in arguments[:end] else []) + rest + list(arguments[end:])
