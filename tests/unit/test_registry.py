"""What the Registry tells its queues when one of them comes up, or stands by for another server."""

from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from callboard.actors.children import Child
from callboard.actors.errors import StoreUnavailable
from callboard.actors.messages import (
    ApplySettings,
    DeadLetterAt,
    DeleteQueue,
    FindQueue,
    MakeQueue,
    PutQueue,
    QueueDeleted,
    QueueFound,
    QueueReady,
    QueueStandsBy,
    RefusalReason,
    Refused,
    StartRegistry,
)
from callboard.actors.processes import Ident
from callboard.actors.registry import RegistryActor
from callboard.actors.roll import Entry, Roll, Sleep
from callboard.actors.store.opening import open_store
from callboard.actors.store.sqlite import SqliteStore
from callboard.actors.store_visits import StoreVisits
from callboard.conf.settings import QueueSettings
from tests.support.made_tasks import WALL

OLD = QueueSettings(worker="tests:work", concurrency=1)
NEW = QueueSettings(worker="tests:work", concurrency=7)


class Played(RegistryActor):
    """The Registry without an actor system, on a real store; each queue's child is known by its name."""

    def __init__(self, store_url: str) -> None:
        self.roll = Roll()
        self._next_rescan = float("inf")
        self.visits = StoreVisits()
        self.awaited: dict[str, QueueSettings] = {}
        self.next_clearing = float("inf")
        self._clearing = None
        self.start_message = StartRegistry("r", {}, "", store_url, "boot")
        self.sent: list[tuple[Any, Any]] = []

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

    def go_on(self) -> None:
        pass

    def starting(self, name: str) -> Entry:
        entry = self.roll.add(name)
        entry.child = cast(Child, SimpleNamespace(ident=Ident(4711, 1.0), address=name))
        return entry

    def come_up(self, name: str, settings: QueueSettings = OLD, version: int = 1) -> None:
        self.queue_ready(QueueReady(name, 4711, 3, settings, version), name)

    def sent_of(self, kind: type) -> list[tuple[Any, Any]]:
        return [(to, message) for to, message in self.sent if isinstance(message, kind)]


@pytest.fixture
def registry(tmp_path: Path) -> Played:
    url = f"sqlite:///{tmp_path / 'callboard.db'}"
    store = open_store(url)
    store.put_queue("mail", OLD.model_dump_json(), "", WALL)
    store.close()
    return Played(url)


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


def delete(registry: Played, name: str) -> Any:
    registry.roll.add(name)
    registry.delete_queue(DeleteQueue("d", name, force=True), "x")
    return registry.sent[-1][1]


def test_a_queue_that_another_server_has_deleted_meanwhile_is_unknown(registry: Played) -> None:
    with closing(open_store(registry.start_message.store_url)) as store:
        store.delete_queue("mail")
    refused = delete(registry, "mail")
    assert (type(refused), refused.reason) == (Refused, RefusalReason.UNKNOWN_QUEUE)
    assert registry.roll.get("mail") is None


def test_what_was_deleted_is_cleared_in_slices_and_its_name_is_free_again_after_the_last(
    registry: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    slices = []
    clear = SqliteStore.clear_deleted

    def clear_late(store: SqliteStore, seconds: float) -> bool:
        slices.append(seconds)
        return len(slices) > 2 and clear(store, seconds)

    monkeypatch.setattr(SqliteStore, "clear_deleted", clear_late)
    assert delete(registry, "mail") == QueueDeleted("d", "mail", 0)
    registry.awaited = {"mail": NEW}
    sender: Any = "x"
    registry.put_queue(PutQueue("p", "mail", NEW), sender)
    registry.make_queue(MakeQueue("p", "mail", NEW), sender)
    registry.find(FindQueue("p", "mail"), sender)
    assert [refused.reason for _, refused in registry.sent_of(Refused)] == [RefusalReason.STARTING] * 3
    registry.clear_deleted(registry.next_clearing - 0.001)
    assert len(slices) == 1
    while registry.next_clearing < float("inf"):
        registry.clear_deleted(registry.next_clearing)
    assert len(slices) == 3
    assert (registry.awaited, registry.roll.get("mail") is not None) == ({}, True)
    with closing(open_store(registry.start_message.store_url)) as store:
        assert QueueSettings.model_validate_json(store.queues()[-1].settings) == NEW


def test_a_store_that_does_not_answer_is_cleared_later(registry: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(SqliteStore, "clear_deleted", fail)
        assert delete(registry, "mail") == QueueDeleted("d", "mail", 0)
        assert registry.next_clearing < float("inf")
    registry.visits = StoreVisits()
    registry.clear_deleted(registry.next_clearing)
    assert registry.next_clearing == float("inf")


def fail(*_: object) -> None:
    raise StoreUnavailable("the disk is full")
