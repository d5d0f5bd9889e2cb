"""Follow a server's events from another process of the same machine, by sealed messages."""

import time
from collections.abc import Iterator, Sequence
from threading import Event as Flag
from types import TracebackType
from typing import Final, Self

from callboard.actors.connection import Connection
from callboard.actors.control import Control
from callboard.actors.errors import RequestTimedOut
from callboard.actors.event import Event, EventKind, event_id, events_of, read_event_id
from callboard.actors.event_reader import FROM_NOW, EventReader
from callboard.actors.messages import EventsFollow

WAIT_SECONDS: Final = 5.0
LEASE_SECONDS: Final = 60.0
"""So long a program may be busy with the events that it has before the Queues stop sending."""


class LocalSubscription:
    """What `LocalClient.subscribe` returns: an iterator of events, to be used in a `with` block, in one thread."""

    def __init__(
        self, connection: Connection, queues: Sequence[str], last_id: str | None, recent: int, timeout: float | None
    ) -> None:
        self._timeout = timeout
        self._stop = Flag()
        self._first: list[Event] | None = None
        position = read_event_id(last_id) if last_id else (FROM_NOW[0], -recent)
        self.last_id = last_id
        """Where the stream is; to be given to a later subscription that is to go on from here."""
        self._reader = EventReader(
            Control(connection).events,
            connection.open_endpoint,
            position=position,
            queues=tuple(queues),
            lease_seconds=LEASE_SECONDS,
            stop=self._stop,
        )
        self._events = self._all()

    def __enter__(self) -> Self:
        """Subscribe: whatever happens from here on is among the events."""
        self._begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        """Yield events as they happen. Raises `RequestTimedOut` after `timeout` seconds without one."""
        return self

    def __next__(self) -> Event:
        event = next(self._events)
        self.last_id = event.id
        return event

    def known(self) -> list[Event]:
        """Return what had happened when the subscription began, as far as it was asked for and is still known."""
        self._begin()
        return self._first or []

    def close(self) -> None:
        """End the subscription."""
        self._stop.set()
        self._reader.close()

    def _begin(self) -> None:
        """Learn where the stream is, unless that is known; what comes with it is the first to be given out."""
        if self._first is not None:
            return
        epoch, after = self._reader.position
        while (follow := self._reader.read(0.0)) is None:
            if self._stop.is_set():
                raise RequestTimedOut("the subscription was closed")
        self._first = _events_in(follow, after if follow.epoch == epoch else 0)
        if not self._first:
            self.last_id = event_id(follow.epoch, follow.upto)

    def _all(self) -> Iterator[Event]:
        self._begin()
        yield from self._first or ()
        heard = time.monotonic()
        while not self._stop.is_set():
            epoch, after = self._reader.position
            left = WAIT_SECONDS if self._timeout is None else heard + self._timeout - time.monotonic()
            if left <= 0:
                raise RequestTimedOut(f"nothing has happened for {self._timeout:g} s")
            follow = self._reader.read(min(WAIT_SECONDS, left))
            if follow is None:
                continue
            for event in _events_in(follow, after if follow.epoch == epoch else 0):
                yield event
                heard = time.monotonic()


def _events_in(follow: EventsFollow, after: int) -> list[Event]:
    """Return the events of an answer, a gap before them if some are missing."""
    events: list[Event] = []
    if follow.missed:
        before = follow.batches[0].first - 1 if follow.batches else follow.upto
        missed = {"missed": None if follow.missed < 0 else follow.missed, "reason": "they are not kept any more"}
        now = time.time_ns() // 1_000
        events.append(Event(event_id(follow.epoch, before), EventKind.GAP, "", "", "", 0, now, None, missed))
    for batch in follow.batches:
        events += events_of(follow.epoch, batch, after)
    return events
