"""An owner's session: the one connection that holds its queue's lock, made again when it was lost."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg

from callboard.actors.errors import KeptAfterAll, OwnedElsewhere, StoreUnavailable, Superseded
from callboard.actors.store import postgres_statements as sql
from callboard.actors.store.postgres_connection import ANSWER_SECONDS, BoundedConnection, connect
from callboard.actors.store.postgres_lock import ENDED_WITHIN_SECONDS, Patience, holder_of, lock_within, try_lock

# An owner's statements are few and go through the same indices whatever there is. The planner goes by statistics, which
# a queue that was empty a minute ago makes wrong.
PLANS: Final = {
    **dict.fromkeys(("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_bitmapscan", "jit"), "off"),
    "plan_cache_mode": "force_generic_plan",
}


class OwnerSession:
    """Holds one queue from `take` to `close`. place: the URL as it may be shown."""

    def __init__(self, url: str, place: str, queue: str) -> None:
        self._url = url
        self.place = place
        self.queue = queue
        self.incarnation = 0
        """Set by the owner when it has taken its incarnation; before that nothing is made again."""
        self._connection: BoundedConnection | None = None
        self._patience: Patience | None = None
        self._unsure: str | None = None
        self._failed = (0.0, "")

    def take(self) -> BoundedConnection:
        """Return a connection that holds the lock. Raises `OwnedElsewhere`; then it may be asked again.

        The first time a free queue is taken at once; one that somebody had, only after it has been free for a while.
        """
        if self._patience is not None:
            return self._take_over(self._patience)
        connection = self._connect()
        if not lock_within(connection, self.queue, ENDED_WITHIN_SECONDS):
            self._patience = Patience()
            raise OwnedElsewhere(self.queue, holder_of(connection, self.queue) or "another server")
        return connection

    def _take_over(self, patience: Patience) -> BoundedConnection:
        try:
            connection = self._connect() if self._lost() else self._connection
            assert connection is not None
            holder = holder_of(connection, self.queue)
        except psycopg.Error:
            self.drop()
            patience.away()
            raise
        if holder is not None:
            patience.held()
            raise OwnedElsewhere(self.queue, holder)
        if not patience.free() or not try_lock(connection, self.queue):
            raise OwnedElsewhere(self.queue, "nobody just now")
        return connection

    def use(self) -> BoundedConnection:
        """Return the connection, or a new one that holds the lock again.

        Raises `Superseded` when another owner has come meanwhile, `KeptAfterAll` when the transaction that was being
        committed when the connection ended was stored, `StoreUnavailable` while another session still has the lock.
        """
        if not self._lost():
            assert self._connection is not None
            return self._connection
        self._wait_a_little()
        begun = time.monotonic()
        try:
            connection = self._connect()
            self._hold_again(connection)
        except (psycopg.Error, StoreUnavailable) as error:
            self.drop()
            now = time.monotonic()
            # Waiting for what does not answer may take no more than half of the time: there are others to be answered.
            self._failed = (now + (now - begun), " ".join(str(error).split()))
            raise
        return connection

    @contextmanager
    def committing(self, number: str) -> Iterator[None]:
        """Commit the transaction of this number inside the block; if the connection ends in it, its fate is asked for."""
        self._unsure = number
        yield
        self._unsure = None

    def undone(self, connection: BoundedConnection) -> None:
        """Undo the transaction under way; a connection that can't do that is given up."""
        try:
            connection.execute("ROLLBACK")
            self._unsure = None
        except psycopg.Error:
            self.drop()

    def hung(self, words: str) -> None:
        """Note that the server did not answer in time: for as long again nobody waits for it."""
        self.drop()
        self._failed = (time.monotonic() + ANSWER_SECONDS, words)

    def drop(self) -> None:
        """Give the connection up: what it holds is free when the server has noticed."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _lost(self) -> bool:
        return self._connection is None or self._connection.closed

    def _wait_a_little(self) -> None:
        until, words = self._failed
        if time.monotonic() < until:
            raise StoreUnavailable(words)

    def _connect(self) -> BoundedConnection:
        self.drop()
        self._connection = connect(self._url, self.queue, PLANS)
        return self._connection

    def _hold_again(self, connection: BoundedConnection) -> None:
        row = connection.execute(sql.BEGIN.sql, (self.queue,)).fetchone()
        if row is None or row[0] != self.incarnation:
            raise Superseded(self.queue, self.incarnation)
        # Who comes between these two is found out by the next transaction, which asks for the incarnation too.
        if not lock_within(connection, self.queue, ENDED_WITHIN_SECONDS):
            raise StoreUnavailable(f"queue {self.queue!r} is still held by another session ({self.place})")
        unsure, self._unsure = self._unsure, None
        if unsure is not None and _was_committed(connection, unsure):
            raise KeptAfterAll(self.queue)


def _was_committed(connection: psycopg.Connection[Any], number: str) -> bool:
    """Tell what became of a transaction whose session has ended."""
    try:
        row = connection.execute(sql.FATE, (number,)).fetchone()
    except psycopg.errors.InvalidParameterValue:
        return False  # the server crashed before it had written down anything of it
    return row is not None and row[0] == "committed"
