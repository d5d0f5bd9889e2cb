"""A line for every change of a task's state, at the level `debug`, once it is stored."""

import logging
from collections.abc import Iterable

from callboard.actors.store import Change, ReadyTask
from callboard.actors.store.schema import COUNTED

log = logging.getLogger(__name__)


def wanted() -> bool:
    """Tell whether anybody reads these lines: who asks first pays nothing for those that nobody does."""
    return log.isEnabledFor(logging.DEBUG)


def log_transitions(queue: str, change: Change, due: Iterable[ReadyTask] = ()) -> None:
    """Write what a transaction has changed. due: those that had waited until now.

    A batch of many is stored task by task only as each ends: of these, no `executing` is seen.
    """
    for insert in change.inserts:
        _write(queue, insert.task.id, "", insert.state, insert.attempt)
    for task in due:
        _write(queue, task.id, "waiting", task.state, task.attempt)
    for update in change.updates:
        _write(queue, update.id, update.was, update.state, update.attempt)
    for done in change.completions:
        _write(queue, done.id, done.was, "completed", done.attempt)


def _write(queue: str, task_id: str, was: str, state: str, attempt: int) -> None:
    state, was = COUNTED.get(state, state), COUNTED.get(was, was)
    if state != was:
        fields = {"task": task_id, "queue": queue, "attempt": attempt, "state": state, "was": was or "new"}
        log.debug("task is %s", state, extra=fields)
