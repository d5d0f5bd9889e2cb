"""How events are followed over HTTP through lost connections, with a server whose answers come from a list."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any, Self

import httpx2
import pytest

from callboard.actors import Event, subscription
from callboard.actors.errors import InvalidOption, RequestTimedOut, ServerNotRunning
from callboard.actors.event import pack, written
from callboard.actors.messages import EventBatch
from callboard.actors.subscription import AsyncSubscription, Subscription

STILL_THERE = b": still there\n\n"


def events(first: int, count: int = 1) -> bytes:
    """Write events as the server does."""
    rows = [("due", 1_000_000, f"t{first + n}", "w", 0, None, None) for n in range(count)]
    return b"".join(part.packed for part in written("e", EventBatch(first, count, "q", pack(rows))))


def beginning(at: int) -> bytes:
    return f"retry: 1000\nid: e-{at}\n\n".encode()


class Stream(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """The pieces in which an answer arrives; an error among them is the connection's loss."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = pieces
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


class Played:
    """Answers requests from a list, the last one for ever: streams, refusals, lost connections."""

    def __init__(self, *answers: Stream | httpx2.Response | Exception) -> None:
        self._answers = list(answers)
        self.requests: list[httpx2.Request] = []

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx2.Response) else httpx2.Response(200, stream=answer)

    def asked_after(self) -> list[str | None]:
        return [request.headers.get("Last-Event-ID") for request in self.requests]


