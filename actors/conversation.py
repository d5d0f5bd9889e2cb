"""Ask an HTTP server until it answers for good, without doing any I/O.

A conversation is a generator that yields what is to be done next (`Send` a request, or `Pause`) and is sent what came of
it. So the rules of sending again are written once, for the blocking and for the asyncio client, and are tested without a
server.
"""

import random
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, TypeVar

from callboard.actors.answers import OK_BELOW, error_of, parse_body
from callboard.actors.errors import CallboardError, RequestTimedOut, ServerNotRunning, WrongState
from callboard.actors.resending import Loss, wait_before_next

ATTEMPT_SECONDS: Final = 20.0
"""One attempt waits no longer for its answer: the server gives up after 15 s, so it must be stopped or gone."""
PROXY_TROUBLE: Final = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT})
"""What stands before the server answered in its place, and does not know what the server did."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send this request and wait at most `timeout` seconds for its answer."""

    method: str
    path: str
    timeout: float
    params: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    key: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The server answered."""

    status: int
    content: bytes
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer came; `detail` says why."""

    loss: Loss
    detail: str


_T = TypeVar("_T")
Conversation = Generator[Send | Pause, Answer | Lost | None, _T]
"""What a client is to do, one step after the other, and what it has in the end."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to the server.

    repeatable: doing it twice is the same as doing it once. task_id: the task it is about, "" for none. held: seconds
    that the server may keep it before it answers. settled: the task's state which, met on a repetition, means that an
    earlier attempt has done it.
    """

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    key: str = ""
    repeatable: bool = True
    task_id: str = ""
    held: float = 0.0
    settled: str = ""


@dataclass(frozen=True, slots=True)
class Asker:
    """Ask one server. timeout: seconds after which a question is given up, with all its repetitions."""

    url: str
    timeout: float
    clock: Callable[[], float]
    rng: random.Random

    def ask(self, question: Ask) -> Conversation[Any]:
        """Return the parsed answer, None for one that is settled.

        Raises the error that a final refusal stands for, `ServerNotRunning` when nothing was ever sent, and
        `RequestTimedOut` when it may have been done.
        """
        deadline = self.clock() + self.timeout + question.held
        attempt = 0
        while True:
            attempt += 1
            timeout = min(max(deadline - self.clock(), 0.001), ATTEMPT_SECONDS + question.held)
            came = yield Send(question.method, question.path, timeout, question.params, question.body, question.key)
            assert came is not None
            failure: Loss | int
            if isinstance(came, Lost):
                failure, retry_after = came.loss, None
            elif came.status in PROXY_TROUBLE:
                failure, retry_after = Loss.ANSWER_LOST, came.retry_after
            elif came.status < OK_BELOW:
                return parse_body(came.content)
            else:
                failure, retry_after = came.status, came.retry_after
            left = deadline - self.clock()
            wait = wait_before_next(
                attempt, failure, retry_after=retry_after, repeatable=question.repeatable, left=left, rng=self.rng
            )
            if wait is None:
                error = self._final(came, question.task_id)
                if attempt > 1 and isinstance(error, WrongState) and error.state == question.settled:
                    return None
                raise error
            yield Pause(wait)

    def _final(self, came: Answer | Lost, task_id: str) -> CallboardError:
        if isinstance(came, Answer):
            return error_of(came.status, parse_body(came.content), task_id)
        if came.loss is Loss.NOT_SENT:
            return ServerNotRunning(f"no server answers at {self.url}: {came.detail}")
        return RequestTimedOut(f"{self.url} did not answer ({came.detail}); what was asked for may have been done")


def list_bodies(field: str, items: Sequence[bytes], most: int, most_bytes: int) -> Iterator[bytes]:
    """Yield bodies `{field: [items]}`, as few as possible; an item that is too large goes alone, to be refused."""
    batch: list[bytes] = []
    size = 0
    for item in items:
        if batch and (len(batch) == most or size + len(item) > most_bytes):
            yield _list_body(field, batch)
            batch, size = [], 0
        batch.append(item)
        size += len(item) + 1
    if batch:
        yield _list_body(field, batch)


def _list_body(field: str, items: Sequence[bytes]) -> bytes:
    return b'{"%s":[%s]}' % (field.encode(), b",".join(items))
