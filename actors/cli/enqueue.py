"""`callboard enqueue`: submit a task."""

from datetime import timedelta
from typing import Annotated, Any

import typer

from callboard.actors.cli.options import (
    DEFAULT_DATA_DIR,
    AsJson,
    DataDir,
    read_context,
    read_duration,
    read_priority,
)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: callboard enqueue sleep --context '{\"timeout\": 100}' --priority high --wait")(enqueue)


def enqueue(
    queue: Annotated[str, typer.Argument(help="The queue that runs the task.", show_default=False)],
    *,
    context: Annotated[
        Any,
        typer.Option(
            parser=read_context, metavar="JSON", help="What the worker gets, a JSON object; - reads standard input."
        ),
    ] = "{}",
    type_: Annotated[str | None, typer.Option("--type", help="Which of the queue's task types it is.")] = None,
    priority: Annotated[
        int | None, typer.Option(parser=read_priority, metavar="low|high|N", help="Higher numbers run first.")
    ] = None,
    max_retries: Annotated[int | None, typer.Option(min=0, max=99, help="How often it may be tried again.")] = None,
    max_attempts: Annotated[int | None, typer.Option(min=1, max=100, help="The same, with the first one counted.")] = None,
    backoff_ms: Annotated[int | None, typer.Option(min=0, help="The wait before a retry, in milliseconds.")] = None,
    delay: Annotated[
        int | None,
        typer.Option(parser=read_duration, metavar="DURATION", help="Begin no earlier than that from now: 5s, 1h30m."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended; exit code 1 unless it completed.")] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Submit a task and print its id. What is not given is the queue's to choose."""
    from callboard.actors.cli.output import print_json
    from callboard.actors.cli.task_output import print_task
    from callboard.actors.errors import CallboardError
    from callboard.actors.local_client import LocalClient
    from callboard.actors.task import TaskState

    if max_attempts is not None and max_retries not in {None, max_attempts - 1}:
        raise typer.BadParameter("--max-attempts: must be --max-retries + 1 where both are given")
    with LocalClient(data_dir, created_by="cli") as client:
        task = client.enqueue(
            queue,
            context,
            type=type_,
            priority=priority,
            max_retries=max_retries,
            max_attempts=max_attempts,
            backoff_ms=backoff_ms,
            delay=None if delay is None else timedelta(milliseconds=delay),
        )
        if wait:
            task = client.wait(task.id)
    if as_json:
        print_json(task.to_json())
    elif wait:
        print_task(task)
    else:
        print(task.id)
    if task.state in {TaskState.DEAD, TaskState.CANCELLED}:
        raise CallboardError(f"task {task.id} ended {task.state}")
