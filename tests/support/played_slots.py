"""A worker with slots played by the test, one step at a time, on the real tokens and journal, as `runners/slots.py`."""

import json
from pathlib import Path

from callboard.actors.hand_out import JournalWriter, Mark, record
from callboard.actors.messages import Report, Run, RunTask, StartWorker, StopTask
from callboard.actors.runners.call import failure
from callboard.actors.shared_tokens import SharedTokens, index_of, key_of, number_of
from callboard.actors.task import ErrorKind


class PlayedSlots:
    """Between any two of its steps the test can look, let time pass, or let it die.

    inbox: messages that it has not handled. held: what it has taken tokens for and not begun, by key. running: what runs.
    """

    def __init__(self, start: StartWorker) -> None:
        self.name = start.worker
        self._tokens = SharedTokens(Path(start.tokens))
        self._journal = JournalWriter(Path(start.journal))
        self.inbox: list[Run | StopTask] = []
        self.held: dict[int, RunTask] = {}
        self.running: dict[int, RunTask] = {}
        self.bell: Report | None = None
        self.spent = False

    def get(self, message: Run | StopTask) -> None:
        self.inbox.append(message)

    @property
    def run(self) -> object:
        """Something, if it has anything to do."""
        return self.inbox or self.held or self.running or None

    @property
    def point(self) -> str:
        return "taken" if self.held else "running" if self.running else "between"

    def has(self) -> set[str]:
        """Return the tasks that nobody can take back."""
        return {task.id for task in (*self.held.values(), *self.running.values())}

    def take(self) -> None:
        """Handle a batch: take the tokens that there are for it; those of another go back."""
        message = self.inbox.pop(0)
        assert isinstance(message, Run)
        assert not self.held
        keys = self._tokens.take_all()
        self._tokens.put(key for key in keys if number_of(key) != message.number)
        self.held = {key: message.tasks[index_of(key)] for key in keys if number_of(key) == message.number}
        if len(self.held) < len(message.tasks):
            self._ring()

    def begin(self, at: int) -> list[RunTask]:
        """Begin all that was taken."""
        begun = list(self.held.values())
        self._journal.write(b"".join(record(number_of(key), index_of(key), Mark.BEGUN, at) for key in self.held))
        self.running |= self.held
        self.held = {}
        return begun

    def stop(self, at: int, *, can: bool) -> tuple[RunTask, bool] | None:
        """Handle a wish to stop a task; return it, and whether for its timeout, if it was stopped. Not `can`: a thread."""
        message = self.inbox.pop(0)
        assert isinstance(message, StopTask)
        key = key_of(message.number, message.index)
        if (task := self.running.get(key)) is None:
            return None
        if not can:
            self.spent = True
            self._ring()
            return None
        if message.timed_out:
            self._end(key, Mark.FAILED, at, failure(ErrorKind.TIMEOUT, "cancelled").payload)
        else:
            self._end(key, Mark.CANCELLED, at, b"")
        return task, message.timed_out

    def complete(self, key: int, at: int) -> None:
        self._end(key, Mark.COMPLETED, at, json.dumps(None).encode())

    def fail(self, key: int, at: int, *, discard: bool = False) -> None:
        self._end(key, Mark.FAILED, at, failure(ErrorKind.ERROR, "no", discard=discard).payload)

    def close(self) -> None:
        self._tokens.close()
        self._journal.close()

    def _end(self, key: int, mark: Mark, at: int, payload: bytes) -> None:
        del self.running[key]
        self._journal.write(record(number_of(key), index_of(key), mark, at, payload))
        self._ring()

    def _ring(self) -> None:
        self.bell = Report(self.name, 0, spent=self.spent)
