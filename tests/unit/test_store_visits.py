"""A store that takes long to say no is not asked by everybody in turn."""

from typing import Any

import pytest

from callboard.actors import wakes
from callboard.actors.directory import Directory
from callboard.actors.errors import StoreUnavailable
from callboard.actors.messages import MakeQueue, QueuePut, StartRegistry
from callboard.actors.roll import Roll
from callboard.actors.store import Store
from callboard.actors.store.memory import MemoryStore
from callboard.actors.store_visits import StoreVisits
from callboard.conf.settings import QueueSettings
from tests.support.made_tasks import WALL

SETTINGS = QueueSettings(worker="tests:work")


class Away:
    """A clock, and a store that does not answer until that has gone on for a while."""

    def __init__(self, seconds: float) -> None:
        self.now = 1_000.0
        self.seconds = seconds
        self.opened = 0
        self.store: Store | None = None

    def open(self, _url: str = "") -> Store:
        self.opened += 1
        if self.store is None:
            self.now += self.seconds
            raise StoreUnavailable("no answer")
        return self.store


class Played(Directory):
    """The Registry's part without an actor system."""

    def __init__(self, away: Away) -> None:
        self.roll = Roll()
        self.visits = StoreVisits(lambda: away.now)
        self.start_message = StartRegistry("r", {}, "", "postgresql://nowhere", "boot")
        self._next_rescan = float("inf")
        self.next_clearing = float("inf")
        self.sent: list[Any] = []

    def send(self, to: Any, message: Any) -> None:
        self.sent.append(message)

    def go_on(self) -> None:
        pass


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Away:
    away = Away(5.0)
    monkeypatch.setattr(wakes, "open_store", away.open)
    return away


def test_of_many_new_queues_only_the_first_waits_for_a_store_that_does_not_answer(away: Away) -> None:
    registry = Played(away)
    for number in range(3):
        with pytest.raises(StoreUnavailable, match="no answer"):
            registry.make_queue(MakeQueue("r", f"event-{number}", SETTINGS), None)
    assert (away.opened, away.now) == (1, 1_005.0)
    away.now += 5.0
    with pytest.raises(StoreUnavailable):
        registry.make_queue(MakeQueue("r", "event-3", SETTINGS), None)
    assert away.opened == 2
    away.store = MemoryStore(clock=lambda: WALL)
    away.now += 5.0
    registry.make_queue(MakeQueue("r", "event-4", SETTINGS), None)
    assert registry.sent == [QueuePut("r", "event-4", created=True)]


def test_what_is_due_is_looked_for_when_the_store_may_be_asked_again(away: Away) -> None:
    registry = Played(away)
    with pytest.raises(StoreUnavailable):
        registry.make_queue(MakeQueue("r", "event", SETTINGS), None)
    registry._next_rescan = away.now
    registry.wake_due(away.now)
    assert (away.opened, registry.next_wake(away.now)) == (1, away.now + 5.0)
    away.now += 5.0
    registry.wake_due(away.now)
    assert (away.opened, registry.next_wake(away.now)) == (2, 1_010.0 + wakes.RESCAN_SECONDS)


def test_a_failure_that_takes_no_time_keeps_nobody_away(away: Away) -> None:
    visits, away.seconds = StoreVisits(lambda: away.now), 0.0
    for _ in range(3):
        with pytest.raises(StoreUnavailable), visits.opened(away.open):
            pass
    assert away.opened == 3


def test_what_fails_while_the_store_is_open_counts_too(away: Away) -> None:
    away.store = MemoryStore(clock=lambda: WALL)
    visits = StoreVisits(lambda: away.now)

    def visit(error: Exception) -> None:
        with visits.opened(away.open):
            away.now += 3.0
            raise error

    with pytest.raises(StoreUnavailable):
        visit(StoreUnavailable("it has stopped answering"))
    assert visits.not_before == away.now + 3.0
    away.now += 3.0
    with pytest.raises(ValueError, match="another"):
        visit(ValueError("another trouble"))
    assert visits.not_before < away.now
