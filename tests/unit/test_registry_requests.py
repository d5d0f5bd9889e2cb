"""How the Registry answers requests: also those that can't be done, and those that another server was quicker to do."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from callboard.actors import processes
from callboard.actors.errors import OwnedElsewhere, StoreUnavailable
from callboard.actors.messages import (
    DeleteQueue,
    FindQueue,
    MakeQueue,
    Pong,
    PutQueue,
    QueueDeleted,
    QueueFound,
    QueueNotReady,
    QueuePut,
    QueueReady,
    QueueStandsBy,
    RefusalReason,
    Refused,
    SettingsChanged,
)
from callboard.actors.roll import Sleep
from callboard.actors.store.opening import open_store
from tests.support.made_tasks import WALL
from tests.support.played_registry import NEW, OLD, PlayedRegistry, registry_of_mail


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlayedRegistry:
    monkeypatch.setattr(processes, "end_orphans", lambda _known: set())  # they would be the tests' own
    return registry_of_mail(tmp_path)


def made_by_another_server(registry: PlayedRegistry, queue: str) -> None:
    with closing(open_store(registry.start_message.store_url)) as store:
        store.put_queue(queue, OLD.model_dump_json(), "", WALL)


def stored(registry: PlayedRegistry, queue: str) -> str:
    with closing(open_store(registry.start_message.store_url)) as store:
        return next(row.settings for row in store.queues() if row.name == queue)


# ------------------------------------------------------------ requests that fail


@pytest.mark.parametrize(
    ("error", "reason", "detail"),
    [
        (StoreUnavailable("the disk is full"), RefusalReason.STORE_UNAVAILABLE, "the disk is full"),
        (OwnedElsewhere("mail", "b"), RefusalReason.STANDBY, "queue 'mail' is owned by b"),
        (ValueError("no"), RefusalReason.FAILED, "ValueError: no"),
    ],
)
def test_who_asked_for_what_failed_is_told_why(
    registry: PlayedRegistry, error: Exception, reason: RefusalReason, detail: str
) -> None:
    registry.handler_failed(PutQueue("p", "mail", NEW), "x", error)
    assert registry.sent == [("x", Refused("p", reason, detail))]


def test_nobody_is_answered_who_has_not_asked_for_anything(registry: PlayedRegistry) -> None:
    @dataclass
    class News:
        queue: str

    registry.handler_failed(News("mail"), "mail", ValueError("no"))
    assert registry.sent == []


# ------------------------------------------------------------ what a queue tells that is this one's no more


def test_an_owner_that_was_replaced_while_it_came_up_gets_no_requests(registry: PlayedRegistry) -> None:
    registry.starting("other")
    registry.roll.add("mail")
    registry.queue_ready(QueueReady("mail", 4711, 3, OLD, 1), "other")
    registry.find(FindQueue("f", "mail"), "x")
    ((to, refused),) = registry.sent
    assert (to, refused.reason) == ("x", RefusalReason.STARTING)


def test_an_owner_that_was_replaced_can_not_have_its_queue_stand_by(registry: PlayedRegistry) -> None:
    registry.starting("other")
    registry.starting("mail")
    registry.come_up("mail")
    registry.queue_stands_by(QueueStandsBy("mail", "another server"), "other")
    registry.find(FindQueue("f", "mail"), "x")
    assert len(registry.sent_of(QueueFound)) == 1


def test_news_of_a_queue_that_is_deleted_change_nothing(registry: PlayedRegistry) -> None:
    registry.queue_not_ready(QueueNotReady("gone", "no disk"), "gone")
    registry.settings_changed(SettingsChanged("gone", NEW, 2), "gone")
    registry.pong(Pong("gone", 4711), "gone")
    assert (registry.sent, list(registry.roll)) == ([], [])


# ------------------------------------------------------------ a queue that does not come up


def test_who_waits_for_a_queue_that_does_not_come_up_is_told_why(registry: PlayedRegistry) -> None:
    registry.roll.add("mail").sleep = Sleep()
    registry.find(FindQueue("f", "mail"), "x")
    registry.starting("mail")
    registry.queue_not_ready(QueueNotReady("mail", "the disk is full"), "mail")
    ((to, refused),) = registry.sent
    assert to == "x"
    assert "the disk is full" in refused.detail


def test_a_queue_that_answers_its_ping_is_not_taken_for_silent(registry: PlayedRegistry) -> None:
    entry = registry.starting("mail")
    registry.come_up("mail")
    entry.pinged = 1.0
    registry.pong(Pong("mail", 4711), "mail")
    assert entry.pinged is None


def test_a_queue_of_the_configuration_whose_name_is_not_free_yet_is_to_be_asked_for_again(registry: PlayedRegistry) -> None:
    registry.awaited["coming"] = OLD
    for name in ("coming", "unknown"):
        registry.find(FindQueue("f", name), "x")
    reasons = [message.reason for _, message in registry.sent]
    assert reasons == [RefusalReason.STARTING, RefusalReason.UNKNOWN_QUEUE]


# ------------------------------------------------------------ settings


def test_whoever_looks_a_queue_up_sees_the_settings_that_it_has_changed_itself(registry: PlayedRegistry) -> None:
    registry.starting("mail")
    registry.come_up("mail")
    registry.settings_changed(SettingsChanged("mail", NEW, 2), "mail")
    registry.find(FindQueue("f", "mail"), "x")
    ((_, found),) = registry.sent_of(QueueFound)
    assert (found.settings, found.settings_version) == (NEW, 2)


def test_a_queue_that_another_server_has_made_meanwhile_is_not_overwritten(registry: PlayedRegistry) -> None:
    made_by_another_server(registry, "new")
    registry.put_queue(PutQueue("p", "new", NEW), "x")
    ((to, refused),) = registry.sent_of(Refused)
    assert (to, refused.reason) == ("x", RefusalReason.STANDBY)
    assert stored(registry, "new") == OLD.model_dump_json()
    assert registry.roll.get("new") is not None  # now it is known here too: the second attempt changes it
    registry.put_queue(PutQueue("q", "new", NEW), "x")
    assert registry.sent_of(QueuePut) == [("x", QueuePut("q", "new", created=False))]
    assert stored(registry, "new") == NEW.model_dump_json()


def test_of_many_who_make_a_queue_one_has_made_it(registry: PlayedRegistry) -> None:
    for number in ("a", "b"):
        registry.make_queue(MakeQueue(number, "new", NEW), "x")
    assert registry.sent == [("x", QueuePut("a", "new", created=True)), ("x", QueuePut("b", "new", created=False))]


def test_a_queue_that_another_server_has_made_from_its_template_is_taken_as_it_is(registry: PlayedRegistry) -> None:
    made_by_another_server(registry, "new")
    registry.make_queue(MakeQueue("m", "new", NEW), "x")
    assert registry.sent == [("x", QueuePut("m", "new", created=False))]
    assert stored(registry, "new") == OLD.model_dump_json()


def test_queues_are_made_by_the_server_that_has_the_dead_letter(registry: PlayedRegistry) -> None:
    registry.starting("dead_letter")
    registry.queue_stands_by(QueueStandsBy("dead_letter", "the other"), "dead_letter")
    registry.sent.clear()
    registry.make_queue(MakeQueue("m", "new", NEW), "x")
    registry.put_queue(PutQueue("p", "new", NEW), "x")
    assert [message.reason for _, message in registry.sent_of(Refused)] == [RefusalReason.STANDBY] * 2
    assert all("the other" in message.detail for _, message in registry.sent)
    assert registry.roll.get("new") is None


# ------------------------------------------------------------ deleting


def test_a_queue_can_be_deleted_while_it_goes_to_sleep(registry: PlayedRegistry) -> None:
    entry = registry.starting("mail")
    registry.come_up("mail")
    entry.fall_asleep(Sleep())
    registry.delete_queue(DeleteQueue("d", "mail", force=False), "x")
    registry.ended(entry)
    assert registry.sent_of(QueueDeleted) == [("x", QueueDeleted("d", "mail", 0))]
    assert registry.roll.get("mail") is None


def test_who_deletes_a_queue_that_another_server_has_deleted_meanwhile_is_told_that_there_is_none(
    registry: PlayedRegistry,
) -> None:
    entry = registry.starting("mail")
    registry.come_up("mail")
    registry.delete_queue(DeleteQueue("d", "mail", force=False), "x")
    with closing(open_store(registry.start_message.store_url)) as store:
        store.delete_queue("mail", only_empty=True)
    registry.ended(entry)
    ((to, refused),) = registry.sent_of(Refused)
    assert (to, refused.reason) == ("x", RefusalReason.UNKNOWN_QUEUE)
    assert registry.roll.get("mail") is None
