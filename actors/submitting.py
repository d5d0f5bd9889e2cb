"""Build a task at the edge: the one place where a request's options meet its queue's defaults.

The HTTP gateway, LocalClient and so the CLI all come through here, so that an option means and allows the same everywhere.
A value that an option does not take raises `InvalidOption` with `field` set to the option's name as people write it
(`type`, `context`, `max_retries`, `priority`, `timeout_ms`, `run_at`, `backoff`); an HTTP answer can nest it from that.

Who builds thousands of tasks that ask for the same takes a `TaskForm`, which does most of this once for all of them.
"""

import difflib
import json
from functools import lru_cache
from typing import Any, Final

import uuid_utils

from callboard.actors.errors import InvalidOption
from callboard.actors.options import MAX_MILLISECONDS, MAX_PRIORITY, MIN_PRIORITY, Backoff, show_priority
from callboard.actors.store.columns import storable
from callboard.actors.task import NewTask, TaskState, format_time
from callboard.conf.settings import BackoffSettings, QueueSettings

MAX_RETRIES: Final = 99
MAX_RUN_AT: Final = 253_402_300_799_999_999
"""The end of the year 9999 in microseconds: later moments can't be shown."""


def new_task(
    queue: str,
    settings: QueueSettings,
    *,
    type: str | None,  # noqa: A002 - the option's public name
    context_json: str,
    priority: int | None,
    max_retries: int | None,
    backoff: Backoff | None,
    timeout_ms: int | None,
    run_at: int,
    created_by: str,
    now: int,
    meta: str = "{}",
) -> NewTask:
    """Return the task with a fresh id; None takes the queue's default, `run_at` 0 means at once.

    `context_json` is trusted to be the text of a JSON object (`context_text` makes it). Raises `InvalidOption`.
    """
    type = resolve_type(settings, type, queue)  # noqa: A001 - as above
    settings = settings.of_type(type)
    if max_retries is None:
        max_retries = settings.max_retries
    elif not 0 <= max_retries <= MAX_RETRIES:
        raise InvalidOption(f"must be from 0 to {MAX_RETRIES}", field="max_retries")
    if priority is None:
        priority = settings.priority
    elif not MIN_PRIORITY <= priority <= MAX_PRIORITY:
        raise InvalidOption(f"must be from {MIN_PRIORITY} to {MAX_PRIORITY}", field="priority")
    if timeout_ms is None:
        timeout_ms = settings.timeout_ms
    elif not 0 < timeout_ms <= MAX_MILLISECONDS:
        raise InvalidOption(f"must be from 1 to {MAX_MILLISECONDS}", field="timeout_ms")
    check_run_at(run_at)
    return NewTask(
        str(uuid_utils.uuid7()),
        type,
        context_json,
        priority,
        max_retries,
        _default_backoff(settings.backoff) if backoff is None else _backoff_text(backoff),
        timeout_ms,
        run_at,
        now,
        created_by,
        meta,
    )


def check_run_at(run_at: int) -> None:
    """Raise `InvalidOption` for a moment that can't be shown."""
    if not 0 <= run_at <= MAX_RUN_AT:
        raise InvalidOption("must be a time from 1970 to 9999", field="run_at")


def resolve_type(settings: QueueSettings, type: str | None, queue: str = "") -> str:  # noqa: A002 - the public name
    """Return the handler that a task of this queue runs: the one asked for, or else the queue's own.

    A blank type is none, and not the name of the worker that a queue with `types` alone doesn't have.
    A queue with neither `worker`, `command` nor `types` (the dead letter, one that is only pulled from) takes any type.
    Raises `InvalidOption` naming the nearest type that the queue has.
    """
    default = settings.default_type
    if not type:
        if default or not settings.types:
            return default
        raise InvalidOption(f"can't be blank: the queue has {_listed(settings)}", field="type")
    if type in settings.types or type in {default, settings.worker} or not (settings.types or default):
        # Many clients' tasks are stored in one go, which a text that the store can't hold would fail for all of them.
        if not storable([type]):
            raise InvalidOption("must be text without U+0000 and lone surrogates", field="type")
        return type
    place = f"queue {queue!r}" if queue else "this queue"
    raise InvalidOption(f"unknown type {type!r} in {place}: {nearest(type, known_types(settings))}", field="type")


def check_move(settings: QueueSettings, type: str, queue: str) -> None:  # noqa: A002 - the option's public name
    """Raise `InvalidOption` when a task of this type can't run in the queue of these settings."""
    if not type and settings.handlers:
        raise InvalidOption(f"the task has no type, and queue {queue!r} runs only those that it knows", field="queue")
    try:
        resolve_type(settings, type, queue)
    except InvalidOption as error:
        raise InvalidOption(str(error), field="queue") from None


def known_types(settings: QueueSettings) -> list[str]:
    """Return the types that a task of this queue may name, the default first."""
    return [settings.default_type, *settings.types] if settings.default_type else list(settings.types)


def nearest(wrong: str, known: list[str]) -> str:
    """Say which of the known names was probably meant, or else which there are."""
    # Without regard to case: sendemail is as near to SendEmail as can be.
    folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(wrong.casefold(), folded, n=1)
    if close:
        return f"did you mean {folded[close[0]]}?"
    return f"known are {', '.join(known)}" if known else "there are none"


def context_text(context: Any) -> str:
    """Write a context as the JSON text that the store keeps. Raises `InvalidOption` unless it is an object of plain JSON."""
    if context is None:
        return "{}"
    if not isinstance(context, dict):
        raise InvalidOption("must be an object", field="context")
    try:
        return json.dumps(context, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidOption(f"can't be written as JSON: {error}", field="context") from None


def task_shown(new: NewTask, queue: str, context: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the public form of a task that has just been accepted, the same as `Task.to_json` of the stored one.

    `context`: the parsed `new.context`, from whoever has it at hand.
    """
    created_at = format_time(new.created_at)
    backoff = _backoff_shown(new.backoff)
    return {
        "id": new.id,
        "queue": queue,
        "type": new.type,
        "state": first_state(new).value,
        "priority": show_priority(new.priority),
        "context": json.loads(new.context) if context is None else context,
        "attempt": 0,
        "max_retries": new.max_retries,
        "backoff": dict(backoff),
        "timeout_ms": new.timeout_ms,
        "run_at": format_time(new.run_at) if new.run_at else created_at,
        "created_at": created_at,
        "created_by": new.created_by,
        "started_at": None,
        "finished_at": None,
        "errors": [],
        "result": None,
        "meta": json.loads(new.meta) if new.meta != "{}" else {},
        "logs": [],
        "backoff_ms": backoff["base_ms"],
    }


def first_state(new: NewTask) -> TaskState:
    """Return the state in which people first see a task."""
    return state_at_first(new.run_at, new.created_at)


def state_at_first(run_at: int, created_at: int) -> TaskState:
    """Return the state in which people first see such a task: scheduled when its time is yet to come."""
    return TaskState.SCHEDULED if run_at > created_at else TaskState.AVAILABLE


def _listed(settings: QueueSettings) -> str:
    return "the types " + ", ".join(settings.types)


# Settings objects come anew from the Registry at every change, few in number; equal ones share an entry.
@lru_cache(maxsize=1024)
def _default_backoff(backoff: BackoffSettings) -> str:
    return _backoff_text(backoff.to_backoff())


@lru_cache(maxsize=1024)
def _backoff_text(backoff: Backoff) -> str:
    return json.dumps(backoff.to_json(), separators=(",", ":"))


@lru_cache(maxsize=1024)
def _backoff_shown(text: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(text)
    return shown
