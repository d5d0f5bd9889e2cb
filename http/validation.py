"""Read a request's body and query, and say what is wrong with it in the words and the nesting of the contract."""

import json
from collections import Counter
from collections.abc import Collection, Iterable
from http import HTTPStatus
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json
from starlette.requests import ClientDisconnect, Request

from callboard.conf.explain import explain, unknown_option
from callboard.http.problems import Errors, Invalid, Problem

Model = TypeVar("Model", bound=BaseModel)
DRAIN_BYTES: Final = 16 * 1024 * 1024
"""So much of a body that is too large is read and thrown away: a client that is still sending would not see the answer."""

TOO_LARGE: Final = HTTPStatus(413)  # its name has changed in 3.13

# What only requests can get wrong, or what they call by another name; the rest is said as for the configuration.
_MESSAGES: Final = {
    "string_type": "must be a string",
    "int_parsing": "must be an integer",
    "int_parsing_size": "is too large",
    "int_from_float": "must be an integer",
    "float_parsing": "must be a number",
    "too_long": "must have at most {max_length} entries",
    "literal_error": "must be {expected}",
}


def header_of(request: Request, name: bytes) -> str | None:
    """Return a header by its name in lower case: `Request.headers` decodes all of them first."""
    for key, value in request.scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None


async def read_body(request: Request, limit: int) -> bytes:
    """Return the request's body. Raises a `Problem` (413) when it is longer than `limit` bytes."""
    # Past Request.body, whose generator costs more than all of the rest of reading a small task.
    receive = request.receive
    message = await receive()
    part: bytes = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body", False) and len(part) <= limit:
        return part
    body = bytearray()
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size <= limit:
            body += part
        if not message.get("more_body", False) or size > max(limit, DRAIN_BYTES):
            break
        message = await receive()
    if size > limit:
        raise Problem(TOO_LARGE, f"The body is larger than max_body, {limit} bytes.", kind="too-large")
    return bytes(body)


def parse_json(body: bytes) -> Any:
    """Read JSON as it is defined: no NaN, no Infinity. Raises a `Problem` (400)."""
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError:
        # It is quick, and refuses some that is JSON: UTF-16, lone surrogates, deep nesting. What it takes is JSON.
        return _parse_any_json(body)


def _parse_any_json(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_no_constant)
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as error:  # a UnicodeDecodeError and a number with thousands of digits too
        reason = str(error)
    raise Problem(HTTPStatus.BAD_REQUEST, f"The body is not JSON: {reason}.", kind="not-json")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


async def read_model(request: Request, model: type[Model], limit: int, *, empty: bool = False) -> Model:
    """Return the body as this model; `empty`: no body at all counts as `{}`. Raises a `Problem` (400, 413)."""
    body = await read_body(request, limit)
    return validated(model, {} if empty and not body.strip() else parse_json(body))


def read_query(request: Request, model: type[Model], repeatable: Collection[str] = ()) -> Model:
    """Return the query string as this model, the `repeatable` parameters as lists. Raises `Invalid`."""
    given = request.query_params
    times = Counter(name for name, _ in given.multi_items())
    twice = [name for name, number in times.items() if number > 1 and name not in repeatable]
    if twice:
        raise Invalid({name: ["must be given only once"] for name in twice})
    return validated(model, {name: given.getlist(name) if name in repeatable else given[name] for name in given})


def validated(model: type[Model], value: Any) -> Model:
    """Return the value as this model. Raises `Invalid`, with the errors nested as the value is."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
    if not details[0]["loc"] and details[0]["type"] in {"model_type", "model_attributes_type"}:
        raise Problem(HTTPStatus.BAD_REQUEST, "The body must be a JSON object.", kind="invalid")
    raise Invalid(nested(model, details))


def nested(model: type[BaseModel], details: Iterable[ErrorDetails]) -> Errors:
    """Turn pydantic's flat list into field → messages, nested as the body; a list's entry goes by its index."""
    errors: Errors = {}
    for detail in details:
        path = [str(part) for part in detail["loc"]] or ["body"]
        place = errors
        for part in path[:-1]:
            below = place.setdefault(part, {})
            if isinstance(below, list):  # the value as a whole is wrong too: one place can't be list and object
                break
            place = below
        else:
            messages = place.setdefault(path[-1], [])
            if isinstance(messages, list):
                messages.append(_message(model, detail))
    return errors


def _message(model: type[BaseModel], detail: ErrorDetails) -> str:
    if detail["type"] == "extra_forbidden":
        return unknown_option(str(detail["loc"][-1]), known_fields(model, detail["loc"][:-1]))
    if detail["type"] in _MESSAGES:
        return _MESSAGES[detail["type"]].format(**detail.get("ctx", {}))
    return explain(model, detail)


def known_fields(model: type[BaseModel], path: Iterable[int | str]) -> list[str]:
    """Return the keys that may stand at this place of the body."""
    for part in path:
        if isinstance(part, str) and part in model.model_fields:
            inner = _model_in(model.model_fields[part].annotation)
            if inner is None:
                return []
            model = inner
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arm in get_args(annotation) if (found := _model_in(arm)) is not None), None)
