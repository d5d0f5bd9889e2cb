"""Which workers a queue has, and what becomes of their files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from callboard.actors.crew import Doom
from callboard.conf.settings import QueueSettings
from tests.support.breakable_store import Breakage
from tests.support.made_tasks import new_task
from tests.support.stages import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path, settings=QueueSettings(worker="tests:work", concurrency=1))
    yield stage
    stage.close()


def test_a_dead_workers_journal_is_kept_until_what_it_says_is_stored(stage: Stage) -> None:
    stage.staff()
    task = new_task()
    stage.submit(task)
    worker = stage.worker
    worker.take()
    worker.begin(stage.wall)
    worker.complete(stage.wall, "done")
    stage.owned.breakage = Breakage.COMMIT
    stage.lose(worker)
    stage.turn()
    stage.hire()
    stage.restart()
    assert stage.task(task.id).result == "done"
    assert stage.task(task.id).attempt == 1


def test_a_dead_workers_files_go_once_what_they_say_is_stored(stage: Stage) -> None:
    stage.staff()
    worker = stage.worker
    stage.submit(new_task())
    stage.lose(worker)
    stage.turn()
    stage.hire()
    assert {path.stem for path in stage.folder.rglob("w*")} == {stage.worker.name}


# ---------------------------------------------------------------- how many


def open_stage(tmp_path: Path, concurrency: int, **options: Any) -> Stage:
    return Stage(tmp_path, settings=QueueSettings(**{"worker": "tests:work", "concurrency": concurrency, **options}))


def test_missing_workers_are_started_a_few_at_a_time_each_with_a_name_of_its_own(tmp_path: Path) -> None:
    stage = open_stage(tmp_path, 10)
    names = [[worker.name for worker in stage.hire()] for _ in range(4)]
    assert [len(each) for each in names] == [4, 4, 2, 0]
    assert len({name for each in names for name in each}) == 10
    assert stage.hiring.next_look(stage.now) == float("inf")
    stage.close()


def test_workers_of_two_owners_never_share_a_name(stage: Stage) -> None:
    stage.staff()
    first = stage.worker.name
    stage.restart()
    stage.staff()
    assert stage.worker.name != first


def test_a_queue_that_nobody_works_for_has_no_workers(tmp_path: Path) -> None:
    stage = open_stage(tmp_path, 3, worker="")
    assert stage.hire() == []
    assert stage.hiring.next_look(stage.now) == float("inf")
    stage.close()


def test_a_worker_that_died_at_work_is_replaced_at_once(stage: Stage) -> None:
    stage.staff()
    stage.lose(stage.worker)
    assert stage.hiring.next_look(stage.now) == stage.mono
    assert len(stage.hire()) == 1
    assert stage.hiring.trouble == ""


def test_too_many_idle_workers_are_let_go_at_once_and_busy_ones_when_they_have_ended(tmp_path: Path) -> None:
    stage = open_stage(tmp_path, 3)
    stage.submit(new_task(), new_task())
    stage.staff()
    idle = next(worker for worker in stage.workers.values() if worker.run is None)
    stage.owner.scale(1)
    stage.hire()
    assert stage.killed == [idle.name]
    stage.lose(idle)
    stage.hire()
    assert len(stage.killed) == 1  # two are busy, and one of them is to go
    for worker in list(stage.workers.values()):
        stage.do_all(worker)
    stage.hire()
    assert len(stage.killed) == 2
    for name in stage.killed[1:]:
        stage.lose(stage.workers[name])
    task = new_task()
    stage.submit(task)
    stage.do_all(stage.worker)
    assert stage.states(task) == ["completed"]
    assert stage.hire() == []
    stage.close()


def test_a_retiring_worker_gets_nothing_more(tmp_path: Path) -> None:
    stage = open_stage(tmp_path, 2)
    stage.submit(new_task(), new_task())
    stage.staff()
    stage.owner.scale(1)
    stage.hire()
    stage.submit(*(new_task() for _ in range(4)))
    for worker in list(stage.workers.values()):
        stage.do_all(worker)
    assert len([worker for worker in stage.workers.values() if worker.run is not None]) == 1
    stage.close()


def test_nobody_is_hired_or_let_go_while_the_queue_stops(stage: Stage) -> None:
    stage.staff()
    stage.owner.stopping = True
    assert stage.hire() == []
    stage.lose(stage.worker)
    assert stage.hire() == []


def change(stage: Stage, **options: object) -> None:
    before = stage.owner.settings
    stage.owner.settings = before.model_copy(update=options)
    stage.hiring.settings_changed(before)


def test_settings_that_workers_were_started_with_replace_them(stage: Stage) -> None:
    stage.staff()
    old = stage.worker
    change(stage, strict=True)
    (new,) = stage.hire()
    assert stage.killed == [old.name]
    stage.lose(old)
    assert stage.hire() == []
    assert stage.worker is new


@pytest.mark.parametrize("option", [{"max_retries": 9}, {"timeout": 5}, {"concurrency": 1}, {"priority": 3}])
def test_settings_of_tasks_leave_workers_alone(stage: Stage, option: dict[str, int]) -> None:
    stage.staff()
    change(stage, **option)
    assert stage.hire() == []
    assert stage.killed == []


# ---------------------------------------------------------------- who can't start


def fail_to_start(stage: Stage, exitcode: int = 1) -> str:
    """Start one worker, which dies before it is ready."""
    (name,) = stage.hiring.due(stage.now)
    stage.fork(name)
    stage.hiring.gone(name, exitcode, stage.now)
    return name


def test_workers_that_can_not_start_are_tried_ever_more_rarely(stage: Stage) -> None:
    waits = []
    for _ in range(10):
        waits.append(round(stage.hiring.next_look(stage.now) - stage.mono, 3))
        stage.mono = stage.hiring.next_look(stage.now)
        fail_to_start(stage)
    assert waits == [0, 0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 30.0]
    stage.wait(1)
    assert stage.hiring.due(stage.now) == []


def test_after_a_failed_start_one_is_tried_not_all(tmp_path: Path) -> None:
    stage = open_stage(tmp_path, 4)
    first = stage.hiring.due(stage.now)
    assert len(first) == 4
    for name in first:
        stage.fork(name)
        stage.hiring.gone(name, 1, stage.now)
    stage.wait(10)
    assert len(stage.hiring.due(stage.now)) == 1
    stage.close()


def test_why_they_can_not_start_is_told_and_forgotten_when_one_can(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        (name,) = stage.hiring.due(stage.now)
        stage.fork(name)
        stage.hiring.failed("ModuleNotFoundError: No module named 'teams'")
        stage.hiring.gone(name, 0, stage.now)
    assert stage.hiring.trouble == "workers can't start: ModuleNotFoundError: No module named 'teams'"
    assert len(caplog.records) == 1  # not again and again
    stage.wait(1)
    stage.hire()
    assert stage.hiring.trouble == ""


def test_a_worker_that_dies_without_a_word_is_trouble_from_the_second_time_on(stage: Stage) -> None:
    fail_to_start(stage, exitcode=-11)
    assert stage.hiring.trouble == ""
    fail_to_start(stage, exitcode=-11)
    assert stage.hiring.trouble == "workers can't start: they die at once (exit SIGSEGV)"


def test_new_settings_are_tried_at_once(stage: Stage) -> None:
    for _ in range(5):
        stage.wait(60)
        fail_to_start(stage)
    assert stage.hiring.due(stage.now) == []
    change(stage, worker="tests:better")
    assert stage.hiring.trouble == ""
    assert len(stage.hiring.due(stage.now)) == 1


def test_one_that_was_let_go_before_it_was_ready_is_no_failure(stage: Stage) -> None:
    (name,) = stage.hiring.due(stage.now)
    stage.fork(name)
    stage.owner.scale(0)
    stage.hire()
    assert stage.killed == [name]
    stage.hiring.gone(name, -9, stage.now)
    stage.owner.scale(1)
    assert stage.hiring.next_look(stage.now) == stage.mono


def test_one_that_says_late_that_it_is_ready_is_not_brought_back_to_life(stage: Stage) -> None:
    (name,) = stage.hiring.due(stage.now)
    stage.fork(name)
    stage.owner.doom(stage.owner.crew.slots[name], Doom.INTERRUPT)
    stage.hiring.ready(name, name, stage.now)
    stage.hiring.ready("unknown", "unknown", stage.now)
    assert stage.owner.crew.idle() == []


def test_the_death_of_a_stranger_is_ignored(stage: Stage) -> None:
    stage.hiring.gone("unknown", -9, stage.now)
    assert stage.hiring.next_look(stage.now) == stage.mono


def test_the_stack_of_a_crash_stands_with_the_attempt_that_it_ended(stage: Stage) -> None:
    stage.staff()
    task = new_task()
    stage.submit(task)
    worker = stage.worker
    worker.take()
    worker.begin(stage.wall)
    (stage.folder / "queues" / "mail" / f"{worker.name}.trace").write_text("Fatal Python error: Segmentation fault")
    stage.lose(worker, -11)
    stage.turn()
    (error,) = stage.task(task.id).errors
    assert error["traceback"] == "Fatal Python error: Segmentation fault"


def test_a_worker_is_told_all_that_it_needs(stage: Stage) -> None:
    (name,) = stage.hiring.due(stage.now)
    start = stage.fork(name)
    assert start is not None
    assert (start.worker, start.queue, start.incarnation) == (name, "mail", stage.owner.incarnation)
    assert start.settings == stage.owner.settings
    assert Path(start.tokens).is_fifo()
    assert Path(start.journal).read_bytes().startswith(b"callboard journal 1 boot ")
    assert stage.hiring.start_timeout == 30
