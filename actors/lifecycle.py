"""What happens to a task, as pure functions: task x event x now → what the store is to hold from now on.

Nothing here reads a clock, a file or a random source of its own. The state diagram is in the README; who decides *when*
an event happened is the Queue's business (`queue_owner`), what follows from it is decided here.
"""

import json
import random
from dataclasses import dataclass, replace

from callboard.actors.options import Backoff, BackoffStrategy
from callboard.actors.store import Completion, ReadyTask, Ruling, TaskUpdate
from callboard.actors.suspicion import Standing, in_a_row, standing
from callboard.actors.task import ENDED_STATES, AttemptError, ErrorKind, TaskState

MAX_INTERRUPTIONS = 10
"""So many uncharged interruptions in a row; the next is charged, or a task longer than the grace would loop for ever."""
_UNKNOWN_ENDS = frozenset({ErrorKind.CRASH, ErrorKind.INTERRUPTED, ErrorKind.EXPIRED})


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt that did not end well. Times in microseconds; `discard`: no further attempt whatever the budget."""

    kind: ErrorKind
    message: str
    started_at: int
    finished_at: int
    traceback: str | None = None
    exit: str | int | None = None
    discard: bool = False
    logs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Transition:
    """A decision: the row as it is to be, and what it was that failed (None for moves that are no failure)."""

    update: TaskUpdate
    error: AttemptError | None = None


def begin(task: ReadyTask, started_at: int, launched: int | None = None) -> TaskUpdate:
    """Decide for a task that is known to run: it is stored as executing, its attempt counted.

    launched: the process that it has left running, and waits for.
    """
    attempt = task.attempt if task.state == TaskState.EXECUTING else task.attempt + 1
    update = _update(task, TaskState.EXECUTING, attempt=attempt, started_at=started_at)
    return update if launched is None else update._replace(launched=launched)


def complete(task: ReadyTask, done: Completion, logs: str | None) -> TaskUpdate:
    """Decide for a task that ended well and of which more is to be stored than a `Completion` holds."""
    update = _update(
        task,
        TaskState.COMPLETED,
        attempt=done.attempt,
        started_at=done.started_at,
        finished_at=done.finished_at,
        hand_out=done.hand_out,
    )
    return update._replace(result=done.result, logs=logs)


def give_back(task: ReadyTask) -> TaskUpdate | None:
    """Decide for a task that was handed out and never begun: nothing happened, it keeps its place.

    None: the row says `available` already, nothing is to be written.
    """
    if task.state == TaskState.AVAILABLE:
        return None
    attempt = task.attempt - 1 if task.state == TaskState.EXECUTING else task.attempt
    return _update(task, TaskState.AVAILABLE, attempt=attempt)


def lose(failure: Failed) -> Failed:
    """Decide under at-most-once delivery: a run of which nobody knows how far it got is lost, and never done again.

    An error and a timeout are known ends, and retried as ever.
    """
    if failure.kind not in _UNKNOWN_ENDS:
        return failure
    return replace(failure, kind=ErrorKind.LOST, message=f"lost, not to run twice: {failure.message}", discard=True)


def suspect(task: ReadyTask, number: int, failure: Failed) -> Transition:
    """Decide for one of several tasks that ran in a process that died: charged, and back to run alone, whatever its budget.

    It keeps its place and does not wait: most of them are innocent.
    """
    attempt = task.attempt if task.state == TaskState.EXECUTING else task.attempt + 1
    error = AttemptError(
        attempt,
        failure.finished_at,
        failure.kind,
        failure.message,
        charged=True,
        traceback=failure.traceback,
        exit=failure.exit,
        suspect=True,
        logs=failure.logs,
    )
    update = _update(
        task,
        TaskState.AVAILABLE,
        attempt=attempt,
        failures=task.failures + 1,
        interruptions=int(Standing.SUSPECT),
        hand_out=number,
        error=json.dumps(error.to_json()),
    )
    return Transition(update, error)


def judge(task: ReadyTask, kind: ErrorKind | None) -> tuple[ReadyTask, Ruling | None]:
    """Decide what the end of a suspect's run alone says of it; `kind` None: it ended well.

    The task is returned as it stands after the ruling, which is to be stored before what else has become of it.
    """
    if standing(task) is not Standing.SUSPECT or kind is ErrorKind.INTERRUPTED:
        return task, None
    if kind is ErrorKind.CRASH:
        return task._replace(interruptions=int(Standing.GUILTY)), Ruling(task.id, guilty=True)
    return task._replace(failures=task.failures - 1, interruptions=0), Ruling(task.id, guilty=False)


def fail(task: ReadyTask, number: int, failure: Failed, rng: random.Random, *, unwanted: bool = False) -> Transition:
    """Decide for a failed attempt: interrupted (uncharged), retryable, or dead.

    unwanted: its cancellation was under way, so what would be retried is cancelled.
    """
    attempt = task.attempt if task.state == TaskState.EXECUTING else task.attempt + 1
    charged = failure.kind is not ErrorKind.INTERRUPTED or in_a_row(task) >= MAX_INTERRUPTIONS
    error = AttemptError(
        attempt,
        failure.finished_at,
        failure.kind,
        failure.message,
        charged,
        failure.traceback,
        failure.exit,
        logs=failure.logs,
    )
    text = json.dumps(error.to_json())
    if not charged:
        update = _update(
            task,
            TaskState.AVAILABLE,
            attempt=attempt,
            interruptions=task.interruptions + 1,
            hand_out=number,
            error=text,
        )
        return Transition(update, error)
    failures = task.failures + 1
    if failure.discard or failures > task.max_retries:
        state, run_at, finished_at = TaskState.DEAD, failure.finished_at, failure.finished_at
    elif unwanted:
        state, run_at, finished_at = TaskState.CANCELLED, failure.finished_at, failure.finished_at
    else:
        delay_ms = read_backoff(task.backoff).delay_ms(failures, rng)
        # Even without a wait it goes through `retryable`: when due it joins the back of its own priority.
        state, run_at, finished_at = TaskState.RETRYABLE, failure.finished_at + delay_ms * 1_000, None
    update = _update(
        task,
        state,
        attempt=attempt,
        failures=failures,
        interruptions=task.interruptions - in_a_row(task),
        run_at=run_at,
        started_at=failure.started_at,
        finished_at=finished_at,
        hand_out=number,
        error=text,
    )
    return Transition(update, error)


def cancel(task: ReadyTask, now: int, number: int | None = None, started_at: int | None = None) -> TaskUpdate | None:
    """Decide for a cancellation; None where it is too late (the task has ended). `number`: it was running there."""
    if task.state in ENDED_STATES:
        return None
    # The store may say that it runs before it has begun, and may not say yet that it has.
    attempt = task.attempt - (task.state == TaskState.EXECUTING) + (number is not None)
    return _update(
        task,
        TaskState.CANCELLED,
        attempt=attempt,
        started_at=started_at,
        finished_at=now,
        hand_out=task.hand_out if number is None else number,
    )


def retry_by_hand(task: ReadyTask, now: int, lane: int, rank: int, *, keep_attempts: bool) -> TaskUpdate | None:
    """Decide for a retry by hand: back with a fresh budget. None where the task has not ended."""
    if task.state not in ENDED_STATES:
        return None
    return _update(
        task,
        TaskState.AVAILABLE,
        lane=lane,
        rank=rank,
        run_at=now,
        attempt=task.attempt if keep_attempts else 0,
        failures=0,
        interruptions=0,
    )


def place(task: ReadyTask, lane: int, rank: int) -> TaskUpdate:
    """Decide for a waiting task that gets another place in the order."""
    return _update(task, TaskState(task.state), attempt=task.attempt, lane=lane, rank=rank)


def edited(task: ReadyTask, state: TaskState, *, lane: int, rank: int, priority: int, run_at: int | None) -> TaskUpdate:
    """Decide for a waiting task of which somebody has changed priority or time."""
    return _update(task, state, attempt=task.attempt, lane=lane, rank=rank, run_at=run_at)._replace(priority=priority)


def read_backoff(text: str) -> Backoff:
    """Read the backoff that a row holds."""
    values = json.loads(text)
    return Backoff(**{**values, "strategy": BackoffStrategy(values["strategy"])})


def _update(
    task: ReadyTask,
    state: TaskState,
    *,
    attempt: int,
    lane: int | None = None,
    rank: int | None = None,
    run_at: int | None = None,
    failures: int | None = None,
    interruptions: int | None = None,
    started_at: int | None = None,
    finished_at: int | None = None,
    hand_out: int | None = None,
    error: str | None = None,
) -> TaskUpdate:
    return TaskUpdate(
        id=task.id,
        was=task.state,
        state=str(state),
        lane=task.lane if lane is None else lane,
        rank=task.rank if rank is None else rank,
        priority=task.priority,
        run_at=run_at,
        attempt=attempt,
        failures=task.failures if failures is None else failures,
        interruptions=task.interruptions if interruptions is None else interruptions,
        started_at=started_at,
        finished_at=finished_at,
        result=None,
        hand_out=task.hand_out if hand_out is None else hand_out,
        error=error,
    )
