"""The SQLite store as everybody uses it: reads past the actors, and the definitions of queues."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from callboard.actors.errors import QueueBeingDeleted, QueueNotEmpty
from callboard.actors.store import Ownership, QueueRow
from callboard.actors.store import definitions as sql
from callboard.actors.store.migrating import migrate_sqlite
from callboard.actors.store.moving import is_empty
from callboard.actors.store.rows import queue_row
from callboard.actors.store.sqlite_clearing import SqliteClearing
from callboard.actors.store.sqlite_connection import connect, make_private, opening_errors, store_errors
from callboard.actors.store.sqlite_owner import DatabaseFile, SqliteQueueStore, counted
from callboard.actors.store.sqlite_reader import SqliteReader
from callboard.actors.store.sqlite_transaction import written
from callboard.actors.store.statements import COUNTS
from callboard.actors.store.turn import WAIT_SECONDS, Turn


class SqliteStore(SqliteReader):
    """A store in one file. Reads may come from any thread; `own` and what writes from one at a time.

    Making one creates the file, its tables, or brings them up to date. `migrated`: whether there was anything to do.
    """

    def __init__(self, path: Path, *, clock: Callable[[], int], turn_seconds: float = WAIT_SECONDS) -> None:
        super().__init__(path)
        self._clock = clock
        with opening_errors(path):
            make_private(path)
            self._turn = Turn(Path(f"{path}.turn"), turn_seconds)
        self.migrated = migrate_sqlite(path, self._turn)

    def own(self, queue: str) -> tuple[SqliteQueueStore, Ownership]:
        """Become the queue's owner. Raises KeyError when the queue is not in the store."""
        with store_errors(self._path):
            connection = connect(self._path, writes=True)
            try:
                with self._turn.taken(), written(connection):
                    owned, ownership = self._own(connection, queue)
            except BaseException:
                connection.close()
                raise
        return owned, ownership

    def _own(self, connection: sqlite3.Connection, queue: str) -> tuple[SqliteQueueStore, Ownership]:
        incarnation: int = connection.execute(sql.NEXT_INCARNATION.sql).fetchall()[0][0]
        rows = connection.execute(sql.BECOME_OWNER.sql, (incarnation, queue)).fetchall()
        if not rows:
            raise KeyError(queue)
        numbers = connection.execute(COUNTS.sql, (queue,)).fetchone()
        paused, settings, version = rows[0]
        ownership = Ownership(
            incarnation=incarnation,
            last_rank=numbers[-2],
            last_hand_out=numbers[-1],
            counts=counted(numbers),
            paused=bool(paused),
            settings=settings,
            settings_version=version,
        )
        file = DatabaseFile(self._path, self._turn, self._clock)
        return SqliteQueueStore(connection, file, queue, incarnation), ownership

    def put_queue(self, name: str, settings: str, configured: str, now: int) -> QueueRow:
        """Create a queue or replace its settings. Raises `QueueBeingDeleted` while the name is not free."""
        with self._connected() as connection, self._turn.taken(), written(connection):
            values = {"name": name, "settings": settings, "configured": configured, "created_at": now}
            rows = connection.execute(sql.PUT_QUEUE.sql, sql.PUT_QUEUE.bind(**values)).fetchall()
            if not rows:
                raise QueueBeingDeleted(name)
            connection.execute(sql.PUT_COUNTS.sql, (name,))
        return queue_row(rows[0])

    def delete_queue(self, name: str, *, only_empty: bool = False) -> int:
        """Mark the queue as deleted and return how many tasks it had; `clear_deleted` removes them.

        Raises KeyError when the queue is not in the store, `QueueNotEmpty` where that matters.
        """
        with self._connected() as connection, self._turn.taken(), written(connection):
            if not connection.execute(sql.MARK_DELETED.sql, (name,)).rowcount:
                raise KeyError(name)
            numbers = counted(connection.execute(COUNTS.sql, (name,)).fetchone())
            if only_empty and not is_empty(numbers):
                raise QueueNotEmpty(name)
        return sum(numbers.values())

    def clear_deleted(self, seconds: float) -> bool:
        """Remove what is left of deleted queues, for about so long, and tell whether nothing is left of any."""
        with self._connected() as connection:
            return SqliteClearing(connection, self._turn, seconds).work()

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with store_errors(self._path), closing(connect(self._path, writes=True)) as connection:
            yield connection
