"""Serve a tiny tree under the real supervisor: a Registry that starts two actors, and an application that tells pids.

Run as `python -m tests.support.tiny_tree DATA_DIR PORT [GRACE [SILENCE]]`.
"""

import functools
import logging
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from callboard.actors import processes
from callboard.actors.asking import ask
from callboard.actors.base import CallboardActor, handles
from callboard.actors.messages import (
    RefusalReason,
    Refused,
    RegistryReady,
    ShutDown,
    ShutDownDone,
    StartRegistry,
)
from callboard.actors.server import ServerContext, Serving
from callboard.actors.supervisor import supervise

# isort: split
from thespian.actors import ActorAddress


@dataclass(frozen=True)
class Who:
    request_id: str


@dataclass(frozen=True)
class Us:
    request_id: str
    pids: tuple[int, ...]


class TinyChild(CallboardActor):
    """An actor that does nothing, which in its own process group has started a program that does nothing for long."""

    def __init__(self) -> None:
        super().__init__()
        os.setpgid(0, 0)
        dies_too = functools.partial(processes.die_with_parent, os.getpid())
        self.program = subprocess.Popen(["sleep", "1000"], preexec_fn=dies_too)  # noqa: PLW1509  # no threads here


class TinyRegistry(CallboardActor):
    """What the server expects of a Registry, with two children."""

    @handles(StartRegistry)
    def start(self, message: StartRegistry, sender: ActorAddress) -> None:
        if (Path(message.data_dir) / "die").exists():
            os._exit(1)
        if (Path(message.data_dir) / "refuse").exists():
            self.send(sender, Refused(message.request_id, RefusalReason.FAILED, "told to refuse"))
            return
        self.send(sender, RegistryReady(message.request_id, os.getpid()))
        for number in range(2):
            child = self.spawn(TinyChild, f"child-{number}")
            self.mark_ready(child)

    @handles(Who)
    def who(self, message: Who, sender: ActorAddress) -> None:
        self.send(sender, Us(message.request_id, (os.getpid(), *(child.pid for child in self.children))))

    @handles(ShutDown)
    def shut_down(self, message: ShutDown, sender: ActorAddress) -> None:
        self.send(sender, ShutDownDone(message.request_id, 0))


def make_app(context: ServerContext) -> Starlette:
    def look() -> list[int]:
        with context.actor_system.private() as endpoint:
            reply: Any = ask(endpoint, context.registry, Who(str(time.monotonic())), 5.0)
        return list(reply.pids) if isinstance(reply, Us) else []

    async def pids(_: Request) -> JSONResponse:
        return JSONResponse({"server": os.getpid(), "actors": await run_in_threadpool(look)})

    return Starlette(routes=[Route("/pids", pids)])


def main() -> int:
    logging.basicConfig(format="%(process)d %(name)s %(message)s")
    data_dir, port, grace = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 5.0
    return supervise(
        Serving(
            data_dir=data_dir,
            host="127.0.0.1",
            port=port,
            store_url="memory:",
            grace_seconds=grace,
            silence_seconds=float(sys.argv[4]) if len(sys.argv) > 4 else 2.0,
            registry_class=TinyRegistry,
            make_app=make_app,
        )
    )


if __name__ == "__main__":
    # Under its importable name, because actors are found by their class's module.
    from tests.support import tiny_tree  # noqa: PLW0406

    sys.exit(tiny_tree.main())
