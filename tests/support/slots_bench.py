"""What runs tasks in a worker with slots, on the real tokens and journal, with a test in the place of the Queue."""

import select
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from callboard.actors.attempt_logs import AttemptLogs
from callboard.actors.hand_out import JournalReader, JournalWriter, Mark, Record
from callboard.actors.handlers import TaskContext
from callboard.actors.messages import RunTask
from callboard.actors.runners.call import AttemptOutcome, CallRunner, failure
from callboard.actors.runners.slots import Slots
from callboard.actors.shared_tokens import SharedTokens, key_of
from callboard.actors.task import ErrorKind
from tests.support.polling import eventually


class Bench:
    """The Queue's ends of the files of one `Slots`, which runs `handlers` by type."""

    def __init__(self, folder: Path) -> None:
        self.tokens = SharedTokens.create(folder / "tokens")
        self.journal = JournalReader(folder / "journal", "boot", 1)
        self.untold: list[BaseException] = []
        self.handlers: dict[str, CallRunner] = {}
        self._worker_tokens = SharedTokens(folder / "tokens")
        self._writer = JournalWriter(folder / "journal")
        self._logs = AttemptLogs(folder / "logs")
        self.slots = Slots(self._worker_tokens, self._writer, self._logs, self._prepare, self.untold.append)
        self.records: list[Record] = []

    def _prepare(self, task: RunTask) -> tuple[CallRunner, TaskContext] | AttemptOutcome:
        runner = self.handlers.get(task.type)
        if runner is None:
            return failure(ErrorKind.ERROR, "no such type")
        context = TaskContext(task.id, "q", task.type, {}, task.attempt, 0, time.time() + 1, Path(), "", {})
        return runner, context

    def handles(self, type_: str, handler: Callable[[TaskContext], Any], *, strict: bool = False) -> None:
        self.handlers[type_] = CallRunner(handler, strict=strict)

    def run(self, number: int, *types: str, offered: int | None = None) -> None:
        """Offer so many tokens (None: all), and tell of the batch."""
        self.tokens.put(key_of(number, index) for index in range(len(types) if offered is None else offered))
        self.tell(number, *types)

    def tell(self, number: int, *types: str) -> None:
        self.slots.run(number, [RunTask(f"{number}/{index}", type_, "{}", 1, 0, 300) for index, type_ in enumerate(types)])

    def rest(self) -> None:
        """Wait until it has done what follows the end of the last task."""
        rested = threading.Event()
        self.slots._loop.call_soon_threadsafe(rested.set)
        assert rested.wait(30)

    def rang(self) -> bool:
        rang = bool(select.select([self.slots.bell], [], [], 0)[0])
        if rang:
            self.slots.heard()
        return rang

    def ends(self, count: int) -> list[tuple[int, int, int, bytes]]:
        """Return how so many tasks have ended, waiting for them: batch, index, mark, payload."""

        def look() -> list[Record]:
            self.records += self.journal.read()
            ends = [record for record in self.records if record.mark != Mark.BEGUN]
            return ends if len(ends) >= count else []

        return sorted((end.number, end.token, end.mark, end.payload) for end in eventually(look))

    def begun(self) -> list[tuple[int, int]]:
        self.records += self.journal.read()
        return [(record.number, record.token) for record in self.records if record.mark == Mark.BEGUN]
