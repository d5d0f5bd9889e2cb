"""`GET /api/events`: streams, places, and clients that are too slow, over a reader that is played."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from starlette.testclient import TestClient

from callboard.actors.errors import RequestTimedOut
from callboard.actors.event_ring import EventRing
from callboard.actors.messages import ListQueues, QueuesListed
from callboard.http.event_tap import EventTap
from callboard.http.problems import Overloaded
from tests.http.edges import PlayedActors
from tests.http.played_events import Client, PlayedReader


@pytest.fixture
def reader() -> PlayedReader:
    return PlayedReader()


def played(reader: PlayedReader, play: Callable[[EventTap], Coroutine[Any, Any, None]], **more: Any) -> None:
    """Play a scene with a tap, in an event loop."""

    async def run() -> None:
        tap = EventTap(reader.made, **more)
        try:
            async with asyncio.timeout(30):
                await play(tap)
        finally:
            await tap.close()

    asyncio.run(run())


async def joined(tap: EventTap, *queues: str, last_id: str | None = None) -> Client:
    """Follow, and read the beginning of the stream."""
    client = Client(await tap.follow(queues, last_id))
    beginning = await anext(client.stream)
    assert beginning.startswith(b"retry: 1000\n")
    client.reader.feed(beginning)
    return client


async def until(look: Callable[[], bool]) -> None:
    while not look():  # noqa: ASYNC110 - what is looked at knows nothing of this
        await asyncio.sleep(0.005)


def test_all_clients_get_what_happens_from_one_reader(reader: PlayedReader) -> None:
    async def play(tap: EventTap) -> None:
        clients = [await joined(tap) for _ in range(3)]
        assert clients[0].reader.last_id == "e-0"
        reader.happen("a", 3)
        reader.happen("b")
        for client in clients:
            assert await client.ids(4) == ["e-1", "e-2", "e-3", "e-4"]
        assert len(reader.positions) == 1

    played(reader, play)


def test_a_client_gets_the_queues_that_it_has_named(reader: PlayedReader) -> None:
    async def play(tap: EventTap) -> None:
        client = await joined(tap, "b", "c")
        reader.happen("a", 2)
        reader.happen("b")
        reader.happen("a")
        reader.happen("c")
        assert await client.ids(2) == ["e-3", "e-5"]

    played(reader, play)


def test_a_client_begins_with_what_happens_after_it_came(reader: PlayedReader) -> None:
    async def play(tap: EventTap) -> None:
        first = await joined(tap)
        reader.happen("a", 2)
        assert await first.ids(2) == ["e-1", "e-2"]
        second = await joined(tap)
        assert second.reader.last_id == "e-2"
        reader.happen("a")
        assert await second.ids(1) == ["e-3"]

    played(reader, play)


@pytest.mark.parametrize(("last_id", "first"), [("e-0", 1), ("e-1", 2), ("e-2", 3), ("e-3", 4)])
def test_a_client_that_comes_back_goes_on_after_its_last_event(reader: PlayedReader, last_id: str, first: int) -> None:
    async def play(tap: EventTap) -> None:
        before = await joined(tap)
        reader.happen("a", 3)
        reader.happen("a", 2)
        await before.ids(5)
        again = await joined(tap, last_id=last_id)
        assert await again.ids(6 - first) == [f"e-{number}" for number in range(first, 6)]

    played(reader, play)


@pytest.mark.parametrize(("last_id", "missed"), [("e-1", 4), ("before-7", None), ("nonsense", None)])
def test_a_client_that_comes_back_too_late_is_told_of_the_gap_and_goes_on(
    reader: PlayedReader, last_id: str, missed: int | None
) -> None:
    async def play(tap: EventTap) -> None:
        before = await joined(tap)
        for _ in range(3):
            reader.happen("a", 5)
            await before.more(5)
        again = await joined(tap, last_id=last_id)
        gap, *rest = await again.more(11)
        assert (gap.kind, gap.detail["missed"], gap.id) == ("gap", missed, "e-5")
        assert [event.id for event in rest] == [f"e-{number}" for number in range(6, 16)]
        reader.happen("a")
        assert await again.ids(1) == ["e-16"]

    played(reader, play, ring=EventRing(10, 100_000))


def test_a_client_that_does_not_read_is_dropped_with_a_notice(reader: PlayedReader) -> None:
    async def play(tap: EventTap) -> None:
        slow, quick = await joined(tap), await joined(tap)
        for _ in range(4):
            reader.happen("a", 5)
            assert [event.kind for event in await quick.more(5)] == ["due"] * 5
        (dropped,) = await slow.more(1)
        assert (dropped.kind, dropped.detail["missed"]) == ("dropped", 10)
        with pytest.raises(StopAsyncIteration):
            await anext(slow.stream)
        reader.happen("a")
        assert await quick.ids(1) == ["e-21"]

    played(reader, play, ring=EventRing(10, 100_000))


def test_another_events_actor_is_a_gap_for_all_who_follow(reader: PlayedReader) -> None:
    async def play(tap: EventTap) -> None:
        client = await joined(tap)
        reader.happen("a", 2)
        await client.more(2)
        reader.happen("a", 2, epoch="f")
        gap, *rest = await client.more(3)
        assert (gap.kind, gap.detail["missed"]) == ("gap", None)
        assert [event.id for event in rest] == ["f-1", "f-2"]

    played(reader, play)


def test_a_tap_that_came_too_late_itself_says_how_much_is_missing(reader: PlayedReader) -> None:
    async def play(tap: EventTap) -> None:
        client = await joined(tap)
        reader.happen("a", 2)
        await client.more(2)
        reader.happen("a", 1, missed=7)
        gap, event = await client.more(2)
        assert (gap.kind, gap.detail["missed"], event.id) == ("gap", 7, "e-10")

    played(reader, play)


def test_a_silent_stream_shows_that_it_is_there(reader: PlayedReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callboard.http.event_tap.ALIVE_SECONDS", 0.01)

    async def play(tap: EventTap) -> None:
        client = await joined(tap, "b")
        reader.happen("a", 3)
        while client.reader.last_id != "e-3":
            assert client.reader.feed(await anext(client.stream)) == []

    played(reader, play)


def test_the_thread_ends_when_nobody_follows_and_another_begins_with_the_recent_ones(
    reader: PlayedReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callboard.http.event_tap.LINGER_SECONDS", 0.0)

    async def play(tap: EventTap) -> None:
        client = await joined(tap)
        reader.happen("a")
        await client.more(1)
        await client.stream.aclose()  # type: ignore[attr-defined]
        await until(lambda: reader.closed == 1)
        again = await joined(tap, last_id="e-1")
        reader.happen("a")
        assert await again.ids(1) == ["e-2"]
        assert reader.positions == [("", -20_000)] * 2

    played(reader, play)


def test_who_comes_in_the_very_moment_in_which_the_thread_ends_gets_another_one(
    reader: PlayedReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callboard.http.event_tap.LINGER_SECONDS", 0.0)

    async def play(tap: EventTap) -> None:
        client = Client(await tap.follow((), None))
        await until(lambda: reader.closed == 1)
        await anext(client.stream)
        reader.happen("a")
        assert await client.ids(1) == ["e-1"]

    played(reader, play)


def test_an_error_of_the_reader_ends_no_stream(reader: PlayedReader, caplog: pytest.LogCaptureFixture) -> None:
    async def play(tap: EventTap) -> None:
        client = await joined(tap)
        reader.errors.append(OSError(24, "Too many open files"))
        await until(lambda: not reader.errors)
        reader.happen("a")
        assert await client.ids(1) == ["e-1"]
        assert len(reader.positions) == 1

    played(reader, play)
    assert "Too many open files" in caplog.text


def test_a_reader_that_can_not_be_made_is_made_later(reader: PlayedReader, caplog: pytest.LogCaptureFixture) -> None:
    reader.refusals.append(OSError(24, "Too many open files"))

    async def play(tap: EventTap) -> None:
        client = await joined(tap)
        reader.happen("a")
        assert await client.ids(1) == ["e-1"]
        assert len(reader.positions) == 2

    played(reader, play)
    assert "Too many open files" in caplog.text


def test_there_are_no_more_clients_than_there_may_be(reader: PlayedReader) -> None:
    async def play(tap: EventTap) -> None:
        first, _ = await joined(tap), await joined(tap)
        with pytest.raises(Overloaded):
            await tap.follow((), None)
        await first.stream.aclose()  # type: ignore[attr-defined]
        await joined(tap)

    played(reader, play, max_clients=2)


def test_streams_end_when_the_server_stops(reader: PlayedReader) -> None:
    async def play(tap: EventTap) -> None:
        client = await joined(tap)
        reading = asyncio.ensure_future(anext(client.stream, b""))
        await asyncio.sleep(0)
        tap.end()
        assert await reading == b""

    played(reader, play)


def test_a_subscription_that_nobody_answers_is_refused(reader: PlayedReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callboard.http.event_tap.BEGIN_SECONDS", 0.05)
    monkeypatch.setattr(reader, "read", lambda _: time.sleep(0.01))

    async def play(tap: EventTap) -> None:
        with pytest.raises(RequestTimedOut):
            await tap.follow((), None)

    played(reader, play)


@pytest.fixture
def known_queues(actors: PlayedActors) -> None:
    actors.answers[ListQueues] = lambda asked: QueuesListed(asked.request_id, tuple(actors.queues), {})


@pytest.mark.usefixtures("known_queues")
def test_the_answer_is_an_event_stream_that_nothing_keeps(client: TestClient) -> None:
    answer = client.get("/api/events?queue=sleep&queue=typed")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert client.head("/api/events").status_code == 200


@pytest.mark.usefixtures("known_queues")
@pytest.mark.parametrize(("query", "status"), [("queue=slepp", 404), ("queue=sleep&queue=", 404), ("quue=sleep", 400)])
def test_a_wrong_name_is_refused(client: TestClient, query: str, status: int) -> None:
    answer = client.get(f"/api/events?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_a_web_page_from_elsewhere_gets_no_events(client: TestClient) -> None:
    assert client.get("/api/events", headers={"Origin": "http://evil.example"}).status_code == 403
    assert client.get("/api/events", headers={"Host": "evil.example"}).status_code == 403
