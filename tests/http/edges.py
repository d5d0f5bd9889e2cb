"""An application over a memory store and a gateway that plays the actors, so that a test says what they answer."""

import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette

from callboard.actors.caller import DEADLINE_SECONDS, SettingsChanged
from callboard.actors.errors import RequestRefused
from callboard.actors.messages import (
    ExchangeTasks,
    Outcome,
    QueueFound,
    QueueStatus,
    RefusalReason,
    Settlement,
    Submission,
    TasksExchanged,
    Verdict,
    Want,
    WorkerStatus,
)
from callboard.actors.store import Change, Insert, QueueStore, Store
from callboard.actors.store.opening import open_store
from callboard.actors.submitting import first_state
from callboard.actors.task import TaskState
from callboard.conf.settings import QueueSettings, Settings
from callboard.http.app import build_app, running_edge
from callboard.http.edge import Edge
from callboard.http.exchanging import Exchanged

SLEEP = "callboard.actors.samples:Sleep"
QUEUES = {
    "sleep": QueueSettings(worker=SLEEP),
    "typed": QueueSettings(types={"SendEmail": "callboard.actors.samples:SendEmail", "CPUProcess": SLEEP}),
    "dead_letter": QueueSettings(concurrency=0),
}


class PlayedActors:
    """A gateway whose queues store at once and whose other answers are given by the test.

    answers: by message class, what makes the reply of (message). refusals: by queue, what `submit` raises or returns.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.queues: dict[str, QueueFound] = {}
        self.owners: dict[str, QueueStore] = {}
        self.submitted: list[Submission] = []
        self.asked: list[Any] = []
        self.answers: dict[type, Callable[[Any], Any]] = {}
        self.verdicts: dict[str, list[Verdict | Exception]] = {}
        self.unsure = False
        self.forgotten: list[str] = []
        for name, settings in QUEUES.items():
            self.add(name, settings)

    def add(self, name: str, settings: QueueSettings) -> QueueFound:
        """Make a queue, or give it other settings."""
        row = self.store.put_queue(name, settings.model_dump_json(), "", 1)
        if name not in self.owners:
            self.owners[name], _ = self.store.own(name)
        self.queues[name] = QueueFound("", name, None, 1, 1.0, 1, settings, row.settings_version)
        return self.queues[name]

    async def find(self, queue: str) -> QueueFound:
        if queue not in self.queues:
            raise RequestRefused(RefusalReason.UNKNOWN_QUEUE, f"unknown queue {queue!r}, did you mean 'sleep'?")
        return self.queues[queue]

    async def submit(self, found: QueueFound, submission: Submission, size: int) -> Verdict:
        self.submitted.append(submission)
        if planned := self.verdicts.get(found.queue):
            verdict = planned.pop(0)
            if isinstance(verdict, RequestRefused) and verdict.reason == RefusalReason.UNKNOWN_QUEUE:
                del self.queues[found.queue]  # it has been deleted elsewhere, and by now this is known here, too
            if isinstance(verdict, Exception):
                raise verdict
            return verdict
        if found.settings_version != self.queues[found.queue].settings_version:
            raise SettingsChanged(self.queues[found.queue])
        self.insert(found.queue, submission)
        return Verdict(Outcome.ACCEPTED)

    def insert(self, queue: str, submission: Submission) -> None:
        """Store a submission as a Queue would."""
        rows = [Insert(task, first_state(task), -task.priority, rank) for rank, task in enumerate(submission.tasks)]
        with self.owners[queue].transaction() as transaction:
            transaction.apply(Change(inserts=rows))

    async def exchange(self, queue: str, settlements: Sequence[Settlement], wants: Sequence[Want]) -> Exchanged:
        asked = ExchangeTasks(uuid.uuid4().hex, (await self.find(queue)).queue, 1, tuple(settlements), tuple(wants))
        reply = self._answer(asked, TasksExchanged)
        return Exchanged(reply.settled, reply.given)

    async def ask_queue(
        self,
        queue: str,
        request: Callable[[str, QueueFound], object],
        answer: type[Any],
        seconds: float = DEADLINE_SECONDS,
        *,
        wake: bool = True,
    ) -> tuple[Any, bool]:
        return self._answer(request(uuid.uuid4().hex, await self.find(queue)), answer), self.unsure

    async def ask_registry(
        self, request: Callable[[str], object], answer: type[Any], seconds: float = DEADLINE_SECONDS
    ) -> Any:
        return self._answer(request(uuid.uuid4().hex), answer)

    def _answer(self, message: Any, answer: type[Any]) -> Any:
        self.asked.append(message)
        reply = self.answers[type(message)](message)
        if isinstance(reply, Exception):
            raise reply
        assert isinstance(reply, answer)
        return reply

    def forget(self, queue: str) -> None:
        self.forgotten.append(queue)

    async def close(self) -> None:
        pass


def app_over(actors: PlayedActors, settings: Settings | None = None) -> Starlette:
    """Make the application that asks these actors."""
    chosen = settings or Settings()

    @asynccontextmanager
    async def open_edge() -> AsyncIterator[Edge]:
        async with running_edge(chosen, actors, actors.store) as edge:
            yield edge

    return build_app(chosen, open_edge)


def played_actors() -> PlayedActors:
    """Make actors over a memory store of their own."""
    return PlayedActors(open_store("memory:"))


def status_of(name: str, **changes: Any) -> QueueStatus:
    """Make what a queue's owner says of it."""
    values: dict[str, Any] = {
        "name": name,
        "pid": 11,
        "incarnation": 1,
        "state": "running",
        "why": "",
        "counts": dict.fromkeys(TaskState, 0),
        "settings": QUEUES.get(name, QueueSettings()),
        "workers": (WorkerStatus("w1", 12, "idle", None, None, 1000, 3),),
        "submitted_rate": 1.5,
        "completed_rate": 1.0,
        "failed_rate": 0.0,
        "oldest_age_ms": None,
        "running": 0,
        "utilisation": 0.25,
    }
    return QueueStatus(**(values | changes))
