"""Say in one line why a worker can't start: the exception, and where in the team's own code it was raised."""

import sysconfig
import traceback
from pathlib import Path
from typing import Final

from callboard.actors.runners.call import MAX_MESSAGE_CHARACTERS, say

_OURS: Final = str(Path(__file__).parent)
_LIBRARIES: Final = tuple({sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")})


def describe_start_failure(error: BaseException) -> str:
    """Return the exception's name and text, and file and line of the innermost call that isn't in a library.

    Where all calls are in libraries (the worker is one, or nothing of the team's was reached) none is named.
    """
    text = say(error)[:MAX_MESSAGE_CHARACTERS]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(("<", _OURS, *_LIBRARIES)):  # "<frozen importlib…" has no file
            return f"{text} ({frame.filename}:{frame.lineno})"
    return text
