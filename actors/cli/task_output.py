"""Print tasks."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from callboard.actors.cli.output import print_fields, print_json, print_table, shown
from callboard.actors.options import format_duration, show_priority
from callboard.actors.task import Task, format_time


def print_tasks(tasks: Sequence[Task], *, as_json: bool) -> None:
    """Print many tasks, one a line."""
    if as_json:
        print_json([task.to_json() for task in tasks])
        return
    columns = ("id", "queue", "type", "state", "priority", "attempt", "created", "finished", "last error")
    print_table(columns, (_row(task) for task in tasks))


def print_task(task: Task) -> None:
    """Print one task with everything that happened to it."""
    backoff = task.backoff
    print_fields(
        {
            "id": task.id,
            "queue": task.queue,
            "type": task.type or None,
            "state": task.state,
            "priority": show_priority(task.priority),
            "context": task.context,
            "attempt": task.attempt,
            "max_retries": task.max_retries,
            "backoff": f"{backoff.strategy} {format_duration(backoff.base_ms)}",
            "timeout": format_duration(task.timeout_ms),
            "created_at": format_time(task.created_at),
            "created_by": task.created_by or None,
            "run_at": format_time(task.run_at),
            "started_at": None if task.started_at is None else format_time(task.started_at),
            "finished_at": None if task.finished_at is None else format_time(task.finished_at),
            "result": task.result,
            "meta": task.meta or None,
        }
    )
    if task.errors:
        print("errors:")
        _print_errors(task.errors)
    if task.logs:
        print("logs:")
        _print_logs(task.logs, "  ")


def _row(task: Task) -> Sequence[object]:
    last = task.errors[-1] if task.errors else None
    return (
        task.id,
        task.queue,
        task.type,
        task.state,
        show_priority(task.priority),
        f"{task.attempt}/{task.max_retries + 1}",
        format_time(task.created_at),
        None if task.finished_at is None else format_time(task.finished_at),
        textwrap.shorten(f"{last['kind']}: {last['message']}", 100) if last else None,
    )


def _print_errors(errors: Iterable[dict[str, Any]]) -> None:
    for error in errors:
        charged = "" if error.get("charged", True) else ", not charged"
        ended = f", exit {error['exit']}" if "exit" in error else ""
        print(f"  attempt {error['attempt']} at {error['at']}: {error['kind']}{ended}{charged}")
        print(textwrap.indent(shown(error["message"]), "    "))
        if error.get("traceback"):
            print(textwrap.indent(shown(error["traceback"]).rstrip(), "      "))
        if error.get("logs"):
            print("    logs:")
            _print_logs(error["logs"], "      ")


def _print_logs(lines: Iterable[str], indent: str) -> None:
    for line in lines:
        print(textwrap.indent(shown(line), indent))
