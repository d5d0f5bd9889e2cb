"""How the Registry keeps an Events actor: whom it tells of it, and when it is replaced."""

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from callboard.actors.children import Child
from callboard.actors.events_keeping import EventsKeeping
from callboard.actors.messages import (
    EventsFound,
    EventsReady,
    FindEvents,
    Ping,
    PublishEvents,
    QueueReady,
    RefusalReason,
    StartEvents,
    StartRegistry,
    WantEvents,
)
from callboard.actors.processes import Ident
from callboard.actors.roll import Roll
from callboard.conf.settings import QueueSettings

LOG = {"log": {"level": "info", "format": "text"}}
SILENCE_SECONDS = 10.0


class Played(EventsKeeping):
    """The Registry's part without an actor system; a child's address is its number."""

    def __init__(self) -> None:
        self.roll = Roll()
        self.start_message = StartRegistry("r", LOG, "", "", "boot")
        self.started: list[Child] = []
        self.sent: list[tuple[Any, Any]] = []
        self.killed: list[Child] = []
        self._events = self._events_address = self._events_pinged = None
        self._events_wanted = False
        self._events_failures = 0
        self._events_not_before = 0.0
        self.lived = 1.0

    def spawn(self, actor_class: Any, name: str, ready_within: float = 0.0) -> Child:
        number = len(self.started)
        child = SimpleNamespace(address=number, pid=4711, ident=Ident(4711, 1.0), name=name, uptime=lambda _: self.lived)
        self.started.append(cast(Child, child))
        return self.started[-1]

    def send(self, to: Any, message: Any) -> None:
        self.sent.append((to, message))

    def child_at(self, sender: Any) -> Child | None:
        return self.started[sender] if isinstance(sender, int) else None

    def mark_ready(self, child: Child) -> None:
        pass

    def kill_child(self, child: Child) -> None:
        self.killed.append(child)

    def go_on(self) -> None:
        pass

    def queue_up(self, name: str) -> None:
        self.roll.add(name).came_up(QueueReady(name, 4711, 3, QueueSettings(worker="tests:work"), 1), name)

    def told_queues(self) -> list[Any]:
        """Return where queues were told to send their events, and forget it."""
        told = [message.address for _, message in self.sent if isinstance(message, PublishEvents)]
        self.sent.clear()
        return told


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Played:
    monkeypatch.setattr(time, "monotonic", lambda: 1_000.0)
    registry = Played()
    assert registry.start_events(1_000.0) == float("inf")
    assert registry.sent == [(0, StartEvents(wanted=False, log_level="info", log_format="text"))]
    registry.sent.clear()
    return registry


def replace(registry: Played) -> None:
    registry.events_gone(-9)
    registry.start_events(registry._events_not_before)


def test_queues_send_their_events_only_while_somebody_wants_them(registry: Played) -> None:
    registry.queue_up("mail")
    registry.events_ready(EventsReady(4711), 0)
    assert (registry.told_queues(), registry.events_to) == ([], None)
    registry.want_events(WantEvents(wanted=True), 0)
    assert (registry.told_queues(), registry.events_to) == ([0], 0)
    registry.want_events(WantEvents(wanted=False), 0)
    assert (registry.told_queues(), registry.events_to) == ([None], None)


def test_a_replaced_events_actor_that_wakes_up_again_is_not_listened_to(registry: Played) -> None:
    registry.queue_up("mail")
    replace(registry)
    registry.sent.clear()
    registry.events_ready(EventsReady(4711), 0)
    registry.want_events(WantEvents(wanted=True), 0)
    registry.find_events(FindEvents("f"), "x")
    ((to, refused),) = registry.sent
    assert (to, refused.reason) == ("x", RefusalReason.STARTING)
    registry.events_ready(EventsReady(4711), 1)
    registry.sent.clear()
    registry.find_events(FindEvents("f"), "x")
    assert registry.sent == [("x", EventsFound("f", 1, 4711, 1.0))]


def test_the_next_one_is_told_that_events_are_wanted_and_so_are_the_queues_of_it(registry: Played) -> None:
    registry.queue_up("mail")
    registry.events_ready(EventsReady(4711), 0)
    registry.want_events(WantEvents(wanted=True), 0)
    registry.sent.clear()
    replace(registry)
    assert registry.sent == [(1, StartEvents(wanted=True, log_level="info", log_format="text"))]
    assert registry.events_to is None
    registry.events_ready(EventsReady(4711), 1)
    assert registry.told_queues() == [1]


def test_each_start_that_fails_has_the_next_wait_longer_and_one_that_was_well_has_it_come_at_once(registry: Played) -> None:
    waits = []
    for _ in range(4):
        registry.events_gone(1)
        due = registry.start_events(1_000.0)  # it says when, or has started one
        waits.append(0.0 if due == float("inf") else round(due - 1_000.0, 3))
        registry.start_events(due if due < float("inf") else 1_000.0)
    assert waits == sorted(waits)
    assert waits[0] == 0.0 < waits[-1]
    registry.events_ready(EventsReady(4711), len(registry.started) - 1)
    registry.lived = 60.0
    registry.events_gone(-9)
    assert registry.start_events(1_000.0) == float("inf")


def test_one_that_does_not_answer_its_ping_is_replaced(registry: Played) -> None:
    registry.ping_events(1_000.0, SILENCE_SECONDS)
    assert registry.sent == []  # it is not up yet
    registry.events_ready(EventsReady(4711), 0)
    for now in (1_000.0, 1_005.0):
        registry.ping_events(now, SILENCE_SECONDS)
    assert [type(message) for _, message in registry.sent] == [Ping]
    registry.events_answered()
    registry.ping_events(1_011.0, SILENCE_SECONDS)
    assert registry.killed == []
    registry.ping_events(1_022.0, SILENCE_SECONDS)
    assert registry.killed == registry.started
