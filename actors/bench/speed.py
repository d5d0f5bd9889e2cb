"""How many tasks a second: ours over HTTP, the store's limit, and bare Starlette's; all in every round.

The machine is never as quiet as one would like. So each round measures everything, and what is compared was measured
within seconds of each other.
"""

import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Final, NamedTuple

from callboard.actors.bench.bare import bare_starlette
from callboard.actors.bench.counting import await_completed, completed
from callboard.actors.bench.figures import Figure, Ratio
from callboard.actors.bench.footprint import cpu_seconds
from callboard.actors.bench.listeners import listening
from callboard.actors.bench.load import Burst, post, send_all
from callboard.actors.bench.plan import BATCH, CONNECTIONS, Plan
from callboard.actors.bench.progress import Teller
from callboard.actors.bench.under_test import HOST, ServerUnderTest
from callboard.actors.store.limit import StoreLimit, measure_limit

QUEUE: Final = "noop"
BATCH_CONNECTIONS: Final = 8
"""With fewer the server waits for the client (measured: 1 to 4 reach two thirds of it), with 16 it got no faster."""
HAND_OUT: Final = 256
"""The largest batch that a worker gets, so the largest that the store's limit completes in one transaction."""
LARGE_BATCH: Final = 1_000
"""What the gateway puts into one message, and so into one transaction, when requests come faster than commits."""
WARM_UP_TASKS: Final = 200
MICROSECONDS: Final = 1_000_000
PER_SECOND: Final = "tasks/s"
LABELS: Final = {
    "batch_submitted": "batches of 100 over HTTP: submitted",
    "batch_completed": "batches of 100 over HTTP: submission to completion",
    "batch_completed_watched": "the same with two subscribers to the events",
    "single_submitted": "one by one, 64 connections: submitted while all are run",
    "single_completed": "one by one, 64 connections: submission to completion",
    "drained": "draining a backlog",
    "store_submitted": "the store alone, batches of 100: stored",
    "store_completed": "the store alone, batches of 100: stored and completed",
    "store_completed_large": "the store alone, batches of 1,000: stored and completed",
    "store_drained": "the store alone: a backlog completed",
    "starlette_answered": "bare Starlette, one by one, 64 connections",
}
COSTS: Final = {
    "server_cpu_batch": "the server, a task in batches",
    "server_cpu_watched": "the server, a task in batches, with two subscribers",
    "server_cpu_single": "the server, a task one by one",
    "client_cpu_single": "the measuring client, a task one by one",
}


class Speed(NamedTuple):
    """All rounds of all figures. costs: microseconds of CPU for one task; they hardly depend on how busy the machine is."""

    figures: list[Figure]
    costs: list[Figure]
    ratios: list[Ratio]


Rounds = defaultdict[str, list[float]]
"""What every round has measured, by the names in `LABELS` and `COSTS`."""


