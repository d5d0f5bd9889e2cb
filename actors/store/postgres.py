"""The PostgreSQL store as everybody uses it: reads past the actors, and the definitions of queues."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from callboard.actors.errors import OwnedElsewhere, QueueNotEmpty
from callboard.actors.store import Ownership, QueueRow
from callboard.actors.store import postgres_statements as sql
from callboard.actors.store.columns import texts
from callboard.actors.store.moving import is_empty
from callboard.actors.store.postgres_connection import BoundedConnection, connect, store_errors
from callboard.actors.store.postgres_lock import ENDED_WITHIN_SECONDS, holder_of, lock_within
from callboard.actors.store.postgres_migrating import migrate_postgres
from callboard.actors.store.postgres_owner import PostgresQueueStore, counted
from callboard.actors.store.postgres_reader import PostgresReader
from callboard.actors.store.postgres_session import OwnerSession
from callboard.actors.store.rows import queue_row

DELETE_BATCH = 5_000
"""Tasks of a deleted queue that go in one transaction."""
SLOW_SECONDS = 60.0
"""So long a statement may take that nobody waits for but who wants a queue deleted."""


class PostgresStore(PostgresReader):
    """A store in one database, or one schema of it.

    Reads may come from any thread; `own` and what writes from one at a time. Making one makes its tables, or brings them
    up to date. `migrated`: whether there was anything to do.
    """

    def __init__(self, url: str, *, clock: Callable[[], int]) -> None:
        super().__init__(url)
        self._clock = clock
        self._owned: dict[str, PostgresQueueStore] = {}
        self._wanted: dict[str, OwnerSession] = {}
        with store_errors(self._place):
            self.migrated = migrate_postgres(url, self._place)

    def own(self, queue: str) -> tuple[PostgresQueueStore, Ownership]:
        """Become the queue's owner. Raises KeyError when the queue is not in the store.

        Raises `OwnedElsewhere` while another process has it. The owner that this object made before is replaced.
        """
        if (earlier := self._owned.pop(queue, None)) is not None:
            earlier.close()
        session = self._wanted.setdefault(queue, OwnerSession(self._url, self._place, queue))
        try:
            with store_errors(self._place):
                connection = session.take()
                with written(connection):
                    ownership = _take_incarnation(connection, queue)
        except OwnedElsewhere:
            raise  # asked again, the session knows since when the queue is free
        except BaseException:
            session.drop()
            raise
        del self._wanted[queue]
        session.incarnation = ownership.incarnation
        owner = self._owned[queue] = PostgresQueueStore(session, self._clock)
        return owner, ownership

    def put_queue(self, name: str, settings: str, configured: str, now: int) -> QueueRow:
        """Create a queue or replace its settings. Finishes the deletions that a death cut short, too."""
        with self._connected() as connection:
            for (deleted,) in connection.execute(sql.HALF_DELETED.sql).fetchall():
                _clear(connection, deleted)
            with written(connection):
                values = {"name": name, "settings": settings, "configured": configured, "created_at": now}
                rows = connection.execute(sql.PUT_QUEUE.sql, sql.PUT_QUEUE.bind(**values)).fetchall()
                connection.execute(sql.PUT_COUNTS.sql, (name,))
        return queue_row(rows[0])

    def delete_queue(self, name: str, *, only_empty: bool = False) -> int:
        """Delete the queue and all its tasks, many at a time; from the first moment on it can't be owned any more.

        Raises KeyError when the queue is not in the store, `OwnedElsewhere` when another process owns it, `QueueNotEmpty`
        where that matters; the owner that this object made has been let go of then, too.
        """
        if (owned := self._owned.pop(name, None)) is not None:
            owned.close()
        with self._connected() as connection:
            # With the owner's lock, so that no transaction of an owner is still under way.
            if not lock_within(connection, name, ENDED_WITHIN_SECONDS):
                raise OwnedElsewhere(name, holder_of(connection, name) or "another server")
            with written(connection):
                # One whose deletion was cut short can't come back.
                may_stay = only_empty and (name,) not in connection.execute(sql.HALF_DELETED.sql).fetchall()
                # Before the counts, for it waits while a task is being moved here; they are then with that task.
                if not connection.execute(sql.MARK_DELETED.sql, (name,)).rowcount:
                    raise KeyError(name)
                if may_stay and not is_empty(counted(connection.execute(sql.COUNTS.sql, (name,)).fetchall()[0])):
                    raise QueueNotEmpty(name)
            return _clear(connection, name)

    def close(self) -> None:
        """Close what no owner uses."""
        for session in self._wanted.values():
            session.drop()
        super().close()

    @contextmanager
    def _connected(self) -> Iterator[BoundedConnection]:
        with store_errors(self._place), closing(connect(self._url, "definitions")) as connection:
            connection.patience = SLOW_SECONDS
            connection.execute("SET statement_timeout = 0")
            yield connection


@contextmanager
def written(connection: BoundedConnection) -> Iterator[None]:
    """Run the block in a transaction: committed at its end, or rolled back when anything is raised."""
    with connection.transaction():
        yield


def _take_incarnation(connection: BoundedConnection, queue: str) -> Ownership:
    number = connection.execute(sql.NEXT_INCARNATION.sql).fetchall()[0][0]
    rows = connection.execute(sql.BECOME_OWNER.sql, (number, queue)).fetchall()
    if not rows:
        raise KeyError(queue)
    numbers = connection.execute(sql.COUNTS.sql, (queue,)).fetchall()[0]
    paused, settings, version = rows[0]
    return Ownership(
        incarnation=number,
        last_rank=numbers[-2],
        last_hand_out=numbers[-1],
        counts=counted(numbers),
        paused=bool(paused),
        settings=settings,
        settings_version=version,
    )


def _clear(connection: BoundedConnection, queue: str) -> int:
    """Delete all that a deleted queue has; the counts go last, so that whoever finishes this knows what there may be."""
    gone = 0
    last_id = ""
    counts = connection.execute(sql.COUNTS.sql, (queue,)).fetchone()
    while counts is not None and any(counted(counts).values()):
        values = sql.IDS_AFTER.bind(last_id=last_id, of_queue=queue, most=DELETE_BATCH)
        ids = [row[0] for row in connection.execute(sql.IDS_AFTER.sql, values)]
        if not ids:
            break
        gone += connection.execute(sql.DELETE_TASKS.sql, (texts(ids),)).rowcount
        last_id = ids[-1]
    with written(connection):
        for statement in sql.FORGET_QUEUE:
            connection.execute(statement.sql, (queue,))
    return gone
