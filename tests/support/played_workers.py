"""A worker played by the test, one step at a time, on the real tokens and journal, as `actors/worker.py` uses them."""

import json
import select
from pathlib import Path

from callboard.actors.hand_out import JournalWriter, Mark, Tokens, record
from callboard.actors.messages import Report, Run, RunTask, StartWorker
from callboard.actors.runners.call import failure
from callboard.actors.task import ErrorKind


class PlayedWorker:
    """Between any two of its steps the test can look, let time pass, or let it die.

    held: the token that was taken for a task that has not begun. running: the token of the task that runs, or whose end
    is not written yet.
    """

    def __init__(self, start: StartWorker) -> None:
        self.name = start.worker
        self._tokens = Tokens(Path(start.tokens))
        self._journal = JournalWriter(Path(start.journal))
        self.run: Run | None = None
        self.held: int | None = None
        self.running: int | None = None
        self.unwritten = b""
        """The record of an end that goes into one write with what comes next."""
        self.bell: Report | None = None
        """What it last told its Queue, until that has been delivered."""

    def get(self, run: Run) -> None:
        """Receive a batch; its Queue sends none before it knows that the last one is over.

        It may know that from the journal: the bell of the last one then comes late and says nothing new.
        """
        assert self.run is None, f"{self.name} got batch {run.number} while it has batch {self.run.number}"
        self.bell = None
        self.run = run

    @property
    def point(self) -> str:
        """Where it stands. Ended: but that is not written yet."""
        points = (["ended"] if self.unwritten else ["running"] if self.running is not None else []) + (
            ["taken"] if self.held is not None else []
        )
        return " and ".join(points) or "between"

    def has(self) -> set[str]:
        """Return the tasks that nobody can take back."""
        return {self.task(token).id for token in (self.held, self.running) if token is not None}

    def task(self, token: int | None) -> RunTask:
        assert self.run is not None
        assert token is not None
        return self.run.tasks[token]

    def take(self) -> bool:
        """Take a token; False when there is none: then the batch is over and the bell rings."""
        if self.run is None and self.bell is not None:
            return False  # it has found that out already, to tell the end of the last task
        assert self.run is not None
        assert self.held is None
        assert self.running is None or self.unwritten
        self.held = self._tokens.take()
        if self.held is None:
            self._write()
            self.bell = Report(self.name, self.run.number)
            self.run = None
            return False
        return True

    def begin(self, at: int) -> RunTask:
        """Begin the task whose token was taken; the end of the last one is written with it."""
        assert self.run is not None
        assert self.held is not None
        self._write(record(self.run.number, self.held, Mark.BEGUN, at))
        self.running, self.held = self.held, None
        return self.run.tasks[self.running]

    def complete(self, at: int, result: object = None, *, told: bool = True) -> None:
        """End the running task well; `told`: write that at once, else with the next beginning or at the batch's end.

        The end of the batch's last task is never written before it was found that there is no token left.
        """
        self._end(Mark.COMPLETED, at, json.dumps(result).encode(), told=told)

    def fail(self, at: int, message: str = "no", *, discard: bool = False, told: bool = True) -> None:
        """Let the running task fail."""
        self._end(Mark.FAILED, at, failure(ErrorKind.ERROR, message, discard=discard).payload, told=told)

    def do_all(self, at: int) -> None:
        """Do what is left of the batch, all of it well, and ring the bell."""
        if self.run is None:
            return
        while True:
            if self.held is not None:
                self.begin(at)
            if self.running is not None and not self.unwritten:
                self.complete(at, told=False)
            if not self.take():
                return

    def close(self) -> None:
        """Let go of the files, as a death does."""
        self._tokens.close()
        self._journal.close()

    def _end(self, mark: Mark, at: int, payload: bytes, *, told: bool) -> None:
        assert self.run is not None
        assert self.running is not None
        assert not self.unwritten
        self.unwritten = record(self.run.number, self.running, mark, at, payload)
        if told and select.select([self._tokens._fd], [], [], 0)[0]:
            self._write()
        elif told:
            self.take()

    def _write(self, more: bytes = b"") -> None:
        if self.unwritten:
            self.running = None
        if self.unwritten or more:
            self._journal.write(self.unwritten + more)
        self.unwritten = b""
