"""Make the OpenAPI document from the list of routes and from the models that validate."""

import json
import re
from collections.abc import Iterable
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from callboard.http.answers import ProblemAnswer
from callboard.http.endpoints import Endpoint

_REF: Final = "#/components/schemas/{model}"
_ALWAYS: Final = (400, 401, 500, 503)
_PARAMETER: Final = re.compile(r"\{(\w+)\}")


def document(endpoints: Iterable[Endpoint]) -> str:
    """Return the OpenAPI 3.1 document as JSON text."""
    endpoints = list(endpoints)
    asked: list[tuple[type[BaseModel], JsonSchemaMode]] = [(ProblemAnswer, "serialization")]
    for endpoint in endpoints:
        asked += [(model, "validation") for model in (endpoint.body, endpoint.query) if model is not None]
        asked += [(endpoint.answer, "serialization")] if endpoint.answer is not None else []
    schemas, definitions = models_json_schema(list(dict.fromkeys(asked)), ref_template=_REF)
    components = dict(definitions["$defs"])
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schemas, components)
    # Query models are spelt out as parameters.
    for model in {endpoint.query for endpoint in endpoints if endpoint.query is not None}:
        components.pop(model.__name__, None)
    return json.dumps(
        {
            "openapi": "3.1.0",
            "info": {"title": "Callboard", "version": version("callboard"), "description": "A durable task queue."},
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            },
            "security": [{}, {"token": []}],
        },
        separators=(",", ":"),
    )


def _operation(endpoint: Endpoint, schemas: Any, components: dict[str, Any]) -> dict[str, Any]:
    summary = (endpoint.handler.__doc__ or "").strip().split("\n", maxsplit=1)[0]
    operation: dict[str, Any] = {
        "operationId": getattr(endpoint.handler, "__name__", ""),
        "summary": summary,
        "tags": [endpoint.path.split("/")[2] if endpoint.path.startswith("/api/") else "server"],
        "responses": {str(int(status)): _success(endpoint, schemas, status) for status in endpoint.status}
        | {str(status): _failure(status, plain=status in endpoint.plain) for status in sorted({*_ALWAYS, *endpoint.may})},
    }
    parameters = [_in_path(name) for name in _PARAMETER.findall(endpoint.path)]
    if endpoint.query is not None:
        parameters += _in_query(components[endpoint.query.__name__])
    if endpoint.keyed:
        text = {"type": "string", "minLength": 1, "maxLength": 255}
        said = {"schema": text, "description": endpoint.key_means}
        parameters.append({"name": "Idempotency-Key", "in": "header", **said})
    if endpoint.stream:
        what = "Go on after the event with this id, as far as it is still known."
        parameters.append({"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}, "description": what})
    if parameters:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        content = {"application/json": {"schema": schemas[endpoint.body, "validation"]}}
        operation["requestBody"] = {"required": not endpoint.body_optional, "content": content}
    return operation


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _in_query(schema: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for name, option in schema["properties"].items():
        parameter = {
            "name": name,
            "in": "query",
            "schema": {key: value for key, value in option.items() if key != "description"},
        }
        if "description" in option:
            parameter["description"] = option["description"]
        found.append(parameter)
    return found


def _success(endpoint: Endpoint, schemas: Any, status: int) -> dict[str, Any]:
    response: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if endpoint.answer is not None:
        response["content"] = {"application/json": {"schema": schemas[endpoint.answer, "serialization"]}}
    if endpoint.stream:
        response["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    return response


def _failure(status: int, *, plain: bool) -> dict[str, Any]:
    if plain:
        content: dict[str, Any] = {"text/plain": {"schema": {"type": "string"}}}
        return {"description": HTTPStatus(status).phrase, "content": content}
    schema = {"$ref": _REF.format(model=ProblemAnswer.__name__)}
    return {"description": HTTPStatus(status).phrase, "content": {"application/problem+json": {"schema": schema}}}
