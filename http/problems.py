"""Answer every error as RFC 9457 problem+json, and never with a traceback."""

import asyncio
import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from callboard.actors.errors import CallboardError, RequestRefused, RequestTimedOut, StoreUnavailable
from callboard.actors.messages import RefusalReason

RETRY_AFTER_SECONDS: Final = 1
_LOG: Final = logging.getLogger(__name__)

Errors = dict[str, Any]
"""Validation errors: field → list of messages, nested as the request's body is."""


class Problem(CallboardError):
    """Why a request is not done, in the form in which the client gets it.

    kind: the last part of the problem's `type`, stable for programs; errors: validation errors by field; extra: further
    members of the answer.
    """

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        kind: str = "",
        errors: Errors | None = None,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.kind = kind or status.phrase.lower().replace(" ", "-")
        self.errors = errors
        self.extra = extra or {}
        self.headers = dict(headers or {})
        if status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
            self.headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))

    def response(self) -> Response:
        """Return the answer to send."""
        body: dict[str, Any] = {
            "type": f"urn:callboard:problem:{self.kind}",
            "title": self.status.phrase,
            "status": self.status.value,
            "detail": self.detail,
            **self.extra,
        }
        if self.errors is not None:
            body["errors"] = self.errors
        return Response(json_bytes(body), self.status, self.headers, "application/problem+json")


class Invalid(Problem):
    """The request says something that it may not say."""

    def __init__(self, errors: Errors, detail: str = "The request is not valid: see errors.") -> None:
        super().__init__(HTTPStatus.BAD_REQUEST, detail, kind="invalid", errors=errors)


class NoSuchQueue(Invalid):
    """The request is for a queue that is not there (any more); nothing of it was stored."""


class NotFound(Problem):
    """There is nothing of that name or id."""

    def __init__(self, what: str) -> None:
        super().__init__(HTTPStatus.NOT_FOUND, f"There is no {what}.")


class Overloaded(Problem):
    """More is waiting than may wait; nothing was stored."""

    def __init__(self, detail: str) -> None:
        super().__init__(HTTPStatus.TOO_MANY_REQUESTS, detail, kind="overloaded")


def json_text(value: Any) -> str:
    """Write JSON in ASCII: a lone surrogate in somebody's context can then be shown too, as the escape that it came as."""
    return json.dumps(value, separators=(",", ":"))


def json_bytes(value: Any) -> bytes:
    """Write JSON as it is sent."""
    return json_text(value).encode("ascii")


_REFUSALS: Final = {
    RefusalReason.UNKNOWN_QUEUE: HTTPStatus.NOT_FOUND,
    RefusalReason.INVALID: HTTPStatus.BAD_REQUEST,
    RefusalReason.NOT_EMPTY: HTTPStatus.CONFLICT,
    RefusalReason.FAILED: HTTPStatus.INTERNAL_SERVER_ERROR,
}


def problem_of(error: Exception) -> Problem:
    """Say what the client is told of this error; what is not meant for clients is only logged."""
    unavailable = HTTPStatus.SERVICE_UNAVAILABLE
    match error:
        case Problem():
            problem = error
        case RequestRefused(reason=reason):
            # All others (no live owner, store unavailable, shutting down) pass: try again.
            status = _REFUSALS.get(RefusalReason(reason), unavailable)
            problem = Problem(status, error.detail, kind=str(reason).replace("_", "-"))
        case RequestTimedOut():
            problem = Problem(unavailable, f"No answer in time: {error}.", kind="timed-out")
        case StoreUnavailable():
            problem = Problem(unavailable, f"The store is not available: {error}", kind="store-unavailable")
        case HTTPException():
            problem = Problem(HTTPStatus(error.status_code), error.detail, headers=error.headers)
        case ClientDisconnect():
            # Nobody hears this; it is no error of ours that belongs into the log.
            problem = Problem(HTTPStatus.BAD_REQUEST, "The connection ended before the body did.")
        case _:
            _LOG.error("a request failed: %s", error, exc_info=error)
            problem = Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "An error of the server's own; it is in its log.")
    return problem


class NeverATraceback:
    """The outermost layer: answers what gets past everything else, if there was no answer yet."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and answer an exception with a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def watched_send(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except asyncio.CancelledError:
            # The server stops and waits no longer for this one: it may have been held for a task's end.
            if begun:
                raise
            held = Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The server is stopping.", headers={"Retry-After": "1"})
            await held.response()(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer and the log the error
            response = problem_of(error).response()
            if not begun:
                await response(scope, receive, send)
