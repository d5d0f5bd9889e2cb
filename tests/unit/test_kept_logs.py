"""What attempts log is kept with them, whatever becomes of their worker; and what a task has launched is shown."""

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import structlog

from callboard.actors.attempt_logs import MAX_CHARACTERS, MAX_LINES, AttemptLogs, read_lines
from callboard.actors.hand_out import JournalWriter, Mark, read_records, record
from callboard.actors.handlers import TaskContext
from callboard.actors.runners.call import CallRunner
from callboard.actors.worker_files import WorkerFiles
from callboard.conf.settings import QueueSettings
from tests.support.made_tasks import new_task
from tests.support.played_workers import PlayedWorker
from tests.support.stages import SIGKILLED, Stage

log = logging.getLogger("callboard.task.tests")
CTX = TaskContext("id", "mail", "tests", {}, 1, 3, 0.0, Path(), "memory:")


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AttemptLogs]:
    handler = AttemptLogs(tmp_path / "logs")
    logging.root.addHandler(handler)
    monkeypatch.setattr(log, "level", logging.INFO)
    yield handler
    logging.root.removeHandler(handler)
    handler.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path / "run", settings=QueueSettings(worker="tests:work", concurrency=1))
    stage.staff()
    yield stage
    stage.close()


def files(stage: Stage, worker: PlayedWorker) -> WorkerFiles:
    return WorkerFiles.of(stage.folder / "queues" / stage.queue, worker.name)


def tell(stage: Stage, worker: PlayedWorker, mark: Mark, payload: bytes) -> None:
    """Write a record about the running task."""
    assert worker.run is not None
    assert worker.running is not None
    writer = JournalWriter(files(stage, worker).journal)
    writer.write(record(worker.run.number, worker.running, mark, stage.wall, payload))
    writer.close()


def write(stage: Stage, worker: PlayedWorker, *lines: str) -> None:
    """Log as a worker does that is killed before it can tell."""
    assert worker.run is not None
    handler = AttemptLogs(files(stage, worker).logs)
    handler.begin(worker.run.number, 0)
    for line in lines:
        handler.add(line)
    handler.close()


# ------------------------------------------------------------ in the worker


def test_lines_are_kept_for_the_attempt_that_writes_them(logs: AttemptLogs) -> None:
    first = logs.begin(1, 0)
    log.info("one %d", 1)
    log.debug("left out")
    (told,) = read_records(first.end())
    assert (told.number, told.token, told.mark) == (1, 0, Mark.LOGGED)
    (line,) = json.loads(told.payload)
    assert line.endswith("Z info one 1")
    log.info("between two")
    second = logs.begin(1, 1)
    logging.getLogger("library").warning("two")
    assert [line[25:] for line in second.as_list()] == ["warning library: two"]
    assert logs.begin(1, 2).end() == b""


def test_a_traceback_and_an_event_of_structlog_are_written_out(logs: AttemptLogs) -> None:
    attempt = logs.begin(1, 0)
    try:
        int("no number")
    except ValueError:
        log.exception("failed")
    assert attempt.as_list()[0].endswith("error failed")
    assert attempt.as_list()[-1].startswith("ValueError: invalid literal")
    attempt = logs.begin(1, 1)
    wrapped = structlog.wrap_logger(
        log,
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    )
    wrapped.info("resized", width=3)
    logs.emit(logging.LogRecord(log.name, logging.INFO, "", 0, "wrong %d", ("arguments",), None))
    assert [line[25:] for line in attempt.as_list()] == ["info resized width=3", "info 'wrong %d' ('arguments',)"]


def test_only_the_last_lines_are_kept(logs: AttemptLogs) -> None:
    attempt = logs.begin(1, 0)
    for number in range(1_000):
        logs.add(str(number))
    assert attempt.as_list() == [str(number) for number in range(1_000 - MAX_LINES, 1_000)]
    for _ in range(20):
        logs.add("x" * 10_000)
    assert sum(map(len, attempt.as_list())) <= MAX_CHARACTERS


def test_a_thread_of_the_tasks_own_and_a_coroutine_log_for_it(logs: AttemptLogs) -> None:
    async def work(ctx: TaskContext) -> None:
        await asyncio.sleep(0)
        ctx.log.warning("from a coroutine")
        thread = threading.Thread(target=ctx.log.warning, args=("from a thread",))
        thread.start()
        thread.join()

    with closing(CallRunner(work, strict=False)) as runner:
        for token in range(2):  # the second one runs in a loop that was made for the first
            attempt = logs.begin(1, token)
            runner.run(CTX)
            assert [line[25:] for line in attempt.as_list()] == ["warning from a coroutine", "warning from a thread"]
            attempt.end()


