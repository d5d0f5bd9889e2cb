"""Look at queues, make, change and command them."""

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus
from operator import itemgetter
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from callboard.actors.always_there import DRAINED, PAUSED, RESUMED, SCALED, why_never
from callboard.actors.errors import CallboardError, RequestRefused, RequestTimedOut
from callboard.actors.messages import (
    DeleteQueue,
    DescribeQueue,
    DrainQueue,
    ListQueues,
    PauseQueue,
    PutQueue,
    QueueDeleted,
    QueueDescribed,
    QueueFound,
    QueuePut,
    QueuesListed,
    RefusalReason,
    ResumeQueue,
    ScaleQueue,
)
from callboard.actors.showing import queue_asleep_shown, queue_down_shown, queue_shown
from callboard.actors.store import Store
from callboard.conf.learning import learned_of
from callboard.conf.settings import QueueSettings, check_queue_name
from callboard.conf.worker_paths import look_at
from callboard.http.edge import Edge, edge_of
from callboard.http.problems import Errors, Invalid, NotFound
from callboard.http.queries import DeleteQuery
from callboard.http.responses import data_response
from callboard.http.schemas import ScaleRequest
from callboard.http.validation import read_model, read_query

DESCRIBE_SECONDS: Final = 3.0
"""So long a queue's owner has to say how it is, before it is shown as not answering."""

NO_COMMANDS: Final = (
    "can't be set over HTTP, where it would let everybody run any program: "
    "write it in the configuration file, or use `callboard queue create`"
)


async def list_queues(request: Request) -> Response:
    """Show all queues."""
    return data_response(await _all_shown(edge_of(request)))


async def list_workers(request: Request) -> Response:
    """Show the workers of all queues."""
    queues = await _all_shown(edge_of(request))
    return data_response([worker for queue in queues for worker in queue["workers"]])


async def get_queue(request: Request) -> Response:
    """Show one queue."""
    edge, name = edge_of(request), request.path_params["name"]
    return data_response(await _shown(edge, name))


async def put_queue(request: Request) -> Response:
    """Make a queue, or replace its settings; survives a restart."""
    edge, name = edge_of(request), request.path_params["name"]
    if reason := check_queue_name(name):
        raise Invalid({"name": [reason]}, f"{reason}.")
    settings = await read_model(request, QueueSettings, edge.settings.http.max_body, empty=True)
    settings = await _checked(settings)
    put = await edge.gateway.ask_registry(lambda request_id: PutQueue(request_id, name, settings), QueuePut)
    edge.gateway.forget(name)
    shown = await _shown(edge, name)
    # The owner may not have heard of them yet; they are stored, and what it does next it does with them.
    shown["settings"] = settings.model_dump(mode="json")
    return data_response(shown, HTTPStatus.CREATED if put.created else HTTPStatus.OK, {"Location": f"/api/queues/{name}"})


async def delete_queue(request: Request) -> Response:
    """Delete a queue with all its tasks: only an empty one, unless forced."""
    edge, name = edge_of(request), request.path_params["name"]
    force = read_query(request, DeleteQuery).force == "true"
    await edge.gateway.ask_registry(lambda request_id: DeleteQueue(request_id, name, force), QueueDeleted)
    edge.gateway.forget(name)
    return Response(status_code=HTTPStatus.NO_CONTENT)


async def pause_queue(request: Request) -> Response:
    """Have a queue begin nothing more until it is resumed; survives a restart."""
    return await _command(request, PAUSED, lambda request_id, found: PauseQueue(request_id, found.queue, found.incarnation))


async def resume_queue(request: Request) -> Response:
    """End a pause or a drain."""
    return await _command(
        request, RESUMED, lambda request_id, found: ResumeQueue(request_id, found.queue, found.incarnation)
    )


async def drain_queue(request: Request) -> Response:
    """Have a queue take nothing more and work off what it has."""
    return await _command(request, DRAINED, lambda request_id, found: DrainQueue(request_id, found.queue, found.incarnation))


async def scale_queue(request: Request) -> Response:
    """Change how many tasks a queue runs at once; survives a restart."""
    edge = edge_of(request)
    check_can_be(SCALED, request.path_params["name"])
    wanted = await read_model(request, ScaleRequest, edge.settings.http.max_body)
    concurrency = wanted.concurrency
    response = await _command(
        request, SCALED, lambda request_id, found: ScaleQueue(request_id, found.queue, found.incarnation, concurrency)
    )
    edge.gateway.forget(request.path_params["name"])
    return response


