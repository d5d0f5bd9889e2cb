"""The Registry's roll: which queues are up, and when the others are tried again."""

import json
from typing import Any, cast

import pytest

from callboard.actors.children import Child
from callboard.actors.messages import QueueReady
from callboard.actors.roll import Entry, Roll, Sleep, bring_in, sleep_at_start
from callboard.actors.store import Change, Insert, QueueRow
from callboard.actors.store.memory import MemoryStore
from callboard.actors.store.moving import is_empty
from callboard.actors.task import TaskState
from callboard.conf.settings import QueueSettings
from callboard.conf.templates import QueueTemplate
from tests.support.made_tasks import WALL, new_task

NOW = 100.0
SETTINGS = QueueSettings(worker="tests:work")
CHILD = cast(Child, object())


def ready(version: int = 1) -> QueueReady:
    return QueueReady("mail", 4711, 3, SETTINGS, version)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(clock=lambda: WALL)


# ---------------------------------------------------------------- one queue


def test_a_queue_that_has_come_up_takes_requests() -> None:
    entry = Entry("mail", child=CHILD, down="disk full", pinged=5.0)
    entry.came_up(ready(), "address")
    assert (entry.ready, entry.address, entry.down, entry.pinged) == (ready(), "address", "", None)


def test_a_queue_that_has_gone_down_takes_none() -> None:
    entry = Entry("mail", child=CHILD)
    entry.came_up(ready(), "address")
    entry.went_down(NOW, uptime=60)
    assert (entry.child, entry.ready, entry.address) == (None, None, None)


def test_a_queue_says_why_it_takes_no_requests() -> None:
    entry = Entry("mail", child=CHILD)
    assert entry.why_not == "it is starting"
    entry.down = "disk full"
    assert entry.why_not == "disk full"
    entry.standby = "another server, on db2 (process 7)"
    assert "another server owns queue 'mail' (another server, on db2 (process 7))" in entry.why_not
    entry.came_up(ready(), "address")
    assert (entry.why_not, entry.standby) == ("", "")
    entry.standby = "another server"
    entry.went_down(NOW, uptime=60)
    assert entry.standby == ""


def test_a_queue_that_can_not_start_is_tried_ever_more_rarely() -> None:
    entry = Entry("mail")
    waits = []
    for _ in range(10):
        entry.went_down(NOW, uptime=0.1)
        waits.append(round(entry.not_before - NOW, 3))
    assert waits == [0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 10.0, 10.0]


def test_a_queue_that_dies_again_and_again_though_it_can_start_is_never_away_for_long() -> None:
    entry = Entry("mail")
    waits = []
    for _ in range(10):
        entry.came_up(ready(), "address")
        entry.went_down(NOW, uptime=0.1)
        waits.append(round(entry.not_before - NOW, 3))
    assert waits == [0.0, 0.1, 0.2, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("was_ready", "uptime", "wait"),
    [
        (True, 60, 0.0),  # it had been well: whatever it died of, it starts anew at once
        (True, 1, 1.0),  # it dies again and again
        (False, 60, 1.0),  # it took long and never came up
    ],
)
def test_only_one_that_had_been_well_for_a_while_is_restarted_at_once(was_ready: bool, uptime: float, wait: float) -> None:
    entry = Entry("mail")
    for _ in range(4):
        entry.went_down(NOW, uptime=0.1)
    if was_ready:
        entry.came_up(ready(), "address")
    entry.went_down(NOW, uptime)
    assert entry.not_before - NOW == pytest.approx(wait)


@pytest.mark.parametrize(("version", "taken"), [(4, False), (5, True), (6, True)])
def test_settings_older_than_those_known_are_ignored(version: int, taken: bool) -> None:
    """What the Queue tells and what the Registry has stored may cross each other."""
    entry = Entry("mail")
    entry.came_up(ready(version=5), "address")
    changed = SETTINGS.model_copy(update={"concurrency": 9})
    entry.have_settings(changed, version)
    assert entry.ready is not None
    assert (entry.ready.settings == changed) == taken
    assert entry.ready.settings_version == max(version, 5)


