"""A stand-in for the actor system as one thread sees it: a test scripts what arrives at its endpoint."""

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from thespian.actors import ActorAddress

from callboard.actors import processes
from callboard.actors.messages import (
    FindQueue,
    Outcome,
    QueueFound,
    RefusalReason,
    Refused,
    Submission,
    SubmitTasks,
    TasksAccepted,
    Verdict,
)
from callboard.actors.submitting import new_task
from callboard.conf.settings import QueueSettings

REGISTRY = ActorAddress("registry")
OWNER = ActorAddress("owner")
Script = Callable[[Any], Any]


class Wire:
    """Plays the actor system: `script(message)` is the answer to a message, a list of what arrives, or an error."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.sent: list[Any] = []
        self.opened = 0
        self.closed = 0
        self._arriving: list[Any] = []

    @contextmanager
    def endpoint(self) -> Iterator["Wire"]:
        self.opened += 1
        self._arriving = []
        yield self
        self.closed += 1

    def ask(self, address: Any, message: Any, timeout: float) -> object:
        self.sent.append(message)
        answer = self.script(message)
        if isinstance(answer, Exception):
            raise answer
        self._arriving += answer if isinstance(answer, list) else [answer]
        return self.listen(timeout)

    def listen(self, timeout: float) -> object:
        return self._arriving.pop(0) if self._arriving else None


def found(**changes: Any) -> QueueFound:
    me = processes.identify(os.getpid())
    assert me is not None
    values: dict[str, Any] = {
        "request_id": "",
        "queue": "q",
        "address": OWNER,
        "pid": me.pid,
        "started": me.started,
        "incarnation": 1,
        "settings": QueueSettings(worker="a:b"),
        "settings_version": 1,
    }
    return QueueFound(**(values | changes))


def submission(tasks: int = 1) -> Submission:
    def task() -> Any:
        return new_task(
            "q",
            QueueSettings(worker="a:b"),
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

    return Submission(tuple(task() for _ in range(tasks)))


def reply(answer: Callable[[Any], Any], owners: Sequence[QueueFound] = ()) -> Script:
    """Make a script: the Registry finds these owners one after the other (the last one for ever)."""
    queue = list(owners) or [found()]

    def script(message: Any) -> Any:
        if isinstance(message, FindQueue):
            owner = queue.pop(0) if len(queue) > 1 else queue[0]
            return QueueFound(**(vars(owner) | {"request_id": message.request_id}))
        return answer(message)

    return script


def accepted(message: Any) -> Any:
    return TasksAccepted(message.request_id, tuple(Verdict(Outcome.ACCEPTED) for _ in message.submissions))


def dead_process() -> processes.Ident:
    with subprocess.Popen(["sleep", "60"]) as child:
        ident = processes.identify(child.pid)
        child.kill()
    assert ident is not None
    return ident


@contextmanager
def mortal_process() -> Iterator[tuple[processes.Ident, Callable[[], None]]]:
    """Yield a process that lives, and what ends it."""
    with subprocess.Popen(["sleep", "60"]) as child:
        ident = processes.identify(child.pid)
        assert ident is not None

        def end() -> None:
            child.kill()
            child.wait()

        try:
            yield ident, end
        finally:
            end()


def refused(reason: RefusalReason) -> Script:
    return lambda message: Refused(message.request_id, reason, "no")


def submits(wire: Wire) -> list[SubmitTasks]:
    return [message for message in wire.sent if isinstance(message, SubmitTasks)]