def check_can_be(done: str, name: str) -> None:
    """Raise `Invalid` for what can't be done with the dead letter, in the form in which its settings are refused."""
    if why := why_never(name, done):
        raise Invalid({"name": [why]}, f"{why}.")


async def _command(request: Request, done: str, message: Callable[[str, QueueFound], object]) -> Response:
    name = request.path_params["name"]
    check_can_be(done, name)
    reply, _ = await edge_of(request).gateway.ask_queue(name, message, QueueDescribed)
    return data_response(queue_shown(reply.status))


async def _all_shown(edge: Edge) -> list[dict[str, Any]]:
    listed = await edge.gateway.ask_registry(ListQueues, QueuesListed)
    names = sorted(set(listed.names).difference(listed.asleep))
    awake, asleep = await asyncio.gather(
        asyncio.gather(*(_shown(edge, name, listed.down.get(name, ""), standby=name in listed.standby) for name in names)),
        edge.read(_asleep_shown, edge.store, listed.asleep),
    )
    return sorted([*awake, *asleep], key=itemgetter("name"))


def _asleep_shown(store: Store, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return queues that sleep, all from one look at the store."""
    if not names:
        return []
    counts = store.counts()
    rows = {row.name: row for row in store.queues()}
    return [queue_asleep_shown(rows[name], counts.get(name)) for name in names if name in rows]


async def _shown(edge: Edge, name: str, down: str = "", *, standby: bool = False) -> dict[str, Any]:
    """Return a queue as its owner sees it; if that can't be asked (`down`: why), what the store knows.

    Raises `NotFound`.
    """
    if down:
        return await _shown_from_store(edge, name, down, standby=standby)
    try:
        reply, _ = await edge.gateway.ask_queue(name, _describe, QueueDescribed, DESCRIBE_SECONDS, wake=False)
    except RequestRefused as refusal:
        if refusal.reason == RefusalReason.UNKNOWN_QUEUE:
            raise NotFound(f"queue {name}") from None
        if refusal.reason == RefusalReason.IDLE:
            (shown,) = await edge.read(_asleep_shown, edge.store, (name,)) or [queue_down_shown(name, refusal.detail)]
            return shown
        return await _shown_from_store(edge, name, refusal.detail, standby=refusal.reason == RefusalReason.STANDBY)
    except RequestTimedOut as error:
        return await _shown_from_store(edge, name, str(error))
    return queue_shown(reply.status)


def _describe(request_id: str, found: QueueFound) -> DescribeQueue:
    return DescribeQueue(request_id, found.queue, found.incarnation)


async def _shown_from_store(edge: Edge, name: str, why: str, *, standby: bool = False) -> dict[str, Any]:
    try:
        rows = await edge.read(edge.store.queues)
        counts = await edge.read(edge.store.counts)
    except CallboardError as error:
        both = why if str(error) in why else f"{why}; {error}"
        return queue_down_shown(name, both, standby=standby)
    row = next((row for row in rows if row.name == name), None)
    settings = None if row is None else QueueSettings.model_validate_json(row.settings)
    return queue_down_shown(name, why, counts.get(name, {}), settings, standby=standby)


async def _checked(settings: QueueSettings) -> QueueSettings:
    """Return the settings with what their workers say of themselves.

    Raises `Invalid` for commands, and for workers that can't be imported.
    """
    errors: Errors = {}
    if settings.command:
        errors["command"] = [NO_COMMANDS]
    types: Errors = {name: [NO_COMMANDS] for name, handler in settings.types.items() if not isinstance(handler, str)}
    paths = sorted({handler for handler in settings.handlers.values() if isinstance(handler, str)})
    looks = (asyncio.to_thread(look_at, path, declared=True) for path in paths)
    seen = dict(zip(paths, await asyncio.gather(*looks), strict=True))
    if settings.worker and (reason := seen[settings.worker].problem):
        errors["worker"] = [reason]
    named = ((name, path) for name, path in settings.types.items() if isinstance(path, str))
    types |= {name: [reason] for name, path in named if (reason := seen[path].problem)}
    if types:
        errors["types"] = types
    if errors:
        raise Invalid(errors)
    return settings.with_learned(learned_of(settings, {path: found.options for path, found in seen.items()}))
