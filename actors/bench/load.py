"""A light HTTP client: prepared requests over keep-alive connections, as fast as the other side takes them.

It shares the machine's cores with what it measures, so it does as little as possible: no request objects, no header
parsing but for the length, no futures. It reads answers as our own servers (uvicorn) write them, and no others.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from callboard.actors.errors import CallboardError

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length: "
_CREATED: Final = b"201"
_STATUS: Final = slice(9, 12)
"""Where the status stands in `HTTP/1.1 201 Created`."""


class BenchFailed(CallboardError):
    """The measurement can't be had; the text says why."""


@dataclass(frozen=True, slots=True)
class Burst:
    """When requests were first sent and last answered (`time.perf_counter`), and the client's own CPU time in between."""

    begun: float
    ended: float
    client_cpu_seconds: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.begun


def post(path: str, body: Any) -> bytes:
    """Return a POST request, ready to be sent."""
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def send_all(host: str, port: int, requests: Sequence[bytes], connections: int) -> Burst:
    """Send all requests, each connection its next one when the last is answered.

    Raises `BenchFailed` when one of them is answered by anything but 201.
    """
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_send_all(host, port, requests, connections))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's, which halves the client's own cost, where uvicorn has brought it along."""
    try:
        import uvloop  # noqa: PLC0415 - only where there is one
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _send_all(host: str, port: int, requests: Sequence[bytes], connections: int) -> Burst:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    shared = _Shared(iter(requests), len(requests), done)
    opened = [await loop.create_connection(lambda: _Connection(shared), host, port) for _ in range(connections)]
    cpu, begun = time.process_time(), time.perf_counter()
    for _, connection in opened:
        connection.next()
    try:
        await done
        return Burst(begun, time.perf_counter(), time.process_time() - cpu)
    finally:
        for transport, _ in opened:
            transport.close()


@dataclass(slots=True)
class _Shared:
    """What all connections work off."""

    requests: Iterator[bytes]
    unanswered: int
    done: "asyncio.Future[None]"

    def fail(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(BenchFailed(reason))


class _Connection(asyncio.Protocol):
    def __init__(self, shared: _Shared) -> None:
        self._shared = shared
        self._answer = b""
        self._size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's says so only by what it can do

    def next(self) -> None:
        """Send the next request, if there is one."""
        request = next(self._shared.requests, None)
        if request is not None:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not self._size:
            self._size = answer_size(self._answer)
        if self._size and len(self._answer) >= self._size:
            self._answered()

    def _answered(self) -> None:
        answer, self._answer, self._size = self._answer, b"", 0
        shared = self._shared
        if answer[_STATUS] != _CREATED:
            shared.fail(f"a task was not accepted: {answer[:500].decode(errors='replace')}")
            return
        shared.unanswered -= 1
        if shared.unanswered:
            self.next()
        elif not shared.done.done():
            shared.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.fail(f"the server closed a connection: {exc}")


def answer_size(received: bytes) -> int:
    """Return how long the answer will be, head and body; 0 as long as its head is not complete."""
    end = received.find(_HEAD_END)
    if end < 0:
        return 0
    start = received.find(_LENGTH, 0, end) + len(_LENGTH)
    return end + len(_HEAD_END) + int(received[start : received.find(b"\r", start)])