class Awaited:
    """An asyncio subscription with the face of a blocking one."""

    def __init__(self, http: httpx2.AsyncClient, *arguments: Any) -> None:
        self._runner = asyncio.Runner()
        self._subscription = AsyncSubscription(http, *arguments)

    @property
    def last_id(self) -> str | None:
        return self._subscription.last_id

    def __enter__(self) -> Self:
        self._runner.run(self._subscription.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._subscription.__aexit__(None, None, None))

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        try:
            return self._runner.run(self._subscription.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        self._runner.run(self._subscription.close())

    def end(self) -> None:
        self._runner.close()


Followed = Subscription | Awaited
Subscribe = Callable[..., Followed]


@pytest.fixture(params=["blocking", "asyncio"])
def subscribe(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Subscribe]:
    """Return what makes a subscription of a played server's events."""
    monkeypatch.setattr(subscription, "AGAIN_SECONDS", 0.001)
    made: list[Awaited] = []

    def make(
        server: Played, *, last_id: str | None = None, timeout: float | None = None, patience: float = 30.0
    ) -> Followed:
        options: dict[str, Any] = {"transport": httpx2.MockTransport(server.answer), "base_url": "http://played"}
        if request.param == "blocking":
            return Subscription(httpx2.Client(**options), ["q", "r"], last_id, timeout, patience)
        made.append(Awaited(httpx2.AsyncClient(**options), ["q", "r"], last_id, timeout, patience))
        return made[-1]

    yield make
    for one in made:
        one.end()


def ids(followed: Followed, count: int) -> list[str]:
    return [next(followed).id for _ in range(count)]


def test_a_subscription_says_what_it_wants_and_closes_its_connection(subscribe: Subscribe) -> None:
    stream = Stream(beginning(3) + events(4), STILL_THERE, events(5, 2))
    server = Played(stream)
    with subscribe(server, last_id="e-3") as followed:
        assert ids(followed, 3) == ["e-4", "e-5", "e-6"]
    assert stream.closed
    (request,) = server.requests
    assert request.url.query == b"queue=q&queue=r"
    assert server.asked_after() == ["e-3"]


def test_a_place_is_known_though_nothing_has_happened_yet(subscribe: Subscribe) -> None:
    with subscribe(Played(Stream(beginning(7)))) as followed:
        assert followed.last_id == "e-7"


@pytest.mark.parametrize("loss", [[], [httpx2.ReadError("reset by peer")]], ids=["ended", "reset"])
def test_a_connection_that_is_lost_is_made_anew_after_the_last_event(subscribe: Subscribe, loss: list[Exception]) -> None:
    half = events(3)[:30]
    first, second = Stream(beginning(0), events(1, 2), half, *loss), Stream(beginning(2), events(3, 2))
    server = Played(first, second)
    with subscribe(server) as followed:
        assert ids(followed, 4) == ["e-1", "e-2", "e-3", "e-4"]
        assert first.closed
    assert server.asked_after() == [None, "e-2"]


def test_a_server_that_is_not_ready_is_asked_again(subscribe: Subscribe) -> None:
    server = Played(
        httpx2.ConnectError("refused"), httpx2.Response(503), httpx2.Response(429), Stream(beginning(0), events(1))
    )
    with subscribe(server) as followed:
        assert next(followed).id == "e-1"
    assert len(server.requests) == 4


def test_a_server_that_does_not_come_is_given_up(subscribe: Subscribe) -> None:
    with pytest.raises(ServerNotRunning, match=r"can't be had: connection refused"):
        next(subscribe(Played(httpx2.ConnectError("connection refused")), patience=0.0))
    with pytest.raises(ServerNotRunning, match="ReadError"):
        next(subscribe(Played(httpx2.ReadError("")), patience=0.0))
    busy = httpx2.Response(503, json={"detail": "it is starting"})
    with pytest.raises(ServerNotRunning, match="it is starting"):
        next(subscribe(Played(busy), patience=0.0))


def test_a_refusal_that_will_not_pass_is_told_at_once(subscribe: Subscribe) -> None:
    server = Played(httpx2.Response(400, json={"errors": {"queue": ["unknown queue 'r'"]}}))
    with pytest.raises(InvalidOption, match="unknown queue 'r'"), subscribe(server):
        pass
    assert len(server.requests) == 1


def test_signs_of_life_are_no_events(subscribe: Subscribe) -> None:
    followed = subscribe(Played(Stream(beginning(0), STILL_THERE, events(1))), timeout=0.0)
    with pytest.raises(RequestTimedOut, match="nothing has happened for 0 s"), followed:
        next(followed)


def test_a_program_that_is_busy_with_an_event_for_long_has_not_waited(
    subscribe: Subscribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000.0]
    monkeypatch.setattr(subscription, "time", SimpleNamespace(monotonic=lambda: now[0]))
    server = Played(Stream(beginning(0) + events(1), STILL_THERE, events(2)), Stream(beginning(2), events(3)))
    with subscribe(server, timeout=5.0) as followed:
        for number in (1, 2, 3):
            assert next(followed).id == f"e-{number}"
            now[0] += 60
    assert server.asked_after() == [None, "e-2"]


def test_a_subscription_may_be_read_before_its_with_block_begins(subscribe: Subscribe) -> None:
    server = Played(Stream(beginning(0), events(1), events(2)))
    followed = subscribe(server)
    assert next(followed).id == "e-1"
    with followed:
        assert next(iter(followed)).id == "e-2"
    assert len(server.requests) == 1


def test_what_was_never_begun_can_be_closed(subscribe: Subscribe) -> None:
    server = Played(Stream(beginning(0)))
    subscribe(server).close()
    assert server.requests == []


def test_what_is_closed_has_no_more_events_and_is_not_connected_to_again(subscribe: Subscribe) -> None:
    server = Played(Stream(beginning(0), events(1, count=2)), Stream(beginning(2), events(3)))
    with subscribe(server) as followed:
        assert next(followed).id == "e-1"
    assert list(followed) == []
    assert len(server.requests) == 1


def test_whoever_waits_for_the_next_event_learns_that_it_was_closed_meanwhile() -> None:
    class Closing(Stream):
        """A stream that another thread closes the subscription of, at its end."""

        def __iter__(self) -> Iterator[bytes]:
            yield from super().__iter__()
            followed.close()

    server = Played(Closing(beginning(0), events(1)), Stream(beginning(1), events(2)))
    http = httpx2.Client(transport=httpx2.MockTransport(server.answer), base_url="http://played")
    with Subscription(http, ["q"], None, None, 30.0) as followed:
        assert [event.id for event in followed] == ["e-1"]
    assert len(server.requests) == 1
