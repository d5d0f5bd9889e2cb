"""Say what task is wanted, in the words of a Python program: what all clients take and none of them sends as it is."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final, Self, TypedDict

from callboard.actors.errors import InvalidOption
from callboard.actors.options import MAX_MILLISECONDS, Backoff, parse_duration
from callboard.actors.request_values import check_integer, check_text, read_backoff, read_moment

MAX_ATTEMPTS: Final = 100
Duration = str | float | timedelta
"""How programs write a duration: `"1m30s"`, seconds as a number, or a timedelta."""


class TaskOptions(TypedDict, total=False):
    """The options of `TaskRequest`, as keyword arguments of the clients' `enqueue`."""

    type: str | None
    priority: str | int | None
    max_retries: int | None
    max_attempts: int | None
    backoff_ms: int | None
    backoff: Backoff | Mapping[str, Any] | None
    timeout: Duration | None
    delay: Duration | None
    run_at: datetime | str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRequest:
    """A task that somebody wants done; None leaves the choice to the queue.

    delay: begin no earlier than that long from now; run_at: no earlier than then (with its offset; a text is written as in
    HTTP). One of the two.
    max_attempts: another spelling of max_retries + 1.
    backoff_ms: the queue's backoff with another base; backoff: all of it, or as a mapping
    those of its options that are to be different. One of the two.

    Raises `InvalidOption` for what is not of these types; the values of texts and numbers are looked at when it is sent.
    """

    queue: str
    context: Mapping[str, Any] | None = None
    type: str | None = None
    priority: str | int | None = None
    max_retries: int | None = None
    max_attempts: int | None = None
    backoff_ms: int | None = None
    backoff: Backoff | Mapping[str, Any] | None = None
    timeout: Duration | None = None
    delay: Duration | None = None
    run_at: datetime | str | None = None

    @classmethod
    def of(cls, wanted: "Self | Mapping[str, Any]") -> Self:
        """Take a request as it is, or make one of a mapping with the same names.

        Raises `InvalidOption` for a name that is none of them.
        """
        if isinstance(wanted, cls):
            return wanted
        if not isinstance(wanted, Mapping):
            raise InvalidOption("a task is asked for by a TaskRequest or a mapping")
        known = [option.name for option in fields(cls)]
        for name in wanted:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
                raise InvalidOption(f"unknown option {name}, {hint}", field=name)
        if "queue" not in wanted:
            raise InvalidOption("can't be blank", field="queue")
        return cls(**wanted)

    def __post_init__(self) -> None:
        self._check_types()
        if self.delay is not None and self.run_at is not None:
            raise InvalidOption("give delay or run_at, not both", field="run_at")
        self._check_attempts()
        if self.backoff is not None and self.backoff_ms is not None:
            raise InvalidOption("give backoff or backoff_ms, not both", field="backoff_ms")
        read_moment(self.run_at)
        read_backoff(self.backoff)

    def _check_types(self) -> None:
        check_text(self.queue, "queue")
        if self.context is not None and not isinstance(self.context, Mapping):
            raise InvalidOption("must be an object", field="context")
        if self.type is not None:
            check_text(self.type, "type", blank=True)
        _check_priority(self.priority)
        for name in ("max_retries", "max_attempts", "backoff_ms"):
            if getattr(self, name) is not None:
                check_integer(getattr(self, name), name)

    def _check_attempts(self) -> None:
        attempts = self.max_attempts
        if attempts is None:
            return
        if not 1 <= attempts <= MAX_ATTEMPTS:
            raise InvalidOption(f"must be from 1 to {MAX_ATTEMPTS}", field="max_attempts")
        if self.max_retries not in {None, attempts - 1}:
            raise InvalidOption("must be max_retries + 1 where both are given", field="max_attempts")

    @property
    def retries(self) -> int | None:
        """The budget of retries, in whichever spelling it was given."""
        return self.max_retries if self.max_attempts is None else self.max_attempts - 1

    def to_body(self) -> dict[str, Any]:
        """Return the body of `POST /api/tasks` that asks for this task."""
        run_at = read_moment(self.run_at)
        options = {
            "priority": self.priority,
            "max_retries": self.retries,
            "backoff_ms": self.backoff_ms,
            "backoff": read_backoff(self.backoff),
            "timeout_ms": None if self.timeout is None else milliseconds(self.timeout, "timeout"),
            "delay_ms": None if self.delay is None else milliseconds(self.delay, "delay"),
            "run_at": None if run_at is None else run_at.isoformat(),
        }
        body = {
            "queue": self.queue,
            "type": self.type,
            "context": None if self.context is None else dict(self.context),
            "options": {name: value for name, value in options.items() if value is not None} or None,
        }
        return {name: value for name, value in body.items() if value is not None}


def milliseconds(duration: Duration, field: str) -> int:
    """Return a duration in whole milliseconds. Raises `InvalidOption` for a negative or an endless one."""
    if isinstance(duration, str):
        try:
            return parse_duration(duration)
        except InvalidOption as error:
            raise InvalidOption(str(error), field=field) from None
    seconds: object = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_MILLISECONDS / 1000:
        raise InvalidOption('write "5s", a number of seconds or a timedelta, none of them negative', field=field)
    return round(seconds * 1000)


def _check_priority(priority: object) -> None:
    if priority is not None and not isinstance(priority, str | int):
        raise InvalidOption('must be "low", "high" or an integer', field="priority")


class TaskChanges(TypedDict, total=False):
    """What `update` of the clients changes of a waiting task; None leaves it as it is."""

    priority: str | int | None
    queue: str | None
    delay: Duration | None
    run_at: datetime | str | None


def changes_body(changes: TaskChanges) -> dict[str, Any]:
    """Return the body of `PATCH /api/tasks/{id}` that asks for these changes. Raises `InvalidOption`."""
    unknown = changes.keys() - TaskChanges.__annotations__.keys()
    if unknown:
        raise InvalidOption(f"unknown option {min(unknown)}", field=min(unknown))
    delay, run_at = changes.get("delay"), read_moment(changes.get("run_at"))
    if delay is not None and run_at is not None:
        raise InvalidOption("give delay or run_at, not both", field="run_at")
    _check_priority(changes.get("priority"))
    if changes.get("queue") is not None:
        check_text(changes["queue"], "queue")
    body = {
        "priority": changes.get("priority"),
        "queue": changes.get("queue"),
        "delay_ms": None if delay is None else milliseconds(delay, "delay"),
        "run_at": None if run_at is None else run_at.isoformat(),
    }
    body = {name: value for name, value in body.items() if value is not None}
    if not body:
        raise InvalidOption("give priority, queue, delay or run_at")
    return body
