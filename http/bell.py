"""Hold consumers' requests until there may be something for them: one watcher of the store's counts for all of them."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

from callboard.actors.store import Store
from callboard.actors.task import TaskState

POLL_SECONDS: Final = 0.01
AGAIN_SECONDS: Final = 0.5
"""What no count tells (a queue is resumed, a worker gives back what it had) is found by asking again after so long."""

Counts = Mapping[TaskState, int]
Answer = TypeVar("Answer")


@dataclass(slots=True, eq=False)
class _Waiting:
    """One who waits. before: the queue's counts when nothing was there for it."""

    before: Counts
    most: int
    ring: "asyncio.Future[None]"


class Bell:
    """Looks whether the store has changed, and then which queues may have something, for as long as somebody waits.

    It only says that asking may be worth while; the queue's owner alone knows. The longest waiting are rung for first, and
    no more of them than there are tasks.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        # A thread of its own: the store's `version` compares with what the same connection saw before.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="callboard-bell")
        self._waiting: defaultdict[str, list[_Waiting]] = defaultdict(list)
        self._newcomers = False
        self._watching: asyncio.Task[None] | None = None

    async def look(self, queue: str) -> Counts:
        """Return the queue's counts: to be read before a queue is asked that may turn out to be empty."""
        return (await self._ask(self._store.counts)).get(queue, {})

    async def rings(self, queue: str, before: Counts, most: int) -> None:
        """Wait until the queue may have something, for one who wants at most so many and was given nothing."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(before, most, loop.create_future())
        self._waiting[queue].append(waiting)
        self._newcomers = True
        if self._watching is None or self._watching.done():
            self._watching = loop.create_task(self._watch())
        try:
            await waiting.ring
        finally:
            self._waiting[queue].remove(waiting)
            if not self._waiting[queue]:
                del self._waiting[queue]

    async def close(self) -> None:
        """Let go of all who wait, and end the thread."""
        for waiting in self._all():
            waiting.ring.cancel()
        if self._watching is not None:
            self._watching.cancel()
        await asyncio.to_thread(self._thread.shutdown)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        seen: int | None = None
        again = loop.time() + AGAIN_SECONDS
        try:
            while self._waiting:
                version = await self._ask(self._store.version)
                if (late := loop.time() >= again) or version != seen or self._newcomers:
                    self._newcomers = False
                    again = loop.time() + AGAIN_SECONDS if late else again
                    # The version was read first: what changes after that is noticed at the next turn.
                    seen = version
                    self._tell(await self._ask(self._store.counts), late=late)
                await asyncio.sleep(POLL_SECONDS)
        except Exception as error:  # noqa: BLE001 - all who wait get the error instead of an endless wait
            for waiting in self._all():
                waiting.ring.set_exception(error)

    def _tell(self, counts: Mapping[str, Counts], *, late: bool) -> None:
        for queue, line in self._waiting.items():
            now = counts.get(queue)
            there = 0 if now is None else now[TaskState.AVAILABLE]
            for waiting in line:
                if now is not None and there <= 0:
                    break
                if waiting.ring.done():
                    continue
                if late or now != waiting.before:
                    waiting.ring.set_result(None)
                    there -= waiting.most

    def _all(self) -> list[_Waiting]:
        return [waiting for line in self._waiting.values() for waiting in line if not waiting.ring.done()]

    async def _ask(self, question: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, question)
