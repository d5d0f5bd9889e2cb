"""The calls of `Client` and `AsyncClient` for consumers: fetch tasks, and say what became of them."""

from collections.abc import Iterable
from typing import Any, TypeVar

from callboard.actors.claimed import DEFAULT_LEASE, Claimed, ClaimedTask
from callboard.actors.conversation import Conversation
from callboard.actors.conversations import Conversations, new_key
from callboard.actors.request import Duration
from callboard.actors.task import Task

_T = TypeVar("_T")


class PullCalls:
    """What a consumer calls. Its claims are good until their leases end, whatever happens to the server meanwhile."""

    _talk: Conversations

    def dequeue(
        self,
        queue: str,
        *,
        max: int = 1,  # noqa: A002 - the option's public name
        lease: Duration = DEFAULT_LEASE,
        wait: Duration = 0,
        consumer: str = "",
        idempotency_key: str | None = None,
    ) -> list[ClaimedTask]:
        """Fetch at most `max` tasks, waiting so long for the first of them; [] if there is none.

        Settle each within its lease, or renew that: a lease that ends is a failed attempt. consumer: named where that
        happens. idempotency_key: the same gets the tasks that it got and still holds.
        """
        key = idempotency_key or new_key()
        return self._hold(self._talk.pull.dequeue(queue, wanted=max, lease=lease, wait=wait, consumer=consumer, key=key))

    def ack(self, task: Claimed, result: Any = None) -> Task:
        """Complete a fetched task. Raises `StaleClaim` when it is not this consumer's any more."""
        return self._hold(self._talk.pull.ack(task, result))

    def ack_many(self, ends: Iterable[tuple[Claimed, Any]]) -> list[str]:
        """Complete many tasks, given with their results; returns `done`, `stale` or `unknown` for each."""
        return self._hold(self._talk.pull.ack_many(list(ends)))

    def fail(self, task: Claimed, error: str, *, discard: bool = False) -> Task:
        """End an attempt that has failed; `discard`: there is to be no other. Raises `StaleClaim`."""
        return self._hold(self._talk.pull.fail(task, error, discard=discard))

    def heartbeat(self, task: Claimed, lease: Duration = DEFAULT_LEASE) -> Task:
        """Have the lease end so long from now. Raises `StaleClaim`."""
        return self._hold(self._talk.pull.heartbeat(task, lease))

    def _hold(self, conversation: Conversation[_T]) -> _T:
        raise NotImplementedError


class AsyncPullCalls:
    """The same for asyncio."""

    _talk: Conversations

    async def dequeue(
        self,
        queue: str,
        *,
        max: int = 1,  # noqa: A002 - as in PullCalls
        lease: Duration = DEFAULT_LEASE,
        wait: Duration = 0,
        consumer: str = "",
        idempotency_key: str | None = None,
    ) -> list[ClaimedTask]:
        """Fetch tasks, as `Client.dequeue` does."""
        key = idempotency_key or new_key()
        asked = self._talk.pull.dequeue(queue, wanted=max, lease=lease, wait=wait, consumer=consumer, key=key)
        return await self._hold(asked)

    async def ack(self, task: Claimed, result: Any = None) -> Task:
        """Complete a fetched task, as `Client.ack` does."""
        return await self._hold(self._talk.pull.ack(task, result))

    async def ack_many(self, ends: Iterable[tuple[Claimed, Any]]) -> list[str]:
        """Complete many tasks, as `Client.ack_many` does."""
        return await self._hold(self._talk.pull.ack_many(list(ends)))

    async def fail(self, task: Claimed, error: str, *, discard: bool = False) -> Task:
        """End an attempt that has failed, as `Client.fail` does."""
        return await self._hold(self._talk.pull.fail(task, error, discard=discard))

    async def heartbeat(self, task: Claimed, lease: Duration = DEFAULT_LEASE) -> Task:
        """Renew a lease, as `Client.heartbeat` does."""
        return await self._hold(self._talk.pull.heartbeat(task, lease))

    async def _hold(self, conversation: Conversation[_T]) -> _T:
        raise NotImplementedError
