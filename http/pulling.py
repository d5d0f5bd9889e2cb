"""Fetch tasks for a consumer, waiting for them if it wants, and settle what consumers say."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Sequence
from http import HTTPStatus
from typing import Any, Final

from starlette.requests import Request

from callboard.actors.errors import RequestRefused
from callboard.actors.leases import Claim
from callboard.actors.messages import Given, RefusalReason, Settled, Settlement, Want, Word
from callboard.actors.runners.call import MAX_MESSAGE_CHARACTERS
from callboard.actors.task import TaskState
from callboard.http.edge import Edge
from callboard.http.problems import NotFound, Problem
from callboard.http.pull_schemas import Ack

STALE: Final = "The claim is stale: the task is not with this consumer any more. Its lease has expired, or it was settled."


async def fetch(edge: Edge, queue: str, want: Want, seconds: float, request: Request) -> list[dict[str, Any]]:
    """Return tasks with their claims, as they are shown; [] if there is none within so many seconds.

    Nothing is fetched any more for a client that has gone away.
    """
    given = await _ask(edge, queue, want)
    if not given.leases and (seconds or given.more):
        given = await _wait(edge, queue, want, seconds, request)
    claims = {task_id: Claim(queue, number, task_id) for task_id, number in given.leases}
    if not claims:
        return []
    # They are on disk; what was cancelled within this moment is nobody's to work on.
    tasks = await edge.read(edge.store.get_many, list(claims))
    return [{**task.to_json(), "claim": str(claims[task.id])} for task in tasks if task.state is TaskState.EXECUTING]


async def _ask(edge: Edge, queue: str, want: Want) -> Given:
    return (await edge.gateway.exchange(queue, (), (want,))).given[0]


async def _wait(edge: Edge, queue: str, want: Want, seconds: float, request: Request) -> Given:
    """Ask whenever something may be there. It is the edge that waits, so a queue's death in the meantime is no matter."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    # The body has been read: the next message can only be that the client is gone.
    leaves = asyncio.ensure_future(request.receive())
    try:
        while not leaves.done():
            # Before the question: what comes after it is noticed by its difference from this.
            before = await edge.bell.look(queue)
            given = await _ask(edge, queue, want)
            left = until - loop.time()
            if given.leases or (left <= 0 and not given.more):
                return given
            if not given.more:
                await _first_of(edge.bell.rings(queue, before, want.max), leaves, left)
        return Given()
    finally:
        leaves.cancel()


async def _first_of(ring: Awaitable[None], leaves: "asyncio.Future[Any]", seconds: float) -> None:
    """Wait for the one or the other, at most so long. Raises what the ring does."""
    ringing = asyncio.ensure_future(ring)
    try:
        await asyncio.wait((ringing, leaves), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if ringing.done():
            ringing.result()
    finally:
        ringing.cancel()


async def settle_one(edge: Edge, task_id: str, claim_text: str, word: Settlement) -> None:
    """Have one word said about the task that the path names. Raises a `Problem`: 409 for a stale claim, 404."""
    claim = Claim.read(claim_text)
    if claim is not None and claim.task_id == task_id:
        (settled,) = await _settle(edge, claim.queue, (word._replace(number=claim.number),))
        if settled is Settled.DONE:
            return
    if await edge.read(edge.store.get, task_id) is None:
        raise NotFound(f"task {task_id}")
    raise Problem(HTTPStatus.CONFLICT, STALE, kind="stale-claim")


async def settle_many(edge: Edge, acks: Sequence[Ack]) -> list[Settled]:
    """Have all of these settled, each queue's in one transaction; returns what became of each."""
    outcomes = [Settled.UNKNOWN] * len(acks)
    places: defaultdict[str, list[int]] = defaultdict(list)
    words: defaultdict[str, list[Settlement]] = defaultdict(list)
    for place, ack in enumerate(acks):
        claim = Claim.read(ack.claim)
        if claim is not None:
            places[claim.queue].append(place)
            words[claim.queue].append(_word(ack, claim))
    answers = await asyncio.gather(*(_settle(edge, queue, said) for queue, said in words.items()))
    for queue, settled in zip(words, answers, strict=True):
        for place, outcome in zip(places[queue], settled, strict=True):
            outcomes[place] = outcome
    return outcomes


def acked(task_id: str, result: Any) -> Settlement:
    """Say that a task is done."""
    return Settlement(Word.ACK, task_id, 0, json.dumps(result, separators=(",", ":")))


def failed(task_id: str, error: str, *, discard: bool) -> Settlement:
    """Say that an attempt has failed."""
    return Settlement(Word.FAIL, task_id, 0, error[:MAX_MESSAGE_CHARACTERS], discard)


def _word(ack: Ack, claim: Claim) -> Settlement:
    if ack.error is None:
        return acked(claim.task_id, ack.result)._replace(number=claim.number)
    return failed(claim.task_id, ack.error, discard=ack.discard)._replace(number=claim.number)


async def _settle(edge: Edge, queue: str, words: Sequence[Settlement]) -> Sequence[Settled]:
    try:
        return (await edge.gateway.exchange(queue, words, ())).settled
    except RequestRefused as refusal:
        if refusal.reason != RefusalReason.UNKNOWN_QUEUE:
            raise
        return [Settled.UNKNOWN] * len(words)
