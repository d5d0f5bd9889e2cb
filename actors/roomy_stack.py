"""Give a call so much room on Python's own stack that nothing below it meets the end of a piece of that stack.

CPython keeps frames in pieces of 16 KiB, and maps and unmaps a piece whenever a call crosses from one into the next. A loop
that happens to stand at such a border pays for it at every call: it was measured to cost a queue's owner 12 of 42
microseconds a task, or nothing, depending on how deep the server had been started. Actors are forked out of their parents'
stacks, so one roomy frame at the top serves them all.
"""

from collections.abc import Callable
from types import FunctionType
from typing import Any, Final, TypeVar

Result = TypeVar("Result")

STACK_SLOTS: Final = 33_000
"""Of 8 bytes. A piece is a power of two in size: this frame takes a little more than half of one of 512 KiB, and leaves the
rest to some thousand calls below it. Only what is used of it takes memory."""


def in_roomy_stack(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call the function with these arguments and return what it returns."""
    result: Result = _ROOMY(function, *arguments)
    return result


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


_ROOMY: Final = FunctionType(_call.__code__.replace(co_stacksize=STACK_SLOTS), globals(), "roomy call")
