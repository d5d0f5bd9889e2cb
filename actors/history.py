"""Write a queue's history as a table for spreadsheets and as a page for people."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html import escape
from typing import Final, TextIO

from callboard.actors.options import format_duration, show_priority
from callboard.actors.store import Store, TaskFilter
from callboard.actors.task import Task, format_time

SHOWN_TASKS: Final = 1_000
"""So many tasks stand in the page; all of them are in the table."""

COLUMNS: Final = (
    "id",
    "type",
    "state",
    "priority",
    "attempts",
    "created_at",
    "started_at",
    "finished_at",
    "run_ms",
    "error",
)
_PAGE_TASKS: Final = 1_000
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

_STYLE: Final = (
    "body{font:15px sans-serif;margin:2em}table{border-collapse:collapse}"
    "th,td{border:1px solid #ccc;padding:.2em .6em;text-align:left}"
)


@dataclass(slots=True)
class Summary:
    """What was written: how many tasks, how many in each state, how long their last attempts ran, the newest rows."""

    tasks: int = 0
    states: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    run_ms: int = 0
    longest_ms: int = 0
    newest: list[list[str]] = field(default_factory=list)


def newest_tasks(store: Store, queue: str, limit: int) -> Iterator[Task]:
    """Yield the queue's tasks, newest first, at most `limit`; reads a page at a time."""
    cursor: str | None = None
    while limit > 0:
        page = store.page(TaskFilter(queue=queue), min(limit, _PAGE_TASKS), cursor)
        yield from page.tasks
        limit -= len(page.tasks)
        cursor = page.next_cursor
        if cursor is None:
            return


def write_table(tasks: Iterable[Task], file: TextIO) -> Summary:
    """Write one line of CSV for each task, and return what the page needs. Memory doesn't grow with the tasks."""
    summary = Summary()
    lines = csv.writer(file)
    lines.writerow(COLUMNS)
    for task in tasks:
        run_ms = None
        if task.started_at is not None and task.finished_at is not None:
            run_ms = max(0, task.finished_at - task.started_at) // 1_000
            summary.runs += 1
            summary.run_ms += run_ms
            summary.longest_ms = max(summary.longest_ms, run_ms)
        row = _row(task, run_ms)
        # A spreadsheet runs a cell that begins like a formula, and an error's text may come from anywhere.
        lines.writerow([f"'{cell}" if cell.startswith(_FORMULA) and not _is_number(cell) else cell for cell in row])
        summary.tasks += 1
        summary.states[str(task.state)] += 1
        if len(summary.newest) < SHOWN_TASKS:
            summary.newest.append(row)
    return summary


def page(title: str, queue: str, summary: Summary) -> str:
    """Return the report as one HTML page that needs nothing from elsewhere."""
    states = ", ".join(f"{count} {state}" for state, count in sorted(summary.states.items())) or "none"
    facts = f"<p>Queue {escape(queue)}: {summary.tasks} tasks ({states}).</p>"
    if summary.runs:
        mean, longest = (format_duration(ms) for ms in (summary.run_ms // summary.runs, summary.longest_ms))
        facts += f"<p>{summary.runs} tasks have ended after a run: {mean} on average, {longest} at most.</p>"
    if summary.tasks > len(summary.newest):
        facts += f"<p>The newest {len(summary.newest)} are listed; the table beside this page has all.</p>"
    rows = "\n".join(_html_row("td", row) for row in summary.newest)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{escape(title)}</h1>{facts}\n"
        f"<table><thead>{_html_row('th', COLUMNS)}</thead>\n<tbody>{rows}</tbody></table></body></html>\n"
    )


def _row(task: Task, run_ms: int | None) -> list[str]:
    times = (task.created_at, task.started_at, task.finished_at)
    return [
        task.id,
        task.type,
        str(task.state),
        str(show_priority(task.priority)),
        str(task.attempt),
        *("" if time is None else format_time(time) for time in times),
        "" if run_ms is None else str(run_ms),
        str(task.errors[-1].get("message", "")) if task.errors else "",
    ]


def _is_number(cell: str) -> bool:
    return cell.removeprefix("-").isdecimal()


def _html_row(tag: str, cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"
