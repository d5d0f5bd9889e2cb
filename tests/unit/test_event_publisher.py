"""When a Queue sends its events: at once if there were none for a moment, else what has gathered, one message at a time."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from callboard.actors.crew import Moment
from callboard.actors.event import unpack
from callboard.actors.event_publisher import MESSAGE_EVENTS, PACE_SECONDS, RESEND_SECONDS, EventPublisher
from callboard.actors.event_source import EventSource
from callboard.actors.messages import EventsHappened
from callboard.actors.store import Insert
from tests.support.made_tasks import WALL, new_task

HERE: Any = "events"
THERE: Any = "its successor"


@dataclass
class Scene:
    source: EventSource = field(default_factory=EventSource)
    mono: float = 100.0

    def __post_init__(self) -> None:
        self.publisher = EventPublisher("mail", 3, self.source)

    def happen(self, count: int) -> None:
        self.source.enqueued([Insert(new_task(), "available", 0, 1)] * count, WALL)

    def next(self) -> EventsHappened | None:
        return self.publisher.next_message(Moment(WALL, self.mono))

    def sent(self, wait: float = 0.0) -> EventsHappened:
        self.mono += wait
        message = self.next()
        assert message is not None
        return message


@pytest.fixture
def scene() -> Scene:
    """A Queue that was told to send and has said hello."""
    scene = Scene()
    scene.publisher.publish_to(HERE)
    hello = scene.sent()
    assert (hello.queue, hello.incarnation, hello.number, hello.count) == ("mail", 3, 1, 0)
    scene.publisher.noted(1)
    scene.mono += PACE_SECONDS
    return scene


def test_nothing_is_sent_as_long_as_nobody_wants_it() -> None:
    scene = Scene()
    scene.happen(3)
    assert scene.next() is None
    assert scene.publisher.next_look() == float("inf")


def test_an_event_after_a_pause_goes_at_once(scene: Scene) -> None:
    assert scene.next() is None
    assert scene.publisher.next_look() == float("inf")
    scene.happen(2)
    assert scene.publisher.next_look() <= scene.mono
    message = scene.sent()
    assert (message.number, message.count, len(list(unpack(message.packed)))) == (2, 2, 2)


def test_what_happens_soon_after_goes_together(scene: Scene) -> None:
    scene.happen(1)
    first = scene.sent()
    scene.publisher.noted(first.number)
    for _ in range(5):
        scene.happen(1)
        assert scene.next() is None
    assert scene.publisher.next_look() == pytest.approx(scene.mono + PACE_SECONDS)
    assert scene.sent(PACE_SECONDS).count == 5


def test_there_is_one_unanswered_message_and_it_is_sent_again_after_a_while(scene: Scene) -> None:
    scene.happen(1)
    first = scene.sent()
    scene.happen(1)
    scene.mono += RESEND_SECONDS / 2
    assert scene.next() is None
    scene.publisher.noted(first.number - 1)
    assert scene.next() is None
    assert scene.sent(RESEND_SECONDS / 2) == first
    scene.publisher.noted(first.number)
    assert scene.sent(PACE_SECONDS).number == first.number + 1


def test_a_message_has_no_more_than_it_may_have(scene: Scene) -> None:
    scene.happen(MESSAGE_EVENTS + 1)
    assert scene.sent().count == MESSAGE_EVENTS
    scene.publisher.noted(2)
    assert scene.sent(PACE_SECONDS).count == 1


def test_what_was_not_answered_goes_to_the_successor_first(scene: Scene) -> None:
    scene.happen(1)
    lost = scene.sent()
    scene.happen(1)
    scene.publisher.publish_to(THERE)
    assert scene.publisher.address == THERE
    assert scene.sent() == lost
    scene.publisher.noted(lost.number)
    assert scene.sent(PACE_SECONDS).number == lost.number + 1


def test_a_queue_that_is_told_to_stop_forgets_what_it_has(scene: Scene) -> None:
    scene.happen(1)
    scene.publisher.publish_to(None)
    assert scene.next() is None
    assert len(scene.source) == 0
    scene.publisher.publish_to(HERE)
    assert scene.sent().count == 0


def test_a_queue_that_is_told_twice_says_hello_twice(scene: Scene) -> None:
    scene.publisher.publish_to(HERE)
    assert scene.sent().count == 0