def test_settings_of_a_queue_that_is_down_are_in_the_store_alone() -> None:
    entry = Entry("mail")
    entry.have_settings(SETTINGS, 2)
    assert entry.ready is None


# ---------------------------------------------------------------- all of them


def test_the_dead_letter_is_started_first_and_only_what_is_missing_and_due() -> None:
    roll = Roll()
    for name in ("alpha", "dead_letter", "beta", "gamma"):
        roll.add(name)
    found = {entry.name: entry for entry in roll}
    found["beta"].child = CHILD
    found["gamma"].not_before = NOW + 1
    assert [entry.name for entry in roll.due(NOW)] == ["dead_letter", "alpha"]
    assert [entry.name for entry in roll.due(NOW + 1)] == ["dead_letter", "alpha", "gamma"]


def test_the_next_start_is_that_of_the_first_queue_to_be_tried_again() -> None:
    roll = Roll()
    assert roll.next_start(NOW) == float("inf")
    for name, not_before in (("alpha", NOW + 5), ("beta", NOW + 2), ("gamma", NOW - 50)):
        roll.add(name).not_before = not_before
    assert roll.next_start(NOW) == NOW
    gamma = roll.get("gamma")
    assert gamma is not None
    gamma.child = CHILD
    assert roll.next_start(NOW) == NOW + 2


def test_a_queue_is_on_the_roll_once_until_it_is_struck_off() -> None:
    roll = Roll()
    assert roll.add("mail") is roll.add("mail")
    assert [entry.name for entry in roll] == ["mail"]
    assert roll.live() == []
    roll.add("mail").came_up(ready(), "address")
    assert [entry.name for entry in roll.live()] == ["mail"]
    for entry in roll:
        roll.remove(entry.name)  # while one goes through it
    assert roll.get("mail") is None


# ---------------------------------------------------------------- configuration and store


def rows(store: MemoryStore) -> dict[str, tuple[QueueSettings, int]]:
    return {row.name: (QueueSettings.model_validate_json(row.settings), row.settings_version) for row in store.queues()}


def test_the_configurations_queues_and_the_dead_letter_are_made(store: MemoryStore) -> None:
    brought = bring_in(store, {"mail": SETTINGS}, WALL)
    assert [row.name for row in brought] == ["dead_letter", "mail"]
    assert rows(store) == {"mail": (SETTINGS, 1), "dead_letter": (QueueSettings(concurrency=0, idle_after="never"), 1)}


def test_a_section_that_is_as_it_was_leaves_changes_at_run_time_alone(store: MemoryStore) -> None:
    bring_in(store, {"mail": SETTINGS}, WALL)
    changed = SETTINGS.model_copy(update={"concurrency": 9})
    configured = next(row.configured for row in store.queues() if row.name == "mail")
    store.put_queue("mail", changed.model_dump_json(), configured, WALL)
    bring_in(store, {"mail": SETTINGS}, WALL)
    assert rows(store)["mail"] == (changed, 2)


def test_an_option_that_a_new_version_brings_is_not_an_edit(store: MemoryStore) -> None:
    """The section seen by the last version says nothing of it; what was changed at run time stays."""
    seen = {key: value for key, value in json.loads(SETTINGS.model_dump_json()).items() if key != "start_timeout"}
    changed = SETTINGS.model_copy(update={"concurrency": 9})
    store.put_queue("mail", changed.model_dump_json(), json.dumps(seen), WALL)
    bring_in(store, {"mail": SETTINGS}, WALL)
    assert rows(store)["mail"] == (changed, 1)


@pytest.mark.parametrize("seen", ["", "{not json", '{"option_of_a_later_version": 1}'])
def test_a_section_that_can_not_be_read_is_replaced(store: MemoryStore, seen: str) -> None:
    store.put_queue("mail", QueueSettings(concurrency=9).model_dump_json(), seen, WALL)
    bring_in(store, {"mail": SETTINGS}, WALL)
    assert rows(store)["mail"] == (SETTINGS, 2)


