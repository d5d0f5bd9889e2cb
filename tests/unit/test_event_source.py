"""What happens to tasks, as those are told who watch: in order, and only what is stored."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from callboard.actors.editing import edit
from callboard.actors.errors import StoreUnavailable
from callboard.actors.event import Row
from callboard.actors.event_source import EventSource
from callboard.actors.messages import EditTask
from callboard.actors.store import Insert
from callboard.actors.task import format_time
from callboard.conf.settings import QueueSettings
from tests.support.breakable_store import Breakage
from tests.support.consumers import fetch
from tests.support.made_tasks import NO_BACKOFF, WALL, new_task, ready_task
from tests.support.stages import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A queue with one worker, which somebody watches."""
    stage = Stage(tmp_path, settings=QueueSettings(worker="tests:work", concurrency=1), watched=True)
    stage.staff()
    yield stage
    stage.close()


def kinds(rows: list[Row], task_id: str | None = None) -> list[str]:
    return [row[0] for row in rows if task_id in {None, row[2]}]


def test_a_task_that_ends_well_is_enqueued_started_and_completed(stage: Stage) -> None:
    task = new_task(created_at=WALL - 3_000)
    stage.submit(task)
    assert stage.told() == [("enqueued", WALL, task.id, "work", 0, 3_000, None)]
    stage.wait(0.01)
    began = stage.wall
    stage.worker.take()
    stage.worker.begin(began)
    stage.wait(0.02)
    stage.worker.complete(stage.wall)
    stage.ring(stage.worker)
    started, completed = stage.told()
    assert started == ("started", began, task.id, "work", 1, 10_000, None)
    assert completed == ("completed", stage.wall, task.id, "work", 1, 20_000, None)


def test_a_start_is_told_once_and_while_the_task_still_runs(stage: Stage) -> None:
    worker = stage.begin(task := new_task())
    assert kinds(stage.told(), task.id) == ["enqueued"]
    stage.turn()
    assert kinds(stage.told()) == ["started"]
    stage.turn()
    stage.wait(1)
    stage.turn()
    assert stage.told() == []
    worker.complete(stage.wall)
    stage.ring(worker)
    assert kinds(stage.told()) == ["completed"]


def test_a_failed_attempt_tells_how_it_ended_and_what_becomes_of_the_task(stage: Stage) -> None:
    task = new_task(max_retries=1)
    worker = stage.begin(task)
    worker.fail(stage.wall + 500, "x" * 1_000)
    stage.ring(worker)
    enqueued, started, failed, scheduled = stage.told()
    assert kinds([enqueued, started]) == ["enqueued", "started"]
    assert failed == ("failed", WALL + 500, task.id, "work", 1, 500, {"kind": "error", "message": "x" * 500})
    assert scheduled == ("retry_scheduled", WALL + 500, task.id, "work", 1, None, {"run_at": format_time(WALL + 1_000_500)})
    stage.wait(2)
    stage.turn()
    assert kinds(stage.told()) == ["due"]
    worker.take()
    worker.begin(stage.wall)
    worker.fail(stage.wall)
    stage.ring(worker)
    assert [row[:1] + row[4:5] for row in stage.told()] == [("started", 2), ("failed", 2), ("dead", 2)]


@pytest.mark.parametrize(("exitcode", "exit_name"), [(-9, "SIGKILL"), (7, 7)])
def test_a_crash_names_signal_or_exit_code(stage: Stage, exitcode: int, exit_name: str | int) -> None:
    worker = stage.begin(new_task(max_retries=0))
    stage.lose(worker, exitcode)
    stage.turn()
    rows = stage.told()
    assert kinds(rows) == ["enqueued", "started", "crashed", "dead"]
    detail = rows[2][6]
    assert detail is not None
    assert (detail["kind"], detail["exit"]) == ("crash", exit_name)


def test_a_task_that_runs_too_long_has_timed_out(stage: Stage) -> None:
    worker = stage.begin(new_task(timeout_ms=1_000, backoff=NO_BACKOFF))
    stage.turn()
    stage.wait(2)
    stage.turn()
    stage.lose(worker)
    stage.turn()
    assert kinds(stage.told())[:4] == ["enqueued", "started", "timed_out", "retry_scheduled"]


def test_cancellations_are_told_of_those_that_wait_and_of_those_that_run(stage: Stage) -> None:
    worker = stage.begin(running := new_task())
    stage.submit(waiting := new_task(run_at=WALL + 10**9))
    stage.turn()
    rows = stage.told()
    assert [row[6] for row in rows if row[2] == waiting.id] == [{"run_at": format_time(WALL + 10**9)}]
    stage.commands.cancel("r", (running.id, waiting.id), "somebody", stage.now)
    stage.turn()
    assert [(row[0], row[2]) for row in stage.told()] == [("cancelled", waiting.id)]
    stage.lose(worker)
    stage.turn()
    assert [(row[0], row[2], row[4]) for row in stage.told()] == [("cancelled", running.id, 1)]


def test_a_retry_by_hand_is_told(stage: Stage) -> None:
    (task,) = stage.let_die()
    assert kinds(stage.told())[-1] == "dead"
    stage.commands.retry("r", (task.id,), stage.now, keep_attempts=False)
    assert [(row[0], row[2], row[4]) for row in stage.told()] == [("retried", task.id, 0)]


def test_a_task_that_was_taken_back_unbegun_is_released(stage: Stage) -> None:
    stage.submit(task := new_task())
    stage.wait(1.5)
    stage.turn()
    stage.turn()
    assert [(row[0], row[1]) for row in stage.told() if row[2] == task.id][:2] == [
        ("enqueued", WALL),
        ("released", stage.wall),
    ]


