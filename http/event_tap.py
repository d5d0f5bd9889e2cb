"""One subscription to the actor system's events for all who follow them over HTTP.

What its feed brings as text is kept in a ring, the newest of it. Each client has no more than a place in it: one that is
slow is only further back, and one whose place has been forgotten is dropped.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from threading import Event as Flag
from typing import Final

from callboard.actors.errors import RequestTimedOut
from callboard.actors.event import EventKind, event_id, gap_row, pack, read_event_id, written
from callboard.actors.event_reader import EventReader
from callboard.actors.event_ring import EventRing
from callboard.actors.messages import EventBatch, EventsFollow
from callboard.http.event_feed import EventFeed
from callboard.http.problems import Overloaded

RING_EVENTS: Final = 100_000
RING_BYTES: Final = 32_000_000
RECENT: Final = 20_000
"""So many that have happened before the first client came can be had."""
MAX_CLIENTS: Final = 200
CHUNK_BYTES: Final = 256 * 1024
"""About so much is written at once; what a client has not taken of it is all that is held for it."""
LINGER_SECONDS: Final = 3.0
"""A client that comes back soon finds the feed still there."""
BEGIN_SECONDS: Final = 10.0
ALIVE_SECONDS: Final = 15.0
_AWAY: Final = -1
RETRY_MS: Final = 1_000
"""What browsers wait before they connect again."""


@dataclass(slots=True)
class _Place:
    """Where a client is. `life`: of the ring, which begins anew with the Events actor; `_AWAY`: it comes back."""

    life: int
    epoch: str
    after: int


class EventTap:
    """Belongs to the event loop. Its feed, a thread, runs while there are clients.

    make_reader: makes what the feed asks with, None if there is nothing to be asked: then every stream is empty. It
    gets the position to begin with, and a flag that has it give up.
    """

    def __init__(
        self,
        make_reader: Callable[[tuple[str, int], Flag], EventReader] | None,
        *,
        ring: EventRing | None = None,
        max_clients: int = MAX_CLIENTS,
    ) -> None:
        self._make_reader = make_reader
        self._ring = ring or EventRing(RING_EVENTS, RING_BYTES)
        self._max_clients = max_clients
        self._epoch = ""
        self._begun = False
        """Whether the ring has been brought up to date since the feed was started."""
        self._life = 0
        self._changed = asyncio.Event()
        self._clients = 0
        self._last_left = 0.0
        self._feed: EventFeed | None = None
        self._ended = make_reader is None

    async def follow(self, queues: tuple[str, ...], last_id: str | None) -> AsyncIterator[bytes]:
        """Return the stream of these queues' events (of all: ()), from now on or after this id.

        It is subscribed when this returns. Raises `Overloaded`, or `CallboardError` if there is no subscription to be had.
        """
        if self._clients >= self._max_clients:
            raise Overloaded(f"There are {self._clients} subscribers already.")
        self._clients += 1
        try:
            await self._begin()
        finally:
            # Who goes away before the stream begins must not be counted for ever; the feed lingers for those who don't.
            self._left()
        place = _Place(_AWAY, *read_event_id(last_id)) if last_id else _Place(self._life, self._epoch, self._ring.last)
        return self._stream(place, queues)

    def end(self) -> None:
        """End all streams: the server stops."""
        self._ended = True
        if self._feed is not None:
            self._feed.stop()
        self._tell()

    async def close(self) -> None:
        """End all streams, and the feed."""
        self.end()
        if self._feed is not None:
            await asyncio.to_thread(self._feed.join)

    async def _stream(self, place: _Place, queues: tuple[str, ...]) -> AsyncIterator[bytes]:
        self._clients += 1
        try:
            if self._feed is None and not self._ended:
                self._start()  # it has ended since `follow`, where this client was not counted any more
            if not self._ended:
                where = f"id: {event_id(place.epoch, place.after)}\n" if place.life >= 0 else ""
                yield f"retry: {RETRY_MS}\n{where}\n".encode()
            while not self._ended:
                changed = self._changed
                chunk, last = self._next(place, queues)
                if not chunk:
                    if await _happens(changed, ALIVE_SECONDS):
                        continue
                    chunk = self._alive(place)
                yield chunk
                if last:
                    return
        finally:
            self._left()

    def _next(self, place: _Place, queues: tuple[str, ...]) -> tuple[bytes, bool]:
        """Return what follows a client's place and move it on; and whether that was the last it gets."""
        if not self._epoch:
            return b"", False
        known = place.epoch == self._epoch
        start = place.after if known else 0
        read = self._ring.read(start, queues, CHUNK_BYTES)
        parts = [_from(batch, start) for batch in read.batches]
        if place.life == self._life:
            if read.missed:
                return self._notice(EventKind.DROPPED, read.missed, "this subscriber has not read them in time"), True
        elif read.missed or not known:
            # It has been away, or the ring has begun anew: not its fault, it goes on.
            missed = read.missed if known else None
            parts.insert(0, self._notice(EventKind.GAP, missed, "they are not kept any more"))
        place.life, place.epoch, place.after = self._life, self._epoch, read.upto
        return b"".join(parts), False

    def _notice(self, kind: EventKind, missed: int | None, reason: str) -> bytes:
        row = gap_row(time.time_ns() // 1_000, reason, missed, kind)
        return b"".join(part.packed for part in written(self._epoch, EventBatch(self._ring.oldest - 1, 1, "", pack([row]))))

    def _alive(self, place: _Place) -> bytes:
        """Return what keeps a silent connection open; its id spares who comes back later what is none of its queues'."""
        return f": still here\nid: {event_id(place.epoch, place.after)}\n\n".encode()

    # ------------------------------------------------------------ the feed

    async def _begin(self) -> None:
        """Have the feed run, and wait until it has been answered once."""
        if self._feed is None and not self._ended:
            self._start()
        until = time.monotonic() + BEGIN_SECONDS
        while not self._begun and not self._ended:
            if not await _happens(self._changed, until - time.monotonic()):
                raise RequestTimedOut("the Events actor did not answer")

    def _start(self) -> None:
        assert self._make_reader is not None
        self._epoch, self._begun = "", False
        self._feed = EventFeed(partial(self._make_reader, ("", -RECENT)), self._is_wanted, self._take, self._gone)

    def _is_wanted(self) -> bool:
        return self._clients > 0 or time.monotonic() < self._last_left + LINGER_SECONDS

    def _left(self) -> None:
        self._clients -= 1
        self._last_left = time.monotonic()

    def _take(self, follow: EventsFollow, parts: list[EventBatch]) -> None:
        first = parts[0].first if parts else follow.upto + 1
        if follow.epoch != self._epoch or first != self._ring.last + 1:
            # Another Events actor, or more has happened than could be read: whoever follows learns of it by its place.
            self._epoch, self._life = follow.epoch, self._life + 1
            self._ring.start_over(first - 1)
        for batch in parts:
            self._ring.add(batch.queue, batch.size, batch.packed)
        self._begun = self._begun or follow.upto >= follow.newest
        self._tell()

    def _gone(self) -> None:
        """Note that the feed has ended; who has come in the very last moment gets another one."""
        self._feed, self._epoch, self._begun = None, "", False
        if self._clients and not self._ended:
            self._start()

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _from(batch: EventBatch, after: int) -> bytes:
    """Return a written batch without the events up to this number."""
    if after < batch.first:
        return batch.packed
    return b"".join(event + b"\n\n" for event in batch.packed.split(b"\n\n")[after - batch.first + 1 : -1])


async def _happens(changed: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
    except TimeoutError:
        return False
    return True
