"""What is answered when a request fails in a way that no handler has foreseen."""

import asyncio
import logging
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from callboard.actors.errors import StoreUnavailable
from callboard.actors.store import Store
from callboard.actors.store.memory import MemoryStore
from callboard.http.problems import NeverATraceback, problem_of
from callboard.http.waiting import Watcher

HTTP: Scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
START: Message = {"type": "http.response.start", "status": 200, "headers": []}


async def answered(error: BaseException, *, begun: bool = False, scope: Scope = HTTP) -> list[Message]:
    """Return what is sent of a request that ends in this error."""
    sent: list[Message] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if begun:
            await send(START)
        raise error

    async def receive() -> Message:
        raise AssertionError("nobody reads a body here")

    async def send(message: Message) -> None:
        sent.append(message)

    await NeverATraceback(application)(scope, receive, send)
    return sent


def test_an_error_is_answered_and_logged_but_not_told(caplog: pytest.LogCaptureFixture) -> None:
    start, body = asyncio.run(answered(RuntimeError("the password is 1234")))
    assert start["status"] == 500
    assert b"1234" not in body["body"]
    assert "the password is 1234" in caplog.text


def test_an_answer_that_has_begun_is_not_begun_again(caplog: pytest.LogCaptureFixture) -> None:
    assert asyncio.run(answered(RuntimeError("too late"), begun=True)) == [START]
    assert "too late" in caplog.text


def test_a_request_that_is_held_while_the_server_stops_is_to_be_sent_again() -> None:
    start, _ = asyncio.run(answered(asyncio.CancelledError()))
    assert start["status"] == 503
    assert (b"retry-after", b"1") in start["headers"]
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(answered(asyncio.CancelledError(), begun=True))


def test_what_is_no_request_is_left_to_the_application() -> None:
    with pytest.raises(RuntimeError, match="at start"):
        asyncio.run(answered(RuntimeError("at start"), scope={"type": "lifespan"}))


def test_a_client_that_has_gone_is_no_error_of_the_server(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert problem_of(ClientDisconnect()).status == 400
    assert caplog.records == []


class Broken(MemoryStore):
    """A store that can't tell which tasks have ended."""

    def ended(self, *_: Any) -> set[str]:
        raise StoreUnavailable("the disk is gone")


def test_all_who_wait_are_told_that_the_store_has_failed() -> None:
    async def wait(store: Store) -> list[Any]:
        watcher = Watcher(store)
        try:
            return await asyncio.gather(*(watcher.ended(name, 30) for name in "aab"), return_exceptions=True)
        finally:
            await watcher.close()

    found = asyncio.run(wait(Broken(clock=lambda: 1)))
    assert [type(error) for error in found] == [StoreUnavailable] * 3


def test_whoever_waits_when_the_server_stops_is_let_go() -> None:
    async def wait_and_close() -> Any:
        watcher = Watcher(MemoryStore(clock=lambda: 1))
        waiting = asyncio.create_task(watcher.ended("a", 30))
        await asyncio.sleep(0)
        await watcher.close()
        return (await asyncio.gather(waiting, return_exceptions=True))[0]

    assert isinstance(asyncio.run(wait_and_close()), asyncio.CancelledError)
