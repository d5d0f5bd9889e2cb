"""Between asyncio and the actors: many requests at once on this side, one ask per queue under way on the other.

Batches form by themselves: while a queue's owner stores what came before, its lane collects what comes in; all of that is
the next message. The lanes and all of their state belong to the event loop; pool threads only carry messages.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Final, Protocol, TypeVar
from weakref import WeakValueDictionary

from callboard.actors.caller import DEADLINE_SECONDS, Directory, QueueCaller
from callboard.actors.messages import QueueFound, Settlement, Submission, Verdict, Want
from callboard.http.caller_pool import CallerPool
from callboard.http.exchanging import Exchanged, ExchangeLanes
from callboard.http.lanes import carry
from callboard.http.problems import Overloaded

MESSAGE_TASKS: Final = 1_000
MESSAGE_BYTES: Final = 1_000_000
"""No more than this goes into one message, unless one submission alone is larger: that is never split."""
PAYING_TASKS: Final = 32
WAITING_TASKS: Final = 20_000
WAITING_REQUESTS: Final = 5_000
WAITING_BYTES: Final = 64_000_000
SUBMIT_THREADS: Final = 32
CONTROL_THREADS: Final = 16
CONTROL_PER_QUEUE: Final = 2
"""So many control requests to one queue may be under way: one that does not answer must not hold all threads."""

Reply = TypeVar("Reply")


class Gateway(Protocol):
    """What the routes need of the actors."""

    async def find(self, queue: str) -> QueueFound:
        """Return a queue's owner and settings. Raises `RequestRefused` (unknown queue) or `RequestTimedOut`."""

    async def submit(self, found: QueueFound, submission: Submission, size: int) -> Verdict:
        """Have a submission of about `size` bytes stored.

        Raises `Overloaded`, `caller.SettingsChanged`, `RequestRefused` or `RequestTimedOut`.
        """

    async def exchange(self, queue: str, settlements: Sequence[Settlement], wants: Sequence[Want]) -> Exchanged:
        """Have consumers' words and wishes dealt with. Raises `Overloaded`, `RequestRefused` or `RequestTimedOut`."""

    async def ask_queue(
        self,
        queue: str,
        request: Callable[[str, QueueFound], object],
        answer: type[Reply],
        seconds: float = DEADLINE_SECONDS,
        *,
        wake: bool = True,
    ) -> tuple[Reply, bool]:
        """Ask a queue's owner; see `QueueCaller.ask_queue`."""

    async def ask_registry(
        self, request: Callable[[str], object], answer: type[Reply], seconds: float = DEADLINE_SECONDS
    ) -> Reply:
        """Ask the Registry; see `QueueCaller.ask_registry`."""

    def forget(self, queue: str) -> None:
        """Have the queue looked up again: it was changed or deleted."""

    async def close(self) -> None:
        """Give up what is under way and end all threads."""


@dataclass(slots=True)
class _Waiting:
    found: QueueFound
    submission: Submission
    size: int
    answer: "asyncio.Future[Verdict]"


@dataclass(slots=True)
class _Lane:
    """What waits for one queue; `busy` while a message is under way or about to be."""

    waiting: deque[_Waiting] = field(default_factory=deque)
    tasks: int = 0
    bytes: int = 0
    last: int = 0
    """Tasks in the last message."""
    busy: bool = False


