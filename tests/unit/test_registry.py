"""What the Registry tells its queues when one of them comes up, or stands by for another server."""

import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from callboard.actors import processes
from callboard.actors.children import Child, Children
from callboard.actors.errors import StoreUnavailable
from callboard.actors.messages import (
    ApplySettings,
    DeadLetterAt,
    DeleteQueue,
    FindQueue,
    PutQueue,
    QueueDeleted,
    QueueFound,
    QueueGone,
    QueueReady,
    QueueStandsBy,
    QueueStopped,
    RefusalReason,
    Refused,
    ShutDown,
    ShutDownDone,
    StartRegistry,
    StopQueue,
)
from callboard.actors.processes import Ident
from callboard.actors.registry import RegistryActor
from callboard.actors.roll import Entry, Roll, Sleep
from callboard.actors.runtime import queue_folder
from callboard.actors.store.opening import open_store
from callboard.actors.store_visits import StoreVisits
from callboard.conf.settings import QueueSettings
from tests.store.made import insert, put
from tests.support.made_tasks import WALL

OLD = QueueSettings(worker="tests:work", concurrency=1)
NEW = QueueSettings(worker="tests:work", concurrency=7)


class Played(RegistryActor):
    """The Registry without an actor system, on a real store; each queue's child is known by its name."""

    def __init__(self, store_url: str, data_dir: Path) -> None:
        self.roll = Roll()
        self._next_rescan = float("inf")
        self.visits = StoreVisits()
        self.awaited: dict[str, QueueSettings] = {}
        self.next_clearing = float("inf")
        self._clearing = None
        self.start_message = StartRegistry("r", {}, str(data_dir), store_url, "boot")
        self.sent: list[tuple[Any, Any]] = []
        self.children = Children()
        self.killed: list[Child] = []
        self._events = None
        self._stop_reply = None
        self._watched = set()

    @property
    def events_to(self) -> None:
        return None

    def send(self, to: Any, message: Any) -> None:
        self.sent.append((to, message))

    def child_at(self, sender: Any) -> Child | None:
        entry = self.roll.get(sender)
        return None if entry is None else entry.child

    def mark_ready(self, child: Child) -> None:
        pass

    def kill_child(self, child: Child) -> None:
        self.killed.append(child)

    def go_on(self) -> None:
        self._finish_stop(time.monotonic())

    def starting(self, name: str) -> Entry:
        entry = self.roll.add(name)
        child = SimpleNamespace(name=name, ident=Ident(4711, 1.0), address=name, uptime=lambda _: 1.0)
        entry.child = cast(Child, child)
        return entry

    def come_up(self, name: str, settings: QueueSettings = OLD, version: int = 1) -> None:
        self.queue_ready(QueueReady(name, 4711, 3, settings, version), name)

    def ended(self, entry: Entry) -> None:
        assert entry.child is not None
        self.child_exited(entry.child, -9)

    def sent_of(self, kind: type) -> list[tuple[Any, Any]]:
        return [(to, message) for to, message in self.sent if isinstance(message, kind)]


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Played:
    monkeypatch.setattr(processes, "end_orphans", lambda _known: set())  # they would be the tests' own
    url = f"sqlite:///{tmp_path / 'callboard.db'}"
    store = open_store(url)
    store.put_queue("mail", OLD.model_dump_json(), "", WALL)
    store.close()
    return Played(url, tmp_path)


def test_settings_put_while_a_queue_wakes_are_passed_on_when_it_has_come_up_with_the_old_ones(registry: Played) -> None:
    registry.roll.add("mail").sleep = Sleep()
    registry.find(FindQueue("f", "mail"), "x")
    registry.starting("mail")
    registry.put_queue(PutQueue("p", "mail", NEW), "y")
    registry.come_up("mail")
    assert registry.sent_of(ApplySettings) == [("mail", ApplySettings("mail", NEW, 2))]
    ((to, found),) = registry.sent_of(QueueFound)
    assert (to, found.settings, found.settings_version) == ("x", NEW, 2)
    registry.come_up("mail", NEW, 2)
    assert len(registry.sent_of(ApplySettings)) == 1


@pytest.mark.parametrize("version", [2, 3])
def test_settings_that_a_queue_has_read_at_its_start_are_not_passed_on_again(registry: Played, version: int) -> None:
    registry.starting("mail")
    registry.put_queue(PutQueue("p", "mail", NEW), "y")
    registry.come_up("mail", NEW, version)
    assert registry.sent_of(ApplySettings) == []


def test_all_queues_are_told_where_the_dead_letter_is_and_when_another_server_has_it(registry: Played) -> None:
    for name in ("mail", "dead_letter", "late"):
        registry.starting(name)
    registry.come_up("mail")
    assert registry.sent_of(DeadLetterAt) == []
    registry.queue_stands_by(QueueStandsBy("dead_letter", "another server"), "dead_letter")
    assert registry.sent_of(DeadLetterAt) == [("mail", DeadLetterAt(None))]
    registry.come_up("late")
    assert registry.sent_of(DeadLetterAt)[1:] == [("late", DeadLetterAt(None))]
    registry.come_up("dead_letter")
    here = DeadLetterAt("dead_letter")
    assert registry.sent_of(DeadLetterAt)[2:] == [(name, here) for name in ("mail", "dead_letter", "late")]


