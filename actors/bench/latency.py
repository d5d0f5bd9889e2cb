"""How long one task takes when nothing else goes on: until it is accepted, begun, and over."""

import socket
import time
from typing import Any, Final, NamedTuple

from callboard.actors.bench.figures import percentile
from callboard.actors.bench.load import BenchFailed, answer_size, post
from callboard.actors.bench.under_test import HOST, ServerUnderTest
from callboard.actors.store import Store
from callboard.actors.task import Task, TaskState

QUIET_SECONDS: Final = 0.01
"""Left alone for so long before it is asked about: to ask would cost the task time."""
ENDED_WITHIN_SECONDS: Final = 10.0
WARM_UP: Final = 10
ANSWER_SECONDS: Final = 10.0
MICROSECONDS_PER_MS: Final = 1_000


class Moments(NamedTuple):
    """One task, in milliseconds from the moment at which its request was sent."""

    accepted: float
    """The answer (201: it is on disk) was read by the client."""
    started: float
    """The worker's own time."""
    finished: float
    """The worker's own time."""


def measure_latency(server: ServerUnderTest, queue: str, tasks: int) -> list[Moments]:
    """Submit so many tasks, each when the one before is over, on one connection."""
    request = post("/api/tasks", {"queue": queue, "context": {"number": 1}})
    with socket.create_connection((HOST, server.port), ANSWER_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return [_one_task(connection, request, server.store) for _ in range(WARM_UP + tasks)][WARM_UP:]


def latency_json(measured: list[Moments]) -> dict[str, Any]:
    """Return median and 99th percentile of each moment."""
    columns = zip(Moments._fields, zip(*measured, strict=True), strict=True)
    return {
        name: {"p50_ms": round(percentile(values, 0.5), 3), "p99_ms": round(percentile(values, 0.99), 3)}
        for name, values in columns
    }


def _one_task(connection: socket.socket, request: bytes, store: Store) -> Moments:
    # The clock that the worker reads, too: these times are compared with its.
    sent = time.time_ns() // 1_000
    connection.sendall(request)
    answer = _read_answer(connection)
    accepted = time.time_ns() // 1_000
    task = _ended_task(store, _id_in(answer))
    assert task.started_at is not None
    assert task.finished_at is not None
    return Moments(*((moment - sent) / MICROSECONDS_PER_MS for moment in (accepted, task.started_at, task.finished_at)))


def _read_answer(connection: socket.socket) -> bytes:
    answer = b""
    while not (size := answer_size(answer)) or len(answer) < size:
        part = connection.recv(65_536)
        if not part:
            raise BenchFailed("the server closed the connection")
        answer += part
    return answer


def _id_in(answer: bytes) -> str:
    head = answer.partition(b"\r\n\r\n")[0].decode()
    for line in head.splitlines():
        name, _, value = line.partition(": ")
        if name == "location":
            return value.rpartition("/")[2]
    raise BenchFailed(f"the task was not accepted: {head}")


def _ended_task(store: Store, task_id: str) -> Task:
    deadline = time.monotonic() + ENDED_WITHIN_SECONDS
    while time.monotonic() < deadline:
        time.sleep(QUIET_SECONDS)
        task = store.get(task_id)
        if task is not None and task.state is TaskState.COMPLETED:
            return task
    raise BenchFailed(f"task {task_id} has not ended within {ENDED_WITHIN_SECONDS:g} s")
