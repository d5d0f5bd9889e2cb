"""The answers that are not errors."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from callboard.http.problems import json_bytes


def json_response(body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with JSON."""
    return Response(json_bytes(body), status, headers, "application/json")


def data_response(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer `{"data": …}`."""
    return json_response({"data": data}, status, headers)
