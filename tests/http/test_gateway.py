"""How requests become messages: batches that form by themselves, lanes that do not hold each other up, limits."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from callboard.actors.caller import SettingsChanged
from callboard.actors.errors import RequestRefused, RequestTimedOut
from callboard.actors.messages import Outcome
from callboard.http import gateway as limits
from callboard.http.gateway import ActorGateway
from callboard.http.problems import Overloaded
from tests.http.played_caller import PlayedCaller, found, submission


def with_gateway(test: Callable[[ActorGateway, PlayedCaller], Coroutine[Any, Any, None]]) -> None:
    """Run a test inside a loop with a gateway that asks the played caller."""

    async def run() -> None:
        caller = PlayedCaller()
        gateway = ActorGateway(lambda _: caller, caller.directory)  # type: ignore[arg-type, return-value]
        try:
            await test(gateway, caller)
        finally:
            caller.go.set()
            await gateway.close()
        assert caller.closed >= 1 or not caller.messages

    asyncio.run(run())


async def until(true: Callable[[], bool]) -> None:
    """Wait for what other threads do."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - threads change it, and they can't set an asyncio.Event
            await asyncio.sleep(0.001)


def test_what_comes_while_a_message_is_under_way_is_the_next_message() -> None:
    async def test(gateway: ActorGateway, caller: PlayedCaller) -> None:
        caller.held = {"q"}
        caller.go.clear()
        first = asyncio.create_task(gateway.submit(found(), submission(), 1))
        await until(lambda: len(caller.messages) == 1)
        others = [asyncio.create_task(gateway.submit(found(), submission(), 1)) for _ in range(30)]
        await asyncio.sleep(0)
        caller.go.set()
        await asyncio.gather(first, *others)
        assert caller.messages == [("q", 1), ("q", 30)]

    with_gateway(test)


def test_half_of_many_go_together_so_that_the_queue_has_something_to_do_meanwhile() -> None:
    async def test(gateway: ActorGateway, caller: PlayedCaller) -> None:
        caller.held = {"q"}
        caller.go.clear()
        first = asyncio.create_task(gateway.submit(found(), submission(), 1))
        await until(lambda: len(caller.messages) == 1)
        others = [asyncio.create_task(gateway.submit(found(), submission(), 1)) for _ in range(199)]
        await asyncio.sleep(0)
        caller.go.set()
        await asyncio.gather(first, *others)
        # 200 are about; then 199 with the 100 before, and so on.
        assert caller.messages == [("q", 1), ("q", 100), ("q", 99)]

    with_gateway(test)


def test_what_comes_in_one_turn_of_the_loop_goes_together() -> None:
    async def test(gateway: ActorGateway, caller: PlayedCaller) -> None:
        verdicts = await asyncio.gather(*(gateway.submit(found(), submission(), 1) for _ in range(20)))
        assert caller.messages == [("q", 20)]
        assert {verdict.ids for verdict in verdicts} == {("20",)}

    with_gateway(test)


def test_a_queue_that_does_not_answer_holds_up_no_other() -> None:
    async def test(gateway: ActorGateway, caller: PlayedCaller) -> None:
        caller.held = {"stuck"}
        caller.go.clear()
        stuck = asyncio.create_task(gateway.submit(found("stuck"), submission(), 1))
        for _ in range(5):
            await asyncio.wait_for(gateway.submit(found("quick"), submission(), 1), 10)
        assert not stuck.done()
        caller.go.set()
        await stuck

    with_gateway(test)


def test_a_message_is_bounded_in_tasks_and_bytes_but_a_submission_is_never_split() -> None:
    async def test(gateway: ActorGateway, caller: PlayedCaller) -> None:
        await asyncio.gather(*(gateway.submit(found("tasks"), submission(400), 1) for _ in range(5)))
        assert [tasks for _, tasks in caller.messages] == [800, 800, 400]
        caller.messages.clear()
        await asyncio.gather(*(gateway.submit(found("bytes"), submission(), 600_000) for _ in range(3)))
        assert [tasks for _, tasks in caller.messages] == [1, 1, 1]
        caller.messages.clear()
        await gateway.submit(found("one"), submission(10_000), 8_000_000)
        assert caller.messages == [("one", 10_000)]

    with_gateway(test)


def test_tasks_that_were_built_with_different_settings_go_in_different_messages() -> None:
    async def test(gateway: ActorGateway, caller: PlayedCaller) -> None:
        await asyncio.gather(*(gateway.submit(found(version=version), submission(), 1) for version in (1, 1, 2)))
        assert [tasks for _, tasks in caller.messages] == [2, 1]

    with_gateway(test)


