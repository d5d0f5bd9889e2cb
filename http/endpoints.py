"""All routes in one list: what is served and what the OpenAPI document says are made from it."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from pydantic import BaseModel

from callboard.conf.settings import QueueSettings
from callboard.http import answers, bulk_schemas, pull_schemas, queries, schemas, seed_schemas
from callboard.http.dispatch import Handler
from callboard.http.routes import async_tasks, dead, events, ops, pull, queues, tasks, v7


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One method of one path.

    status: of success; answer: its body, None for none or for what is not described; may: statuses of the errors besides
    400, 401, 405, 500 and 503, which all may have.
    """

    method: str
    path: str
    handler: Handler
    body: type[BaseModel] | None = None
    body_optional: bool = False
    query: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    status: tuple[int, ...] = (HTTPStatus.OK,)
    may: tuple[int, ...] = ()
    keyed: bool = False
    """Takes an Idempotency-Key."""
    key_means: str = "The same request under the same key is done once; the key is kept for 24 hours."
    stream: bool = False
    """Answers with Server-Sent Events, after a Last-Event-ID if there is one."""
    plain: tuple[int, ...] = ()
    """Statuses of the errors that are answered as plain text."""


def _get(
    path: str, handler: Handler, answer: type[BaseModel] | None, *may: int, query: type[BaseModel] | None = None
) -> Endpoint:
    return Endpoint(method="GET", path=path, handler=handler, answer=answer, may=may, query=query)


def _post(
    path: str,
    handler: Handler,
    body: type[BaseModel] | None,
    answer: type[BaseModel],
    *may: int,
    optional: bool = False,
) -> Endpoint:
    return Endpoint(
        method="POST", path=path, handler=handler, body=body, answer=answer, may=(*may, 413), body_optional=optional
    )


def _dead(method: str, path: str, handler: Handler) -> Endpoint:
    """Return a change of the dead tasks that a body or the query chooses, of all without either."""
    return Endpoint(
        method=method,
        path=path,
        handler=handler,
        body=bulk_schemas.DeadRequest,
        body_optional=True,
        query=queries.DeadFilterQuery,
        answer=answers.ChangedAnswer,
        may=(413,),
    )


_NOT_FOUND: Final = HTTPStatus.NOT_FOUND.value
_CONFLICT: Final = HTTPStatus.CONFLICT.value

