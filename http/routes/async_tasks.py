"""The routes of AsyncTaskProcessor: its tasks are those of the queue `default`, its words are translated here."""

from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any, Final

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from callboard.actors.errors import InvalidOption, RequestRefused
from callboard.actors.messages import QueueFound, RefusalReason
from callboard.actors.payloads import wrong_fields
from callboard.actors.sample_contexts import KNOWN
from callboard.actors.submitting import resolve_type
from callboard.actors.task import Task, TaskState
from callboard.http.changes import change_one, retry
from callboard.http.edge import Edge, edge_of
from callboard.http.intake import NO_KEY, take_many
from callboard.http.problems import Errors, Invalid, NotFound, Problem
from callboard.http.responses import json_response
from callboard.http.routes.tasks import existing_task
from callboard.http.schemas import TaskOptions, TaskRequest
from callboard.http.seed_schemas import EnqueuedTask, EnqueueRequest, Status
from callboard.http.validation import parse_json, read_body, validated

QUEUE: Final = "default"
_ALL_ENQUEUED: Final = "All tasks enqueued"
_CANCELLED: Final = "cancelled"
_STATUS: Final = {
    TaskState.SCHEDULED: Status.AWAITING,
    TaskState.AVAILABLE: Status.ENQUEUED,
    TaskState.EXECUTING: Status.PROCESSING,
    TaskState.COMPLETED: Status.SUCCESS,
    TaskState.RETRYABLE: Status.AWAITING_RETRY,
    TaskState.DEAD: Status.FAILED,
    TaskState.CANCELLED: Status.FAILED,
}


async def enqueue_tasks(request: Request) -> Response:
    """Submit tasks in the form of AsyncTaskProcessor: one that is wrong keeps all of them out."""
    edge = edge_of(request)
    body = parse_json(await read_body(request, edge.settings.http.max_body))
    try:
        wanted = validated(EnqueueRequest, body).tasks
        found = await _find(edge)
        _check_all(wanted, found)
        taken = await take_many(edge, [_translated(one) for one in wanted], NO_KEY) if wanted else None
    except Invalid as invalid:
        raise _named(invalid, body) from None
    shown = [
        {"id": id_, "taskType": one.taskType, "priority": _priority(one, found), "status": Status.ENQUEUED}
        for id_, one in zip(taken.ids if taken is not None else (), wanted, strict=True)
    ]
    return json_response({"tasks": shown, "status": _ALL_ENQUEUED})


async def show_task(request: Request) -> Response:
    """Show a task in the form of AsyncTaskProcessor."""
    return json_response(_shown(await existing_task(edge_of(request), request)))


async def retry_failed_task(request: Request) -> Response:
    """Put back a task that has failed for good, with a fresh budget."""
    edge = edge_of(request)
    task = await existing_task(edge, request)
    if task.state is not TaskState.DEAD:
        raise _not_failed(task.id, task.state)
    try:
        return json_response(_shown(await change_one(edge, task, retry(keep_attempts=False))))
    except NotFound:
        raise
    except Problem as problem:
        if problem.status is not HTTPStatus.CONFLICT:
            raise
        # Not the state that was read above: somebody else has just changed it.
        raise _not_failed(task.id, problem.extra["state"]) from None


async def _find(edge: Edge) -> QueueFound:
    try:
        return await edge.gateway.find(QUEUE)
    except RequestRefused as refusal:
        if refusal.reason != RefusalReason.UNKNOWN_QUEUE:
            raise
        raise NotFound(f"queue {QUEUE}, which is the one of this route") from None


def _check_all(wanted: Sequence[EnqueuedTask], found: QueueFound) -> None:
    """Raise `Invalid` for all that is wrong with these tasks."""
    if errors := {str(place): wrong for place, one in enumerate(wanted) if (wrong := _check(one, found))}:
        raise Invalid({"tasks": errors})


def _check(task: EnqueuedTask, found: QueueFound) -> Errors:
    """Return what is wrong with a task: its type, and what its payload lacks where the type is one of ours."""
    try:
        type_ = resolve_type(found.settings, task.taskType, QUEUE)
    except InvalidOption as error:
        return {"taskType": [str(error)]}
    handler = found.settings.handlers.get(type_, "")
    model = KNOWN.get(handler) if isinstance(handler, str) else None
    try:
        if model is not None:
            model.model_validate(task.payload)
    except ValidationError as error:
        assert model is not None
        return {"payload": {field: [message] for field, message in wrong_fields(model, error)}}
    return {}


def _translated(task: EnqueuedTask) -> TaskRequest:
    options = TaskOptions(priority=task.priority, backoff_ms=task.backOffDuration)
    return TaskRequest(queue=QUEUE, type=task.taskType, context=task.payload, options=options)


def _priority(task: EnqueuedTask, found: QueueFound) -> int:
    return found.settings.priority if task.priority is None else task.priority


def _shown(task: Task) -> dict[str, Any]:
    shown = {"id": task.id, "taskType": task.type, "priority": task.priority, "status": _STATUS[task.state]}
    return shown | {"error": _error(task)}


def _error(task: Task) -> str | None:
    """Return why the last attempt failed, or that the task was cancelled.

    Nothing of the attempts before a retry by hand, after which they are counted anew.
    """
    if task.state is TaskState.CANCELLED:
        return _CANCELLED  # its status is that of a failure, and no attempt says why
    if task.state is TaskState.COMPLETED or not task.errors:
        return None
    last = task.errors[-1]
    before = task.attempt - 1 if task.state is TaskState.EXECUTING else task.attempt
    return str(last["message"]) if last["attempt"] <= before else None


def _not_failed(task_id: str, state: str) -> Problem:
    detail = f"Task {task_id} is {state}. Only a task that has failed for good can be retried."
    return Problem(HTTPStatus.BAD_REQUEST, detail, kind="wrong-state", extra={"state": state, "error": detail})


def _named(invalid: Invalid, body: Any) -> Problem:
    """Return the error with a sentence that names the first wrong task and field, as that system's clients expect it."""
    path, message = next(_leaves(invalid.errors or {}), ((), invalid.detail))
    place = ".".join(path)
    if len(path) > 1 and path[0] == "tasks":
        type_ = body["tasks"][int(path[1])].get("taskType") if isinstance(body["tasks"][int(path[1])], dict) else None
        place = f"tasks[{path[1]}]" + (f" ({type_})" if isinstance(type_, str) else "") + f": {'.'.join(path[2:])}".rstrip()
    text = f"{place} {message}".strip()
    return Problem(HTTPStatus.BAD_REQUEST, text, kind="invalid", errors=invalid.errors, extra={"error": text})


def _leaves(errors: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(errors, dict):
        for name, below in errors.items():
            yield from _leaves(below, (*path, str(name)))
    else:
        yield path, str(errors[0])
