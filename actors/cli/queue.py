"""`callboard queue`: make, change, steer and delete one queue."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from callboard.actors.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir, QueueName

if TYPE_CHECKING:
    from callboard.actors.control import Control
    from callboard.actors.messages import QueueStatus


def add_to(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(name="queue", help="Make, change, steer and delete queues.")
    group.command(epilog="Example: callboard queue create reports --worker shop.tasks:Report --set timeout=5m")(create)
    group.command(epilog="Example: callboard queue pause reports")(pause)
    group.command(epilog="Example: callboard queue resume reports")(resume)
    group.command(epilog="Example: callboard queue scale reports 8")(scale)
    group.command(epilog="Example: callboard queue drain reports")(drain)
    group.command(epilog="Example: callboard queue delete reports --force")(delete)
    app.add_typer(group)


def create(
    name: QueueName,
    *,
    worker: Annotated[str, typer.Option(metavar="MODULE:NAME", help="The function or class that runs its tasks.")] = "",
    concurrency: Annotated[int | None, typer.Option(min=0, help="How many tasks run at once.", show_default="3")] = None,
    options: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other option of a queue; backoff.base=2s reaches inside."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Give a queue that exists these settings instead.")] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Create a queue while the server runs; it survives a restart."""
    from callboard.actors.cli.output import print_json
    from callboard.actors.cli.queue_options import read_settings
    from callboard.actors.errors import CallboardError
    from callboard.actors.local_client import LocalClient
    from callboard.conf.worker_paths import check_workers, taught_by_looking

    settings = read_settings(name, worker, concurrency, options or [])
    with LocalClient(data_dir) as client:
        if not replace and name in client.control.names().names:
            raise CallboardError(f"queue {name!r} exists already: --replace gives it these settings")
        if problems := check_workers({name: settings}):
            raise CallboardError(problems[0])
        # A queue that runs already takes the next task with what its new workers say of it.
        settings = taught_by_looking(settings)
        created = client.control.put(name, settings)
    if as_json:
        print_json({"name": name, "created": created, "settings": settings.model_dump(mode="json")})
    else:
        print(f"queue {name} {'created' if created else 'changed'}")


def pause(name: QueueName, data_dir: DataDir = DEFAULT_DATA_DIR, as_json: AsJson = False) -> None:
    """Have a queue begin nothing more, until resumed.

    What runs goes on, and new tasks are accepted. Survives a restart.
    """
    _command(data_dir, lambda control: control.pause(name), as_json=as_json)


def resume(name: QueueName, data_dir: DataDir = DEFAULT_DATA_DIR, as_json: AsJson = False) -> None:
    """End a pause or a drain."""
    _command(data_dir, lambda control: control.resume(name), as_json=as_json)


def drain(name: QueueName, data_dir: DataDir = DEFAULT_DATA_DIR, as_json: AsJson = False) -> None:
    """Have a queue only work off what it has.

    It accepts no more tasks until it is resumed or the server restarted.
    """
    _command(data_dir, lambda control: control.drain(name), as_json=as_json)


def scale(
    name: QueueName,
    concurrency: Annotated[int, typer.Argument(min=0, max=10_000, metavar="N", help="Tasks at once.", show_default=False)],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Change how many of its tasks run at once.

    Survives a restart.
    """
    _command(data_dir, lambda control: control.scale(name, concurrency), as_json=as_json)


def delete(
    name: QueueName,
    force: Annotated[bool, typer.Option("--force", help="Even if it has tasks that are unfinished or dead.")] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Delete a queue with all its tasks.

    Only one without unfinished or dead tasks, unless forced.
    """
    from callboard.actors.cli.output import print_json
    from callboard.actors.local_client import LocalClient

    with LocalClient(data_dir) as client:
        gone = client.control.delete(name, force=force)
    if as_json:
        print_json({"name": name, "tasks": gone})
    else:
        print(f"queue {name} deleted, with {gone} task{'' if gone == 1 else 's'}")


def _command(data_dir: Path, command: "Callable[[Control], QueueStatus]", *, as_json: bool) -> None:
    from callboard.actors.cli.output import print_json
    from callboard.actors.cli.queues import print_queues
    from callboard.actors.local_client import LocalClient
    from callboard.actors.showing import queue_shown

    with LocalClient(data_dir) as client:
        found = queue_shown(command(client.control))
    if as_json:
        print_json(found)
    else:
        print_queues([found])
