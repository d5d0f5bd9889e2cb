"""The PostgreSQL store as everybody uses it: reads past the actors, and the definitions of queues."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from types import MappingProxyType

from callboard.actors.errors import OwnedElsewhere, QueueBeingDeleted, QueueNotEmpty
from callboard.actors.store import Ownership, QueueRow
from callboard.actors.store import postgres_statements as sql
from callboard.actors.store.moving import is_empty
from callboard.actors.store.postgres_clearing import PostgresClearing, written
from callboard.actors.store.postgres_connection import BoundedConnection, connect, store_errors
from callboard.actors.store.postgres_lock import ENDED_WITHIN_SECONDS, holder_of, lock_within, unlock
from callboard.actors.store.postgres_migrating import migrate_postgres
from callboard.actors.store.postgres_owner import PostgresQueueStore, counted
from callboard.actors.store.postgres_reader import PostgresReader
from callboard.actors.store.postgres_session import PLANS, OwnerSession
from callboard.actors.store.rows import queue_row


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
        """Create a queue or replace its settings. Raises `QueueBeingDeleted` while the name is not free."""
        with self._connected() as connection, written(connection):
            values = {"name": name, "settings": settings, "configured": configured, "created_at": now}
            rows = connection.execute(sql.PUT_QUEUE.sql, sql.PUT_QUEUE.bind(**values)).fetchall()
            if not rows:
                raise QueueBeingDeleted(name)
            connection.execute(sql.PUT_COUNTS.sql, (name,))
        return queue_row(rows[0])

    def delete_queue(self, name: str, *, only_empty: bool = False) -> int:
        """Mark the queue as deleted and return how many tasks it had; `clear_deleted` removes them.

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
                # Before the counts, for it waits while a task is being moved here; they are then with that task.
                if not connection.execute(sql.MARK_DELETED.sql, (name,)).rowcount:
                    raise KeyError(name)
                numbers = counted(connection.execute(sql.COUNTS.sql, (name,)).fetchall()[0])
                if only_empty and not is_empty(numbers):
                    raise QueueNotEmpty(name)
            # Not only with the session, whose end the server sees a moment later: the next visitor clears the queue.
            unlock(connection, name)
        return sum(numbers.values())

    def clear_deleted(self, seconds: float) -> bool:
        """Remove what is left of deleted queues, for about so long, and tell whether nothing is left of any."""
        with self._connected(PLANS) as connection:
            return PostgresClearing(connection, seconds).work()

    def close(self) -> None:
        """Close what no owner uses."""
        for session in self._wanted.values():
            session.drop()
        super().close()

    @contextmanager
    def _connected(self, settings: Mapping[str, str] = MappingProxyType({})) -> Iterator[BoundedConnection]:
        with store_errors(self._place), closing(connect(self._url, "definitions", settings)) as connection:
            yield connection


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
