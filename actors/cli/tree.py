"""`callboard tree`: all processes of a server, as they hang together."""

from typing import TYPE_CHECKING, Any

import typer

from callboard.actors.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir

if TYPE_CHECKING:
    from rich.tree import Tree

    from callboard.actors.local_client import LocalClient
    from callboard.actors.runtime import Runtime


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: callboard tree --data-dir ./var")(tree)


def tree(data_dir: DataDir = DEFAULT_DATA_DIR, as_json: AsJson = False) -> None:
    """Show the server's processes.

    Each with its pid, its state and its memory, a worker with what it is doing.
    """
    from callboard.actors.cli.output import print_json
    from callboard.actors.local_client import LocalClient

    with LocalClient(data_dir) as client:
        found = _found(client.connection.runtime, _events(client), client.queues())
    if as_json:
        print_json(found)
    else:
        _print(found)


def _events(client: "LocalClient") -> int | None:
    """Return the pid of the Events actor, None while it is being started."""
    from callboard.actors.errors import RequestRefused

    try:
        return client.control.events().pid
    except RequestRefused:
        return None


def _found(runtime: "Runtime", events: int | None, queues: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the processes by role; each queue with its workers."""
    roles = {role: _process(ident.pid) for role, ident in runtime.pids.items()}
    return roles | {"events": _process(events), "queues": [_queue(queue) for queue in queues]}


def _queue(queue: dict[str, Any]) -> dict[str, Any]:
    chosen = {name: queue[name] for name in ("name", "state", "why", "running", "workers")}
    return chosen | _process(queue["pid"])


def _process(pid: int | None) -> dict[str, Any]:
    """Return a process's pid and resident memory, None for what can't be seen."""
    import psutil

    try:
        return {"pid": pid, "memory": None if pid is None else psutil.Process(pid).memory_info().rss}
    except psutil.Error:
        return {"pid": pid, "memory": None}


def _print(found: dict[str, Any]) -> None:
    import sys

    from rich.console import Console

    from callboard.actors.cli.output import WIDE

    nobody = {"pid": None, "memory": None}
    root = _tree("supervisor", found.get("supervisor", nobody))
    undertaker = root.add(_tree("undertaker", found.get("undertaker", nobody)))
    server = undertaker.add(_tree("server", found.get("server", nobody)))
    # By origin the admin is a child of the server; it has made the logger and the Registry.
    admin = server.add(_tree("admin", found.get("admin", nobody)))
    admin.add(_tree("logger", found.get("logger", nobody)))
    registry = admin.add(_tree("registry", found.get("registry", nobody)))
    registry.add(_tree("events", found["events"]))
    for queue in found["queues"]:
        why = f" ({queue['why']})" if queue["why"] else ""
        branch = registry.add(_tree(f"queue {queue['name']}", queue, queue["state"] + why))
        for worker in queue["workers"]:
            branch.add(_tree(f"worker {worker['name']}", worker, _doing(worker)))
    Console(width=None if sys.stdout.isatty() else WIDE).print(root)


def _tree(name: str, process: dict[str, Any], state: str = "") -> "Tree":
    from rich.text import Text
    from rich.tree import Tree

    from callboard.actors.cli.output import memory, shown

    parts = [f"pid {process['pid']}" if process["pid"] else "no process", state, memory(process["memory"]) or ""]
    line = Text(shown(name), style="bold")
    return Tree(line.append("  " + "  ".join(shown(part) for part in parts if part), style="not bold"))


def _doing(worker: dict[str, Any]) -> str:
    from callboard.actors.cli.output import duration

    if not worker["task"]:
        return str(worker["state"])
    others = f" and {worker['running'] - 1} more" if worker["running"] > 1 else ""
    process = f", in process {worker['launched']}" if worker["launched"] else ""
    return f"{worker['state']} with {worker['task']} for {duration(worker['task_age_ms'])}{process}{others}"
