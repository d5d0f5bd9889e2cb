"""Submit tasks, look at them, retry and cancel them."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from callboard.actors.errors import InvalidOption, RequestRefused
from callboard.actors.messages import RefusalReason
from callboard.actors.store import Page, TaskFilter
from callboard.actors.submitting import check_move
from callboard.actors.task import ENDED_STATES, Task
from callboard.actors.task_ids import normal_id
from callboard.http.bulk_schemas import BulkCancelRequest, BulkRetryRequest
from callboard.http.changes import Change, cancel, change_ids, change_matching, change_one, edit, retry
from callboard.http.edge import TASK_BYTES, Edge, edge_of
from callboard.http.intake import Key, read_key, take_many, take_one
from callboard.http.problems import Invalid, NotFound
from callboard.http.queries import TaskQuery, WaitQuery
from callboard.http.responses import data_response, json_response, task_created, tasks_created
from callboard.http.schemas import (
    BatchRequest,
    EditRequest,
    RetryRequest,
    TaskRequest,
    microseconds_now,
)
from callboard.http.validation import header_of, parse_json, read_body, read_model, read_query, validated

IDEMPOTENCY_KEY: Final = b"idempotency-key"


async def create_task(request: Request) -> Response:
    """Submit one task. It is on disk when this answers."""
    edge = edge_of(request)
    body = parse_json(await read_body(request, edge.settings.http.max_body))
    wanted = validated(TaskRequest, body)
    taken = await take_one(edge, wanted, read_key("tasks", header_of(request, IDEMPOTENCY_KEY), body))
    return task_created(taken.ids[0], taken.texts[0], HTTPStatus.OK if taken.replayed else HTTPStatus.CREATED)


async def create_batch(request: Request) -> Response:
    """Submit many tasks: validated as a whole, then stored in one transaction a queue."""
    edge = edge_of(request)
    content = await read_body(request, edge.settings.http.max_body)
    wanted, key = await edge.compute(len(content) // TASK_BYTES, _read_batch, content, header_of(request, IDEMPOTENCY_KEY))
    taken = await take_many(edge, wanted.tasks, key)
    status = HTTPStatus.OK if taken.replayed else HTTPStatus.CREATED
    return await edge.compute(len(taken.texts), tasks_created, taken.texts, status)


def _read_batch(content: bytes, key: str | None) -> tuple[BatchRequest, Key]:
    body = parse_json(content)
    return validated(BatchRequest, body), read_key("batch", key, body)


async def get_task(request: Request) -> Response:
    """Show one task; with `?wait=`, hold the answer until it has ended."""
    edge = edge_of(request)
    seconds = read_query(request, WaitQuery).wait
    task = await existing_task(edge, request)
    if seconds and task.state not in ENDED_STATES:
        await edge.watcher.ended(task.id, seconds)
        task = await existing_task(edge, request)
    return data_response(task.to_json())


async def list_tasks(request: Request) -> Response:
    """Show tasks, newest first, page by page."""
    query = read_query(request, TaskQuery)
    return await page_response(edge_of(request), TaskFilter(query.queue, query.state, query.type), query.limit, query.cursor)


async def retry_task(request: Request) -> Response:
    """Put an ended task back with a fresh budget."""
    edge = edge_of(request)
    wanted = await read_model(request, RetryRequest, edge.settings.http.max_body, empty=True)
    task = await change_one(edge, await existing_task(edge, request), retry(keep_attempts=wanted.keep_attempts))
    return data_response(task.to_json())


async def edit_task(request: Request) -> Response:
    """Change a task that waits: its priority, its queue, when it may run."""
    edge = edge_of(request)
    wanted = await read_model(request, EditRequest, edge.settings.http.max_body)
    if wanted == EditRequest():
        raise Invalid({"body": ["must have priority, queue, run_at or delay_ms"]})
    task = await existing_task(edge, request)
    to_queue = wanted.queue or task.queue
    if to_queue != task.queue:
        await _check_move(edge, task, to_queue)
    change = edit(priority=wanted.priority, run_at=wanted.due(microseconds_now()), to_queue=to_queue)
    return data_response((await change_one(edge, task, change)).to_json())


async def _check_move(edge: Edge, task: Task, queue: str) -> None:
    """Refuse to move a task where it can't run. Raises `Invalid`."""
    try:
        found = await edge.gateway.find(queue)
        check_move(found.settings, task.type, queue)
    except RequestRefused as refusal:
        if refusal.reason != RefusalReason.UNKNOWN_QUEUE:
            raise
        raise Invalid({"queue": [refusal.detail]}) from None
    except InvalidOption as error:
        raise Invalid({"queue": [str(error)]}) from None


async def cancel_task(request: Request) -> Response:
    """Cancel a task; a running one is killed."""
    edge = edge_of(request)
    task = await change_one(edge, await existing_task(edge, request), cancel())
    return data_response(task.to_json())


async def retry_tasks(request: Request) -> Response:
    """Put many ended tasks back, by ids or by filter."""
    edge = edge_of(request)
    wanted = await read_model(request, BulkRetryRequest, edge.settings.http.max_body)
    return await _change_many(edge, wanted, retry(keep_attempts=wanted.keep_attempts))


async def cancel_tasks(request: Request) -> Response:
    """Cancel many tasks, by ids or by filter."""
    edge = edge_of(request)
    return await _change_many(edge, await read_model(request, BulkCancelRequest, edge.settings.http.max_body), cancel())


async def page_response(edge: Edge, chosen: TaskFilter, limit: int, cursor: str | None) -> Response:
    """Answer a page of tasks."""
    try:
        page: Page = await edge.read(edge.store.page, chosen, limit, cursor)
    except ValueError as error:
        raise Invalid({"cursor": [str(error)]}) from None
    return json_response({"data": [task.to_json() for task in page.tasks], "next_cursor": page.next_cursor})


async def existing_task(edge: Edge, request: Request) -> Task:
    """Return the task that the path names. Raises `NotFound`."""
    text = request.path_params["id"]
    task_id = normal_id(text)
    task = None if task_id is None else await edge.read(edge.store.get, task_id)
    if task is None:
        raise NotFound(f"task {text}")
    return task


async def _change_many(edge: Edge, wanted: BulkCancelRequest, change: Change) -> Response:
    if wanted.ids is not None:
        counts: Mapping[str, Any] = await change_ids(edge, known_ids(wanted.ids), change)
    elif wanted.filter is not None:
        chosen = TaskFilter(wanted.filter.queue, wanted.filter.state, wanted.filter.type)
        counts = await change_matching(edge, chosen, change)
    else:
        raise Invalid({"ids": ["give ids or a filter"]})
    return data_response(counts)


def known_ids(texts: list[str]) -> list[str]:
    """Return those that can be ids, as the store has them."""
    return [task_id for text in texts if (task_id := normal_id(text)) is not None]
