"""Look after a server's queues from the same machine: what the command line does beyond tasks."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from callboard.actors.caller import QueueCaller
from callboard.actors.connection import Connection
from callboard.actors.errors import CallboardError, InvalidOption, RequestRefused
from callboard.actors.messages import (
    DeleteQueue,
    DescribeQueue,
    DrainQueue,
    EventsFound,
    FindEvents,
    ListQueues,
    PauseQueue,
    PutQueue,
    QueueDeleted,
    QueueDescribed,
    QueueFound,
    QueuePut,
    QueuesListed,
    QueueStatus,
    RefusalReason,
    ResumeQueue,
    ScaleQueue,
)
from callboard.actors.showing import queue_asleep_shown, queue_down_shown, queue_shown
from callboard.actors.submitting import nearest
from callboard.conf.settings import QueueSettings

DESCRIBE_SECONDS: Final = 3.0
"""A queue that does not answer must not hold up the list of the others for long."""


_T = TypeVar("_T")


class _QueueCommand(Protocol):
    def __call__(self, request_id: str, queue: str, incarnation: int, /) -> object:
        """Make the message."""


class Control:
    """Commands to queues, through a connection. All of them may be repeated, so they survive a server's death."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def names(self) -> QueuesListed:
        """Return the names of all queues, and of those without a live owner the reason."""
        return self._connection.ask(lambda caller, left: caller.ask_registry(ListQueues, QueuesListed, left))[0]

    def events(self) -> EventsFound:
        """Return where the Events actor is. Raises `RequestRefused` while it is being started."""
        return self._connection.ask(lambda caller, left: caller.ask_registry(FindEvents, EventsFound, left))[0]

    def check_name(self, queue: str) -> None:
        """Raise `InvalidOption` that names the nearest queue if there is none of this name."""
        names = self.names().names
        if queue not in names:
            raise InvalidOption(f"unknown queue {queue!r}: {nearest(queue, sorted(names))}", field="queue")

    def find(self, queue: str) -> QueueFound:
        """Return where a queue is. Raises `InvalidOption` that names the nearest queue if there is none of this name."""
        try:
            return self._connection.ask(lambda caller, left: caller.find(queue, left))[0]
        except RequestRefused as refusal:
            raise self.named(queue, refusal) from None

    def queues(self) -> list[dict[str, Any]]:
        """Return all queues in their public form; of one whose owner can't be asked, what the store knows."""
        listed = self.names()
        asleep = set(listed.asleep)
        rows = {row.name: row for row in self._connection.store.queues()} if asleep else {}
        counts = self._connection.store.counts() if asleep else {}
        return [
            queue_asleep_shown(rows[name], counts.get(name))
            if name in asleep and name in rows
            else self._shown(name, listed.down.get(name, ""), name in listed.standby)
            for name in sorted(listed.names)
        ]

    def put(self, queue: str, settings: QueueSettings) -> bool:
        """Create a queue or replace its settings, and tell whether it is new; survives a restart."""

        def ask(caller: QueueCaller, left: float) -> QueuePut:
            return caller.ask_registry(lambda request_id: PutQueue(request_id, queue, settings), QueuePut, left)

        put, unsure = self._connection.ask(ask)
        return put.created or unsure

    def pause(self, queue: str) -> QueueStatus:
        """Have the queue begin nothing more; survives a restart."""
        return self._command(queue, PauseQueue)

    def resume(self, queue: str) -> QueueStatus:
        """End a pause or a drain."""
        return self._command(queue, ResumeQueue)

    def drain(self, queue: str) -> QueueStatus:
        """Have the queue accept nothing more and work off what it has."""
        return self._command(queue, DrainQueue)

    def scale(self, queue: str, concurrency: int) -> QueueStatus:
        """Change how many of the queue's tasks run at once; survives a restart."""
        return self._command(queue, partial(_scale, concurrency))

    def delete(self, queue: str, *, force: bool) -> int:
        """Delete a queue and return how many tasks went with it; only an empty one unless forced."""

        def ask(caller: QueueCaller, left: float) -> QueueDeleted:
            return caller.ask_registry(lambda request_id: DeleteQueue(request_id, queue, force), QueueDeleted, left)

        try:
            return self._connection.ask(ask)[0].tasks
        except RequestRefused as refusal:
            raise self.named(queue, refusal) from None

    def named(self, queue: str, refusal: RequestRefused) -> CallboardError:
        """Return the refusal, as an error that names the nearest queue if it says that there is none of this name."""
        if refusal.reason != RefusalReason.UNKNOWN_QUEUE:
            return refusal
        names = sorted(self.names().names)
        return InvalidOption(f"unknown queue {queue!r}: {nearest(queue, names)}", field="queue")

    def _shown(self, name: str, why: str, standby: bool) -> dict[str, Any]:  # noqa: FBT001 - one of the things shown
        if not why:
            try:
                question = partial(_described, name)
                return queue_shown(self._connection.ask(question)[0].status)
            except CallboardError as error:
                why = str(error)
        row = next((row for row in self._connection.store.queues() if row.name == name), None)
        settings = None if row is None else QueueSettings.model_validate_json(row.settings)
        return queue_down_shown(name, why, self._connection.store.counts().get(name), settings, standby=standby)

    def _command(self, queue: str, command: _QueueCommand) -> QueueStatus:
        def ask(caller: QueueCaller, left: float) -> QueueDescribed:
            return caller.ask_queue(
                queue, lambda request_id, found: command(request_id, queue, found.incarnation), QueueDescribed, left
            )[0]

        return self._asked(queue, ask).status

    def _asked(self, queue: str, question: Callable[[QueueCaller, float], _T]) -> _T:
        try:
            return self._connection.ask(question)[0]
        except RequestRefused as refusal:
            raise self.named(queue, refusal) from None


def _scale(concurrency: int, request_id: str, queue: str, incarnation: int) -> ScaleQueue:
    return ScaleQueue(request_id, queue, incarnation, concurrency)


def _described(queue: str, caller: QueueCaller, left: float) -> QueueDescribed:
    seconds = min(left, DESCRIBE_SECONDS)
    return caller.ask_queue(
        queue,
        lambda request_id, found: DescribeQueue(request_id, queue, found.incarnation),
        QueueDescribed,
        seconds,
        wake=False,
    )[0]
