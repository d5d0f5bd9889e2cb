"""What the Registry tells its queues when one of them comes up, or stands by for another server."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from callboard.actors import processes
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
    QueueStandsBy,
    QueueStopped,
    RefusalReason,
    Refused,
    ShutDown,
    ShutDownDone,
    StopQueue,
)
from callboard.actors.roll import Sleep
from callboard.actors.runtime import queue_folder
from callboard.actors.store.opening import open_store
from tests.store.made import insert, put
from tests.support.played_registry import NEW, PlayedRegistry, registry_of_mail


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlayedRegistry:
    monkeypatch.setattr(processes, "end_orphans", lambda _known: set())  # they would be the tests' own
    return registry_of_mail(tmp_path)


def test_settings_put_while_a_queue_wakes_are_passed_on_when_it_has_come_up_with_the_old_ones(
    registry: PlayedRegistry,
) -> None:
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
def test_settings_that_a_queue_has_read_at_its_start_are_not_passed_on_again(registry: PlayedRegistry, version: int) -> None:
    registry.starting("mail")
    registry.put_queue(PutQueue("p", "mail", NEW), "y")
    registry.come_up("mail", NEW, version)
    assert registry.sent_of(ApplySettings) == []


def test_all_queues_are_told_where_the_dead_letter_is_and_when_another_server_has_it(registry: PlayedRegistry) -> None:
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


def test_queues_that_are_not_up_yet_are_told_to_stop_and_waited_for_like_the_others(registry: PlayedRegistry) -> None:
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


def test_a_queue_whose_process_is_being_ended_is_not_told_to_stop(registry: PlayedRegistry) -> None:
    registry.starting("sleepy").fall_asleep(Sleep())
    registry.shut_down(ShutDown("s", 60.0), "server")
    assert registry.sent_of(StopQueue) == []
    assert registry.sent_of(ShutDownDone) == [("server", ShutDownDone("s", 0))]


@pytest.mark.parametrize("filled", [False, True])
def test_each_of_two_who_delete_a_queue_at_the_same_time_gets_an_answer(registry: PlayedRegistry, *, filled: bool) -> None:
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
    registry: PlayedRegistry, monkeypatch: pytest.MonkeyPatch
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
    registry: PlayedRegistry, tmp_path: Path
) -> None:
    entry = registry.starting("mail")
    journal = files_of_a_worker(tmp_path)
    registry.queue_gone(QueueGone("mail"), "mail")
    assert journal.exists()
    registry.ended(entry)
    assert not journal.parent.exists()


def test_the_files_of_a_queue_that_was_made_anew_meanwhile_stay(registry: PlayedRegistry, tmp_path: Path) -> None:
    entry = registry.starting("mail")
    registry.queue_gone(QueueGone("mail"), "mail")
    registry.starting("mail")
    journal = files_of_a_worker(tmp_path)
    registry.ended(entry)
    assert journal.exists()


def test_the_files_of_a_queue_that_could_not_be_deleted_stay(registry: PlayedRegistry, tmp_path: Path) -> None:
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
