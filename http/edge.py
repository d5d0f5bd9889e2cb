"""What every route works with: the gateway to the actors, and the store for reading."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, ParamSpec, TypeVar, cast

from starlette.requests import Request

from callboard.actors.store import Store
from callboard.conf.settings import Settings
from callboard.http.bell import Bell
from callboard.http.building import Forms
from callboard.http.event_tap import EventTap
from callboard.http.first_use import FirstUse
from callboard.http.gateway import Gateway
from callboard.http.waiting import Watcher

LIGHT_TASKS: Final = 1_000
"""A few milliseconds' work; on its way into a thread and back it would cost more than it holds up others."""
TASK_BYTES: Final = 50
"""The least that a task takes in a request, roughly."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Edge:
    """Reads go straight to the store, past the actors, in threads of their own."""

    settings: Settings
    gateway: Gateway
    store: Store
    watcher: Watcher
    bell: Bell
    readers: ThreadPoolExecutor
    events: EventTap
    forms: Forms = field(default_factory=Forms)
    first_use: FirstUse = field(default_factory=FirstUse)

    async def read(self, question: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        """Ask the store (or anything else that blocks) in a reader thread."""
        return await asyncio.get_running_loop().run_in_executor(self.readers, lambda: question(*args, **kwargs))

    async def compute(
        self, tasks: int, job: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """Do what takes time in proportion to so many tasks: many in a thread, where the loop can go on beside it."""
        if tasks <= LIGHT_TASKS:
            return job(*args, **kwargs)
        return await asyncio.to_thread(job, *args, **kwargs)


def edge_of(request: Request) -> Edge:
    """Return the edge of the application that serves this request."""
    return cast("Edge", request.app.state.edge)
