"""Write queues and workers in their public form, the same over HTTP and on the command line."""

from collections.abc import Mapping
from typing import Any

from callboard.actors.messages import QueueStatus, WorkerStatus
from callboard.actors.store import QueueRow
from callboard.actors.task import TaskState
from callboard.conf.settings import QueueSettings


def queue_shown(status: QueueStatus) -> dict[str, Any]:
    """Return the public form of a queue that has a live owner; durations in its settings are texts."""
    return {
        "name": status.name,
        "state": status.state,
        "why": status.why,
        "counts": counts_shown(status.counts),
        "running": status.running,
        "leased": status.leased,
        "oldest_age_ms": status.oldest_age_ms,
        "utilisation": round(status.utilisation, 4),
        "rates": {
            "submitted": round(status.submitted_rate, 3),
            "completed": round(status.completed_rate, 3),
            "failed": round(status.failed_rate, 3),
        },
        "workers": [worker_shown(worker, status.name) for worker in status.workers],
        "settings": status.settings.model_dump(mode="json"),
        "pid": status.pid,
    }


def queue_down_shown(
    name: str,
    why: str,
    counts: Mapping[TaskState, int] | None = None,
    settings: QueueSettings | None = None,
    *,
    standby: bool = False,
) -> dict[str, Any]:
    """Return the public form of a queue whose owner can't be asked: what the store knows of it, and why.

    standby: another server owns it.
    """
    return {
        "name": name,
        "state": "standby" if standby else "degraded",
        "why": why,
        "counts": counts_shown(counts or {}),
        "running": 0,
        "leased": 0,
        "oldest_age_ms": None,
        "utilisation": 0.0,
        "rates": {"submitted": 0.0, "completed": 0.0, "failed": 0.0},
        "workers": [],
        "settings": None if settings is None else settings.model_dump(mode="json"),
        "pid": None,
    }


def queue_asleep_shown(row: QueueRow, counts: Mapping[TaskState, int] | None) -> dict[str, Any]:
    """Return the public form of a queue that has nothing to do and so no process: the store knows all of it."""
    settings = QueueSettings.model_validate_json(row.settings)
    shown = queue_down_shown(row.name, "", counts, settings)
    return shown | {"state": "paused" if row.paused else "idle"}


def counts_shown(counts: Mapping[TaskState, int]) -> dict[str, int]:
    """Return the number of tasks in every state, those without any too."""
    return {state.value: counts.get(state, 0) for state in TaskState}


def worker_shown(worker: WorkerStatus, queue: str) -> dict[str, Any]:
    """Return the public form of a worker; ages in milliseconds, memory (RSS) in bytes."""
    return {
        "name": worker.name,
        "queue": queue,
        "pid": worker.pid,
        "state": worker.state,
        "task": worker.task,
        "task_age_ms": worker.task_age_ms,
        "memory": worker.memory,
        "tasks_done": worker.tasks_done,
        "running": worker.running,
        "launched": worker.launched,
    }
