"""Fill a queue with waiting tasks through the store's own insert path, while no server runs."""

import time
from collections.abc import Callable
from contextlib import closing
from typing import Final

from callboard.actors.store import Change, Insert, Store
from callboard.actors.submitting import new_task
from callboard.actors.task import NewTask, TaskState
from callboard.conf.queue_settings import QueueSettings

TRANSACTION_TASKS: Final = 10_000


def fill(store: Store, queue: str, tasks: int, stored: Callable[[int], None]) -> None:
    """Store so many available tasks in the queue's order; `stored` is told of each transaction's number of tasks.

    It becomes the queue's owner: a server that runs would be superseded.
    """
    owned, ownership = store.own(queue)
    settings = QueueSettings.model_validate_json(ownership.settings)
    rank = ownership.last_rank
    with closing(owned):
        for start in range(0, tasks, TRANSACTION_TASKS):
            number = min(TRANSACTION_TASKS, tasks - start)
            now = time.time_ns() // 1_000
            inserts = [
                Insert(_task(queue, settings, now), TaskState.AVAILABLE, 0, rank + place) for place in range(1, number + 1)
            ]
            rank += number
            with owned.transaction() as transaction:
                transaction.apply(Change(inserts=inserts))
            stored(number)


def _task(queue: str, settings: QueueSettings, now: int) -> NewTask:
    return new_task(
        queue,
        settings,
        type=None,
        context_json='{"number": 1}',
        priority=None,
        max_retries=None,
        backoff=None,
        timeout_ms=None,
        run_at=0,
        created_by="bench",
        now=now,
    )
