"""Threads that carry messages between the event loop and the actors, each through an endpoint of its own."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event, local
from typing import TypeVar

from callboard.actors.caller import QueueCaller

Result = TypeVar("Result")


class CallerPool:
    """Runs jobs in threads that are started as needed, up to `threads`; each has its own `QueueCaller`.

    make_caller: gets the event that tells the caller to give up what it is doing.
    """

    def __init__(self, name: str, threads: int, make_caller: Callable[[Event], QueueCaller]) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._make_caller = make_caller
        self._stop = Event()
        self._own = local()
        self._callers: list[QueueCaller] = []

    def post(self, job: Callable[[QueueCaller], None]) -> None:
        """Have a thread do this, which must not raise."""
        self._executor.submit(self._do, job)

    async def run(self, job: Callable[[QueueCaller], Result]) -> Result:
        """Have a thread do this and return or raise what it does."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._do, job)

    def _do(self, job: Callable[[QueueCaller], Result]) -> Result:
        caller: QueueCaller | None = getattr(self._own, "caller", None)
        if caller is None:
            caller = self._own.caller = self._make_caller(self._stop)
            self._callers.append(caller)
        return job(caller)

    def close(self) -> None:
        """Have all jobs give up within a fraction of a second, end the threads, and close their endpoints."""
        self._stop.set()
        self._executor.shutdown(wait=True, cancel_futures=True)
        for caller in self._callers:
            caller.close()
