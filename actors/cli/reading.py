"""Read the store of a data directory, whether or not its server runs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from callboard.actors.connection import check_permission, no_server
from callboard.actors.errors import InvalidOption
from callboard.actors.runtime import Runtime
from callboard.actors.store import Store, TaskFilter
from callboard.actors.store.opening import open_store, sqlite_path
from callboard.actors.submitting import nearest
from callboard.actors.task import Task
from callboard.conf.settings import StoreSettings
from callboard.conf.store_url import is_postgres

PAGE: Final = 1_000


@contextmanager
def reading(data_dir: Path) -> Iterator[Store]:
    """Open the store of the server that runs there; if none runs, that of CALLBOARD_STORE__URL or of the data directory.

    Raises `ServerNotRunning` when there is neither a server nor a store, `NotPermitted` when it is somebody else's.
    """
    check_permission(data_dir)
    runtime = Runtime.read(data_dir)
    if runtime is not None:
        url = runtime.store_url
    else:
        template = os.environ.get("CALLBOARD_STORE__URL") or StoreSettings().url
        url = template.replace("{data_dir}", str(data_dir.absolute()))
        # Opening would make it.
        if not is_postgres(url) and not sqlite_path(url).exists():
            raise no_server(data_dir)
    store = open_store(url)
    try:
        yield store
    finally:
        store.close()


def newest(store: Store, chosen: TaskFilter, limit: int) -> list[Task]:
    """Return at most so many tasks, newest first. Raises `InvalidOption` for a queue that the store doesn't know."""
    known = [row.name for row in store.queues()]
    if chosen.queue is not None and chosen.queue not in known:
        raise InvalidOption(f"unknown queue {chosen.queue!r}: {nearest(chosen.queue, known)}", field="queue")
    found: list[Task] = []
    cursor: str | None = None
    while len(found) < limit:
        page = store.page(chosen, min(PAGE, limit - len(found)), cursor)
        found += page.tasks
        cursor = page.next_cursor
        if cursor is None:
            break
    return found
