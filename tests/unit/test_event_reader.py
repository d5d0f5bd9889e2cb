"""How the Events actor is found and asked from outside the actor system, also while it or the Registry is away."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event as Flag
from typing import Any

import pytest
from thespian.actors import ActorAddress, ActorSystemException

from callboard.actors.connection import Connection
from callboard.actors.errors import RequestRefused, RequestTimedOut
from callboard.actors.event import pack
from callboard.actors.event_reader import EventReader
from callboard.actors.local_subscription import LocalSubscription
from callboard.actors.messages import EventBatch, EventsFollow, EventsFound, FindEvents, NextEvents, RefusalReason
from tests.support.attached import Attached, announce, living
from tests.support.wires import Wire

STARTING = RequestRefused(RefusalReason.STARTING, "it is being started")
AWAY = RequestTimedOut("the Registry did not answer")


def found(request_id: str = "") -> EventsFound:
    return EventsFound(request_id, ActorAddress("events"), *living())


def following(message: NextEvents) -> EventsFollow:
    """Answer that one event has happened since."""
    first = message.after + 1 if message.epoch == "e" else 1
    rows = [("due", 1_000_000, f"t{first}", "w", 0, None, None)]
    return EventsFollow(message.request_id, "e", first, first, 0, (EventBatch(first, 1, "q", pack(rows)),))


class Registry:
    """Says where the Events actor is once it has raised what the test has put in."""

    def __init__(self, *raised: Exception) -> None:
        self._raised = list(raised)
        self.asked = 0

    def find(self) -> EventsFound:
        self.asked += 1
        if self._raised:
            raise self._raised.pop(0)
        return found()


def test_an_events_actor_that_can_not_be_found_yet_is_looked_for_again() -> None:
    registry = Registry(STARTING, AWAY, STARTING)
    reader = EventReader(registry.find, Wire(following).endpoint, lease_seconds=1.0)
    follow = reader.read(0.0)
    assert follow is not None
    assert follow.upto == 1
    assert registry.asked == 4
    assert reader.position == ("e", 1)


def test_a_refusal_that_does_not_pass_is_told_at_once() -> None:
    registry = Registry(RequestRefused(RefusalReason.FAILED, "there are none"))
    reader = EventReader(registry.find, Wire(following).endpoint, lease_seconds=1.0)
    with pytest.raises(RequestRefused, match="there are none"):
        reader.read(0.0)
    assert registry.asked == 1


@pytest.mark.parametrize("trouble", [STARTING, AWAY], ids=["starting", "away"])
def test_who_is_told_to_stop_looks_no_further(trouble: Exception) -> None:
    registry = Registry(trouble, trouble)
    stop = Flag()
    stop.set()
    reader = EventReader(registry.find, Wire(following).endpoint, lease_seconds=1.0, stop=stop)
    with pytest.raises(RequestTimedOut):
        reader.read(0.0)
    assert registry.asked == 1


Subscribe = Callable[[Callable[[Any], Any]], LocalSubscription]


@pytest.fixture
def subscribe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Subscribe]:
    """Return what makes a subscription whose questions to the Events actor are answered by a script."""

    def make(answer: Callable[[Any], Any]) -> LocalSubscription:
        def script(message: Any) -> Any:
            return found(message.request_id) if isinstance(message, FindEvents) else answer(message)

        announce(tmp_path, living())
        Attached(monkeypatch, Wire(script))
        return LocalSubscription(opened.enter_context(Connection(tmp_path)), (), None, 0, None)

    with ExitStack() as opened:
        yield make


def test_a_subscription_begins_although_its_first_question_is_lost(subscribe: Subscribe) -> None:
    lost = [ActorSystemException("broken pipe")]
    with subscribe(lambda message: lost.pop() if lost else following(message)) as followed:
        assert [event.id for event in followed.known()] == ["e-1"]
        assert [next(followed).id for _ in range(3)] == ["e-1", "e-2", "e-3"]
        assert followed.last_id == "e-3"


def test_a_question_that_is_lost_later_costs_no_event(subscribe: Subscribe) -> None:
    asked: list[NextEvents] = []

    def answer(message: NextEvents) -> Any:
        asked.append(message)
        return ActorSystemException("broken pipe") if len(asked) == 2 else following(message)

    with subscribe(answer) as followed:
        assert [next(followed).id for _ in range(3)] == ["e-1", "e-2", "e-3"]
    assert [message.after for message in asked[:4]] == [0, 1, 1, 2]
    assert asked[-1].lease_seconds == 0.0


def test_a_subscription_that_was_closed_does_not_begin(subscribe: Subscribe) -> None:
    followed = subscribe(lambda _: None)
    followed.close()
    with pytest.raises(RequestTimedOut, match="was closed"):
        next(followed)
