"""How many tasks a second consumers can fetch and acknowledge over HTTP: in batches, and one by one."""

import asyncio
import os
import re
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from callboard.actors.bench.counting import await_completed, completed
from callboard.actors.bench.figures import Figure
from callboard.actors.bench.footprint import cpu_seconds
from callboard.actors.bench.load import BenchFailed, answer_size, loop_factory, post, send_all
from callboard.actors.bench.plan import BATCH, CONNECTIONS, Plan
from callboard.actors.bench.progress import Teller
from callboard.actors.bench.speed import BATCH_CONNECTIONS
from callboard.actors.bench.under_test import HOST, ServerUnderTest

QUEUE: Final = "pulled"
LEASE_MS: Final = 600_000
MICROSECONDS: Final = 1_000_000
LABELS: Final = {
    "pulled_batch": "fetched and acknowledged in batches of 100, 8 connections",
    "pulled_single": "fetched and acknowledged one by one, 64 connections",
}
COSTS: Final = {
    "server_cpu_pulled_batch": "the server, a task in batches",
    "server_cpu_pulled_single": "the server, a task one by one",
    "client_cpu_pulled_single": "the measuring client, a task one by one",
}
_CLAIM: Final = re.compile(rb'"claim":"([^"]+)"')


class PullSpeed(NamedTuple):
    """All rounds of all figures; costs: microseconds of CPU for one task."""

    figures: list[Figure]
    costs: list[Figure]


def measure_pull(server: ServerUnderTest, plan: Plan, teller: Teller) -> PullSpeed:
    """Fill a queue that has no workers and work it off from here, in every round in both ways."""
    rounds: defaultdict[str, list[float]] = defaultdict(list)
    for number in range(1, plan.rounds + 1):
        for way, tasks, connections in (("batch", plan.tasks, BATCH_CONNECTIONS), ("single", plan.singles, CONNECTIONS)):
            teller.step(f"round {number} of {plan.rounds}: consumers, {way}")
            _measure(server, way, tasks, connections, rounds)
    figures = [Figure(key, label, "tasks/s", tuple(rounds[key])) for key, label in LABELS.items()]
    return PullSpeed(figures, [Figure(key, label, "us/task", tuple(rounds[key])) for key, label in COSTS.items()])


def _measure(server: ServerUnderTest, way: str, tasks: int, connections: int, rounds: defaultdict[str, list[float]]) -> None:
    ended = completed(server.store, QUEUE)
    body = {"tasks": [{"queue": QUEUE, "context": {"number": 1}}] * BATCH}
    tasks = -(-tasks // BATCH) * BATCH
    send_all(HOST, server.port, [post("/api/tasks/batch", body)] * (tasks // BATCH), BATCH_CONNECTIONS)
    os.sync()  # or the disk would still be writing the backlog
    used, own, begun = cpu_seconds(server.members()), time.process_time(), time.perf_counter()
    consume = _consume_batches if way == "batch" else _consume_singly
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        taken = runner.run(_all(server.port, connections, consume))
    if taken != tasks:
        raise BenchFailed(f"consumers got {taken} of {tasks} tasks")
    took = await_completed(server.store, QUEUE, ended + tasks).at - begun
    rounds[f"pulled_{way}"].append(tasks / took)
    rounds[f"server_cpu_pulled_{way}"].append((cpu_seconds(server.members()) - used) / tasks * MICROSECONDS)
    rounds[f"client_cpu_pulled_{way}"].append((time.process_time() - own) / tasks * MICROSECONDS)


class _Talk:
    """One keep-alive connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, request: bytes) -> bytes:
        """Send a prepared request and return its answer, which must be a 200."""
        self._writer.write(request)
        answer = b""
        while not (size := answer_size(answer)) or len(answer) < size:
            if not (more := await self._reader.read(2**18)):
                raise BenchFailed("the server closed a connection")
            answer += more
        if not answer.startswith(b"HTTP/1.1 200"):
            raise BenchFailed(f"a consumer was refused: {answer[:500].decode(errors='replace')}")
        return answer


async def _all(port: int, connections: int, consume: Callable[[_Talk], Awaitable[int]]) -> int:
    opened = [await asyncio.open_connection(HOST, port) for _ in range(connections)]
    try:
        return sum(await asyncio.gather(*(consume(_Talk(*streams)) for streams in opened)))
    finally:
        for _, writer in opened:
            writer.close()


async def _consume_batches(talk: _Talk) -> int:
    """Fetch and acknowledge batches until there is nothing more; returns how many tasks that were."""
    taken = 0
    wanted = _dequeue(BATCH)
    while claims := _CLAIM.findall(await talk.ask(wanted)):
        await talk.ask(post("/api/tasks/ack", {"acks": [{"claim": claim.decode()} for claim in claims]}))
        taken += len(claims)
    return taken


async def _consume_singly(talk: _Talk) -> int:
    taken = 0
    wanted = _dequeue(1)
    while claims := _CLAIM.findall(await talk.ask(wanted)):
        claim: Any = claims[0].decode()
        task_id = claim.rpartition(":")[2]
        await talk.ask(post(f"/api/tasks/{task_id}/ack", {"claim": claim}))
        taken += 1
    return taken


def _dequeue(most: int) -> bytes:
    return post(f"/api/queues/{QUEUE}/dequeue", {"max": most, "lease_ms": LEASE_MS})
