"""Fetch tasks, and say what became of them: how a worker anywhere, in any language, works a queue."""

import hashlib
import uuid

from starlette.requests import Request
from starlette.responses import Response

from callboard.actors.always_there import FETCHED_FROM
from callboard.actors.messages import Settlement, Want, Word
from callboard.actors.task_ids import normal_id
from callboard.http.edge import edge_of
from callboard.http.intake import read_key
from callboard.http.problems import NotFound
from callboard.http.pull_schemas import AckRequest, AcksRequest, DequeueRequest, FailRequest, HeartbeatRequest
from callboard.http.pulling import acked, failed, fetch, settle_many, settle_one
from callboard.http.responses import data_response
from callboard.http.routes.queues import check_can_be
from callboard.http.routes.tasks import IDEMPOTENCY_KEY
from callboard.http.validation import header_of, read_model


async def dequeue(request: Request) -> Response:
    """Fetch tasks of a queue, each for the time of a lease, at most `max`; none when there are none."""
    edge, queue = edge_of(request), request.path_params["name"]
    check_can_be(FETCHED_FROM, queue)
    wanted = await read_model(request, DequeueRequest, edge.settings.http.max_body)
    key = read_key("dequeue", header_of(request, IDEMPOTENCY_KEY), None).text
    # A wish is known by its key: sent again, it gets what it got and still holds.
    want_id = hashlib.sha256(key.encode("ascii")).hexdigest()[:32] if key else uuid.uuid4().hex
    want = Want(want_id, wanted.max, wanted.lease_ms, wanted.consumer)
    return data_response(await fetch(edge, queue, want, wanted.wait_ms / 1_000, request))


async def ack_task(request: Request) -> Response:
    """Complete a task that was fetched."""
    task_id = _task_id(request)
    said = await read_model(request, AckRequest, edge_of(request).settings.http.max_body)
    return await _settled(request, said.claim, acked(task_id, said.result))


async def fail_task(request: Request) -> Response:
    """End an attempt that has failed: the task is retried after its backoff, or dead."""
    task_id = _task_id(request)
    said = await read_model(request, FailRequest, edge_of(request).settings.http.max_body)
    return await _settled(request, said.claim, failed(task_id, said.error, discard=said.discard))


async def heartbeat_task(request: Request) -> Response:
    """Renew the lease of a task that was fetched."""
    task_id = _task_id(request)
    said = await read_model(request, HeartbeatRequest, edge_of(request).settings.http.max_body)
    return await _settled(request, said.claim, Settlement(Word.HEARTBEAT, task_id, 0, lease_ms=said.lease_ms))


async def ack_tasks(request: Request) -> Response:
    """End many tasks that were fetched, well or not; says what became of each."""
    edge = edge_of(request)
    said = await read_model(request, AcksRequest, edge.settings.http.max_body)
    outcomes = await settle_many(edge, said.acks)
    shown = [{"claim": ack.claim, "outcome": str(outcome)} for ack, outcome in zip(said.acks, outcomes, strict=True)]
    return data_response(shown)


async def _settled(request: Request, claim: str, word: Settlement) -> Response:
    """Have a word said and answer the task as it is then. Raises a `Problem`."""
    edge = edge_of(request)
    await settle_one(edge, word.task_id, claim, word)
    task = await edge.read(edge.store.get, word.task_id)
    if task is None:
        raise NotFound(f"task {word.task_id}")
    return data_response(task.to_json())


def _task_id(request: Request) -> str:
    text = request.path_params["id"]
    task_id = normal_id(text)
    if task_id is None:
        raise NotFound(f"task {text}")
    return task_id
