"""The answers that are not errors."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from callboard.http.problems import json_bytes


class JsonText(Response):
    """Answers ASCII text that is JSON; ready to send without the encoding and searching of headers that others need."""

    def __init__(self, text: str, status: int, *headers: tuple[bytes, bytes]) -> None:
        self.status_code = status
        self.background = None
        self.body = text.encode("ascii")
        self.raw_headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(self.body)).encode("ascii")),
            *headers,
        ]


def json_response(body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with JSON."""
    return Response(json_bytes(body), status, headers, "application/json")


def data_response(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer `{"data": …}`."""
    return json_response({"data": data}, status, headers)


def task_created(task_id: str, text: str, status: int) -> Response:
    """Answer a task that is JSON text already, and where it can be read."""
    return JsonText(f'{{"data":{text}}}', status, (b"location", f"/api/tasks/{task_id}".encode("ascii")))


def tasks_created(texts: Sequence[str], status: int) -> Response:
    """Answer many tasks that are JSON texts already."""
    return JsonText(f'{{"data":[{",".join(texts)}]}}', status)
