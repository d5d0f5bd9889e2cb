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

from callboard.actors.bench.load import BenchFailed
from callboard.actors.processes import die_with_parent
from callboard.actors.submitting import context_text, new_task, task_shown
from callboard.conf.queue_settings import QueueSettings
from callboard.http.responses import data_response
from callboard.http.schemas import NO_OPTIONS, TaskRequest, microseconds_now
from callboard.http.validation import parse_json, read_body, validated

HOST: Final = "127.0.0.1"
MAX_BODY: Final = 2**20
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
    backoff = settings.backoff.to_backoff()

    async def create_task(request: Request) -> Response:
        wanted = validated(TaskRequest, parse_json(await read_body(request, MAX_BODY)))
        now = microseconds_now()
        options = wanted.options or NO_OPTIONS
        task = new_task(
            wanted.queue,
            settings,
            type=wanted.type,
            context_json=context_text(wanted.context),
            priority=options.priority,
            max_retries=options.retries(),
            backoff=options.backoff_over(backoff),
            timeout_ms=options.timeout_ms,
            run_at=options.due(now),
            created_by="http",
            now=now,
        )
        shown = task_shown(task, wanted.queue, wanted.context)
        return data_response(shown, HTTPStatus.CREATED, {"Location": f"/api/tasks/{task.id}"})

    return Starlette(routes=[Route("/api/tasks", create_task, methods=["POST"])])


def main() -> None:
    """Serve until killed."""
    die_with_parent()
    listener = socket.create_server((HOST, 0), backlog=2048)
    print(listener.getsockname()[1], flush=True)  # noqa: T201 - how the parent learns the port
    # The options of callboard.actors.server: what differs would be counted for or against the queue.
    config = uvicorn.Config(make_app(), log_config=None, access_log=False, server_header=False, ws="none")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
