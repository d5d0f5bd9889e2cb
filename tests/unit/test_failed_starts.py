"""Workers whose start fails: how long a queue waits, what it says, and that nothing is left of a try."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from callboard.actors.children import SpawnFailed
from callboard.conf.settings import QueueSettings
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
