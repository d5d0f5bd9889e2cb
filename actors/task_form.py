"""Fill in many tasks that differ in little: what they have in common is checked, and written as JSON, only once."""

import json
from typing import Any, Final

import uuid_utils

from callboard.actors.options import Backoff
from callboard.actors.submitting import check_run_at, new_task, state_at_first, task_shown
from callboard.actors.task import NewTask, format_time
from callboard.conf.settings import QueueSettings

_OWN: Final = ("id", "state", "context", "run_at", "created_at")
"""What is not the same in all tasks of a form, in the order in which a task is shown."""


class TaskForm:
    """All tasks of one queue that ask for the same; each still has its own id, context and times.

    Options are as in `new_task`; making a form raises its `InvalidOption`.
    """

    def __init__(
        self,
        queue: str,
        settings: QueueSettings,
        *,
        type: str | None,  # noqa: A002 - the option's public name
        priority: int | None,
        max_retries: int | None,
        backoff: Backoff | None,
        timeout_ms: int | None,
        created_by: str,
    ) -> None:
        self.settings = settings
        self._blank = new_task(
            queue,
            settings,
            type=type,
            context_json="{}",
            priority=priority,
            max_retries=max_retries,
            backoff=backoff,
            timeout_ms=timeout_ms,
            run_at=0,
            created_by=created_by,
            now=0,
        )
        self._pieces = _pieces(task_shown(self._blank, queue, {}))

    def dated(self, now: int, run_at: int) -> "DatedForm":
        """Return the form of those that are made now and due then (0: at once). Raises `InvalidOption`."""
        check_run_at(run_at)
        return DatedForm(self._blank, self._pieces, now, run_at)


class DatedForm:
    """A form of which only id and context are still open."""

    __slots__ = ("_after_id", "_before_id", "_rest", "_tail", "_type")

    def __init__(self, blank: NewTask, pieces: tuple[str, ...], now: int, run_at: int) -> None:
        _, self._type, _, priority, max_retries, backoff, timeout_ms, _, _, created_by, meta = blank
        self._rest = (priority, max_retries, backoff, timeout_ms, run_at, now, created_by, meta)
        created = format_time(now)
        due = format_time(run_at) if run_at else created
        state = state_at_first(run_at, now).value
        self._before_id, to_state, to_context, to_run_at, to_created_at, end = pieces
        self._after_id = f"{to_state}{state}{to_context}"
        self._tail = f"{to_run_at}{due}{to_created_at}{created}{end}"

    def task(self, context_json: str) -> NewTask:
        """Return a task with a fresh id; `context_json` is trusted as by `new_task`."""
        return NewTask(str(uuid_utils.uuid7()), self._type, context_json, *self._rest)

    def text(self, task_id: str, context_json: str) -> str:
        """Write a task as `task_shown` shows it, in ASCII if the context's text is."""
        return f"{self._before_id}{task_id}{self._after_id}{context_json}{self._tail}"


def _pieces(shown: dict[str, Any]) -> tuple[str, ...]:
    """Write as JSON what stands around the values that are a task's own, the quotation marks of texts included."""
    pieces = [""]
    for name, value in shown.items():
        mark = "" if name == "context" else '"'
        pieces[-1] += f'{"," if pieces != [""] else "{"}"{name}":'
        if name in _OWN:
            pieces[-1] += mark
            pieces.append(mark)
        else:
            pieces[-1] += json.dumps(value, separators=(",", ":"))
    pieces[-1] += "}"
    return tuple(pieces)
