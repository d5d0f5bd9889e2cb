"""What a queue's tasks must look like, from what really happened to them: the state machine's second opinion."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

from callboard.actors.lifecycle import MAX_INTERRUPTIONS
from callboard.actors.options import Backoff
from callboard.actors.store import ReadyTask
from callboard.actors.suspicion import ALONE
from callboard.actors.task import NewTask, Task

ENDED = ("completed", "dead", "cancelled")
HANDED_OUT = ("available", "claimed", "executing")


@dataclass
class Known:
    """One task. phase: waiting, running, or how it ended. due: it may not begin before. unwanted: it is being cancelled."""

    new: NewTask
    number: int
    due: int
    phase: str = "waiting"
    attempts: int = 0
    charged: int = 0
    in_a_row: int = 0
    errors: list[bool] = field(default_factory=list)
    """Of each failed attempt whether it was charged."""
    untouched: bool = True
    """It was never handed out, never waited, and so keeps its place among its like."""
    unwanted: bool = False
    standing: int = 0
    """0; 1: a suspect of its process's death; 2: known to be guilty."""
    suspicion: int = 0
    """Which of its errors it is a suspect for."""

    @property
    def has_ended(self) -> bool:
        return self.phase in ENDED


class OwnerModel:
    """Told of every beginning, end and death, it knows each task's state, attempts and charges."""

    def __init__(self, backoff: Backoff) -> None:
        self.tasks: dict[str, Known] = {}
        self._wait = backoff.base_ms * 1_000
        self._unconfirmed: dict[str, Callable[[int], None]] = {}
        """By task: how to put back what only the owner knows, at the moment of its death."""

    # ------------------------------------------------------------ what happens

    def accepted(self, new: NewTask, now: int) -> None:
        due = new.run_at if new.run_at > now else 0
        self.tasks.setdefault(new.id, Known(new, len(self.tasks), due, untouched=not due))

    def handed_out(self, task_ids: list[str]) -> None:
        """Tasks of one priority that came at once go in the order in which they came."""
        for task_id in task_ids:
            known = self.tasks[task_id]
            earlier = [
                other.number
                for other in self.tasks.values()
                if other.untouched and other.number < known.number and other.new.priority == known.new.priority
            ]
            assert not known.untouched or not earlier, f"task {known.number} overtakes {earlier}"
            known.untouched = False

    def begun(self, task_id: str, attempt: int, latest: int) -> None:
        known = self.tasks[task_id]
        assert known.phase == "waiting", f"task {known.number} begins while it is {known.phase}"
        assert known.due <= latest, f"task {known.number} begins before it is due"
        known.phase = "running"
        known.attempts += 1
        assert attempt == known.attempts

    def completed(self, task_id: str) -> None:
        self._acquit(self.tasks[task_id])
        self._end(self.tasks[task_id], "completed")

    def failed(self, task_id: str, at: int, *, discard: bool = False) -> None:
        known = self.tasks[task_id]
        if known.unwanted:
            self._until_stored(known, lambda _: self.failed(task_id, at, discard=discard))
        self._acquit(known)
        self._charge(known, at, discard=discard)

    def _charge(self, known: Known, at: int, *, discard: bool = False) -> None:
        known.errors.append(True)
        known.charged += 1
        known.in_a_row = 0
        if discard or known.charged > known.new.max_retries:
            self._end(known, "dead")
        elif known.unwanted:
            self._end(known, "cancelled")
        else:
            known.phase, known.due = "waiting", at + self._wait

    def killed(self, task_id: str, at: int, *, crashed: bool) -> None:
        """Its process has died, of itself or for its timeout."""
        known = self.tasks[task_id]
        self._until_stored(known, lambda died_at: self.interrupted(task_id, died_at))
        if crashed and known.standing:
            known.standing = 2
        self.failed(task_id, at)

    def suspected(self, task_id: str) -> None:
        """Its process has died while others ran there."""
        known = self.tasks[task_id]
        self._until_stored(known, lambda died_at: self.interrupted(task_id, died_at))
        known.standing, known.suspicion = 1, len(known.errors)
        known.errors.append(True)
        known.charged += 1
        known.in_a_row = 0
        known.phase = "waiting"

    def stopped(self, task_id: str) -> None:
        """It was stopped for its cancellation, and its worker has said so."""
        self._end(self.tasks[task_id], "cancelled")

    def _acquit(self, known: Known) -> None:
        if known.standing == 1:
            known.standing, known.in_a_row = 0, 0
            known.charged -= 1
            known.errors[known.suspicion] = False

    def interrupted(self, task_id: str, at: int) -> None:
        known = self.tasks[task_id]
        if known.in_a_row == MAX_INTERRUPTIONS:
            self._charge(known, at)
            return
        known.errors.append(False)
        known.in_a_row += 1
        known.phase = "waiting"

    def cancelled(self, task_id: str) -> None:
        """It was waiting, or has been killed for it."""
        known = self.tasks[task_id]
        if known.phase == "running":
            self._until_stored(known, lambda died_at: self.interrupted(task_id, died_at))
        elif known.unwanted:
            self._until_stored(known, lambda _: None)
        self._end(known, "cancelled")

    def retried(self, task_id: str, *, keep_attempts: bool) -> None:
        known = self.tasks[task_id]
        assert known.has_ended
        known.phase, known.due, known.charged, known.in_a_row, known.untouched = "waiting", 0, 0, 0, False
        known.standing = 0
        known.attempts = known.attempts if keep_attempts else 0

    # ------------------------------------------------------------ what an owner's death undoes

    def stored(self) -> None:
        """Note that the owner has stored all that it knew."""
        self._unconfirmed = {}

    def owner_died(self, at: int) -> None:
        """Put back what the owner alone knew: for whom workers had been killed, and that they had died."""
        for put_back in self._unconfirmed.values():
            put_back(at)
        self._unconfirmed = {}
        for known in self.tasks.values():
            known.unwanted = False

    def _until_stored(self, known: Known, otherwise: Callable[[int], None]) -> None:
        before = replace(known, errors=list(known.errors), unwanted=False)

        def put_back(died_at: int) -> None:
            for each in fields(Known):
                setattr(known, each.name, getattr(before, each.name))
            otherwise(died_at)

        self._unconfirmed.setdefault(known.new.id, put_back)

    def _end(self, known: Known, phase: str) -> None:
        known.phase, known.untouched, known.unwanted = phase, False, False

    # ------------------------------------------------------------ what must be stored

    def check(self, stored: ReadyTask, shown: Task) -> None:
        """Compare one task with what an owner that knows everything has stored."""
        known = self.tasks[stored.id]
        what = f"task {known.number}: {known} is {stored}"
        attempts = known.attempts
        if known.has_ended:
            assert stored.state == known.phase, what
        elif known.phase == "running":
            assert stored.state in HANDED_OUT, what
            attempts -= stored.state != "executing"
        elif stored.state in {"scheduled", "retryable"}:
            assert shown.run_at == known.due, what
        else:
            assert stored.state in HANDED_OUT, what
            # Handed out alone, it is stored as running before it has begun.
            attempts += stored.state == "executing"
        assert stored.attempt == attempts, what
        assert (stored.failures, stored.interruptions) == (known.charged, known.standing * ALONE + known.in_a_row), what
        assert [error["charged"] for error in shown.errors] == known.errors, what
        assert (shown.finished_at is not None) == known.has_ended, what
