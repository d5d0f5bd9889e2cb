"""How the answers of one message come back to all the requests that it carried."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

Answer = TypeVar("Answer")


class Waits(Protocol[Answer]):
    """A request that has been put into a message."""

    @property
    def answer(self) -> "asyncio.Future[Answer]":
        """Where its answer goes."""


def carry(
    loop: asyncio.AbstractEventLoop,
    batch: Sequence[Waits[Answer]],
    ask: Callable[[], Sequence[Answer | Exception]],
    done: Callable[[], None],
) -> None:
    """In a pool thread: ask for all of them, then hand the answers to the loop in one call and go on there with `done`."""
    answers: Sequence[Answer | Exception]
    try:
        answers = ask()
    except Exception as error:  # noqa: BLE001 - every request must be answered, with this if with nothing else
        answers = [error] * len(batch)

    def tell() -> None:
        for waiting, answer in zip(batch, answers, strict=True):
            if waiting.answer.done():  # its client has gone away
                continue
            if isinstance(answer, Exception):
                waiting.answer.set_exception(answer)
            else:
                waiting.answer.set_result(answer)
        done()

    # The loop may have been closed meanwhile; then nobody waits for this any more.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(tell)