ENDPOINTS: Final = (
    # The busiest first: they are looked for in this order.
    Endpoint(
        method="POST",
        path="/api/tasks",
        handler=tasks.create_task,
        body=schemas.TaskRequest,
        answer=answers.TaskAnswer,
        status=(201, 200),
        may=(413, 422, 429),
        keyed=True,
    ),
    _get("/api/tasks", tasks.list_tasks, answers.TaskPage, query=queries.TaskQuery),
    Endpoint(
        method="POST",
        path="/api/tasks/batch",
        handler=tasks.create_batch,
        body=schemas.BatchRequest,
        answer=answers.TasksAnswer,
        status=(201, 200),
        may=(413, 422, 429),
        keyed=True,
    ),
    _post("/api/tasks/retry", tasks.retry_tasks, bulk_schemas.BulkRetryRequest, answers.ChangedAnswer),
    _post("/api/tasks/cancel", tasks.cancel_tasks, bulk_schemas.BulkCancelRequest, answers.ChangedAnswer),
    _get("/api/tasks/{id}", tasks.get_task, answers.TaskAnswer, _NOT_FOUND, query=queries.WaitQuery),
    Endpoint(
        method="PATCH",
        path="/api/tasks/{id}",
        handler=tasks.edit_task,
        body=schemas.EditRequest,
        answer=answers.TaskAnswer,
        may=(_NOT_FOUND, _CONFLICT, 413),
    ),
    _post(
        "/api/tasks/{id}/retry",
        tasks.retry_task,
        schemas.RetryRequest,
        answers.TaskAnswer,
        _NOT_FOUND,
        _CONFLICT,
        optional=True,
    ),
    _post("/api/tasks/{id}/cancel", tasks.cancel_task, None, answers.TaskAnswer, _NOT_FOUND, _CONFLICT),
    Endpoint(
        method="POST",
        path="/api/queues/{name}/dequeue",
        handler=pull.dequeue,
        body=pull_schemas.DequeueRequest,
        answer=pull_schemas.ClaimedAnswer,
        may=(_NOT_FOUND, 413, 429),
        keyed=True,
        key_means="The same request under the same key gets the tasks that it got and that are still held.",
    ),
    *(
        _post(f"/api/tasks/{{id}}/{verb}", handler, body, answers.TaskAnswer, _NOT_FOUND, _CONFLICT, 429)
        for verb, handler, body in (
            ("ack", pull.ack_task, pull_schemas.AckRequest),
            ("fail", pull.fail_task, pull_schemas.FailRequest),
            ("heartbeat", pull.heartbeat_task, pull_schemas.HeartbeatRequest),
        )
    ),
    _post("/api/tasks/ack", pull.ack_tasks, pull_schemas.AcksRequest, pull_schemas.AcksAnswer, 429),
    _get("/api/queues", queues.list_queues, answers.QueuesAnswer),
    _get("/api/queues/{name}", queues.get_queue, answers.QueueAnswer, _NOT_FOUND),
    Endpoint(
        method="PUT",
        path="/api/queues/{name}",
        handler=queues.put_queue,
        body=QueueSettings,
        body_optional=True,
        answer=answers.QueueAnswer,
        status=(201, 200),
        may=(413,),
    ),
    Endpoint(
        method="DELETE",
        path="/api/queues/{name}",
        handler=queues.delete_queue,
        query=queries.DeleteQuery,
        status=(204,),
        may=(_NOT_FOUND, _CONFLICT),
    ),
    _post("/api/queues/{name}/pause", queues.pause_queue, None, answers.QueueAnswer, _NOT_FOUND),
    _post("/api/queues/{name}/resume", queues.resume_queue, None, answers.QueueAnswer, _NOT_FOUND),
    _post("/api/queues/{name}/drain", queues.drain_queue, None, answers.QueueAnswer, _NOT_FOUND),
    _post("/api/queues/{name}/scale", queues.scale_queue, schemas.ScaleRequest, answers.QueueAnswer, _NOT_FOUND),
    _get("/api/workers", queues.list_workers, answers.WorkersAnswer),
    _get("/api/dead", dead.list_dead, answers.TaskPage, query=queries.DeadQuery),
    _dead("POST", "/api/dead/retry", dead.retry_dead),
    _dead("DELETE", "/api/dead", dead.purge_dead),
    Endpoint(
        method="GET",
        path="/api/events",
        handler=events.follow_events,
        query=queries.EventQuery,
        may=(_NOT_FOUND, HTTPStatus.TOO_MANY_REQUESTS.value),
        stream=True,
    ),
    # The routes of other systems, in their own forms.
    Endpoint(
        method="POST",
        path="/api/event/v1",
        handler=v7.create_event,
        body=seed_schemas.EventRequest,
        answer=seed_schemas.EventAnswer,
        may=(_NOT_FOUND, 413),
        plain=(400, _NOT_FOUND, 500),
    ),
    _post(
        "/tasks/enqueue", async_tasks.enqueue_tasks, seed_schemas.EnqueueRequest, seed_schemas.EnqueueAnswer, _NOT_FOUND, 429
    ),
    _get("/task/{id}", async_tasks.show_task, seed_schemas.TaskStatus, _NOT_FOUND),
    _post("/task/{id}/retry", async_tasks.retry_failed_task, None, seed_schemas.TaskStatus, _NOT_FOUND),
    _get("/healthz", ops.healthz, answers.HealthAnswer),
    _get("/readyz", ops.readyz, answers.HealthAnswer),
    _get("/openapi.json", ops.openapi, None),
    _get("/docs", ops.docs, None),
)
