"""`callboard tasks`, `show`, `retry` and `cancel`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from callboard.actors.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir, TaskIds
from callboard.actors.task import TaskState

if TYPE_CHECKING:
    from callboard.actors.task import Task

Limit = Annotated[int, typer.Option(min=1, help="How many at most.")]
DEFAULT_LIMIT = 50


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: callboard tasks --queue sleep --state dead --limit 20")(tasks)
    app.command(epilog="Example: callboard show 0199f1c2-7a4e-7c01-9b0e-3c4f8d2a6e15")(show)
    app.command(epilog="Example: callboard retry 0199f1c2-7a4e-7c01-9b0e-3c4f8d2a6e15 --keep-attempts")(retry)
    app.command(epilog="Example: callboard cancel 0199f1c2-7a4e-7c01-9b0e-3c4f8d2a6e15")(cancel)


def tasks(
    queue: Annotated[str | None, typer.Option(help="Only tasks of this queue.")] = None,
    state: Annotated[TaskState | None, typer.Option(help="Only tasks in this state.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """List tasks, newest first. Reads the store, so it also works while no server runs."""
    from callboard.actors.cli.reading import newest, reading
    from callboard.actors.cli.task_output import print_tasks
    from callboard.actors.store import TaskFilter

    with reading(data_dir) as store:
        found = newest(store, TaskFilter(queue, state), limit)
    print_tasks(found, as_json=as_json)


def show(
    task_id: Annotated[str, typer.Argument(metavar="ID", help="The task's id.", show_default=False)],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Print one task with all its attempts. Reads the store, so it also works while no server runs."""
    from callboard.actors.cli.output import print_json
    from callboard.actors.cli.reading import reading
    from callboard.actors.cli.task_output import print_task
    from callboard.actors.errors import TaskNotFound
    from callboard.actors.task_ids import existing_id

    with reading(data_dir) as store:
        task = store.get(existing_id(task_id))
    if task is None:
        raise TaskNotFound(task_id)
    if as_json:
        print_json(task.to_json())
    else:
        print_task(task)


def retry(
    ids: TaskIds,
    keep_attempts: Annotated[
        bool,
        typer.Option(
            "--keep-attempts",
            help="Go on counting attempts where they were; the budget of retries is fresh either way.",
        ),
    ] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Put ended tasks back into their queues.

    A dead, cancelled or completed task gets a fresh budget of retries and joins the back of its queue.
    """
    from callboard.actors.local_client import LocalClient

    with LocalClient(data_dir) as client:
        _each(ids, lambda task_id: client.retry(task_id, keep_attempts=keep_attempts), as_json=as_json)


def cancel(ids: TaskIds, data_dir: DataDir = DEFAULT_DATA_DIR, as_json: AsJson = False) -> None:
    """Cancel tasks; one that runs is killed."""
    from callboard.actors.local_client import LocalClient

    with LocalClient(data_dir) as client:
        _each(ids, client.cancel, as_json=as_json)


def _each(ids: list[str], change: Callable[[str], "Task"], *, as_json: bool) -> None:
    """Change each task, print what became of it, and fail in the end if any could not be changed."""
    from callboard.actors.cli.output import print_json
    from callboard.actors.errors import CallboardError, TaskNotFound, WrongState

    reports: list[dict[str, object]] = []
    for task_id in ids:
        try:
            reports.append({"id": task_id, "changed": True, "state": change(task_id).state})
        except (TaskNotFound, WrongState) as error:
            state = error.state if isinstance(error, WrongState) else None
            reports.append({"id": task_id, "changed": False, "state": state, "error": str(error)})
    if as_json:
        print_json(reports)
    else:
        for report in reports:
            print(
                f"{report['id']} {report['state']}" if report["changed"] else f"{report['id']} unchanged: {report['error']}"
            )
    if failed := sum(not report["changed"] for report in reports):
        raise CallboardError(f"{failed} of {len(ids)} tasks could not be changed")
