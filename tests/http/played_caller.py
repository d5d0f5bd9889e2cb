"""A stand-in for `QueueCaller`, whose answers a test can hold back."""

import threading
from collections.abc import Sequence
from typing import Any

from callboard.actors.caller import Directory
from callboard.actors.errors import CallboardError, RequestRefused
from callboard.actors.messages import Outcome, QueueFound, RefusalReason, Submission, Verdict
from callboard.actors.submitting import new_task
from callboard.conf.settings import QueueSettings

SETTINGS = QueueSettings(worker="a:b")


def found(queue: str = "q", version: int = 1) -> QueueFound:
    return QueueFound("", queue, None, 1, 1.0, 1, SETTINGS, version)


def submission(tasks: int = 1) -> Submission:
    task = new_task(
        "q",
        SETTINGS,
        type=None,
        context_json="{}",
        priority=None,
        max_retries=None,
        backoff=None,
        timeout_ms=None,
        run_at=0,
        created_by="test",
        now=1,
    )
    return Submission((task,) * tasks)


class PlayedCaller:
    """Stands in for `QueueCaller`: what it was asked, and answers that a test can hold back."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, int]] = []
        self.finds: list[str] = []
        self.go = threading.Event()
        self.go.set()
        self.held: set[str] = set()
        self.failure: Exception | None = None
        self.closed = 0
        self.directory = Directory()
        self.at_once = 0
        self.most_at_once = 0

    def submit(self, owner: QueueFound, submissions: Sequence[Submission]) -> list[Verdict | CallboardError]:
        self.messages.append((owner.queue, sum(len(one.tasks) for one in submissions)))
        if owner.queue in self.held:
            assert self.go.wait(30)
        if self.failure is not None:
            raise self.failure
        return [Verdict(Outcome.ACCEPTED, (str(len(submissions)),)) for _ in submissions]

    def find(self, queue: str) -> QueueFound:
        self.finds.append(queue)
        assert self.go.wait(30)
        if queue == "nowhere":
            raise RequestRefused(RefusalReason.UNKNOWN_QUEUE, "unknown")
        self.directory.note(found(queue))
        return found(queue)

    def ask_queue(self, queue: str, *_: Any, wake: bool = True) -> tuple[str, bool]:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        if queue in self.held:
            assert self.go.wait(30)
        self.at_once -= 1
        return queue, False

    def ask_registry(self, *_: Any) -> str:
        return "registry"

    def close(self) -> None:
        self.closed += 1
