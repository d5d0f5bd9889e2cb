"""What the Events actor decides: whom it answers when, whose events are numbered how, and whether anybody is listening."""

from typing import Any

import pytest

from callboard.actors.crew import Moment
from callboard.actors.event import gap_row, pack, unpack
from callboard.actors.event_desk import MEET_SECONDS, EventDesk
from callboard.actors.event_ring import EventRing
from callboard.actors.foreman import Send
from callboard.actors.messages import EventsFollow, EventsHappened, EventsNoted, NextEvents, QueuesTold, WantEvents
from tests.support.made_tasks import WALL

ME: Any = "me"
OTHER: Any = "other"
REGISTRY: Any = "registry"
QUEUE: Any = "queue"
LEASE = 5.0


class Scene:
    """A desk, and a clock. `ask` has the desk asked by somebody; what it sends is in `take`."""

    def __init__(self, *, wanted: bool = False) -> None:
        self.mono = 100.0
        self.asked = 0
        self.desk = EventDesk("e", REGISTRY, self.now, wanted=wanted, ring=EventRing(10, 10_000))

    @property
    def now(self) -> Moment:
        return Moment(WALL, self.mono)

    def ask(
        self, epoch: str, after: int, *queues: str, who: Any = ME, wait: float = 2.0, lease: float = LEASE
    ) -> list[Send]:
        self.asked += 1
        self.desk.asked(NextEvents(f"r{self.asked}", epoch, after, queues, wait, lease), who, self.now)
        return self.take()

    def happen(self, queue: str, number: int, count: int = 1, incarnation: int = 1, *, rested: bool = False) -> list[Send]:
        packed = pack([gap_row(1, "", None)] * count) if count else b""
        self.desk.happened(EventsHappened(queue, incarnation, number, count, packed, rested), QUEUE, self.now)
        return self.take()

    def wait(self, seconds: float) -> list[Send]:
        self.mono += seconds
        self.desk.turn(self.now)
        return self.take()

    def take(self) -> list[Send]:
        sent, self.desk.outbox = self.desk.outbox, []
        return sent

    def tell(self, *queues: str) -> list[Send]:
        self.desk.told(QueuesTold(queues), self.now)
        return self.take()


def follows(sent: list[Send], to: Any = ME) -> EventsFollow:
    (answer,) = [action.message for action in sent if action.to == to]
    assert isinstance(answer, EventsFollow)
    return answer


def numbers(answer: EventsFollow) -> list[int]:
    return [number for batch in answer.batches for number in range(batch.first, batch.first + batch.size)]


@pytest.fixture
def scene() -> Scene:
    """A desk that somebody has asked before; queue a has told of events 1 and 2, queue b of 3."""
    scene = Scene()
    scene.ask("", 0)
    scene.tell("a", "b")
    scene.happen("a", 1, 0)
    scene.happen("b", 1, 0)
    scene.happen("a", 2, 2)
    scene.happen("b", 2, 1)
    return scene


def test_the_first_question_makes_the_queues_send_and_is_answered_when_all_do() -> None:
    scene = Scene()
    assert scene.ask("", 0) == [Send(REGISTRY, WantEvents(wanted=True))]
    assert scene.tell("a", "b") == []
    assert scene.happen("a", 1, 0) == [Send(QUEUE, EventsNoted(1))]
    answer = follows(scene.happen("b", 1, 0))
    assert answer == EventsFollow("r1", "e", 0, 0, 0, ())


def test_a_queue_that_does_not_say_that_it_sends_is_not_waited_for_for_ever() -> None:
    scene = Scene()
    scene.ask("", 0, wait=30)
    assert scene.tell("a") == []
    assert scene.desk.next_look(scene.now) == pytest.approx(scene.mono + MEET_SECONDS)
    assert follows(scene.wait(MEET_SECONDS)).upto == 0


def test_a_question_is_answered_with_what_comes_after(scene: Scene) -> None:
    assert numbers(follows(scene.ask("e", 0))) == [1, 2, 3]
    answer = follows(scene.ask("e", 2))
    assert (numbers(answer), answer.upto, answer.newest, answer.missed) == ([3], 3, 3, 0)
    assert numbers(follows(scene.ask("e", 0, "b"))) == [3]


def test_a_question_waits_for_an_event_of_its_queues(scene: Scene) -> None:
    assert scene.ask("e", 3, "b") == []
    assert scene.happen("a", 3) == [Send(QUEUE, EventsNoted(3))]
    assert numbers(follows(scene.happen("b", 3))) == [5]


