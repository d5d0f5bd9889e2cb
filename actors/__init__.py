"""Hold everything that has state, and the public face for those who write workers and submit tasks.

    from callboard.actors import Client, Worker, task

The decorator `task` has the name of a module in here. That module is imported first, so that the decorator is what
stays: Python sets a package's attribute when it loads a submodule, and never again. (So inside Callboard, write
`from callboard.actors.task import Task`, never `import callboard.actors.task as ...`.)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from callboard.actors.task import Task, TaskState

# isort: split
from callboard.actors.handlers import Discard, Error, Launched, Ok, ProcessEnd, Worker, fail, task

if TYPE_CHECKING:
    from callboard.actors.claimed import ClaimedTask
    from callboard.actors.client import AsyncClient, Client
    from callboard.actors.event import Event, EventKind
    from callboard.actors.local_client import LocalClient
    from callboard.actors.options import Backoff, BackoffStrategy
    from callboard.actors.request import TaskRequest

__all__ = [
    "AsyncClient",
    "Backoff",
    "BackoffStrategy",
    "ClaimedTask",
    "Client",
    "Discard",
    "Error",
    "Event",
    "EventKind",
    "Launched",
    "LocalClient",
    "Ok",
    "ProcessEnd",
    "Task",
    "TaskRequest",
    "TaskState",
    "Worker",
    "fail",
    "task",
]

# Loaded when asked for: a worker's process has no use for an HTTP client, and every actor would pay for it.
_LATER: Final = {
    "AsyncClient": "callboard.actors.client",
    "Backoff": "callboard.actors.options",
    "BackoffStrategy": "callboard.actors.options",
    "ClaimedTask": "callboard.actors.claimed",
    "Client": "callboard.actors.client",
    "Event": "callboard.actors.event",
    "EventKind": "callboard.actors.event",
    "LocalClient": "callboard.actors.local_client",
    "TaskRequest": "callboard.actors.request",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)
