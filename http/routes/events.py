"""Follow what happens to tasks, as Server-Sent Events."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Send

from callboard.actors.messages import ListQueues, QueuesListed
from callboard.http.edge import edge_of
from callboard.http.problems import NotFound
from callboard.http.queries import EventQuery
from callboard.http.validation import header_of, read_query

STALLED_SECONDS: Final = 300.0
"""A client that takes nothing for so long is disconnected: it may have been stopped for ever."""
HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
LAST_EVENT_ID: Final = b"last-event-id"

log = logging.getLogger(__name__)


async def follow_events(request: Request) -> Response:
    """Follow events, of some queues or of all; the subscription has begun when the headers come."""
    query = read_query(request, EventQuery, ("queue",))
    edge = edge_of(request)
    if query.queue:
        known = await edge.gateway.ask_registry(ListQueues, QueuesListed)
        for name in query.queue:
            if name not in known.names:
                raise NotFound(f"queue {name!r}")
    if request.method == "HEAD":
        return Response(None, HTTPStatus.OK, HEADERS, EventStream.media_type)
    return EventStream(await edge.events.follow(tuple(query.queue), header_of(request, LAST_EVENT_ID)), headers=HEADERS)


class EventStream(StreamingResponse):
    """Sends a stream to a client until it goes away, or takes nothing for too long."""

    media_type = "text/event-stream"

    def __init__(self, stream: AsyncIterator[bytes], headers: dict[str, str]) -> None:
        super().__init__(stream, HTTPStatus.OK, headers)
        self._stream = stream

    async def stream_response(self, send: Send) -> None:
        """Send what comes."""

        async def patiently(message: Message) -> None:
            async with asyncio.timeout(STALLED_SECONDS):
                await send(message)

        # Closed here and now: what it holds is given back, however this ends.
        async with contextlib.aclosing(self._stream):  # type: ignore[type-var]
            try:
                await super().stream_response(patiently)
            except TimeoutError:
                log.warning("a subscriber has taken nothing for %.0f s and is disconnected", STALLED_SECONDS)
