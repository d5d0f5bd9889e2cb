"""For the tests of those who write workers: run a task, or a whole queue, in this process and without a server.

    def test_a_picture_is_resized():
        assert perform(resize, {"url": "a.png"}).result == {"width": 100}

    def test_a_broken_picture_is_given_up_after_its_retries():
        queue = Queue(resize, max_retries=2)
        task = queue.enqueue({"url": "broken.png"})
        queue.drain()
        assert queue.get(task.id).state == "dead"

What decides and what stores is the same as in a server, over a store in memory. The waits for a backoff or a due time take
no time. Timeouts are not kept, and a handler that ends its process ends the test's.
"""

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from callboard.actors.handler_loading import handler_of
from callboard.actors.messages import RunTask
from callboard.actors.queue_in_process import Queue, context_of, keeping_logs
from callboard.actors.runners.call import CallRunner

__all__ = ["Performed", "Queue", "perform"]


@dataclass(frozen=True)
class Performed:
    """How an attempt ended: well with `result`, or not, for what `message` says; `kind` is as in a task's errors."""

    completed: bool
    result: Any = None
    kind: str = ""
    message: str = ""
    traceback: str | None = None
    discarded: bool = False
    logs: list[str] = field(default_factory=list)


def perform(
    worker: Any,
    context: Mapping[str, Any] | None = None,
    *,
    attempt: int = 1,
    max_retries: int = 3,
    timeout_seconds: float = 60.0,
    strict: bool = False,
    data_dir: Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Performed:
    """Run one attempt of a worker (a function or a class), with its hooks, and say how it ended, whatever it raises.

    context: goes through JSON, as in a server. settings: what `[samples]` says in a server's configuration.
    """
    task = RunTask(
        "00000000-0000-7000-8000-000000000000",
        "test",
        json.dumps({} if context is None else dict(context), allow_nan=False),
        attempt,
        max_retries,
        round(timeout_seconds * 1_000),
    )
    with keeping_logs() as logs, closing(CallRunner(handler_of(worker, repr(worker)), strict=strict)) as runner:
        lines = logs.begin(0, 0)
        outcome = runner.run(context_of(task, "test", data_dir, settings))
    if outcome.completed:
        return Performed(completed=True, result=json.loads(outcome.payload), logs=lines.as_list())
    said = json.loads(outcome.payload)
    return Performed(
        completed=False,
        kind=said["kind"],
        message=said["message"],
        traceback=said["traceback"],
        discarded=said["discard"],
        logs=lines.as_list(),
    )