def test_queues_that_are_not_up_yet_are_told_to_stop_and_waited_for_like_the_others(registry: Played) -> None:
    for name in ("mail", "starts", "dies", "standby"):
        registry.starting(name)
    asleep = registry.roll.add("asleep")
    asleep.sleep = Sleep()
    registry.come_up("mail")
    registry.queue_stands_by(QueueStandsBy("standby", "another server"), "standby")
    registry.shut_down(ShutDown("s", 60.0), "server")
    told = [(name, StopQueue("s", name, 60.0)) for name in ("mail", "starts", "dies", "standby")]
    assert registry.sent_of(StopQueue) == told
    registry.come_up("starts")
    for name in ("mail", "standby", "starts"):
        assert registry.sent_of(ShutDownDone) == []
        registry.queue_stopped(QueueStopped("s", name, 1), name)
    assert registry.sent_of(ShutDownDone) == []
    entry = registry.roll.get("dies")
    assert entry is not None
    registry.ended(entry)
    assert registry.sent_of(ShutDownDone) == [("server", ShutDownDone("s", 3))]


def test_a_queue_whose_process_is_being_ended_is_not_told_to_stop(registry: Played) -> None:
    registry.starting("sleepy").fall_asleep(Sleep())
    registry.shut_down(ShutDown("s", 60.0), "server")
    assert registry.sent_of(StopQueue) == []
    assert registry.sent_of(ShutDownDone) == [("server", ShutDownDone("s", 0))]


@pytest.mark.parametrize("filled", [False, True])
def test_each_of_two_who_delete_a_queue_at_the_same_time_gets_an_answer(registry: Played, *, filled: bool) -> None:
    entry = registry.starting("mail")
    registry.come_up("mail")
    registry.delete_queue(DeleteQueue("d1", "mail", force=False), "first")
    registry.delete_queue(DeleteQueue("d2", "mail", force=True), "second")
    assert registry.killed == [entry.child]
    if filled:  # after the queue was found empty
        with closing(open_store(registry.start_message.store_url)) as store:
            put(store.own("mail")[0], insert(1))
    registry.sent.clear()
    registry.ended(entry)
    (to_first, first), (to_second, second) = registry.sent
    assert (to_first, first.request_id, to_second, second.request_id) == ("first", "d1", "second", "d2")
    if filled:
        assert first.reason is RefusalReason.NOT_EMPTY
        assert second == QueueDeleted("d2", "mail", 1)
    else:
        assert first == QueueDeleted("d1", "mail", 0)
        assert second.reason is RefusalReason.UNKNOWN_QUEUE


def test_who_deletes_a_queue_as_the_second_is_answered_when_the_store_fails_both(
    registry: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = registry.starting("mail")
    for number in ("d1", "d2", "d3"):
        registry.delete_queue(DeleteQueue(number, "mail", force=True), "x")
    monkeypatch.setattr(registry, "opened_store", failing)
    registry.ended(entry)
    answers = [(message.request_id, message.reason) for _, message in registry.sent_of(Refused)]
    assert answers == [(number, RefusalReason.STORE_UNAVAILABLE) for number in ("d1", "d2", "d3")]


def failing() -> Any:
    raise StoreUnavailable("it is away")


def test_the_files_of_a_queue_that_another_server_has_deleted_are_removed_when_its_process_has_ended(
    registry: Played, tmp_path: Path
) -> None:
    entry = registry.starting("mail")
    journal = files_of_a_worker(tmp_path)
    registry.queue_gone(QueueGone("mail"), "mail")
    assert journal.exists()
    registry.ended(entry)
    assert not journal.parent.exists()


def test_the_files_of_a_queue_that_was_made_anew_meanwhile_stay(registry: Played, tmp_path: Path) -> None:
    entry = registry.starting("mail")
    registry.queue_gone(QueueGone("mail"), "mail")
    registry.starting("mail")
    journal = files_of_a_worker(tmp_path)
    registry.ended(entry)
    assert journal.exists()


def test_the_files_of_a_queue_that_could_not_be_deleted_stay(registry: Played, tmp_path: Path) -> None:
    entry = registry.starting("mail")
    registry.delete_queue(DeleteQueue("d", "mail", force=False), "x")
    with closing(open_store(registry.start_message.store_url)) as store:
        put(store.own("mail")[0], insert(1))
    journal = files_of_a_worker(tmp_path)
    registry.ended(entry)
    assert journal.exists()
    registry.delete_queue(DeleteQueue("d", "mail", force=True), "x")
    assert not journal.parent.exists()


def files_of_a_worker(data_dir: Path) -> Path:
    journal = queue_folder(data_dir, "mail") / "worker.journal"
    journal.parent.mkdir(parents=True)
    journal.touch()
    return journal