class _Client:
    """Submits to the server under test, and sees its tasks end."""

    def __init__(self, server: ServerUnderTest) -> None:
        self._server = server
        self._ended = completed(server.store, QUEUE)

    def submit_batches(self, tasks: int) -> Burst:
        sizes = [BATCH] * (tasks // BATCH) + ([tasks % BATCH] if tasks % BATCH else [])
        body = {size: post("/api/tasks/batch", {"tasks": [_task()] * size}) for size in set(sizes)}
        self._ended += tasks
        return send_all(HOST, self._server.port, [body[size] for size in sizes], BATCH_CONNECTIONS)

    def submit_singly(self, tasks: int) -> Burst:
        self._ended += tasks
        return send_all(HOST, self._server.port, [post("/api/tasks", _task())] * tasks, CONNECTIONS)

    def server_cpu(self) -> float:
        """Return the CPU seconds that the server's processes have used so far."""
        return cpu_seconds(self._server.members())

    def await_all(self) -> float:
        """Return when the last task that was submitted had ended."""
        return await_completed(self._server.store, QUEUE, self._ended).at


def measure_speed(server: ServerUnderTest, folder: Path, plan: Plan, teller: Teller, database: str = "") -> Speed:
    """Measure all rounds. `folder`: where the limit's own database goes, on the disk that holds the server's.

    database: the PostgreSQL database in which the limit is measured instead, where the server's store is one.
    """
    client = _Client(server)
    client.submit_singly(WARM_UP_TASKS)
    client.await_all()
    rounds: Rounds = defaultdict(list)
    with bare_starlette() as bare_port:
        for number in range(1, plan.rounds + 1):
            of = f"round {number} of {plan.rounds}"
            teller.step(f"{of}: the store alone")
            _measure_store(folder, plan.tasks, rounds, database)
            teller.step(f"{of}: batches")
            _measure_batches(client, plan.tasks, rounds)
            teller.step(f"{of}: batches, and two who follow the events")
            with listening(HOST, server.port, QUEUE) as listeners:
                _measure_watched(client, plan.tasks, rounds)
                listeners.check(plan.tasks)
            teller.step(f"{of}: bare Starlette")
            burst = send_all(HOST, bare_port, [post("/api/tasks", _task())] * plan.singles, CONNECTIONS)
            rounds["starlette_answered"].append(plan.singles / burst.seconds)
            teller.step(f"{of}: one by one")
            _measure_singles(client, plan.singles, rounds)
            teller.step(f"{of}: a backlog")
            _measure_drain(server, client, plan.tasks, rounds)
    figures = {key: Figure(key, label, PER_SECOND, tuple(rounds[key])) for key, label in LABELS.items()}
    costs = [Figure(key, label, "us/task", tuple(rounds[key])) for key, label in COSTS.items()]
    return Speed(list(figures.values()), costs, _ratios(figures))


def _task() -> dict[str, object]:
    return {"queue": QUEUE, "context": {"number": 1}}


def _measure_store(folder: Path, tasks: int, rounds: Rounds, database: str) -> None:
    os.sync()  # as below
    for batch in (BATCH, LARGE_BATCH):
        limit = _measure_limit(folder, tasks, batch, database)
        if batch == BATCH:
            rounds["store_submitted"].append(limit.submit)
            rounds["store_completed"].append(limit.end_to_end)
            rounds["store_drained"].append(limit.drain)
        else:
            rounds["store_completed_large"].append(limit.end_to_end)


def _measure_limit(folder: Path, tasks: int, batch: int, database: str) -> StoreLimit:
    if database:
        from callboard.actors.store.postgres_limit import measure_postgres_limit  # noqa: PLC0415 - its driver is an extra

        return measure_postgres_limit(database, tasks, batch, HAND_OUT)
    path = folder / "limit.db"
    limit = measure_limit(path, tasks, batch, HAND_OUT)
    for file in folder.glob(f"{path.name}*"):
        file.unlink()
    return limit


def _measure_batches(client: _Client, tasks: int, rounds: Rounds) -> None:
    os.sync()  # or the disk would still be writing what the measurement before has left
    used = client.server_cpu()
    burst = client.submit_batches(tasks)
    rounds["batch_submitted"].append(tasks / burst.seconds)
    rounds["batch_completed"].append(tasks / (client.await_all() - burst.begun))
    rounds["server_cpu_batch"].append((client.server_cpu() - used) / tasks * MICROSECONDS)


def _measure_watched(client: _Client, tasks: int, rounds: Rounds) -> None:
    os.sync()
    used = client.server_cpu()
    burst = client.submit_batches(tasks)
    rounds["batch_completed_watched"].append(tasks / (client.await_all() - burst.begun))
    rounds["server_cpu_watched"].append((client.server_cpu() - used) / tasks * MICROSECONDS)


def _measure_singles(client: _Client, tasks: int, rounds: Rounds) -> None:
    used = client.server_cpu()
    burst = client.submit_singly(tasks)
    rounds["single_submitted"].append(tasks / burst.seconds)
    rounds["single_completed"].append(tasks / (client.await_all() - burst.begun))
    rounds["server_cpu_single"].append((client.server_cpu() - used) / tasks * MICROSECONDS)
    rounds["client_cpu_single"].append(burst.client_cpu_seconds / tasks * MICROSECONDS)


def _measure_drain(server: ServerUnderTest, client: _Client, tasks: int, rounds: Rounds) -> None:
    server.command(QUEUE, "pause")
    client.submit_batches(tasks)
    begun = time.perf_counter()
    server.command(QUEUE, "resume")
    rounds["drained"].append(tasks / (client.await_all() - begun))


def _ratios(figures: dict[str, Figure]) -> list[Ratio]:
    def ratio(key: str, label: str, ours: str, other: str, target: float | None = None) -> Ratio:
        return Ratio(key, label, figures[ours].median, figures[other].median, target)

    return [
        ratio("end_to_end", "submission to completion / the store alone", "batch_completed", "store_completed", 0.5),
        ratio("watched", "with two subscribers / without", "batch_completed_watched", "batch_completed", 0.8),
        ratio("single", "one by one / bare Starlette", "single_submitted", "starlette_answered", 0.25),
        ratio("single_completed", "one by one to completion / bare Starlette", "single_completed", "starlette_answered"),
        ratio("end_to_end_large", "… / the store alone, batches of 1,000", "batch_completed", "store_completed_large"),
        ratio("drain", "draining / the store alone", "drained", "store_drained"),
    ]
