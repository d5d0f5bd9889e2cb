"""How the Registry wakes queues that sleep: for whoever asks, for what is due, for old tasks, and each only once."""

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from callboard.actors import wakes
from callboard.actors.children import Child
from callboard.actors.messages import (
    FindQueue,
    QueueAsleep,
    QueueFound,
    QueueReady,
    RefusalReason,
    Refused,
    StartRegistry,
    TaskMoved,
)
from callboard.actors.processes import Ident
from callboard.actors.roll import Entry, Roll, Sleep
from callboard.actors.store import QueueRow
from callboard.actors.store_visits import StoreVisits
from callboard.actors.task import TaskState
from callboard.actors.wakes import ERRANDS_AT_ONCE, FIRST_ERRANDS_SECONDS, Wakes
from callboard.conf.settings import QueueSettings
from tests.support.made_tasks import WALL

CHILD = cast(Child, SimpleNamespace(ident=Ident(4711, 1.0), address="owner"))
SETTINGS = QueueSettings(worker="tests:work")


class Played(Wakes):
    """The Registry's part without an actor system."""

    def __init__(self) -> None:
        self.roll = Roll()
        self.visits = StoreVisits()
        self._next_rescan = float("inf")
        self.sent: list[tuple[Any, Any]] = []
        self.killed: list[Child] = []

    def send(self, to: Any, message: Any) -> None:
        self.sent.append((to, message))

    def child_at(self, sender: Any) -> Child | None:
        return CHILD if sender == "owner" else None

    def kill_child(self, child: Child) -> None:
        self.killed.append(child)

    def go_on(self) -> None:
        pass

    def up(self, name: str, version: int = 1) -> Entry:
        entry = self.roll.add(name)
        entry.child = CHILD
        entry.came_up(QueueReady(name, 4711, 3, SETTINGS, version), "owner")
        return entry


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Played:
    monkeypatch.setattr(wakes, "microseconds", lambda: WALL)
    return Played()


def offer(
    registry: Played,
    monkeypatch: pytest.MonkeyPatch,
    agenda: dict[str, int],
    counts: dict[str, dict[TaskState, int]] | None = None,
) -> None:
    """Give the Registry a store that has these queues; the one called `paused` is."""
    counts = counts or {}
    rows = [QueueRow(name, SETTINGS.model_dump_json(), "", name == "paused", WALL, 1) for name in agenda | counts]
    store = SimpleNamespace(agenda=lambda: agenda, queues=lambda: rows, counts=lambda: counts, close=lambda: None)
    monkeypatch.setattr(wakes, "open_store", lambda url: store)
    registry.start_message = StartRegistry("r", {}, "", "memory:", "boot")


def test_a_queue_that_sleeps_is_ended_and_started_for_the_first_who_asks(registry: Played) -> None:
    entry = registry.up("mail")
    registry.queue_asleep(QueueAsleep("mail", 3, 1, None, history=False), "owner")
    assert (registry.killed, entry.ready) == ([CHILD], None)
    for name in "abc":
        registry.find(FindQueue(name, "mail"), name)
    assert registry.sent == []
    assert (registry.roll.due(0.0), registry.roll.sleeping()) == ([], [])  # its last process has not ended yet
    entry.let_go()
    assert registry.roll.due(0.0) == [entry]
    registry.up("mail")
    registry.answer_waiting(entry)
    assert [(to, type(message), message.request_id) for to, message in registry.sent] == [(n, QueueFound, n) for n in "abc"]


def test_whoever_only_looks_wakes_nobody(registry: Played) -> None:
    registry.roll.add("mail").sleep = Sleep()
    registry.find(FindQueue("r", "mail", wake=False), "x")
    ((_, refused),) = registry.sent
    assert (refused.reason, len(registry.roll.sleeping())) == (RefusalReason.IDLE, 1)


def test_who_waits_for_a_queue_that_can_not_start_is_told(registry: Played) -> None:
    entry = registry.roll.add("mail")
    entry.sleep = Sleep()
    registry.find(FindQueue("r", "mail"), "x")
    entry.down = "disk full"
    registry.answer_waiting(entry)
    assert registry.sent == [("x", Refused("r", RefusalReason.STARTING, "queue 'mail' is starting: disk full"))]
    assert entry.waiting == []


def test_one_that_does_not_know_of_new_settings_is_woken_at_once(registry: Played) -> None:
    entry = registry.up("mail", version=2)
    registry.queue_asleep(QueueAsleep("mail", 3, 1, None, history=False), "owner")
    assert (entry.sleep, entry.waking, registry.killed) == (None, True, [CHILD])


def test_nobody_sleeps_or_wakes_while_the_server_stops(registry: Played) -> None:
    entry = registry.up("mail")
    registry.roll.add("other").sleep = Sleep()
    registry.stopping = True
    registry.queue_asleep(QueueAsleep("mail", 3, 1, None, history=False), "owner")
    registry.find(FindQueue("r", "other"), "x")
    assert (entry.sleep, registry.killed) == (None, [])
    assert registry.sent[0][1].reason == RefusalReason.SHUTTING_DOWN


