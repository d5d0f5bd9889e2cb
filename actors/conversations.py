"""Say what the HTTP clients ask for and what they make of the answers; `conversation.py` does the asking."""

import random
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from callboard.actors.answers import read_task
from callboard.actors.conversation import Ask, Asker, Conversation, list_bodies
from callboard.actors.errors import CallboardError, PartlyAccepted, RequestTimedOut
from callboard.actors.pull_conversations import PullConversations, plain
from callboard.actors.request import TaskChanges, TaskRequest, changes_body
from callboard.actors.request_values import check_key
from callboard.actors.task import ENDED_STATES, Task, TaskState
from callboard.actors.task_ids import path_part

BATCH_TASKS: Final = 10_000
BATCH_BYTES: Final = 768 * 1024
"""The server takes 10,000 tasks and, unless it is told otherwise, 1 MiB a request."""
WAIT_SECONDS: Final = 20.0
"""One request is held no longer: what stands between may close a connection that is silent for a minute."""


class Conversations:
    """Hold every kind of conversation with one server.

    timeout: seconds after which a call is given up, with all its repetitions; wait_seconds: how long one request is held.
    """

    def __init__(
        self,
        url: str,
        timeout: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        # The generator spreads repetitions, it hides nothing.
        self._asker = Asker(url, timeout, clock, rng or random.Random())  # noqa: S311
        self._clock = clock
        self._wait_seconds = wait_seconds
        self.pull = PullConversations(self._asker, clock, wait_seconds)

    def enqueue(self, wanted: TaskRequest, key: str | None) -> Conversation[Task]:
        """Submit one task; sent again under the same key, it is still one task."""
        body = _plain(wanted.to_body())
        answer = yield from self._asker.ask(Ask("POST", "/api/tasks", body=body, key=check_key(key or new_key())))
        return read_task(answer["data"])

    def enqueue_many(self, wanted: Iterable[TaskRequest | Mapping[str, Any]], key: str | None) -> Conversation[list[Task]]:
        """Submit tasks in their order, in as few requests as the server takes; each request is accepted as a whole.

        Raises `PartlyAccepted` when a later request fails after earlier ones were accepted.
        """
        key = check_key(key or new_key())
        bodies = list_bodies("tasks", [_plain(TaskRequest.of(one).to_body()) for one in wanted], BATCH_TASKS, BATCH_BYTES)
        accepted: list[Task] = []
        for number, body in enumerate(bodies):
            question = Ask("POST", "/api/tasks/batch", body=body, key=f"{key}-{number}")
            try:
                answer = yield from self._asker.ask(question)
            except CallboardError as error:
                if accepted:
                    raise PartlyAccepted(accepted, str(error)) from error
                raise
            accepted += [read_task(shown) for shown in answer["data"]]
        return accepted

    def get(self, task_id: str) -> Conversation[Task]:
        """Fetch one task."""
        answer = yield from self._asker.ask(Ask("GET", _path(task_id), task_id=task_id))
        return read_task(answer["data"])

    def wait(self, task_id: str, timeout: float | None) -> Conversation[Task]:
        """Fetch one task once it has ended, or raise `RequestTimedOut` if it has not by then (None: ever)."""
        until = None if timeout is None else self._clock() + timeout
        while True:
            held = self._wait_seconds if until is None else min(self._wait_seconds, max(0.0, until - self._clock()))
            question = Ask("GET", _path(task_id), {"wait": f"{held:.3f}"}, task_id=task_id, held=held)
            answer = yield from self._asker.ask(question)
            task = read_task(answer["data"])
            if task.state in ENDED_STATES:
                return task
            if until is not None and self._clock() >= until:
                raise RequestTimedOut(f"task {task_id} is still {task.state} after {timeout:g} s")

    def retry(self, task_id: str, *, keep_attempts: bool) -> Conversation[Task]:
        """Put an ended task back. Not sent again when its answer was lost: the task may have run and ended since."""
        body = _plain({"keep_attempts": True} if keep_attempts else {})
        question = Ask("POST", _path(task_id, "/retry"), body=body, task_id=task_id, repeatable=False)
        answer = yield from self._asker.ask(question)
        return read_task(answer["data"])

    def update(self, task_id: str, changes: TaskChanges) -> Conversation[Task]:
        """Change a waiting task. Not sent again when its answer was lost: the task may have begun since."""
        question = Ask("PATCH", _path(task_id), body=_plain(changes_body(changes)), task_id=task_id, repeatable=False)
        answer = yield from self._asker.ask(question)
        return read_task(answer["data"])

    def cancel(self, task_id: str) -> Conversation[Task]:
        """Cancel a task, and kill it if it runs."""
        question = Ask("POST", _path(task_id, "/cancel"), body=b"{}", task_id=task_id, settled=TaskState.CANCELLED)
        answer = yield from self._asker.ask(question)
        if answer is None:
            return (yield from self.get(task_id))
        return read_task(answer["data"])

    def queues(self) -> Conversation[list[dict[str, Any]]]:
        """Fetch all queues in their public form."""
        answer = yield from self._asker.ask(Ask("GET", "/api/queues"))
        queues: list[dict[str, Any]] = answer["data"]
        return queues


def new_key() -> str:
    """Return a fresh Idempotency-Key."""
    return uuid.uuid4().hex


def _path(task_id: str, action: str = "") -> str:
    return f"/api/tasks/{path_part(task_id)}{action}"


def _plain(body: dict[str, Any]) -> bytes:
    return plain(body, "context")
