"""Workers whose start fails: how long a queue waits, what it says, and that nothing is left of a try."""

import errno
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from callboard.actors.children import SpawnFailed
from callboard.actors.crew import Doom
from callboard.actors.task import TaskState
from callboard.conf.settings import QueueSettings
from tests.support.made_tasks import new_task
from tests.support.stages import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = open_stage(tmp_path / "data", 1)
    yield stage
    stage.close()


def open_stage(folder: Path, concurrency: int, **options: Any) -> Stage:
    return Stage(folder, settings=QueueSettings(**{"worker": "tests:work", "concurrency": concurrency, **options}))


def open_files() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


# ---------------------------------------------------------------- no files, no process


WHAT_FAILS = {
    "disk full": ("pwrite", errno.ENOSPC, "No space left on device"),
    "no inode left": ("mkfifo", errno.ENOSPC, "No space left on device"),
    "too many open files": ("open", errno.EMFILE, "Too many open files"),
}


@pytest.mark.parametrize("what", WHAT_FAILS)
@pytest.mark.parametrize("slots", [1, 4])
def test_no_process_is_made_for_a_worker_whose_files_can_not_be(what: str, slots: int, tmp_path: Path) -> None:
    stage = open_stage(tmp_path / "data", 3, slots=slots)
    function, number, words = WHAT_FAILS[what]

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    descriptors, waits = open_files(), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, function, refuse)
        for _ in range(20):
            waits.append(round(stage.hiring.next_look(stage.now) - stage.mono, 3))
            stage.mono = stage.hiring.next_look(stage.now)
            assert stage.hire() == []
        assert stage.hiring.next_look(stage.now) == stage.mono + 30
    assert waits == [0, 0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, *[30.0] * 12]
    assert stage.hiring.trouble == f"workers can't start: their files can't be made: {words}"
    assert open_files() == descriptors
    assert list((tmp_path / "data" / "queues" / "mail").iterdir()) == []
    stage.wait(30)
    stage.staff()
    assert len(stage.workers) == -(-3 // slots)
    assert stage.hiring.trouble == ""
    stage.close()


@pytest.mark.parametrize(
    ("error", "why"),
    [(SpawnFailed("for WorkerActor 'w1-1'"), "SpawnFailed"), (OSError(errno.EAGAIN, "Try again"), "Try again")],
)
def test_a_worker_that_gets_no_process_leaves_nothing_and_is_tried_ever_more_rarely(
    error: Exception, why: str, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    descriptors, waits = open_files(), []
    for _ in range(5):
        waits.append(round(stage.hiring.next_look(stage.now) - stage.mono, 3))
        stage.mono = stage.hiring.next_look(stage.now)
        (name,) = stage.hiring.due(stage.now)
        ends = stage.hiring.prepare(name, stage.now)
        assert ends is not None
        stage.hiring.not_forked(name, ends, error, stage.now)
    assert waits == [0, 0, 0.2, 0.5, 1.0]
    assert stage.hiring.trouble == f"workers can't start: no process can be made for them: {why}"
    assert len(caplog.records) == 1
    assert open_files() == descriptors
    assert list((stage.folder / "queues" / "mail").iterdir()) == []


# ---------------------------------------------------------------- how long it waits


def starts_of(stage: Stage, seconds: float) -> list[float]:
    """Play that each worker dies a second after its start; return when one was started, as the Queue actor would do it."""
    began, starts, dying = stage.mono, [], {}
    while stage.mono < began + seconds:
        for name in stage.hiring.due(stage.now):
            stage.fork(name)
            starts.append(round(stage.mono - began, 2))
            dying[name] = stage.mono + 1
        look = max(stage.hiring.next_look(stage.now), stage.mono + 0.01)  # a fork takes a while
        stage.wait(min([look, *dying.values()]) - stage.mono)
        for name in [name for name, end in dying.items() if end <= stage.mono]:
            del dying[name]
            stage.hiring.gone(name, 1, stage.now)
    return starts


def test_when_many_workers_can_not_start_one_at_a_time_is_tried(tmp_path: Path) -> None:
    stage = open_stage(tmp_path, 8)
    starts = starts_of(stage, 100)
    assert starts[:8] == [0, 0, 0, 0, 0.01, 0.01, 0.01, 0.01]
    waits = [round(after - before - 1, 1) for before, after in pairwise(starts[7:])]
    assert waits == [0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 30.0]
    stage.close()


def test_nobody_is_started_while_a_try_is_under_way(tmp_path: Path) -> None:
    stage = open_stage(tmp_path, 3)
    names = stage.hiring.due(stage.now)
    for name in names:
        stage.fork(name)
    for name in names:
        stage.hiring.gone(name, 1, stage.now)
    (name,) = stage.hiring.due(stage.now)
    stage.fork(name)
    stage.wait(60)
    assert stage.hiring.next_look(stage.now) == float("inf")
    assert stage.hiring.due(stage.now) == []
    stage.hiring.ready(name, name, stage.now)
    assert stage.hiring.next_look(stage.now) == stage.mono
    assert len(stage.hiring.due(stage.now)) == 1
    stage.close()


def test_a_worker_that_dies_as_soon_as_it_is_ready_is_replaced_ever_more_slowly(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    waits, troubles = [], set()
    for _ in range(10):
        waits.append(round(stage.hiring.next_look(stage.now) - stage.mono, 3))
        stage.mono = stage.hiring.next_look(stage.now)
        assert len(stage.hire()) == 1
        assert stage.hiring.trouble == ""
        stage.wait(0.5)
        stage.lose(stage.worker)
        troubles.add(stage.hiring.trouble)
    assert waits == [0, 0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 30.0]
    assert troubles == {"", "workers can't start: they die as soon as they are ready (exit SIGKILL)"}
    assert len(caplog.records) == 1


def test_one_that_dies_with_a_task_that_it_has_not_begun_counts_as_well(stage: Stage) -> None:
    for _ in range(3):
        stage.wait(1)
        task = new_task()
        stage.submit(task)
        stage.staff()
        stage.worker.take()
        stage.lose(stage.worker)
        stage.turn()
        assert stage.states(task) == ["available"]
    assert stage.hiring.next_look(stage.now) == pytest.approx(stage.mono + 0.5)


@pytest.mark.parametrize("how", ["works", "lives"])
def test_what_was_before_is_forgiven_when_a_worker_has_worked_or_lived(how: str, stage: Stage) -> None:
    for _ in range(5):
        stage.wait(60)
        stage.staff()
        stage.lose(stage.worker)
    stage.wait(60)
    stage.staff()
    if how == "works":
        stage.begin(new_task())
    else:
        stage.wait(5)
    for _ in range(2):
        stage.lose(stage.worker)
        stage.turn()
        assert stage.hiring.next_look(stage.now) == stage.mono
        stage.staff()


def test_one_that_works_since_before_the_others_failed_forgives_them_nothing(tmp_path: Path) -> None:
    stage = open_stage(tmp_path, 2)
    stage.staff()
    old, lost = stage.workers.values()
    stage.wait(100)
    stage.lose(lost)
    for _ in range(4):
        stage.mono = stage.hiring.next_look(stage.now)
        (worker,) = stage.hire()
        stage.lose(worker)
    assert stage.hiring.next_look(stage.now) == stage.mono + 1
    assert old.name in stage.workers
    stage.close()


def test_those_that_were_started_with_one_that_failed_count_once(tmp_path: Path) -> None:
    stage = open_stage(tmp_path, 4)
    stage.staff()
    for worker in list(stage.workers.values()):
        stage.wait(0.01)
        stage.lose(worker)
    assert stage.hiring.next_look(stage.now) == stage.mono
    assert len(stage.hire()) == 1
    stage.lose(stage.worker)
    assert stage.hiring.next_look(stage.now) == pytest.approx(stage.mono + 0.2)
    stage.close()


def test_workers_that_are_let_go_or_killed_on_purpose_are_no_failures(tmp_path: Path) -> None:
    stage = open_stage(tmp_path, 3)
    for _ in range(5):
        stage.owner.scale(3)
        stage.staff()
        kept, spent, killed = stage.workers.values()
        stage.owner.crew.slots[spent.name].retiring = True
        stage.owner.doom(stage.owner.crew.slots[killed.name], Doom.INTERRUPT)
        stage.owner.scale(0)
        stage.hire()
        assert set(stage.killed) >= {kept.name, spent.name, killed.name}
        for worker in (kept, spent, killed):
            stage.lose(worker)
    stage.owner.scale(3)
    assert stage.hiring.next_look(stage.now) == stage.mono
    assert len(stage.hiring.due(stage.now)) == 3
    stage.close()


def test_a_death_is_accounted_for_though_no_file_can_be_opened(stage: Stage) -> None:
    stage.staff()
    stage.begin(new_task(max_retries=0))
    with pytest.MonkeyPatch.context() as patch:

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        patch.setattr(Path, "open", refuse)
        patch.setattr("io.open", refuse)
        stage.lose(stage.worker)
    stage.turn()
    assert stage.owner.crew.slots == {}
    assert stage.owner.store.counts()[TaskState.DEAD] == 1
