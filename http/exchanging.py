"""Consumers' requests on their way to a queue: all that wait go in one message, and so in one transaction.

The same lanes as for submissions (`gateway.py`), for what is asked and said by those who fetch their tasks.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from callboard.actors.caller import QueueCaller
from callboard.actors.messages import ExchangeTasks, Given, QueueFound, Settled, Settlement, TasksExchanged, Want, surely
from callboard.http.caller_pool import CallerPool
from callboard.http.lanes import carry
from callboard.http.problems import Overloaded

MESSAGE_ITEMS: Final = 1_000
"""Words and wanted tasks in one message; no request is split, so one of the largest goes alone."""
MESSAGE_BYTES: Final = 1_000_000
WAITING_REQUESTS: Final = 5_000
WAITING_BYTES: Final = 64_000_000
SETTLEMENT_BYTES: Final = 100
"""About what a word weighs in a message, without its text."""


class Exchanged(NamedTuple):
    """What became of one request."""

    settled: Sequence[Settled]
    given: Sequence[Given]


@dataclass(slots=True)
class _Waiting:
    settlements: Sequence[Settlement]
    wants: Sequence[Want]
    items: int
    size: int
    answer: "asyncio.Future[Exchanged]"


@dataclass(slots=True)
class _Lane:
    """What waits for one queue while a message is under way or about to be."""

    waiting: deque[_Waiting] = field(default_factory=deque)
    size: int = 0


class ExchangeLanes:
    """One lane a queue; they belong to the event loop, the pool's threads only carry messages."""

    def __init__(self, pool: CallerPool) -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._lanes: dict[str, _Lane] = {}

    async def exchange(self, queue: str, settlements: Sequence[Settlement], wants: Sequence[Want]) -> Exchanged:
        """Put a request into its queue's lane and wait for its answers."""
        size = sum(SETTLEMENT_BYTES + len(word.text) for word in settlements)
        lane = self._lanes.get(queue)
        if lane is not None and (len(lane.waiting) >= WAITING_REQUESTS or lane.size + size > WAITING_BYTES):
            raise Overloaded(f"Too many requests of consumers wait to be taken by queue {queue!r}.")
        if lane is None:
            lane = self._lanes[queue] = _Lane()
            # After this turn of the loop: all requests that have arrived by now go together.
            self._loop.call_soon(self._next_message, queue, lane)
        items = len(settlements) + sum(want.max for want in wants)
        waiting = _Waiting(settlements, wants, items, size, self._loop.create_future())
        lane.waiting.append(waiting)
        lane.size += size
        return await waiting.answer

    def _next_message(self, queue: str, lane: _Lane) -> None:
        batch = _take(lane)
        if batch:
            self._pool.post(
                lambda caller: carry(
                    self._loop, batch, lambda: _ask(caller, queue, batch), lambda: self._next_message(queue, lane)
                )
            )
        else:
            del self._lanes[queue]


def _take(lane: _Lane) -> list[_Waiting]:
    """Take what goes into the next message; whoever has gone away meanwhile is not asked for."""
    batch: list[_Waiting] = []
    items = size = 0
    while lane.waiting:
        first = lane.waiting[0]
        if not first.answer.done():
            items += first.items
            size += first.size
            if batch and (items > MESSAGE_ITEMS or size > MESSAGE_BYTES):
                break
            batch.append(first)
        lane.waiting.popleft()
        lane.size -= first.size
    return batch


def _ask(caller: QueueCaller, queue: str, batch: Sequence[_Waiting]) -> list[Exchanged]:
    settlements = tuple(word for waiting in batch for word in waiting.settlements)
    wants = tuple(want for waiting in batch for want in waiting.wants)

    def request(request_id: str, found: QueueFound) -> ExchangeTasks:
        return ExchangeTasks(request_id, found.queue, found.incarnation, settlements, wants)

    reply, unsure = caller.ask_queue(queue, request, TasksExchanged)
    settled = tuple(map(surely, settlements, reply.settled)) if unsure else reply.settled
    words, given = iter(settled), iter(reply.given)
    return [Exchanged([next(words) for _ in one.settlements], [next(given) for _ in one.wants]) for one in batch]
