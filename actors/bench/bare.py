"""Bare Starlette's limit: what POST /api/tasks could reach if there were no queue behind it.

The same uvicorn options, the same reading, validation and building of task and answer; no middleware, no store, no actors.
Run as a program it serves on a free port, says which, and ends with its parent.
"""

import contextlib
import socket
import sys
from collections.abc import Iterator
from http import HTTPStatus
from subprocess import PIPE, Popen
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from thespian.actors import ActorAddress

from callboard.actors.bench.load import BenchFailed
from callboard.actors.messages import QueueFound
from callboard.actors.processes import die_with_parent
from callboard.conf.queue_settings import QueueSettings
from callboard.http.building import Forms
from callboard.http.responses import task_created
from callboard.http.schemas import TaskRequest
from callboard.http.validation import parse_json, read_body, validated

HOST: Final = "127.0.0.1"
MAX_BODY: Final = 2**20
NOOP: Final = "noop"
WORKER: Final = "callboard.actors.bench.tasks:noop"


@contextlib.contextmanager
def bare_starlette() -> Iterator[int]:
    """Run it in a process of its own and yield its port."""
    command = [sys.executable, "-m", "callboard.actors.bench.bare"]
    with Popen(command, stdout=PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.strip().isdecimal():
                raise BenchFailed("bare Starlette did not start")
            yield int(line)
        finally:
            process.kill()


def make_app() -> Starlette:
    """Return the application."""
    settings = QueueSettings(worker=WORKER, concurrency=2)
    found = QueueFound("", NOOP, ActorAddress(None), 0, 0.0, 1, settings, 1)
    forms = Forms()

    async def create_task(request: Request) -> Response:
        wanted = validated(TaskRequest, parse_json(await read_body(request, MAX_BODY)))
        part = forms.build(found, [wanted])
        return task_created(part.tasks[0].id, part.texts()[0], HTTPStatus.CREATED)

    return Starlette(routes=[Route("/api/tasks", create_task, methods=["POST"])])


def main() -> None:
    """Serve until killed."""
    die_with_parent()
    listener = socket.create_server((HOST, 0), backlog=2048)
    print(listener.getsockname()[1], flush=True)  # noqa: T201 - how the parent learns the port
    # The options of callboard.actors.server: what differs would be counted for or against the queue.
    config = uvicorn.Config(
        make_app(), log_config=None, access_log=False, server_header=False, ws="none", proxy_headers=False
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
