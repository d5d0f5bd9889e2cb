"""`callboard dead`: look at the dead letter, put tasks back, or delete them."""

import sys
from typing import Annotated

import typer

from callboard.actors.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir
from callboard.actors.cli.tasks import DEFAULT_LIMIT, Limit

SomeIds = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Only these.", show_default=False)]
OfQueue = Annotated[str | None, typer.Option("--queue", help="Only those of this queue.")]
All = Annotated[bool, typer.Option("--all", help="All of them.")]


def add_to(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        name="dead",
        help="Look after the tasks that have failed for good.",
    )
    group.command("list", epilog="Example: callboard dead list --queue default")(list_dead)
    group.command("retry", epilog="Example: callboard dead retry --queue default")(retry_dead)
    group.command("purge", epilog="Example: callboard dead purge --all --yes")(purge_dead)
    app.add_typer(group)


def list_dead(
    queue: OfQueue = None, limit: Limit = DEFAULT_LIMIT, data_dir: DataDir = DEFAULT_DATA_DIR, as_json: AsJson = False
) -> None:
    """List dead tasks, newest first. Reads the store, so it also works while no server runs."""
    from callboard.actors.cli.reading import newest, reading
    from callboard.actors.cli.task_output import print_tasks
    from callboard.actors.store import TaskFilter
    from callboard.actors.task import TaskState

    with reading(data_dir) as store:
        found = newest(store, TaskFilter(queue, TaskState.DEAD), limit)
    print_tasks(found, as_json=as_json)


def retry_dead(
    ids: SomeIds = None,
    *,
    queue: OfQueue = None,
    everything: All = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Put dead tasks back into their queues with a fresh budget: some, a queue's, or all."""
    from callboard.actors.dead_tasks import DeadTasks
    from callboard.actors.local_client import LocalClient

    _only_one_of(ids, queue, everything)
    ids = _normal(ids)
    with LocalClient(data_dir) as client:
        if queue is not None:
            client.control.find(queue)  # a misspelt name must not look like a queue without dead tasks
        matched, changed = DeadTasks(client.connection).retry(ids, queue)
    _report(matched, changed, "put back", missing=_missing(ids, matched), as_json=as_json)


def purge_dead(
    ids: SomeIds = None,
    *,
    queue: OfQueue = None,
    everything: All = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Delete dead tasks for ever: some, a queue's, or all. Asks first when typed at a terminal."""
    from callboard.actors.dead_tasks import DeadTasks
    from callboard.actors.errors import CallboardError
    from callboard.actors.local_client import LocalClient

    _only_one_of(ids, queue, everything)
    ids = _normal(ids)
    with LocalClient(data_dir) as client:
        if queue is not None:
            client.control.find(queue)
        dead = DeadTasks(client.connection)
        question = f"Delete {dead.count(ids, queue)} dead tasks for ever?"
        if sys.stdin.isatty() and not yes and not typer.confirm(question, err=True):
            raise CallboardError("nothing was deleted")
        matched, changed = dead.purge(ids, queue)
    _report(matched, changed, "deleted", missing=_missing(ids, matched), as_json=as_json)


def _only_one_of(ids: list[str] | None, queue: str | None, everything: bool) -> None:
    if (ids is not None) + (queue is not None) + everything != 1:
        raise typer.BadParameter("say which: some ids, --queue NAME, or --all")


def _normal(ids: list[str] | None) -> list[str] | None:
    """Return ids as the store has them; what can't be one stays, to be missed."""
    from callboard.actors.task_ids import normal_id

    return None if ids is None else [normal_id(text) or text for text in ids]


def _missing(ids: list[str] | None, matched: int) -> int:
    return len(set(ids)) - matched if ids else 0


def _report(matched: int, changed: int, done: str, *, missing: int, as_json: bool) -> None:
    from callboard.actors.cli.output import print_json
    from callboard.actors.errors import CallboardError

    if as_json:
        print_json({"matched": matched, "changed": changed})
    else:
        print(f"{changed} dead task{'' if changed == 1 else 's'} {done}")
    if missing:
        raise CallboardError(f"{missing} of the ids {'is' if missing == 1 else 'are'} not of a dead task")