@pytest.mark.parametrize(
    ("limit", "tasks", "size"),
    [
        ("WAITING_REQUESTS", 1, 1),  # many small ones
        ("WAITING_TASKS", 2, 1),  # many tasks
        ("WAITING_BYTES", 1, 2),  # much to hold in memory
    ],
)
def test_more_than_may_wait_is_refused(monkeypatch: pytest.MonkeyPatch, limit: str, tasks: int, size: int) -> None:
    monkeypatch.setattr(limits, limit, 6)

    async def test(gateway: ActorGateway, caller: PlayedCaller) -> None:
        caller.held = {"q"}
        caller.go.clear()
        waiting = [asyncio.create_task(gateway.submit(found(), submission(), 1))]
        await until(lambda: len(caller.messages) == 1)
        refused = 0
        for _ in range(10):
            one = asyncio.create_task(gateway.submit(found(), submission(tasks), size))
            await asyncio.sleep(0)
            if one.done() and isinstance(one.exception(), Overloaded):
                refused += 1
            else:
                waiting.append(one)
        assert refused == (4 if limit == "WAITING_REQUESTS" else 7)
        # Other queues take theirs all the same.
        await gateway.submit(found("other"), submission(), 1)
        caller.go.set()
        await asyncio.gather(*waiting)

    with_gateway(test)


@pytest.mark.parametrize("failure", [SettingsChanged(found()), ZeroDivisionError("a bug"), RequestTimedOut("silence")])
def test_a_failure_reaches_all_who_wait_and_the_lane_goes_on(failure: Exception) -> None:
    async def test(gateway: ActorGateway, caller: PlayedCaller) -> None:
        caller.failure = failure
        results = await asyncio.gather(*(gateway.submit(found(), submission(), 1) for _ in range(3)), return_exceptions=True)
        assert results == [failure] * 3
        caller.failure = None
        assert (await gateway.submit(found(), submission(), 1)).outcome is Outcome.ACCEPTED

    with_gateway(test)


def test_a_request_whose_client_has_gone_does_not_disturb_the_others() -> None:
    async def test(gateway: ActorGateway, caller: PlayedCaller) -> None:
        caller.held = {"q"}
        caller.go.clear()
        gone, stays = (asyncio.create_task(gateway.submit(found(), submission(), 1)) for _ in range(2))
        await until(lambda: len(caller.messages) == 1)
        gone.cancel()
        caller.go.set()
        assert (await stays).outcome is Outcome.ACCEPTED
        with pytest.raises(asyncio.CancelledError):
            await gone

    with_gateway(test)


def test_a_queue_is_looked_up_once_for_all_who_ask_for_it() -> None:
    async def test(gateway: ActorGateway, caller: PlayedCaller) -> None:
        caller.go.clear()
        finds = [asyncio.create_task(gateway.find("q")) for _ in range(100)]
        await until(lambda: len(caller.finds) == 1)
        finds[0].cancel()
        caller.go.set()
        await asyncio.gather(*finds[1:])
        await gateway.find("q")
        assert caller.finds == ["q"]
        gateway.forget("q")
        await gateway.find("q")
        assert caller.finds == ["q", "q"]

    with_gateway(test)


def test_an_unknown_queue_is_looked_up_again_by_the_next_request() -> None:
    async def test(gateway: ActorGateway, caller: PlayedCaller) -> None:
        for _ in range(2):
            with pytest.raises(RequestRefused):
                await gateway.find("nowhere")
        assert caller.finds == ["nowhere", "nowhere"]

    with_gateway(test)


def test_a_stuck_queue_takes_two_control_threads_at_most() -> None:
    async def test(gateway: ActorGateway, caller: PlayedCaller) -> None:
        caller.held = {"stuck"}
        caller.go.clear()
        request: Any = None
        stuck = [asyncio.create_task(gateway.ask_queue("stuck", request, str)) for _ in range(40)]
        await until(lambda: caller.at_once == 2)
        assert await asyncio.wait_for(gateway.ask_queue("quick", request, str), 10) == ("quick", False)
        assert await asyncio.wait_for(gateway.ask_registry(request, str), 10) == "registry"
        assert caller.most_at_once <= 3
        caller.go.set()
        await asyncio.gather(*stuck)

    with_gateway(test)
