"""The Events actor, and an actor that follows it by messages, in real processes of a sealed actor system."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from callboard.actors.base import CallboardActor, handles
from callboard.actors.event import Row, pack, unpack
from callboard.actors.events import EventsActor
from callboard.actors.messages import (
    EventsFollow,
    EventsHappened,
    EventsNoted,
    EventsReady,
    NextEvents,
    Ping,
    QueuesTold,
    StartEvents,
    WantEvents,
)
from callboard.actors.system import Booted
from tests.support.polling import eventually
from tests.support.systems import booted_system, new_id, reply_to

# isort: split
from thespian.actors import ActorAddress, ActorExitRequest

ROWS: list[Row] = [("due", 1_000, "t1", "w", 1, None, None), ("due", 2_000, "t2", "w", 1, None, None)]


@dataclass(frozen=True)
class Follow:
    """Have the follower subscribe."""

    events: ActorAddress


@dataclass(frozen=True)
class Tell:
    """Ask the follower what it has heard."""

    request_id: str


@dataclass(frozen=True)
class Told:
    request_id: str
    subscribed: bool
    tasks: tuple[str, ...]


class Follower(CallboardActor):
    """What an actor does that wants events: it asks for the next ones whenever it has got some."""

    def __init__(self) -> None:
        super().__init__()
        self._subscribed = False
        self._tasks: list[str] = []

    @handles(Follow)
    def follow(self, message: Follow, _sender: ActorAddress) -> None:
        self.send(message.events, NextEvents("", "", 0, (), 5.0, 30.0))

    @handles(EventsFollow)
    def followed(self, message: EventsFollow, sender: ActorAddress) -> None:
        self._subscribed = True
        self._tasks += [row[2] for batch in message.batches for row in unpack(batch.packed)]
        self.send(sender, NextEvents("", message.epoch, message.upto, ("mail",), 5.0, 30.0))

    @handles(Tell)
    def tell(self, message: Tell, sender: ActorAddress) -> None:
        self.send(sender, Told(message.request_id, self._subscribed, tuple(self._tasks)))


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    with booted_system(tmp_path_factory.mktemp("system")) as system:
        yield system


@pytest.fixture
def events(booted: Booted) -> Iterator[ActorAddress]:
    """An Events actor that takes this test for its Registry, and for all of its Queues."""
    address = booted.actor_system.createActor(EventsActor)
    assert isinstance(booted.actor_system.ask(address, StartEvents(False, "info", "console"), 10), EventsReady)
    yield address
    booted.actor_system.ask(address, ActorExitRequest(), 0.02)


def happen(booted: Booted, events: ActorAddress, number: int, rows: list[Row]) -> None:
    message = EventsHappened("mail", 1, number, len(rows), pack(rows) if rows else b"")
    assert booted.actor_system.ask(events, message, 10) == EventsNoted(number)


def test_an_actor_follows_events_by_messages(booted: Booted, events: ActorAddress) -> None:
    follower = booted.actor_system.createActor(Follower)

    def told() -> Any:
        return reply_to(booted, follower, Tell(new_id()))

    booted.actor_system.tell(follower, Follow(events))
    # The first who asks makes the Queues send.
    assert booted.actor_system.listen(10) == WantEvents(wanted=True)
    booted.actor_system.tell(events, QueuesTold(("mail",)))
    happen(booted, events, 1, [])
    eventually(lambda: told().subscribed)
    happen(booted, events, 2, ROWS)
    eventually(lambda: told().tasks == ("t1", "t2"))
    happen(booted, events, 2, ROWS)
    happen(booted, events, 3, ROWS[:1])
    eventually(lambda: told().tasks == ("t1", "t2", "t1"))
    booted.actor_system.ask(follower, ActorExitRequest(), 0.02)


def test_a_question_without_events_is_answered_in_time(booted: Booted, events: ActorAddress) -> None:
    assert booted.actor_system.ask(events, NextEvents("r", "e", 0, (), 0.3, 1.0), 10) == WantEvents(wanted=True)
    answer = booted.actor_system.listen(10)
    assert isinstance(answer, EventsFollow)
    assert (answer.request_id, answer.batches) == ("r", ())
    assert booted.actor_system.listen(10) == WantEvents(wanted=False)


def test_it_answers_a_ping_and_nothing_before_it_was_started(booted: Booted) -> None:
    address = booted.actor_system.createActor(EventsActor)
    booted.actor_system.tell(address, NextEvents("r", "", 0, (), 0.0, 1.0))
    booted.actor_system.tell(address, QueuesTold(()))
    booted.actor_system.tell(address, EventsHappened("mail", 1, 1, 0, b""))
    ping = Ping(new_id())
    assert reply_to(booted, address, ping).request_id == ping.request_id
    booted.actor_system.ask(address, ActorExitRequest(), 0.02)
