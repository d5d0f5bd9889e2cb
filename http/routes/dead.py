"""The dead letter: a view of all that is dead, and what one does about it."""

from starlette.requests import Request
from starlette.responses import Response

from callboard.actors.messages import DeadPurged, PurgeDead, QueueFound
from callboard.actors.store import TaskFilter
from callboard.actors.task import TaskState
from callboard.http.bulk_schemas import DeadRequest
from callboard.http.changes import CHUNK, by_queue, change_ids, change_matching, retry
from callboard.http.edge import Edge, edge_of
from callboard.http.problems import Invalid
from callboard.http.queries import DeadFilterQuery, DeadQuery
from callboard.http.responses import data_response
from callboard.http.routes.tasks import known_ids, page_response
from callboard.http.validation import read_model, read_query


async def list_dead(request: Request) -> Response:
    """Show the dead tasks of all queues or of one, newest first by creation, page by page."""
    query = read_query(request, DeadQuery)
    return await page_response(edge_of(request), TaskFilter(query.queue, TaskState.DEAD), query.limit, query.cursor)


async def retry_dead(request: Request) -> Response:
    """Put dead tasks back: all, a queue's, or these; the query or the body says which."""
    edge = edge_of(request)
    wanted = await _wanted(request)
    change = retry(keep_attempts=False)
    if wanted.ids is None:
        return data_response(await change_matching(edge, TaskFilter(wanted.queue, TaskState.DEAD), change))
    dead = await _dead_ids(edge, wanted)
    return data_response(await change_ids(edge, [task_id for _, task_id in dead], change))


async def purge_dead(request: Request) -> Response:
    """Delete dead tasks: all, a queue's, or these; the query or the body says which."""
    edge = edge_of(request)
    wanted = await _wanted(request)
    counts = {"matched": 0, "changed": 0}
    if wanted.ids is not None:
        for queue, ids in by_queue(await _dead_ids(edge, wanted)).items():
            for start in range(0, len(ids), CHUNK):
                chunk = tuple(ids[start : start + CHUNK])
                counts["matched"] += len(chunk)
                counts["changed"] += await _purge(edge, queue, chunk)
        return data_response(counts)
    for queue, by_state in (await edge.read(edge.store.counts)).items():
        dead = by_state.get(TaskState.DEAD, 0)
        if dead and wanted.queue in {None, queue}:
            purged = await _purge(edge, queue, None)
            counts["matched"] += max(dead, purged)
            counts["changed"] += purged
    return data_response(counts)


async def _wanted(request: Request) -> DeadRequest:
    """Read which tasks are meant, from the query or the body. Raises `Invalid` when both say something.

    What is overlooked here is a filter less, and so tasks changed or lost that nobody meant.
    """
    query = read_query(request, DeadFilterQuery, ("ids",))
    asked = {name: value for name, value in query.model_dump().items() if value is not None}
    body = await read_model(request, DeadRequest, edge_of(request).settings.http.max_body, empty=True)
    if not asked:
        return body
    if body != DeadRequest():
        raise Invalid({name: ["must not be given in the query when the body names tasks, too"] for name in asked})
    return DeadRequest.model_validate(asked)


async def _dead_ids(edge: Edge, wanted: DeadRequest) -> list[tuple[str, str]]:
    """Return (queue, id) of those of the wanted tasks that are dead."""
    tasks = await edge.read(edge.store.get_many, known_ids(wanted.ids or []))
    return [(task.queue, task.id) for task in tasks if task.state is TaskState.DEAD and wanted.queue in {None, task.queue}]


async def _purge(edge: Edge, queue: str, ids: tuple[str, ...] | None) -> int:
    def request(request_id: str, found: QueueFound) -> PurgeDead:
        return PurgeDead(request_id, found.queue, found.incarnation, ids)

    total, more = 0, True
    while more:
        reply, _ = await edge.gateway.ask_queue(queue, request, DeadPurged)
        total, more = total + reply.tasks, reply.more
    return total
