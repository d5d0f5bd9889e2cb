"""Every error that Callboard raises on purpose.

One base class, small subclasses that carry fields, so that a caller can decide by type and a person can read the text.
Errors cross processes as strings (see `messages.Refused`), never as pickled exceptions.
"""

from typing import Any


class CallboardError(Exception):
    """Base of all of Callboard's own errors."""


class SettingsError(CallboardError):
    """A configuration that cannot be used; the text names the key and, for an unknown key, the nearest known one."""


class ServerNotRunning(CallboardError):
    """There is no live server for this data directory."""


class NotPermitted(CallboardError):
    """The data directory belongs to another user, so nothing can be said of its server."""


class DataDirectoryInUse(CallboardError):
    """Another server holds the lock of this data directory."""


class Superseded(CallboardError):
    """This owner of a queue was replaced by a later incarnation and may not write any more."""

    def __init__(self, queue: str, incarnation: int) -> None:
        super().__init__(f"incarnation {incarnation} of queue {queue!r} has been replaced")
        self.queue = queue
        self.incarnation = incarnation


class OwnedElsewhere(CallboardError):
    """Another server on the same store owns the queue; ours stands by for it."""

    def __init__(self, queue: str, holder: str) -> None:
        super().__init__(f"queue {queue!r} is owned by {holder}")
        self.queue = queue
        self.holder = holder


class QueueNotEmpty(CallboardError):
    """A queue was to be deleted only if it is empty, and it has unfinished or dead tasks; it is left as it was."""

    def __init__(self, queue: str) -> None:
        super().__init__(f"queue {queue!r} has unfinished or dead tasks")
        self.queue = queue


class QueueBeingDeleted(CallboardError):
    """A queue was to be made whose name is not free yet: tasks of a deleted queue of that name are still in the store."""

    def __init__(self, queue: str) -> None:
        super().__init__(f"queue {queue!r} is still being deleted: ask again in a moment")
        self.queue = queue


class StoreUnavailable(CallboardError):
    """The store cannot be written or read just now (disk full, locked, damaged, gone); nothing of the change was kept."""


class StoreTooNew(CallboardError):
    """The database was written by a later version of Callboard."""


class StaleChange(CallboardError):
    """A change named a task in a state that it is not in: the owner's picture is wrong, it must read the store again.

    Nothing of the change was kept. `missed`: how many of the changed tasks were not as they were thought to be.
    """

    def __init__(self, queue: str, missed: int) -> None:
        super().__init__(f"{missed} tasks of queue {queue!r} are not in the state that the change supposes")
        self.queue = queue
        self.missed = missed


class KeptAfterAll(StaleChange):
    """The connection to the store ended while a change was committed, and it was: the owner was told that it failed."""

    def __init__(self, queue: str) -> None:
        super().__init__(queue, 0)
        self.args = (f"the last change of queue {queue!r} was stored although the connection to the store had ended",)


class DuplicateTask(CallboardError):
    """A task with this id is in the store already."""


class RequestRefused(CallboardError):
    """The other side answered that it will not do what was asked.

    `reason` is one of `messages.RefusalReason`, `detail` a sentence for people, `answer` the message itself, which may say
    more to programs.
    """

    def __init__(self, reason: str, detail: str, answer: object = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.answer = answer


class RequestTimedOut(CallboardError):
    """No answer by the deadline; what was asked may or may not have happened."""


class InvalidOption(CallboardError):
    """A value that an option does not take; the text says which values it takes.

    `field` names the option where the raiser knows it.
    """

    def __init__(self, detail: str, *, field: str = "") -> None:
        super().__init__(detail)
        self.field = field


class TaskNotFound(CallboardError):
    """No task has this id."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"no task has the id {task_id}")
        self.task_id = task_id


class WrongState(CallboardError):
    """A task's state does not allow what was asked, for example the retry of a running task."""

    def __init__(self, task_id: str, state: str, detail: str = "") -> None:
        super().__init__(detail or f"task {task_id} is {state}")
        self.task_id = task_id
        self.state = state


class StaleClaim(WrongState):
    """A fetched task is not with this consumer any more: its lease has expired, it was settled, or it was cancelled."""

    STATE = "stale"

    def __init__(self, task_id: str, detail: str = "") -> None:
        super().__init__(task_id, self.STATE, detail or f"task {task_id} is not with this consumer any more")


class PartlyAccepted(CallboardError):
    """Some of many tasks were accepted (`accepted`, as `Task`s, the first ones in order), then a request failed."""

    def __init__(self, accepted: list[Any], detail: str) -> None:
        super().__init__(f"{len(accepted)} tasks were accepted, then: {detail}")
        self.accepted = accepted
