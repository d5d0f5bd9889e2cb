"""The route of V7TaskProcessor: an event becomes a task of its type's queue, which is made when it is first used."""

import json
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from callboard.actors.errors import CallboardError, InvalidOption
from callboard.actors.options import MAX_PRIORITY, MIN_PRIORITY
from callboard.conf.settings import check_queue_name
from callboard.conf.templates import EVENT, QueueTemplate, event_queue
from callboard.http.building import received_context_text
from callboard.http.edge import Edge, edge_of
from callboard.http.intake import NO_KEY, Taken, take_one
from callboard.http.problems import Invalid, NoSuchQueue, Problem, problem_of
from callboard.http.responses import data_response
from callboard.http.schemas import TaskOptions, TaskRequest
from callboard.http.validation import parse_json, read_body

_FIELDS: Final = ("user_id", "priority", "event_data", "event_type_id")
"""In the order in which they are looked at: only the first problem is told."""
_SHOWN_CHARACTERS: Final = 100


class Malformed(Exception):
    """What has come is no event; the text says why, for the sender."""


class Event(NamedTuple):
    """What of an event decides where it goes and when it runs; lower priorities run first. `body` is all of it."""

    priority: int
    event_type_id: int
    body: dict[str, Any]

    def wanted(self) -> TaskRequest:
        """Return the task that runs it: with the negated priority, for tasks of higher ones run first."""
        priority = max(MIN_PRIORITY, min(-self.priority, MAX_PRIORITY))
        queue = event_queue(self.event_type_id)
        return TaskRequest(queue=queue, context=self.body, options=TaskOptions(priority=priority))


async def create_event(request: Request) -> Response:
    """Take an event in the form of V7TaskProcessor. Errors are plain text that says why."""
    edge = edge_of(request)
    template = edge.settings.templates.get(EVENT)
    if template is None:
        return _refused(HTTPStatus.NOT_FOUND, f"events are not taken here: the configuration has no [templates.{EVENT}]")
    content = await read_body(request, edge.settings.http.max_body)
    try:
        event = read_event(content)
    except Malformed as error:
        return _refused(HTTPStatus.BAD_REQUEST, str(error))
    wanted = event.wanted()
    try:
        taken = await _take(edge, wanted, template)
    except CallboardError as error:
        if isinstance(error, Invalid) and (unkept := _unkept(event.body)):
            return _refused(HTTPStatus.BAD_REQUEST, unkept)
        return _refused(HTTPStatus.INTERNAL_SERVER_ERROR, _reason(problem_of(error)))
    return data_response({"id": taken.ids[0], "queue": wanted.queue})


async def _take(edge: Edge, wanted: TaskRequest, template: QueueTemplate) -> Taken:
    await edge.first_use.ensure(edge.gateway, wanted.queue, template)
    try:
        return await take_one(edge, wanted, NO_KEY)
    except NoSuchQueue:
        # It was still known here, and has been deleted elsewhere: so this is a first event again.
        await edge.first_use.ensure(edge.gateway, wanted.queue, template)
        return await take_one(edge, wanted, NO_KEY)


def read_event(content: bytes) -> Event:
    """Return the event that a body holds. Raises `Malformed` for the first thing that is wrong with it."""
    try:
        body = parse_json(content)
    except Problem as problem:
        raise Malformed(problem.detail) from None
    if not isinstance(body, dict):
        raise Malformed(f"the event must be a JSON object, received {_shown(body)}")
    for name in _FIELDS:
        if name not in body:
            raise Malformed(f"{name} is missing")
        value = body[name]
        if name != "event_data" and (isinstance(value, bool) or not isinstance(value, int)):
            raise Malformed(f"{name} must be an integer, received {_shown(value)}")
    if check_queue_name(event_queue(body["event_type_id"])):
        raise Malformed(f"event_type_id is too large, received {_shown(body['event_type_id'])}")
    return Event(body["priority"], body["event_type_id"], body)


def _unkept(body: dict[str, Any]) -> str:
    """Say what of an event can't be kept (a number like 1e999, which is JSON, but too large), "" if all of it can."""
    for name, value in body.items():
        try:
            received_context_text({name: value})
        except InvalidOption as error:
            return f"{name} {error}"
    return ""


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _reason(problem: Problem) -> str:
    return problem.detail if problem.errors is None else f"{problem.detail} {json.dumps(problem.errors)}"


def _refused(status: HTTPStatus, reason: str) -> Response:
    return PlainTextResponse(reason, status)
