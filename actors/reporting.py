"""Write a report in a process of its own: `python -m callboard.actors.reporting`, JSON in and out.

A worker must not open the store itself. It is forked from a Queue that has the database open, and with the memory it
inherits SQLite's own book of locks: a second connection to the same file there would believe in locks it does not have.
"""

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from callboard.actors import history
from callboard.actors.private_files import private_file
from callboard.actors.store.opening import open_store


def run_report(request: dict[str, Any]) -> dict[str, Any]:
    """Have `write_report` run in a fresh process and return its answer. Raises ValueError with what it says is wrong."""
    command = [sys.executable, "-m", __spec__.name if __name__ == "__main__" else __name__]
    done = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ValueError(done.stderr.strip().rpartition("\n")[2] or f"the report ended with exit code {done.returncode}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def write_report(request: dict[str, Any]) -> dict[str, Any]:
    """Write both files; return where they are and how many tasks they list.

    `request`: store_url, folder, name (of the files, after the queue's), report_type, own_queue, limit.
    """
    folder = Path(request["folder"])
    with closing(open_store(request["store_url"])) as store:
        title, queue = _report_on(request["report_type"], request["own_queue"], {row.name for row in store.queues()})
        table, page = (folder / f"{queue}-{request['name']}.{ending}" for ending in ("csv", "html"))
        with private_file(table) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
            summary = history.write_table(history.newest_tasks(store, queue, request["limit"]), file)
    with private_file(page) as unfinished:
        unfinished.write_text(history.page(title, queue, summary), encoding="utf-8")
    return {"csv": str(table), "html": str(page), "queue": queue, "rows": summary.tasks}


def _report_on(report_type: Any, own_queue: str, known: set[str]) -> tuple[str, str]:
    """Return the report's title and its queue. Raises ValueError for a queue that isn't there."""
    match report_type:
        case {"queue": str(queue)} if queue in known:
            return f"Queue {queue}", queue
        case {"queue": queue}:
            raise ValueError(f"reportType.queue: unknown queue {queue!r}, known are {', '.join(sorted(known))}")
        case str(queue) if queue in known:
            return f"Queue {queue}", queue
        case str(title):
            return title, own_queue
        case other:
            raise ValueError(f'reportType must be a text or {{"queue": name}}, not {other!r}')


if __name__ == "__main__":
    try:
        json.dump(write_report(json.load(sys.stdin)), sys.stdout)
    except ValueError as error:
        sys.exit(str(error))
