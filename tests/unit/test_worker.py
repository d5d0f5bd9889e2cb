"""What a worker does with messages that come twice, late, or to the wrong kind of it, and with a type that it has not."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from callboard.actors.attempt_logs import AttemptLogs
from callboard.actors.hand_out import JournalReader, JournalWriter, Mark, Record, Tokens
from callboard.actors.messages import Report, Run, RunTask, StartWorker, StopTask
from callboard.actors.runners.call import CallRunner
from callboard.actors.runners.slots import Slots
from callboard.actors.shared_tokens import SharedTokens
from callboard.actors.worker import WorkerActor
from tests.support.polling import eventually


class Played(WorkerActor):
    """A started worker without an actor system and a process of its own: so it must run no handler here."""

    def __init__(self, folder: Path) -> None:
        self.offered = Tokens.create(folder / "tokens")
        self._reader = JournalReader(folder / "journal", "boot", 1)
        self._journal = JournalWriter(folder / "journal")
        self._tokens = Tokens(folder / "tokens")
        self._logs = AttemptLogs(folder / "logs")
        self._start = cast("StartWorker", SimpleNamespace(worker="w"))
        self._runners = {name: CallRunner(print, strict=False) for name in ("send", "receive")}
        self._last_batch = 0
        self._slots = None
        self.sent: list[Any] = []

    def send(self, _to: Any, message: Any) -> None:
        self.sent.append(message)

    def get(self, number: int, *types: str) -> None:
        tasks = tuple(RunTask(f"{number}/{index}", type_, "{}", 1, 0, 300) for index, type_ in enumerate(types))
        self.run(Run(number, tasks), None)

    def written(self) -> list[Record]:
        return list(self._reader.read())

    def close(self) -> None:
        for file in (self.offered, self._tokens, self._journal, self._reader, self._logs):
            file.close()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Played]:
    worker = Played(tmp_path)
    yield worker
    worker.close()


def test_a_type_without_a_handler_fails_the_attempt_and_says_which_there_are(worker: Played) -> None:
    worker.offered.put(bytes([0]))
    worker.get(1, "sned")
    begun, failed = worker.written()
    assert (begun.mark, failed.mark) == (Mark.BEGUN, Mark.FAILED)
    said = json.loads(failed.payload)["message"]
    assert said == "this queue has no handler for the type 'sned' (it has: receive, send)"
    assert worker.sent == [Report("w", 1)]


def test_a_batch_that_comes_twice_takes_no_tokens_of_the_next(worker: Played) -> None:
    worker.offered.put(bytes([0]))
    worker.get(1, "unknown")
    worker.offered.put(bytes([0]))
    worker.get(1, "unknown")
    assert worker.sent == [Report("w", 1)]
    worker.get(2, "unknown")
    assert worker.sent == [Report("w", 1), Report("w", 2)]
    assert [(record.number, record.mark) for record in worker.written()] == [
        (1, Mark.BEGUN),
        (1, Mark.FAILED),
        (2, Mark.BEGUN),
        (2, Mark.FAILED),
    ]


def test_a_worker_that_runs_one_task_at_a_time_stops_none_alone(worker: Played) -> None:
    worker.stop(StopTask(1, 0, timed_out=True), None)
    assert (worker.sent, worker.written()) == ([], [])


@pytest.mark.parametrize("slots", [False, True], ids=["one at a time", "slots"])
def test_a_launched_process_is_told_of_for_the_attempt_that_runs(worker: Played, tmp_path: Path, *, slots: bool) -> None:
    untold: list[BaseException] = []
    if slots:
        tokens = SharedTokens(tmp_path / "tokens")
        worker._slots = Slots(tokens, worker._journal, worker._logs, worker._prepare, untold.append)
    attempt = worker._logs.begin(7, 3)
    worker._launched(4711)
    (launched,) = eventually(worker.written)
    assert launched[:3] == (7, 3, Mark.LAUNCHED)
    assert (launched.at <= time.time_ns() // 1_000, launched.payload) == (True, b"4711")
    attempt.end()
    worker._launched(4712)  # it was cancelled just before
    assert (worker.written(), untold) == ([], [])
