"""Follow a server's events over HTTP, through lost connections and restarts: after each it is asked for what came since."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import Final, Self

import httpx2

from callboard.actors.answers import error_of, parse_body
from callboard.actors.errors import RequestTimedOut, ServerNotRunning
from callboard.actors.event import Event
from callboard.actors.sse import SseReader

PATH: Final = "/api/events"
SILENCE_SECONDS: Final = 40.0
"""The server says every 15 s that it is still there."""
CONNECT_SECONDS: Final = 5.0
AGAIN_SECONDS: Final = 0.2
OK: Final = 200
PASSING: Final = frozenset({429, 502, 503, 504})
"""Answers after which it is tried again."""


class _Following:
    """What the blocking and the asyncio subscription have in common: all but the waiting."""

    def __init__(self, queues: Sequence[str], last_id: str | None, timeout: float | None, patience: float) -> None:
        self._queues = queues
        self._timeout = timeout
        self._patience = patience
        self._reader = SseReader(last_id)
        self._first: list[Event] = []
        """What came with the beginning of the connection."""
        self._waits_since = time.monotonic()
        self._give_up = 0.0
        self._closed = False

    @property
    def last_id(self) -> str | None:
        """Where the stream is; to be given to a later subscription that is to go on from here."""
        return self._reader.last_id

    def next_request(self, http: httpx2.Client | httpx2.AsyncClient) -> httpx2.Request:
        """Return the request for what comes after the last event that was read."""
        headers = {"Accept": "text/event-stream"}
        if self._reader.last_id:
            headers["Last-Event-ID"] = self._reader.last_id
        silence = SILENCE_SECONDS if self._timeout is None else min(SILENCE_SECONDS, self._timeout)
        timeout = httpx2.Timeout(CONNECT_SECONDS, read=max(silence, CONNECT_SECONDS))
        named = httpx2.QueryParams([("queue", name) for name in self._queues])
        return http.build_request("GET", PATH, params=named, headers=headers, timeout=timeout)

    def begin(self) -> None:
        """Note that a connection is wanted, for some seconds."""
        self._give_up = time.monotonic() + self._patience

    def failed(self, error: Exception) -> None:
        """Raise when it has been tried for long enough."""
        if time.monotonic() >= self._give_up:
            raise ServerNotRunning(f"the server's events can't be had: {str(error) or type(error).__name__}") from error

    def refused(self, status: int, content: bytes) -> None:
        """Raise what a refusal means, unless it may pass."""
        error = error_of(status, parse_body(content))
        if status not in PASSING:
            raise error
        self.failed(error)

    def opened(self, piece: bytes) -> list[Event]:
        """Return the events of a connection's first piece; it says where the stream is, even if it has none."""
        self._reader.connected()
        return self._reader.feed(piece)

    def take_first(self) -> list[Event]:
        """Return what came with the beginning of the connection, once."""
        first, self._first = self._first, []
        return first

    def wanted(self) -> None:
        """Note that somebody waits for the next event; so long as they were busy with the last one, nobody has waited."""
        self._waits_since = time.monotonic()

    def read(self, piece: bytes) -> list[Event]:
        """Return the events of a piece. Raises `RequestTimedOut` when there were none for too long."""
        events = self._reader.feed(piece)
        if not events:
            self.check()
        return events

    def check(self) -> None:
        """Raise `RequestTimedOut` when there were no events for too long."""
        if self._timeout is not None and time.monotonic() - self._waits_since >= self._timeout:
            raise RequestTimedOut(f"nothing has happened for {self._timeout:g} s")


class Subscription(_Following):
    """What `Client.subscribe` returns: an iterator of events, to be used in a `with` block, in one thread."""

    def __init__(
        self, http: httpx2.Client, queues: Sequence[str], last_id: str | None, timeout: float | None, patience: float
    ) -> None:
        super().__init__(queues, last_id, timeout, patience)
        self._http = http
        self._response: httpx2.Response | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._events = self._all()

    def __enter__(self) -> Self:
        """Subscribe: whatever happens from here on is among the events."""
        if self._response is None:
            self._open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        """Yield events as they happen. Raises `RequestTimedOut` after about `timeout` seconds without one."""
        return self

    def __next__(self) -> Event:
        if self._closed:
            raise StopIteration
        self.wanted()
        return next(self._events)

    def close(self) -> None:
        """End the subscription: there are no more events."""
        self._closed = True
        self._hang_up()

    def _hang_up(self) -> None:
        if self._response is not None:
            self._response.close()

    def _open(self) -> None:
        self.begin()
        while True:
            try:
                response = self._http.send(self.next_request(self._http), stream=True)
                if response.status_code == OK:
                    self._response, self._pieces = response, response.iter_raw()
                    self._first = self.opened(next(self._pieces, b""))
                    return
                content = response.read()
                response.close()
                self.refused(response.status_code, content)
            except httpx2.HTTPError as error:
                self.failed(error)
            time.sleep(AGAIN_SECONDS)

    def _all(self) -> Iterator[Event]:
        if self._response is None:
            self._open()
        while True:
            yield from self.take_first()
            with contextlib.suppress(httpx2.HTTPError):  # the server has gone: it is connected to again below
                for piece in self._pieces:
                    yield from self.read(piece)
            if self._closed:
                return
            self.check()
            self._hang_up()
            self._open()


class AsyncSubscription(_Following):
    """What `AsyncClient.subscribe` returns: the same for asyncio, with `async with` and `async for`."""

    def __init__(
        self, http: httpx2.AsyncClient, queues: Sequence[str], last_id: str | None, timeout: float | None, patience: float
    ) -> None:
        super().__init__(queues, last_id, timeout, patience)
        self._http = http
        self._response: httpx2.Response | None = None
        self._pieces: AsyncIterator[bytes] | None = None
        self._events = self._all()

    async def __aenter__(self) -> Self:
        """Subscribe: whatever happens from here on is among the events."""
        if self._response is None:
            await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> AsyncIterator[Event]:
        """Yield events as they happen, as `Subscription` does."""
        return self

    async def __anext__(self) -> Event:
        if self._closed:
            raise StopAsyncIteration
        self.wanted()
        return await anext(self._events)

    async def close(self) -> None:
        """End the subscription: there are no more events."""
        self._closed = True
        await self._hang_up()

    async def _hang_up(self) -> None:
        if self._response is not None:
            await self._response.aclose()

    async def _open(self) -> None:
        self.begin()
        while True:
            try:
                response = await self._http.send(self.next_request(self._http), stream=True)
                if response.status_code == OK:
                    self._response, self._pieces = response, response.aiter_raw()
                    self._first = self.opened(await anext(self._pieces, b""))
                    return
                content = await response.aread()
                await response.aclose()
                self.refused(response.status_code, content)
            except httpx2.HTTPError as error:
                self.failed(error)
            await asyncio.sleep(AGAIN_SECONDS)

    async def _all(self) -> AsyncIterator[Event]:
        if self._response is None:
            await self._open()
        while True:
            for event in self.take_first():
                yield event
            assert self._pieces is not None
            with contextlib.suppress(httpx2.HTTPError):  # the server has gone: it is connected to again below
                async for piece in self._pieces:
                    for event in self.read(piece):
                        yield event
            if self._closed:
                return
            self.check()
            await self._hang_up()
            await self._open()