class ActorGateway:
    """The gateway to real actors; to be made inside the event loop that uses it.

    make_caller: called once in each thread; its callers share `directory`.
    """

    def __init__(self, make_caller: Callable[[Event], QueueCaller], directory: Directory) -> None:
        self._loop = asyncio.get_running_loop()
        self._directory = directory
        self._submitting = CallerPool("callboard-submit", SUBMIT_THREADS, make_caller)
        self._controlling = CallerPool("callboard-control", CONTROL_THREADS, make_caller)
        self._lanes: dict[str, _Lane] = {}
        self._exchanges = ExchangeLanes(self._submitting)
        self._finding: dict[str, asyncio.Task[QueueFound]] = {}
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def find(self, queue: str) -> QueueFound:
        """Return a queue's owner and settings, asking the Registry once for all who want to know."""
        found = self._directory.get(queue)
        if found is not None:
            return found
        looking = self._finding.get(queue)
        if looking is None:
            looking = self._loop.create_task(self._controlling.run(lambda caller: caller.find(queue)))
            self._finding[queue] = looking
            looking.add_done_callback(lambda _: self._finding.pop(queue, None))
        # Shielded: whoever goes away must not end it for the others.
        return await asyncio.shield(looking)

    async def submit(self, found: QueueFound, submission: Submission, size: int) -> Verdict:
        """Put a submission into its queue's lane and wait for its verdict."""
        lane = self._lanes.get(found.queue)
        if lane is None:
            lane = self._lanes[found.queue] = _Lane()
        tasks = len(submission.tasks)
        if lane.waiting and (
            len(lane.waiting) >= WAITING_REQUESTS or lane.tasks + tasks > WAITING_TASKS or lane.bytes + size > WAITING_BYTES
        ):
            raise Overloaded(f"Too many tasks wait to be taken by queue {found.queue!r}.")
        waiting = _Waiting(found, submission, size, self._loop.create_future())
        lane.waiting.append(waiting)
        lane.tasks += tasks
        lane.bytes += size
        if not lane.busy:
            lane.busy = True
            # After this turn of the loop: all requests that have arrived by now go together.
            self._loop.call_soon(self._next_message, found.queue, lane)
        return await waiting.answer

    async def exchange(self, queue: str, settlements: Sequence[Settlement], wants: Sequence[Want]) -> Exchanged:
        """Put consumers' words and wishes into their queue's lane and wait for the answers."""
        return await self._exchanges.exchange(queue, settlements, wants)

    async def ask_queue(
        self,
        queue: str,
        request: Callable[[str, QueueFound], object],
        answer: type[Reply],
        seconds: float = DEADLINE_SECONDS,
        *,
        wake: bool = True,
    ) -> tuple[Reply, bool]:
        """Ask a queue's owner in a control thread, at most two at a time."""
        turns = self._turns.get(queue)
        if turns is None:
            turns = self._turns[queue] = asyncio.Semaphore(CONTROL_PER_QUEUE)
        async with turns:
            return await self._controlling.run(lambda caller: caller.ask_queue(queue, request, answer, seconds, wake=wake))

    async def ask_registry(
        self, request: Callable[[str], object], answer: type[Reply], seconds: float = DEADLINE_SECONDS
    ) -> Reply:
        """Ask the Registry in a control thread."""
        return await self._controlling.run(lambda caller: caller.ask_registry(request, answer, seconds))

    def forget(self, queue: str) -> None:
        """Have the queue looked up again: it was changed or deleted."""
        self._directory.forget(queue)

    async def close(self) -> None:
        """Give up what is under way and end all threads."""
        await asyncio.to_thread(self._submitting.close)
        await asyncio.to_thread(self._controlling.close)

    def _next_message(self, queue: str, lane: _Lane) -> None:
        if lane.waiting:
            batch = _take(lane)
            found, submissions = batch[0].found, [waiting.submission for waiting in batch]
            self._submitting.post(
                lambda caller: carry(
                    self._loop, batch, lambda: caller.submit(found, submissions), lambda: self._next_message(queue, lane)
                )
            )
        else:
            lane.busy = False
            # A lane that nobody uses is not kept: queues come and go.
            self._lanes.pop(queue, None)


def _take(lane: _Lane) -> list[_Waiting]:
    """Take what goes into the next message: built with the same settings, and within the limits of a message.

    Clients that have just got their answers come back with more. So that the queue has something to do meanwhile, only half
    of all that are about go together, once these are enough to pay for a message.
    """
    limit = min(MESSAGE_TASKS, max(PAYING_TASKS, -(-(lane.last + lane.tasks) // 2)))
    version = lane.waiting[0].found.settings_version
    batch: list[_Waiting] = []
    tasks = size = 0
    while lane.waiting and lane.waiting[0].found.settings_version == version:
        first = lane.waiting[0]
        tasks += len(first.submission.tasks)
        size += first.size
        if batch and (tasks > limit or size > MESSAGE_BYTES):
            break
        batch.append(lane.waiting.popleft())
        lane.tasks -= len(first.submission.tasks)
        lane.bytes -= first.size
    lane.last = sum(len(waiting.submission.tasks) for waiting in batch)
    return batch