def test_a_stranger_puts_nobody_to_sleep(registry: Played) -> None:
    entry = registry.up("mail")
    registry.queue_asleep(QueueAsleep("mail", 3, 1, None, history=False), "stranger")
    assert (entry.sleep, registry.killed) == (None, [])


def test_a_queue_is_woken_when_its_next_task_is_due(registry: Played) -> None:
    now, later = registry.roll.add("now"), registry.roll.add("later")
    now.sleep, later.sleep = Sleep(WALL), Sleep(WALL + 5_000_000)
    assert registry.next_wake(100.0) == 100.0
    registry.wake_due(100.0)
    assert [entry for entry, _ in registry.roll.sleeping()] == [later]
    assert (now.waking, now.errand) == (True, False)
    assert registry.next_wake(100.0) == 105.0


def test_a_moved_task_wakes_a_queue_that_sleeps_and_is_told_to_one_that_does_not(registry: Played) -> None:
    asleep, up = registry.roll.add("asleep"), registry.up("up")
    asleep.sleep = Sleep(WALL + 9)
    for name in ("asleep", "up", "nobody"):
        registry.task_moved(TaskMoved(name, WALL), "owner")
    assert asleep.sleep == Sleep(WALL)
    assert registry.sent == [(up.address, TaskMoved("up", WALL))]


def test_errands_are_few_at_a_time(registry: Played) -> None:
    for number in range(5):
        registry.roll.add(f"q{number}").sleep = Sleep(errand_at=50.0)
    registry.wake_due(100.0)
    assert (registry.roll.errands(), len(registry.roll.sleeping())) == (ERRANDS_AT_ONCE, 5 - ERRANDS_AT_ONCE)
    assert registry.next_wake(100.0) == float("inf")  # until one of these is done
    registry.up("q0")
    registry.wake_due(100.0)
    assert len(registry.roll.sleeping()) == 4 - ERRANDS_AT_ONCE


def test_due_tasks_that_no_message_told_of_are_found_in_the_store(registry: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(registry, monkeypatch, {"mail": WALL - 1, "paused": 0})
    mail, paused = registry.roll.add("mail"), registry.roll.add("paused")
    mail.sleep, paused.sleep = Sleep(), Sleep()
    registry._next_rescan = 100.0
    registry.wake_due(99.0)
    assert len(registry.roll.sleeping()) == 2
    registry.wake_due(100.0)
    assert [entry.name for entry, _ in registry.roll.sleeping()] == ["paused"]


def test_where_another_server_has_the_dead_letter_nobody_is_woken_but_everybody_may_look(registry: Played) -> None:
    registry.roll.add("dead_letter").stands_by("another server")
    entry = registry.roll.add("mail")
    entry.sleep = Sleep(WALL - 1, errand_at=1.0)
    registry.wake_due(100.0)
    assert registry.next_wake(100.0) == float("inf")
    registry.find(FindQueue("r", "mail"), "x")
    registry.find(FindQueue("s", "mail", wake=False), "x")
    assert [message.reason for _, message in registry.sent] == [RefusalReason.STANDBY, RefusalReason.IDLE]
    assert entry.sleep is not None


def test_who_waits_for_a_queue_that_another_server_has_just_taken_is_told(registry: Played) -> None:
    entry = registry.roll.add("mail")
    entry.sleep = Sleep()
    registry.find(FindQueue("r", "mail"), "x")
    entry.stands_by("another server")
    registry.answer_waiting(entry)
    assert [message.reason for _, message in registry.sent] == [RefusalReason.STANDBY]
    assert (entry.waking, entry.waiting) == (False, [])


def test_what_another_server_had_awake_or_has_made_is_found_in_the_store(
    registry: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(registry, monkeypatch, {"mail": 0, "paused": 0, "new": 0, "later": WALL + 9})
    for name in ("mail", "paused"):
        registry.roll.add(name).sleep = Sleep()
    registry._next_rescan = 100.0
    registry.wake_due(100.0)
    assert {entry.name: entry.sleep for entry in registry.roll} == {
        "mail": None,
        "paused": Sleep(),
        "new": None,
        "later": Sleep(WALL + 9),
    }


def test_what_another_server_has_done_in_a_queue_that_sleeps_is_removed_one_day(
    registry: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(registry, monkeypatch, {}, {"mail": {TaskState.COMPLETED: 3}, "known": {TaskState.DEAD: 1}, "empty": {}})
    for name in ("mail", "empty"):
        registry.roll.add(name).sleep = Sleep()
    registry.roll.add("known").sleep = Sleep(errand_at=9e9)
    registry._next_rescan = 100.0
    registry.wake_due(100.0)
    errands = {entry.name: sleep.errand_at for entry, sleep in registry.roll.sleeping()}
    assert errands["mail"] <= time.monotonic() + FIRST_ERRANDS_SECONDS
    assert (errands["known"], errands["empty"]) == (9e9, float("inf"))
