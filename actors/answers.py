"""Read what an HTTP server of ours answers: tasks back from their public form, problems back into errors."""

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, Final

from callboard.actors.errors import CallboardError, InvalidOption, RequestRefused, StaleClaim, TaskNotFound, WrongState
from callboard.actors.options import Backoff, BackoffStrategy, parse_priority
from callboard.actors.task import Task, TaskState, parse_time

OK_BELOW: Final = 400
BAD_REQUEST: Final = 400
UNAUTHORIZED: Final = 401
NOT_FOUND: Final = 404
CONFLICT: Final = 409
TOO_LARGE: Final = 413
KEY_CONFLICT: Final = 422
TOO_MANY: Final = 429
UNAVAILABLE: Final = 503

REASONS: Final = {
    UNAUTHORIZED: "unauthorized",
    CONFLICT: "conflict",
    TOO_LARGE: "too_large",
    KEY_CONFLICT: "key_conflict",
    TOO_MANY: "full",
    UNAVAILABLE: "unavailable",
}
"""`RequestRefused.reason` by status; any other is `failed`."""


def read_task(shown: dict[str, Any]) -> Task:
    """Return the task that `Task.to_json` wrote; its times are whole milliseconds."""
    values = {item.name: shown[item.name] for item in fields(Task) if item.name in shown}
    values["state"] = TaskState(shown["state"])
    values["priority"] = parse_priority(shown["priority"])
    values["backoff"] = _read_backoff(shown)
    values.setdefault("created_by", "")
    for name in ("run_at", "created_at", "started_at", "finished_at"):
        values[name] = None if shown[name] is None else parse_time(shown[name])
    return Task(**values)


def parse_body(content: bytes) -> Any:
    """Return the parsed body of an answer, {} for none and for what is not JSON (something else may have answered)."""
    try:
        return json.loads(content or b"{}")
    except ValueError:
        return {}


def error_of(status: int, problem: Any, task_id: str = "") -> CallboardError:
    """Return the error that a problem+json answer stands for; `task_id`: the task that the request named, "" for none."""
    problem = problem if isinstance(problem, dict) else {}
    detail = str(problem.get("detail") or problem.get("title") or f"the server answered {status}")
    if status == BAD_REQUEST:
        found = list(_leaves(problem.get("errors") or {}))
        alone = len(found) == 1 and found[0][0][0] != "tasks"
        text = found[0][1] if alone else "; ".join(f"{'.'.join(path)}: {message}" for path, message in found)
        return InvalidOption(text or detail, field=_field(found[0][0]) if found else "")
    if status == NOT_FOUND and task_id:
        return TaskNotFound(task_id)
    kind = str(problem.get("type")).rpartition(":")[2]
    if status == NOT_FOUND and kind == "unknown-queue":
        return InvalidOption(detail, field="queue")
    if status == CONFLICT and kind == "stale-claim":
        return StaleClaim(task_id, detail)
    if status == CONFLICT and task_id:
        return WrongState(task_id, _state_in(problem, detail), detail)
    return RequestRefused(REASONS.get(status, "failed"), detail)


def _read_backoff(shown: dict[str, Any]) -> Backoff:
    whole = shown.get("backoff")
    if isinstance(whole, dict):
        return Backoff(**{**whole, "strategy": BackoffStrategy(whole["strategy"])})
    return Backoff(base_ms=shown["backoff_ms"])


def _leaves(errors: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each message of the nested `errors` with the path of its field."""
    if isinstance(errors, dict):
        for name, below in errors.items():
            yield from _leaves(below, (*path, str(name)))
    elif isinstance(errors, list):
        for message in errors:
            yield path, str(message)


def _field(path: tuple[str, ...]) -> str:
    """Name an option as `TaskRequest` does."""
    return ".".join(path[-2:]) if path[-2:-1] == ("backoff",) else path[-1]


def _state_in(problem: dict[str, Any], detail: str) -> str:
    """Return the state that kept a task from a change: the problem's own member, else the one that its sentence names."""
    if "state" in problem:
        return str(problem["state"])
    named = [state for state in TaskState if re.search(rf"\b{state}\b", detail)]
    return named[0].value if named else ""
