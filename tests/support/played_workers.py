"""A worker played by the test, one step at a time, on the real tokens and journal, as `actors/worker.py` uses them."""

import json
from pathlib import Path

from callboard.actors.hand_out import JournalWriter, Mark, Tokens, record
from callboard.actors.messages import Report, Run, RunTask, StartWorker
from callboard.actors.runners.call import failure
from callboard.actors.task import ErrorKind


class PlayedWorker:
    """Between any two of its steps the test can look, let time pass, or let it die.

    held: the token that was taken for a task that has not begun. running: the index of the task that runs.
    """

    def __init__(self, start: StartWorker) -> None:
        self.name = start.worker
        self._tokens = Tokens(Path(start.tokens))
        self._journal = JournalWriter(Path(start.journal))
        self.run: Run | None = None
        self.held: int | None = None
        self.running: int | None = None
        self.bell: Report | None = None
        """What it last told its Queue, until that has been delivered."""

    def get(self, run: Run) -> None:
        """Receive a batch; its Queue sends none before it was told that the last one is over."""
        assert self.run is None, f"{self.name} got batch {run.number} while it has batch {self.run.number}"
        assert self.bell is None
        self.run = run

    @property
    def task(self) -> RunTask | None:
        """The task that runs, or that a token was taken for."""
        index = self.running if self.held is None else self.held
        return None if index is None or self.run is None else self.run.tasks[index]

    def take(self) -> bool:
        """Take a token; False when there is none: then the batch is over and the bell rings."""
        assert self.run is not None
        assert self.held is self.running is None
        self.held = self._tokens.take()
        if self.held is None:
            self.bell = Report(self.name, self.run.number)
            self.run = None
            return False
        return True

    def begin(self, at: int) -> RunTask:
        assert self.run is not None
        assert self.held is not None
        self._journal.write(record(self.run.number, self.held, Mark.BEGUN, at))
        self.running, self.held = self.held, None
        return self.run.tasks[self.running]

    def complete(self, at: int, result: object = None) -> None:
        self._end(Mark.COMPLETED, at, json.dumps(result).encode())

    def fail(self, at: int, message: str = "no", *, discard: bool = False) -> None:
        self._end(Mark.FAILED, at, failure(ErrorKind.ERROR, message, discard=discard).payload)

    def do_all(self, at: int) -> None:
        """Do what is left of the batch, all of it well, and ring the bell."""
        if self.run is None:
            return
        while True:
            if self.held is not None:
                self.begin(at)
            if self.running is not None:
                self.complete(at)
            if not self.take():
                return

    def close(self) -> None:
        """Let go of the files, as a death does."""
        self._tokens.close()
        self._journal.close()

    def _end(self, mark: Mark, at: int, payload: bytes) -> None:
        assert self.run is not None
        assert self.running is not None
        self._journal.write(record(self.run.number, self.running, mark, at, payload))
        self.running = None
