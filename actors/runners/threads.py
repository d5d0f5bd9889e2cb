"""Threads that run handlers: as many as run at a time, each used again.

The standard library's pool waits for its threads when the process ends, and one of these may never come back.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, TypeVar

_Result = TypeVar("_Result")

STACK_BYTES: Final = 1_048_576
"""Of address space, a thread; a queue's `max_memory` leaves room for so many times this."""


class Threads:
    """Starts a thread only when all others are at work. To be used from one thread."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._made = 0
        threading.stack_size(STACK_BYTES)

    def run(self, job: Callable[[], None]) -> None:
        """Have a thread run this, which must not raise. Raises RuntimeError when there can't be one more thread."""
        if not self._idle.acquire(blocking=False):
            threading.Thread(target=self._work, name=f"slot-{self._made + 1}", daemon=True).start()
            self._made += 1
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            self._jobs.get()()
            self._idle.release()


async def in_thread(job: Callable[[], _Result]) -> _Result:
    """Run this in a thread of its own and in this context, while the loop goes on; raises what it raises."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[_Result] = loop.create_future()
    variables = contextvars.copy_context()

    def tell(settle: Callable[..., None], value: object) -> None:
        loop.call_soon_threadsafe(lambda: None if ended.done() else settle(value))

    def work() -> None:
        try:
            result = variables.run(job)
        except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
            tell(ended.set_exception, error)
        else:
            tell(ended.set_result, result)

    threading.Thread(target=work, name="beside the loop", daemon=True).start()
    return await ended