def test_what_was_written_survives_and_is_told_apart(logs: AttemptLogs, tmp_path: Path) -> None:
    for number, token in ((1, 0), (2, 0), (2, 1)):
        logs.begin(number, token)
        logs.add(f"{number} {token}")
    with (tmp_path / "logs").open("ab") as file:
        file.write(b'2 1 "torn')
    assert read_lines(tmp_path / "logs", 2) == {0: ["2 0"], 1: ["2 1"]}
    assert read_lines(tmp_path / "absent", 2) == {}


def test_a_task_that_never_stops_logging_fills_no_disk_and_its_last_lines_survive(logs: AttemptLogs, tmp_path: Path) -> None:
    attempt = logs.begin(1, 0)
    largest = 0
    for number in range(3_000):
        logs.add(f"{number} {'x' * 500}")
        largest = max(largest, (tmp_path / "logs").stat().st_size)
        if number % 100 == 0:
            assert read_lines(tmp_path / "logs", 1)[0] == attempt.as_list()
    assert largest < 1_100_000
    assert read_lines(tmp_path / "logs", 1)[0] == attempt.as_list()


# ------------------------------------------------------------ in its queue


def test_the_logs_of_a_success_are_stored_with_the_task(stage: Stage) -> None:
    task = new_task()
    worker = stage.begin(task)
    tell(stage, worker, Mark.LOGGED, b'["one", "two"]')
    worker.complete(stage.wall, "done")
    stage.ring(worker)
    stored = stage.task(task.id)
    assert (stored.state, stored.result, stored.logs, stored.attempt) == ("completed", "done", ["one", "two"], 1)
    assert stage.owner.rates.per_second("completed", stage.mono) > 0


def test_the_logs_of_a_failure_stand_with_it(stage: Stage) -> None:
    task = new_task()
    worker = stage.begin(task)
    tell(stage, worker, Mark.LOGGED, b'["one"]')
    worker.fail(stage.wall)
    stage.ring(worker)
    assert [error["logs"] for error in stage.task(task.id).errors] == [["one"]]
    assert stage.task(task.id).logs == []


def test_the_logs_of_a_killed_worker_are_found(stage: Stage) -> None:
    task = new_task()
    worker = stage.begin(task)
    write(stage, worker, "last words")
    stage.lose(worker, SIGKILLED)
    stage.turn()
    (error,) = stage.task(task.id).errors
    assert (error["kind"], error["logs"]) == ("crash", ["last words"])


def test_the_logs_of_a_task_that_had_ended_are_not_taken_for_those_of_the_one_that_died(stage: Stage) -> None:
    stage.owner.run_times.ran("work", 0)
    done, dying = new_task(), new_task()
    worker = stage.begin(done, dying)
    write(stage, worker, "of the first")
    worker.complete(stage.wall)
    worker.take()
    worker.begin(stage.wall)
    stage.lose(worker, SIGKILLED)
    stage.turn()
    (error,) = stage.task(dying.id).errors
    assert (error["kind"], error.get("logs", [])) == ("crash", [])
    assert stage.states(done) == ["completed"]


def test_the_logs_of_an_interrupted_attempt_are_found_by_the_next_owner(stage: Stage) -> None:
    task, other = new_task(), new_task()
    worker = stage.begin(task)
    write(stage, worker, "last words")
    stage.restart()
    (error,) = stage.task(task.id).errors
    assert (error["kind"], error["charged"], error["logs"]) == ("interrupted", False, ["last words"])
    stage.staff()
    stage.submit(other)
    assert stage.task(other.id).errors == []


def test_what_a_task_has_launched_is_stored_until_it_ends(stage: Stage) -> None:
    task = new_task()
    worker = stage.begin(task)
    tell(stage, worker, Mark.LAUNCHED, b"4711")
    stage.turn()
    assert (stage.task(task.id).state, stage.task(task.id).meta) == ("executing", {"launched": 4711})
    assert stage.task(task.id).attempt == 1
    worker.complete(stage.wall)
    stage.ring(worker)
    assert (stage.task(task.id).state, stage.task(task.id).meta) == ("completed", {})


def test_a_launched_task_is_settled_after_the_death_of_its_owner(stage: Stage) -> None:
    ended, running = new_task(), new_task()
    worker = stage.begin(ended)
    tell(stage, worker, Mark.LAUNCHED, b"4711")
    stage.turn()
    worker.complete(stage.wall, "done")
    stage.restart()
    assert (stage.task(ended.id).state, stage.task(ended.id).result, stage.task(ended.id).meta) == ("completed", "done", {})
    stage.staff()
    worker = stage.begin(running)
    tell(stage, worker, Mark.LAUNCHED, b"4712")
    stage.turn()
    stage.restart()
    assert (stage.task(running.id).state, stage.task(running.id).meta) == ("available", {})
