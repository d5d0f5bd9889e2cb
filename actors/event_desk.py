"""What the Events actor knows and decides: which events there are, who asks for them, and whether anybody does.

Subscribers ask, they are not sent to: one that is stopped or slow asks later, or finds that what it wanted is gone. So
nobody ever waits for one, and what is kept is bounded.
"""

from dataclasses import dataclass
from typing import Any, Final

from thespian.actors import ActorAddress

from callboard.actors.crew import Moment
from callboard.actors.event import gap_row, pack
from callboard.actors.event_ring import EventRing, Read
from callboard.actors.foreman import Send
from callboard.actors.messages import EventsFollow, EventsHappened, EventsNoted, NextEvents, QueuesTold, WantEvents

RING_EVENTS: Final = 200_000
RING_BYTES: Final = 16_000_000
ANSWER_BYTES: Final = 500_000
"""Some 13,000 events; such a message keeps both sides busy for a millisecond."""
MEET_SECONDS: Final = 2.0
"""So long a new subscription waits for a Queue that does not say that it sends its events."""
MAX_WAIT_SECONDS: Final = 30.0
MAX_LEASE_SECONDS: Final = 300.0
UNKNOWN: Final = -1
_NEVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class _Lease:
    """A subscriber, until then (monotonic). Addresses can be compared, but not looked up."""

    holder: ActorAddress
    until: float


@dataclass(slots=True)
class _Asking:
    """A question that waits for its answer, until then (monotonic)."""

    sender: ActorAddress
    question: NextEvents
    until: float


class EventDesk:
    """Plain class behind the actor. outbox: what is to be sent. epoch: part of all ids, a new one for each Events actor."""

    def __init__(
        self, epoch: str, registry: ActorAddress, now: Moment, *, wanted: bool, ring: EventRing | None = None
    ) -> None:
        self.epoch = epoch
        self.outbox: list[Send] = []
        self.wanted = wanted
        self._registry = registry
        self._ring = ring or EventRing(RING_EVENTS, RING_BYTES)
        self._asking: list[_Asking] = []
        # Whoever has asked an earlier Events actor comes here soon.
        self._leases = [_Lease(None, now.mono + MEET_SECONDS)] if wanted else []
        self._meet_until = now.mono + MEET_SECONDS
        self._told: frozenset[str] | None = None
        """The Queues that were told to send; None: not known yet."""
        self._met: dict[str, tuple[int, int]] = {}
        """The Queues that have sent since then: incarnation and number of the last message."""
        self._has_slept = False

    # ------------------------------------------------------------ messages

    def asked(self, question: NextEvents, sender: ActorAddress, now: Moment) -> None:
        """Answer when there is something; whoever asks is a subscriber, and the first one makes the Queues send."""
        self._lease(sender, question, now)
        if not self.wanted and question.lease_seconds > 0:
            self._wake_queues(now)
        # Whoever asks again does not wait for the answer to an earlier question.
        self._asking = [asking for asking in self._asking if asking.sender != sender]
        self._asking.append(_Asking(sender, question, now.mono + min(question.wait_seconds, MAX_WAIT_SECONDS)))
        self.turn(now)

    def happened(self, message: EventsHappened, sender: ActorAddress, now: Moment) -> None:
        """Take in what a Queue sends, once."""
        incarnation, number = self._met.get(message.queue, (message.incarnation, 0))
        if message.incarnation < incarnation:
            return  # an owner that was replaced has woken up
        self.outbox.append(Send(sender, EventsNoted(message.number)))
        if message.incarnation > incarnation:
            if not message.rested:
                # What its predecessor had not sent is lost with it.
                self._gap(message.queue, "the queue's owner was restarted", now)
        elif message.number <= number:
            return
        self._met[message.queue] = (message.incarnation, message.number)
        if message.count:
            self._ring.add(message.queue, message.count, message.packed)
        self.turn(now)

    def told(self, message: QueuesTold, now: Moment) -> None:
        """Take note of which Queues are to be heard of before a subscription begins."""
        self._told = frozenset(message.queues)
        self.turn(now)

    # ------------------------------------------------------------ time

    def turn(self, now: Moment) -> None:
        """Answer whom can be answered; have the Queues stop when nobody has asked for a while."""
        if self._is_ready(now):
            self._asking = [asking for asking in self._asking if not self._answer(asking, now)]
        self._leases = [lease for lease in self._leases if lease.until > now.mono]
        if self.wanted and not self._asking and not self._leases:
            self.wanted, self._has_slept = False, True
            self._told = None
            self._met.clear()
            self.outbox.append(Send(self._registry, WantEvents(wanted=False)))

    def next_look(self, now: Moment) -> float:
        """Return when `turn` should be called if nothing happens before, in monotonic seconds."""
        moments = [asking.until for asking in self._asking]
        if self.wanted and not self._asking:
            moments.append(max((lease.until for lease in self._leases), default=now.mono))
        if self._asking and not self._is_ready(now):
            moments.append(self._meet_until)
        return min(moments, default=_NEVER)

    def _wake_queues(self, now: Moment) -> None:
        self.wanted, self._told = True, None
        self._meet_until = now.mono + MEET_SECONDS
        self.outbox.append(Send(self._registry, WantEvents(wanted=True)))
        if self._has_slept:
            self._gap("", "nobody was subscribed", now)

    def _is_ready(self, now: Moment) -> bool:
        """Tell whether all Queues are known to send: what happens after an answer is then in a later one."""
        met = self._told is not None and self._told <= self._met.keys()
        return met or not self.wanted or now.mono >= self._meet_until

    def _gap(self, queue: str, reason: str, now: Moment) -> None:
        self._ring.add(queue, 1, pack([gap_row(now.wall, reason, None)]))

    def _answer(self, asking: _Asking, now: Moment) -> bool:
        """Answer a question if there is something or its time is up."""
        question = asking.question
        if question.epoch == "":
            read = Read((), 0, self._ring.last)
            if question.after < 0:
                since = max(self._ring.last + question.after, self._ring.oldest - 1)
                read = self._ring.read(since, question.queues, ANSWER_BYTES)
            self._send(asking, read, 0)
            self._lease(asking.sender, question, now)
            return True
        if question.epoch == self.epoch:
            read = self._ring.read(question.after, question.queues, ANSWER_BYTES)
            missed = read.missed
        else:
            read = self._ring.read(self._ring.oldest - 1, question.queues, ANSWER_BYTES)
            missed = UNKNOWN
        if not read.batches and not missed and now.mono < asking.until:
            return False
        self._send(asking, read, missed)
        self._lease(asking.sender, question, now)
        return True

    def _lease(self, sender: ActorAddress, question: NextEvents, now: Moment) -> None:
        """Count as a subscriber who asks, or is answered; a lease of 0 is a farewell."""
        self._leases = [lease for lease in self._leases if lease.holder != sender]
        if question.lease_seconds > 0:
            self._leases.append(_Lease(sender, now.mono + min(question.lease_seconds, MAX_LEASE_SECONDS)))

    def _send(self, asking: _Asking, read: Read, missed: int) -> None:
        reply: Any = EventsFollow(asking.question.request_id, self.epoch, read.upto, self._ring.last, missed, read.batches)
        self.outbox.append(Send(asking.sender, reply))
