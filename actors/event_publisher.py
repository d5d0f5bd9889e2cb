"""When a Queue sends its events, and how many at once: one unanswered message at a time, whatever has gathered goes next."""

from typing import Final

from thespian.actors import ActorAddress

from callboard.actors.crew import Moment
from callboard.actors.event import pack
from callboard.actors.event_source import EventSource
from callboard.actors.messages import EventsHappened

MESSAGE_EVENTS: Final = 6_000
PACE_SECONDS: Final = 0.1
"""A message costs about a millisecond in all processes together. Events that come less often are sent at once."""
RESEND_SECONDS: Final = 10.0
"""A message may be lost; one that was not is recognised by its number."""
_NEVER: Final = float("inf")


class EventPublisher:
    """Decides for one Queue; the actor sends. Idle as long as there is no address."""

    def __init__(self, queue: str, incarnation: int, source: EventSource, *, rested: bool = False) -> None:
        self._queue = queue
        self._incarnation = incarnation
        self._rested = rested
        self._source = source
        self.address: ActorAddress | None = None
        self._last = EventsHappened(queue, incarnation, 0, 0, b"", rested)
        self._unanswered = False
        self._hello = False
        self._next = 0.0

    def publish_to(self, address: ActorAddress | None) -> None:
        """Send events there from now on, after a first message that says so; None: to nobody.

        What an earlier Events actor has not answered is sent to its successor.
        """
        self.address = address
        self._source.switch(on=address is not None)
        self._next = 0.0
        self._hello = address is not None
        if address is None:
            self._unanswered = False

    def noted(self, number: int) -> None:
        """Take note that a message has arrived."""
        if number == self._last.number:
            self._unanswered = False

    def untold(self) -> bool:
        """Tell whether there is something that nobody has taken yet."""
        return self.address is not None and (self._hello or self._unanswered or len(self._source) > 0)

    def next_message(self, now: Moment) -> EventsHappened | None:
        """Return what is to be sent now, None for nothing."""
        if self.address is None or now.mono < self._due():
            return None
        if not self._unanswered:
            rows = self._source.take(MESSAGE_EVENTS)
            number = self._last.number + 1
            packed = pack(rows) if rows else b""
            self._last = EventsHappened(self._queue, self._incarnation, number, len(rows), packed, self._rested)
        self._unanswered, self._hello = True, False
        self._next = now.mono + PACE_SECONDS
        self._resend = now.mono + RESEND_SECONDS
        return self._last

    def next_look(self) -> float:
        """Return when `next_message` may have something, in monotonic seconds."""
        return _NEVER if self.address is None else self._due()

    def _due(self) -> float:
        if self._hello:
            return self._next
        if self._unanswered:
            return self._resend
        return self._next if len(self._source) else _NEVER