def test_a_section_that_somebody_has_edited_wins(store: MemoryStore) -> None:
    bring_in(store, {"mail": SETTINGS}, WALL)
    edited = SETTINGS.model_copy(update={"concurrency": 4})
    bring_in(store, {"mail": edited}, WALL)
    assert rows(store)["mail"] == (edited, 2)


def test_a_queue_made_at_run_time_stays_though_no_section_names_it(store: MemoryStore) -> None:
    store.put_queue("made", SETTINGS.model_dump_json(), "", WALL)
    assert [row.name for row in bring_in(store, {}, WALL)] == ["dead_letter", "made"]


def test_the_dead_letter_can_be_configured(store: MemoryStore) -> None:
    section = QueueSettings(concurrency=0, max_length=5)
    bring_in(store, {"dead_letter": section}, WALL)
    assert rows(store)["dead_letter"][0] == section


@pytest.mark.parametrize(
    ("state", "empty"),
    [
        *((str(state), state in {TaskState.COMPLETED, TaskState.CANCELLED}) for state in TaskState),
        ("claimed", False),
    ],
)
def test_only_history_may_go_with_a_queue(store: MemoryStore, state: str, empty: bool) -> None:
    store.put_queue("mail", "{}", "", WALL)
    values: dict[str, Any] = {"attempt": 1, "started_at": 1} if state == "executing" else {}
    with store.own("mail")[0].transaction() as transaction:
        transaction.apply(Change(inserts=[Insert(new_task(), state, 0, 1, **values)]))
    assert is_empty(store.counts()["mail"]) == empty


def test_a_queue_without_tasks_or_without_a_row_is_empty(store: MemoryStore) -> None:
    store.put_queue("mail", "{}", "", WALL)
    assert is_empty(store.counts()["mail"])
    assert is_empty({})


# ---------------------------------------------------------------- templates


def test_an_edited_template_is_an_edit_of_all_queues_made_from_it(store: MemoryStore) -> None:
    before, after = QueueTemplate(concurrency=2), QueueTemplate(concurrency=4)
    text = before.queue_settings().model_dump_json()
    store.put_queue("event-5", text, text, WALL)
    store.put_queue("event--7", SETTINGS.model_dump_json(), text, WALL)  # changed at run time
    store.put_queue("event-own", text, "", WALL)  # somebody's own, by another name
    bring_in(store, {}, WALL, {"event": before})
    assert [rows(store)[name][1] for name in ("event-5", "event--7", "event-own")] == [1, 1, 1]
    bring_in(store, {}, WALL, {"event": after})
    found = rows(store)
    assert [found[name][0].concurrency for name in ("event-5", "event--7", "event-own")] == [4, 4, 2]
    bring_in(store, {}, WALL)
    assert rows(store) == found


def test_a_section_of_its_own_goes_before_the_template(store: MemoryStore) -> None:
    bring_in(store, {"event-5": SETTINGS}, WALL)
    bring_in(store, {"event-5": SETTINGS}, WALL, {"event": QueueTemplate(concurrency=9)})
    assert rows(store)["event-5"] == (SETTINGS, 1)


# ---------------------------------------------------------------- what sleeps at the start


@pytest.mark.parametrize(
    ("due_at", "paused", "counts", "sleep"),
    [
        (None, False, {}, Sleep()),  # nothing to do
        (None, False, {TaskState.COMPLETED: 1}, Sleep(None, 9.0)),  # but to forget
        (5, False, {TaskState.SCHEDULED: 1}, Sleep(5)),  # something later
        (0, False, {TaskState.AVAILABLE: 1}, None),  # something now
        (0, True, {TaskState.AVAILABLE: 1}, Sleep()),  # when somebody lets it
        (0, True, {TaskState.EXECUTING: 1}, None),  # it was interrupted, and should say so
    ],
)
def test_a_queue_sleeps_from_the_start_unless_it_has_something_to_do(
    due_at: int | None, paused: bool, counts: dict[TaskState, int], sleep: Sleep | None
) -> None:
    row = QueueRow("mail", "", "", paused=paused, created_at=0, settings_version=1)
    assert sleep_at_start(row, due_at, counts, 9.0) == sleep
