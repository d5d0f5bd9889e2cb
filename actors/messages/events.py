"""Events on their way: from the Queues to the Events actor, and from there to whoever asks for them."""

from dataclasses import dataclass
from typing import NamedTuple

from thespian.actors import ActorAddress


class EventBatch(NamedTuple):
    """Events of one queue, numbered from `first` on. `queue` "": they concern all queues.

    `packed` is read by `event.unpack`; whoever only passes a batch on leaves it as it is.
    """

    first: int
    size: int
    queue: str
    packed: bytes


@dataclass(frozen=True)
class StartEvents:
    """Broadcast events from now on. `wanted`: the Queues send them already, an earlier Events actor has asked them to."""

    wanted: bool
    log_level: str
    log_format: str


@dataclass(frozen=True)
class EventsReady:
    """The Events actor takes questions and events."""

    pid: int


@dataclass(frozen=True)
class WantEvents:
    """The Events actor asks the Registry to have all Queues send their events, or to have them stop."""

    wanted: bool


@dataclass(frozen=True)
class QueuesTold:
    """The Registry has told these Queues to send their events; each says so by a first message, which may be empty."""

    queues: tuple[str, ...]


@dataclass(frozen=True)
class PublishEvents:
    """Send events to this address from now on; None: to nobody."""

    address: ActorAddress | None


@dataclass(frozen=True)
class EventsHappened:
    """A Queue's next events, in their order; what they tell is stored. Not sent before the last one was answered."""

    queue: str
    incarnation: int
    number: int
    count: int
    packed: bytes
    rested: bool = False
    """The queue has slept: its last owner had told everything."""


@dataclass(frozen=True)
class EventsNoted:
    """The Events actor has this Queue's message: the Queue may send the next one."""

    number: int


@dataclass(frozen=True)
class FindEvents:
    """Ask the Registry where the Events actor is."""

    request_id: str


@dataclass(frozen=True)
class EventsFound:
    """Where the Events actor is."""

    request_id: str
    address: ActorAddress
    pid: int
    started: float
    """Start time of that pid (as in `processes.Ident`)."""


@dataclass(frozen=True)
class NextEvents:
    """Ask the Events actor what has happened since; answered when there is something, or after `wait_seconds`.

    epoch: "" to begin now (`after` 0) or at most so many events ago (`after` -n). lease_seconds: how long after the
    answer its sender still counts as a subscriber: as long as there is one, Queues send their events. 0 is a farewell.
    """

    request_id: str
    epoch: str
    after: int
    queues: tuple[str, ...]
    """Only these, () for all."""
    wait_seconds: float
    lease_seconds: float


@dataclass(frozen=True)
class EventsFollow:
    """What has happened, in order; the next question is for what comes after `upto`.

    newest: number of the newest event there is. missed: so many events before these are not there any more; -1: nobody
    knows how many.
    """

    request_id: str
    epoch: str
    upto: int
    newest: int
    missed: int
    batches: tuple[EventBatch, ...]
