"""Which workers a queue has, and what becomes of their files."""

from collections.abc import Iterator
from pathlib import Path

import pytest

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
