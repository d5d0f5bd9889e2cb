"""How consumers' requests become messages: all that wait go together, and each gets its own answers."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from callboard.actors.errors import RequestTimedOut
from callboard.actors.messages import ExchangeTasks, Given, Settled, Settlement, TasksExchanged, Want, Word
from callboard.http import exchanging
from callboard.http.caller_pool import CallerPool
from callboard.http.exchanging import ExchangeLanes
from callboard.http.problems import Overloaded
from tests.http.played_caller import found


class PlayedOwner:
    """Answers each message when it may: what is acknowledged is done, and a want gets its own id."""

    def __init__(self) -> None:
        self.messages: list[ExchangeTasks] = []
        self.go = threading.Event()
        self.go.set()
        self.unsure = False
        self.failure: Exception | None = None
        self.settled = Settled.DONE

    def ask_queue(self, queue: str, request: Callable[..., Any], _: type) -> tuple[TasksExchanged, bool]:
        asked = request("r", found(queue))
        self.messages.append(asked)
        assert self.go.wait(30)
        if self.failure is not None:
            raise self.failure
        given = tuple(Given(((want.id, want.max),)) for want in asked.wants)
        return TasksExchanged("r", (self.settled,) * len(asked.settlements), given), self.unsure

    def close(self) -> None:
        pass


def with_lanes(test: Callable[[ExchangeLanes, PlayedOwner], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        owner = PlayedOwner()
        pool = CallerPool("test", 4, lambda _: owner)  # type: ignore[arg-type, return-value]
        try:
            await test(ExchangeLanes(pool), owner)
        finally:
            owner.go.set()
            await asyncio.to_thread(pool.close)

    asyncio.run(run())


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - threads change it, and they can't set an asyncio.Event
            await asyncio.sleep(0.001)


def ack(number: int, text: str = "null") -> Settlement:
    return Settlement(Word.ACK, "t", number, text)


def test_what_comes_together_goes_together_and_everyone_gets_their_own() -> None:
    async def test(lanes: ExchangeLanes, owner: PlayedOwner) -> None:
        both, acks, wish = await asyncio.gather(
            lanes.exchange("q", (ack(1),), (Want("a", 1, 1),)),
            lanes.exchange("q", (ack(2), ack(3)), ()),
            lanes.exchange("q", (), (Want("b", 2, 1),)),
        )
        assert [(len(m.settlements), len(m.wants)) for m in owner.messages] == [(3, 2)]
        assert (both.settled, both.given) == ([Settled.DONE], [Given((("a", 1),))])
        assert (acks.settled, acks.given) == ([Settled.DONE] * 2, [])
        assert (wish.settled, wish.given) == ([], [Given((("b", 2),))])

    with_lanes(test)


def test_what_comes_while_a_message_is_under_way_is_the_next_message() -> None:
    async def test(lanes: ExchangeLanes, owner: PlayedOwner) -> None:
        owner.go.clear()
        first = asyncio.create_task(lanes.exchange("q", (ack(0),), ()))
        await until(lambda: len(owner.messages) == 1)
        others = [asyncio.create_task(lanes.exchange("q", (ack(n),), ())) for n in range(30)]
        elsewhere = asyncio.create_task(lanes.exchange("other", (ack(0),), ()))
        await until(lambda: len(owner.messages) == 2)
        owner.go.set()
        await asyncio.gather(first, elsewhere, *others)
        assert [(m.queue, len(m.settlements)) for m in owner.messages] == [("q", 1), ("other", 1), ("q", 30)]
        assert lanes._lanes == {}

    with_lanes(test)


def test_a_message_is_bounded_and_no_request_is_split() -> None:
    async def test(lanes: ExchangeLanes, owner: PlayedOwner) -> None:
        wants = [lanes.exchange("q", (), (Want(str(n), 400, 1),)) for n in range(4)]
        large = [lanes.exchange("big", (ack(n, "x" * 400_000),), ()) for n in range(4)]
        await asyncio.gather(*wants, *large)
        sizes = sorted((m.queue, len(m.wants) + len(m.settlements)) for m in owner.messages)
        assert sizes == [("big", 2), ("big", 2), ("q", 2), ("q", 2)]

    with_lanes(test)


@pytest.mark.parametrize("unsure", [False, True])
def test_a_stale_failure_that_a_dead_owner_may_have_stored_is_done(unsure: bool) -> None:
    async def test(lanes: ExchangeLanes, owner: PlayedOwner) -> None:
        owner.unsure, owner.settled = unsure, Settled.STALE
        words = [Settlement(word, "t", 1) for word in Word]
        settled = (await lanes.exchange("q", words, ())).settled
        assert dict(zip(Word, settled, strict=True)) == {
            Word.ACK: Settled.STALE,
            Word.FAIL: Settled.DONE if unsure else Settled.STALE,
            Word.HEARTBEAT: Settled.STALE,
        }

    with_lanes(test)


def test_everyone_is_told_when_nobody_answers_and_the_lane_goes_on() -> None:
    async def test(lanes: ExchangeLanes, owner: PlayedOwner) -> None:
        owner.failure = RequestTimedOut("no answer")
        results = await asyncio.gather(*(lanes.exchange("q", (ack(n),), ()) for n in range(3)), return_exceptions=True)
        assert [type(result) for result in results] == [RequestTimedOut] * 3
        owner.failure = None
        assert (await lanes.exchange("q", (ack(1),), ())).settled == [Settled.DONE]

    with_lanes(test)


def test_too_many_waiting_requests_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanging, "WAITING_REQUESTS", 2)

    async def test(lanes: ExchangeLanes, owner: PlayedOwner) -> None:
        owner.go.clear()
        first = asyncio.create_task(lanes.exchange("q", (ack(0),), ()))
        await until(lambda: len(owner.messages) == 1)
        waiting = [asyncio.create_task(lanes.exchange("q", (ack(n),), ())) for n in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await lanes.exchange("q", (ack(9),), ())
        owner.go.set()
        await asyncio.gather(first, *waiting)

    with_lanes(test)


def test_somebody_who_has_gone_away_is_no_trouble_for_the_others() -> None:
    async def test(lanes: ExchangeLanes, owner: PlayedOwner) -> None:
        owner.go.clear()
        gone = asyncio.create_task(lanes.exchange("q", (ack(0),), ()))
        stays = asyncio.create_task(lanes.exchange("q", (ack(1),), ()))
        await until(lambda: len(owner.messages) == 1)
        gone.cancel()
        owner.go.set()
        assert (await stays).settled == [Settled.DONE]

    with_lanes(test)


def test_whoever_has_gone_away_is_not_asked_for() -> None:
    async def test(lanes: ExchangeLanes, owner: PlayedOwner) -> None:
        owner.go.clear()
        first = asyncio.create_task(lanes.exchange("q", (ack(0),), ()))
        await until(lambda: len(owner.messages) == 1)
        leaves = [asyncio.create_task(lanes.exchange("q", (), (Want(str(n), 600, 1),))) for n in range(3)]
        stays = asyncio.create_task(lanes.exchange("q", (), (Want("stays", 600, 1),)))
        await until(lambda: len(lanes._lanes["q"].waiting) == 4)
        for one in leaves:
            one.cancel()
        await asyncio.gather(*leaves, return_exceptions=True)
        owner.go.set()
        assert (await stays).given == [Given((("stays", 600),))]
        await first
        assert [[want.id for want in message.wants] for message in owner.messages] == [[], ["stays"]]

    with_lanes(test)


def test_a_lane_in_which_nobody_waits_any_more_is_given_up() -> None:
    async def test(lanes: ExchangeLanes, owner: PlayedOwner) -> None:
        leaves = asyncio.create_task(lanes.exchange("q", (ack(0),), ()))
        await asyncio.sleep(0)  # it is in the lane now, and the message goes with the next turn of the loop
        leaves.cancel()
        await until(lambda: lanes._lanes == {})
        # The next one has a lane again.
        assert (await lanes.exchange("q", (ack(1),), ())).settled == [Settled.DONE]
        assert [[word.number for word in message.settlements] for message in owner.messages] == [[1]]

    with_lanes(test)
