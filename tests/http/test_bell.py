"""Who waits for something to do: rung for in their order, and never left waiting for ever."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from callboard.actors.errors import StoreUnavailable
from callboard.actors.store.memory import MemoryStore
from callboard.actors.task import TaskState
from callboard.http.bell import Bell
from callboard.http.waiting import Watcher

EMPTY = {TaskState.AVAILABLE: 0}


class Broken(MemoryStore):
    """A store that can't tell whether it has changed."""

    def version(self) -> int:
        raise StoreUnavailable("the disk is gone")


class Silent(MemoryStore):
    """A store in which nothing is there for anybody."""

    def counts(self) -> dict[str, dict[TaskState, int]]:
        return {"mail": EMPTY, "post": EMPTY}

    def ended(self, ids: Any) -> set[str]:
        return set()


def played(store: MemoryStore, play: Callable[[Bell], Coroutine[Any, Any, None]]) -> None:
    """Play a scene with a bell, in an event loop."""

    async def run() -> None:
        bell = Bell(store)
        try:
            async with asyncio.timeout(30):
                await play(bell)
        finally:
            await bell.close()

    asyncio.run(run())


async def waiters(bell: Bell, *queues: str) -> list["asyncio.Task[None]"]:
    """Have one wait for each of these queues."""
    waiting = [asyncio.create_task(bell.rings(queue, EMPTY, 1)) for queue in queues]
    await asyncio.sleep(0)
    return waiting


def test_all_who_wait_for_a_queue_are_told_that_the_store_has_failed() -> None:
    async def play(bell: Bell) -> None:
        waiting = await waiters(bell, "mail", "mail", "post")
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [str(error) for error in found] == ["the disk is gone"] * 3

    played(Broken(clock=lambda: 1), play)


def test_whoever_comes_after_a_failure_is_watched_for_as_well() -> None:
    async def play(bell: Bell) -> None:
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await bell.rings("mail", EMPTY, 1)

    played(Broken(clock=lambda: 1), play)


def test_whoever_waits_for_a_queue_when_the_server_stops_is_let_go() -> None:
    async def play(bell: Bell) -> None:
        waiting = await waiters(bell, "mail", "post")
        await bell.close()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(error) for error in found] == [asyncio.CancelledError] * 2

    played(Silent(clock=lambda: 1), play)


def test_what_one_who_has_just_gone_has_waited_for_is_for_the_next() -> None:
    async def play(bell: Bell) -> None:
        gone, following, last = await waiters(bell, "mail", "mail", "mail")
        gone.cancel()
        bell._tell({"mail": {TaskState.AVAILABLE: 1}}, late=False)
        await following
        assert gone.cancelled()
        assert not last.done()
        last.cancel()

    played(Silent(clock=lambda: 1), play)


def test_all_who_wait_for_the_same_task_learn_of_its_end() -> None:
    async def wait() -> list[bool]:
        watcher = Watcher(MemoryStore(clock=lambda: 1))
        try:
            return list(await asyncio.gather(watcher.ended("gone", 30), watcher.ended("gone", 30)))
        finally:
            await watcher.close()

    assert asyncio.run(wait()) == [True, True]


def test_a_task_that_ends_as_one_of_its_watchers_goes_is_told_to_the_other() -> None:
    async def wait() -> bool:
        watcher = Watcher(Silent(clock=lambda: 1))
        waiting = [asyncio.create_task(watcher.ended("a", 30)) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        watcher._tell({"a"})
        try:
            return await waiting[1]
        finally:
            await watcher.close()

    assert asyncio.run(wait())
