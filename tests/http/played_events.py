"""A stand-in for the reader of the actor system's events, and a client of the streams that are made of them."""

from collections.abc import AsyncIterator
from queue import Empty, SimpleQueue
from threading import Event as Flag
from typing import Any

from callboard.actors import Event
from callboard.actors.event import pack
from callboard.actors.messages import EventBatch, EventsFollow
from callboard.actors.sse import SseReader


class PlayedReader:
    """Answers what the test puts into it; the first answer says where the stream is."""

    def __init__(self) -> None:
        self.answers: SimpleQueue[EventsFollow] = SimpleQueue()
        self.positions: list[tuple[str, int]] = []
        self.closed = 0
        self.errors: list[Exception] = []
        """What the next calls raise."""
        self.refusals: list[Exception] = []
        """What becomes of the next readers that are to be made."""
        self._last = 0
        self._epoch = "e"

    def made(self, position: tuple[str, int], stop: Flag) -> Any:
        self.positions.append(position)
        if self.refusals:
            raise self.refusals.pop()
        self.answers.put(EventsFollow("r", self._epoch, self._last, self._last, 0, ()))
        return self

    def happen(self, queue: str, count: int = 1, *, epoch: str = "e", missed: int = 0) -> None:
        """Have so many events come in one batch."""
        first = (self._last if epoch == self._epoch else 0) + missed + 1
        self._epoch, self._last = epoch, first + count - 1
        batch = EventBatch(
            first, count, queue, pack([("due", 1_000_000, f"t{first + n}", "w", 0, None, None) for n in range(count)])
        )
        self.answers.put(EventsFollow("r", epoch, self._last, self._last, missed, (batch,)))

    def read(self, wait_seconds: float) -> EventsFollow | None:
        if self.errors:
            raise self.errors.pop()
        try:
            return self.answers.get(timeout=0.05)
        except Empty:
            return EventsFollow("r", self._epoch, self._last, self._last, 0, ())

    def close(self) -> None:
        self.closed += 1


class Client:
    """Reads a stream, as many events as the test wants."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self.stream = stream
        self.reader = SseReader()
        self.events: list[Event] = []

    async def more(self, count: int) -> list[Event]:
        while len(self.events) < count:
            self.events += self.reader.feed(await anext(self.stream))
        taken, self.events = self.events[:count], self.events[count:]
        return taken

    async def ids(self, count: int) -> list[str]:
        return [event.id for event in await self.more(count)]