def test_a_question_is_answered_without_events_when_its_time_is_up(scene: Scene) -> None:
    assert scene.ask("e", 3) == []
    assert scene.desk.next_look(scene.now) == pytest.approx(scene.mono + 2)
    assert scene.wait(1) == []
    assert follows(scene.wait(1)) == EventsFollow("r2", "e", 3, 3, 0, ())


def test_whoever_asks_again_gets_one_answer(scene: Scene) -> None:
    scene.ask("e", 3)
    scene.ask("e", 3)
    scene.ask("e", 3, who=OTHER)
    sent = scene.happen("a", 3)
    assert follows(sent).request_id == "r3"
    assert numbers(follows(sent, OTHER)) == [4]


def test_a_subscription_may_begin_some_events_ago(scene: Scene) -> None:
    assert numbers(follows(scene.ask("", -1))) == [3]
    assert numbers(follows(scene.ask("", -99))) == [1, 2, 3]
    assert numbers(follows(scene.ask("", 0))) == []


def test_who_comes_too_late_is_told_how_much_is_gone(scene: Scene) -> None:
    scene.happen("a", 3, 9)
    answer = follows(scene.ask("e", 1))
    assert (answer.missed, numbers(answer)) == (1, list(range(3, 13)))


def test_who_comes_from_another_epoch_gets_what_there_is_and_is_told_that_some_may_be_gone(scene: Scene) -> None:
    answer = follows(scene.ask("before", 2))
    assert (answer.missed, answer.epoch, numbers(answer)) == (-1, "e", [1, 2, 3])


def test_a_message_that_comes_twice_counts_once_and_is_answered_twice(scene: Scene) -> None:
    assert scene.happen("a", 2, 2) == [Send(QUEUE, EventsNoted(2))]
    assert numbers(follows(scene.ask("e", 0))) == [1, 2, 3]


def test_a_new_owner_of_a_queue_is_a_gap_in_that_queues_events(scene: Scene) -> None:
    scene.happen("a", 1, 1, incarnation=7)
    answer = follows(scene.ask("e", 3))
    gap, event = answer.batches
    assert (gap.first, gap.size, gap.queue, event.first) == (4, 1, "a", 5)
    ((kind, at, *_, detail),) = unpack(gap.packed)
    assert (kind, at, detail) == ("gap", WALL, {"missed": None, "reason": "the queue's owner was restarted"})


def test_a_queue_that_has_slept_has_told_everything_before(scene: Scene) -> None:
    scene.happen("a", 1, 1, incarnation=7, rested=True)
    assert numbers(follows(scene.ask("e", 3))) == [4]
    scene.happen("a", 1, 1, incarnation=8)
    assert numbers(follows(scene.ask("e", 4))) == [5, 6]


def test_an_owner_that_was_replaced_is_not_heard(scene: Scene) -> None:
    scene.happen("a", 1, 0, incarnation=7)
    assert scene.happen("a", 3, 1, incarnation=1) == []


def test_when_nobody_asks_any_more_the_queues_are_told_to_stop(scene: Scene) -> None:
    scene.ask("e", 3, wait=1)
    assert scene.wait(1) != []
    assert scene.desk.next_look(scene.now) == pytest.approx(scene.mono + LEASE)
    assert scene.wait(LEASE - 0.5) == []
    assert scene.wait(0.5) == [Send(REGISTRY, WantEvents(wanted=False))]
    assert scene.desk.next_look(scene.now) == float("inf")
    assert scene.wait(100) == []


def test_the_last_to_say_farewell_makes_the_queues_stop_at_once(scene: Scene) -> None:
    scene.ask("e", 2, who=OTHER)
    assert follows(scene.ask("e", 3, wait=0, lease=0)).upto == 3
    sent = scene.ask("e", 3, who=OTHER, wait=0, lease=0)
    assert sent == [Send(OTHER, follows(sent, OTHER)), Send(REGISTRY, WantEvents(wanted=False))]
    # Who says it twice wakes nobody.
    assert [action.to for action in scene.ask("e", 3, wait=0, lease=0)] == [ME]


def test_what_happened_while_nobody_asked_is_a_gap_for_all(scene: Scene) -> None:
    scene.wait(100)
    assert scene.ask("e", 3, "b") == [Send(REGISTRY, WantEvents(wanted=True))]
    scene.tell("a")
    answer = follows(scene.happen("a", 9))
    (gap,) = answer.batches
    assert (gap.first, gap.queue, answer.upto) == (4, "", 5)


def test_a_successor_goes_on_without_being_asked_as_the_queues_send_already() -> None:
    scene = Scene(wanted=True)
    scene.tell("a")
    scene.happen("a", 5, 2)
    assert numbers(follows(scene.ask("before", 9))) == [1, 2]
    assert Scene(wanted=True).wait(MEET_SECONDS) == [Send(REGISTRY, WantEvents(wanted=False))]