def test_a_new_owner_tells_what_it_finds(tmp_path: Path) -> None:
    stage = Stage(tmp_path, settings=QueueSettings(worker="tests:work", concurrency=1), watched=True)
    stage.staff()
    stage.owner.run_times.ran("work", 0)
    ended, running, waiting = new_task(), new_task(), new_task()
    stage.submit(ended, running, waiting)
    worker = stage.worker
    worker.take()
    worker.begin(stage.wall)
    worker.complete(stage.wall)
    worker.take()
    worker.begin(stage.wall)
    stage.restart()
    rows = stage.told()
    assert kinds(rows, ended.id) == ["started", "completed"]
    assert kinds(rows, running.id) == ["interrupted"]
    assert kinds(rows, waiting.id) == []
    stage.close()


@pytest.mark.parametrize("breakage", [Breakage.BEGIN, Breakage.COMMIT])
def test_what_could_not_be_stored_is_told_when_it_is(stage: Stage, breakage: Breakage) -> None:
    worker = stage.begin(task := new_task())
    assert kinds(stage.told()) == ["enqueued"]
    stage.owned.breakage = breakage
    worker.complete(stage.wall)
    stage.ring(worker)
    assert stage.told() == []
    with pytest.raises(StoreUnavailable):
        stage.submit(new_task())
    assert stage.told() == []
    stage.owned.breakage = Breakage.NONE
    stage.wait(10)
    stage.turn()
    assert kinds(stage.told(), task.id) == ["started", "completed"]


def test_nothing_is_kept_while_nobody_watches(stage: Stage) -> None:
    stage.submit(new_task())
    stage.owner.outcomes.events.switch(on=False)
    stage.do_all(stage.worker)
    stage.submit(new_task())
    assert stage.told() == []
    stage.owner.outcomes.events.switch(on=True)
    assert stage.told() == []


def test_of_too_many_events_the_number_is_told_where_they_are_missing() -> None:
    source = EventSource(max_waiting=3)
    source.switch(on=True)

    def enqueue(count: int) -> None:
        source.enqueued([Insert(new_task(), "available", 0, 1)] * count, WALL)

    enqueue(7)
    rows = source.take(2)
    assert kinds(rows) == ["enqueued"] * 2
    enqueue(2)
    rows = source.take(10)
    assert kinds(rows) == ["enqueued", "gap", "enqueued", "gap"]
    assert [row[6] for row in rows if row[0] == "gap"] == [
        {"missed": n, "reason": "too many events at once"} for n in (4, 1)
    ]
    enqueue(1)
    assert kinds(source.take(10)) == ["enqueued"]


def test_a_due_task_is_told_with_its_attempts() -> None:
    source = EventSource()
    source.switch(on=True)
    source.due([ready_task("t", attempt=2)], WALL)
    assert source.take(1) == [("due", WALL, "t", "work", 2, None, None)]


def test_a_task_that_is_due_and_fetched_at_once_is_told_in_its_order(tmp_path: Path) -> None:
    stage = Stage(tmp_path, watched=True)
    task = new_task(run_at=stage.wall + 1_000_000)
    stage.submit(task)
    stage.told()
    stage.wait(1)
    assert [one.task_id for one in fetch(stage)] == [task.id]
    assert kinds(stage.told(), task.id) == ["due", "started"]
    stage.close()


def test_with_aging_a_start_is_late_by_what_the_task_has_waited(tmp_path: Path) -> None:
    settings = QueueSettings.model_validate({"worker": "tests:work", "concurrency": 1, "aging": "10s"})
    stage = Stage(tmp_path, settings=settings, watched=True)
    stage.staff()
    stage.submit(task := new_task(priority=3))
    stage.wait(0.5)
    stage.worker.take()
    stage.worker.begin(stage.wall)
    stage.worker.complete(stage.wall)
    stage.ring(stage.worker)
    assert [row[5] for row in stage.told() if (row[0], row[2]) == ("started", task.id)] == [500_000]
    stage.close()


def test_a_change_of_a_waiting_task_is_told_and_a_move_by_the_queue_that_it_leaves(stage: Stage) -> None:
    stage.store.put_queue("other", "{}", "", stage.wall)
    stage.begin(new_task("busy"))
    stage.submit(new_task("waits"))
    stage.told()
    later = stage.wall + 5_000_000
    for changes in ({"priority": 2, "run_at": later}, {"to_queue": "other"}):
        edit(stage.owner, EditTask("r", "mail", 1, "waits", **changes), "registry", stage.now)
    told = [row for row in stage.told() if row[2] == "waits"]
    assert [(row[0], row[6]) for row in told] == [
        ("changed", {"priority": 2, "run_at": format_time(later)}),
        ("changed", {"queue": "other"}),
    ]


def test_what_a_consumer_has_done_well_is_told_only_to_those_who_watch() -> None:
    source = EventSource()
    source.settled(ready_task("unseen"), WALL, WALL + 5)
    source.switch(on=True)
    source.settled(ready_task("seen", attempt=2), WALL, WALL + 5)
    assert source.take(9) == [("completed", WALL + 5, "seen", "work", 2, 5, None)]


def test_of_too_many_events_that_are_stored_at_once_those_that_fit_are_told_and_the_others_counted() -> None:
    source = EventSource(max_waiting=3)
    source.switch(on=True)
    for name in "abcde":
        source.released(ready_task(name, state="executing", attempt=1))
    source.stored(WALL)
    *told, gap = source.take(9)
    assert [(row[0], row[1], row[2]) for row in told] == [("released", WALL, name) for name in "abc"]
    assert gap[6] == {"missed": 2, "reason": "too many events at once"}
