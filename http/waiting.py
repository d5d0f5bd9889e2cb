"""Hold requests until their tasks have ended: one watcher for all of them."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from callboard.actors.store import Store

POLL_SECONDS: Final = 0.01

Answer = TypeVar("Answer")


class Watcher:
    """Looks whether the store has changed, and then which tasks have ended, for as long as somebody waits.

    The store is asked in a thread of its own: its `version` compares with what the same connection saw before.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="callboard-wait")
        self._waiting: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)
        self._newcomers = False
        self._watching: asyncio.Task[None] | None = None

    async def ended(self, task_id: str, seconds: float) -> bool:
        """Wait until the task has ended (or is gone), at most so long; tell which it was."""
        loop = asyncio.get_running_loop()
        end: asyncio.Future[None] = loop.create_future()
        self._waiting[task_id].add(end)
        self._newcomers = True
        if self._watching is None or self._watching.done():
            self._watching = loop.create_task(self._watch())
        try:
            async with asyncio.timeout(seconds):
                await end
        except TimeoutError:
            return False
        finally:
            self._waiting[task_id].discard(end)
            if not self._waiting[task_id]:
                del self._waiting[task_id]
        return True

    async def close(self) -> None:
        """Let go of all who wait, and end the thread."""
        for end in [end for ends in self._waiting.values() for end in ends]:
            end.cancel()
        if self._watching is not None:
            self._watching.cancel()
        await asyncio.to_thread(self._thread.shutdown)

    async def _watch(self) -> None:
        seen: int | None = None
        try:
            while self._waiting:
                version = await self._ask(self._store.version)
                if version != seen or self._newcomers:
                    self._newcomers = False
                    # The version was read first: what changes after that is noticed at the next turn.
                    seen = version
                    self._tell(await self._ask(partial(self._store.ended, list(self._waiting))))
                await asyncio.sleep(POLL_SECONDS)
        except Exception as error:  # noqa: BLE001 - all who wait get the error instead of an endless wait
            for end in [end for ends in self._waiting.values() for end in ends if not end.done()]:
                end.set_exception(error)

    async def _ask(self, question: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, question)

    def _tell(self, ended: set[str]) -> None:
        for task_id in ended:
            for end in self._waiting.get(task_id, ()):
                if not end.done():
                    end.set_result(None)
