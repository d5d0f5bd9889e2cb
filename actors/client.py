"""Talk to a server over HTTP: `Client` for ordinary programs, `AsyncClient` for asyncio.

Both send again what they may send again, until it is answered or time is up: a submission carries an Idempotency-Key, so
a server that dies meanwhile loses nothing and doubles nothing.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar, Unpack

import httpx2

from callboard.actors.client_http import answer_of, connection_options, loss_of, request_options
from callboard.actors.client_pulling import AsyncPullCalls, PullCalls
from callboard.actors.conversation import Answer, Conversation, Lost, Pause
from callboard.actors.conversations import Conversations
from callboard.actors.request import TaskChanges, TaskOptions, TaskRequest
from callboard.actors.subscription import AsyncSubscription, Subscription
from callboard.actors.task import Task

DEFAULT_URL: Final = "http://127.0.0.1:4000"
DEFAULT_TIMEOUT_SECONDS: Final = 30.0

_T = TypeVar("_T")


class Client(PullCalls):
    """A blocking client; may be shared between threads, not across a fork. Close it, or use it in a `with` block.

    timeout: seconds after which a call is given up, with all its repetitions. Raises errors of `callboard.actors.errors`:
    `InvalidOption`, `TaskNotFound`, `WrongState`, `RequestRefused`, `ServerNotRunning`, `RequestTimedOut`.
    """

    def __init__(self, url: str = DEFAULT_URL, token: str | None = None, timeout: float = DEFAULT_TIMEOUT_SECONDS) -> None:
        self._talk = Conversations(url, timeout)
        self._timeout = timeout
        self._http = httpx2.Client(**connection_options(url, token))

    def enqueue(
        self,
        queue: str,
        context: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> Task:
        """Submit a task and return it; it is on the server's disk then. `TaskRequest` says what the options mean.

        idempotency_key: your own name for this submission, so that your program may repeat it after its own death.
        """
        wanted = TaskRequest.of({"queue": queue, "context": context, **options})
        return self._hold(self._talk.enqueue(wanted, idempotency_key))

    def enqueue_many(
        self, tasks: Iterable[TaskRequest | Mapping[str, Any]], *, idempotency_key: str | None = None
    ) -> list[Task]:
        """Submit many tasks in few requests and return them in their order.

        Each is a `TaskRequest` or a mapping with its names. Up to 10,000 tasks or 768 KiB are validated as a whole before
        anything is stored; of more, `PartlyAccepted` says which were accepted when a later part fails.
        """
        return self._hold(self._talk.enqueue_many(tasks, idempotency_key))

    def get(self, task_id: str) -> Task:
        """Fetch one task. Raises `TaskNotFound`."""
        return self._hold(self._talk.get(task_id))

    def wait(self, task_id: str, timeout: float | None = None) -> Task:
        """Fetch a task once it is completed, dead or cancelled; raises `RequestTimedOut` after `timeout` seconds."""
        return self._hold(self._talk.wait(task_id, timeout))

    def retry(self, task_id: str, *, keep_attempts: bool = False) -> Task:
        """Put a dead, cancelled or completed task back with a fresh budget. Raises `WrongState` for any other."""
        return self._hold(self._talk.retry(task_id, keep_attempts=keep_attempts))

    def update(self, task_id: str, **changes: Unpack[TaskChanges]) -> Task:
        """Change a waiting task: `priority`, `queue`, and `delay` or `run_at`. Raises `WrongState` for any other."""
        return self._hold(self._talk.update(task_id, changes))

    def cancel(self, task_id: str) -> Task:
        """Cancel a task, and kill it if it runs. Raises `WrongState` for one that has ended."""
        return self._hold(self._talk.cancel(task_id))

    def queues(self) -> list[dict[str, Any]]:
        """Fetch all queues as `GET /api/queues` shows them."""
        return self._hold(self._talk.queues())

    def subscribe(
        self, queues: Sequence[str] = (), *, last_id: str | None = None, timeout: float | None = None
    ) -> Subscription:
        """Follow what happens to tasks (of these queues, of all if none is named): `for event in` it, in a `with` block.

        A lost connection is made again; where it is not known any more what has happened meanwhile, there is a `gap`.
        last_id: go on after it. timeout: so many seconds without an event, and iterating raises `RequestTimedOut`.
        """
        return Subscription(self._http, queues, last_id, timeout, self._timeout)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _hold(self, conversation: Conversation[_T]) -> _T:
        came: Answer | Lost | None = None
        while True:
            try:
                step = conversation.send(came)
            except StopIteration as end:
                result: _T = end.value
                return result
            if isinstance(step, Pause):
                came = None
                time.sleep(step.seconds)
                continue
            try:
                came = answer_of(self._http.request(step.method, step.path, **request_options(step)))
            except httpx2.HTTPError as error:
                came = loss_of(error)


class AsyncClient(AsyncPullCalls):
    """The same as `Client` for asyncio: every call is awaited. Close it, or use it in an `async with` block."""

    def __init__(self, url: str = DEFAULT_URL, token: str | None = None, timeout: float = DEFAULT_TIMEOUT_SECONDS) -> None:
        self._talk = Conversations(url, timeout)
        self._timeout = timeout
        self._http = httpx2.AsyncClient(**connection_options(url, token))

    async def enqueue(
        self,
        queue: str,
        context: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> Task:
        """Submit a task, as `Client.enqueue` does."""
        wanted = TaskRequest.of({"queue": queue, "context": context, **options})
        return await self._hold(self._talk.enqueue(wanted, idempotency_key))

    async def enqueue_many(
        self, tasks: Iterable[TaskRequest | Mapping[str, Any]], *, idempotency_key: str | None = None
    ) -> list[Task]:
        """Submit many tasks, as `Client.enqueue_many` does."""
        return await self._hold(self._talk.enqueue_many(tasks, idempotency_key))

    async def get(self, task_id: str) -> Task:
        """Fetch one task. Raises `TaskNotFound`."""
        return await self._hold(self._talk.get(task_id))

    async def wait(self, task_id: str, timeout: float | None = None) -> Task:  # noqa: ASYNC109 - as in Client
        """Fetch a task once it has ended, as `Client.wait` does."""
        return await self._hold(self._talk.wait(task_id, timeout))

    async def retry(self, task_id: str, *, keep_attempts: bool = False) -> Task:
        """Put an ended task back, as `Client.retry` does."""
        return await self._hold(self._talk.retry(task_id, keep_attempts=keep_attempts))

    async def update(self, task_id: str, **changes: Unpack[TaskChanges]) -> Task:
        """Change a waiting task, as `Client.update` does."""
        return await self._hold(self._talk.update(task_id, changes))

    async def cancel(self, task_id: str) -> Task:
        """Cancel a task, as `Client.cancel` does."""
        return await self._hold(self._talk.cancel(task_id))

    async def queues(self) -> list[dict[str, Any]]:
        """Fetch all queues as `GET /api/queues` shows them."""
        return await self._hold(self._talk.queues())

    def subscribe(
        self, queues: Sequence[str] = (), *, last_id: str | None = None, timeout: float | None = None
    ) -> AsyncSubscription:
        """Follow what happens to tasks, as `Client.subscribe` does: `async for event in` it, in an `async with` block."""
        return AsyncSubscription(self._http, queues, last_id, timeout, self._timeout)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _hold(self, conversation: Conversation[_T]) -> _T:
        came: Answer | Lost | None = None
        while True:
            try:
                step = conversation.send(came)
            except StopIteration as end:
                result: _T = end.value
                return result
            if isinstance(step, Pause):
                came = None
                await asyncio.sleep(step.seconds)
                continue
            try:
                came = answer_of(await self._http.request(step.method, step.path, **request_options(step)))
            except httpx2.HTTPError as error:
                came = loss_of(error)
