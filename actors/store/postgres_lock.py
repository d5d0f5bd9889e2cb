"""Who owns a queue in a PostgreSQL database: whoever's session holds the queue's advisory lock.

The server lets go of it the moment the session ends, whatever ended it. Two sessions never hold it, so the owner of a
queue is one process in the whole cluster; the incarnation, which each transaction checks, is the second line.
"""

import time
from collections.abc import Callable
from typing import Any, Final

import psycopg

from callboard.actors.store.postgres_connection import BoundedConnection

_KEY: Final = "hashtextextended('callboard queue ' || current_schema() || ' ' || %s, 0)"
_TRY: Final = f"SELECT pg_try_advisory_lock({_KEY})"
_UNLOCK: Final = f"SELECT pg_advisory_unlock({_KEY})"
_HOLDER: Final = f"""
SELECT activity.application_name FROM pg_locks AS locks LEFT JOIN pg_stat_activity AS activity USING (pid)
WHERE locks.locktype = 'advisory' AND locks.objsubid = 1 AND locks.granted
AND locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND (locks.classid::int8 << 32) | locks.objid::int8 = {_KEY}
"""  # noqa: S608 - all of it is ours
ENDED_WITHIN_SECONDS: Final = 1.0
"""A server needs a moment to notice that a session's process is dead."""
_LOOK_SECONDS: Final = 0.02


def try_lock(connection: psycopg.Connection[Any], queue: str) -> bool:
    """Take the queue's lock if nobody has it; the session then holds it to its end."""
    row = connection.execute(_TRY, (queue,)).fetchone()
    return row is not None and bool(row[0])


def lock_within(connection: BoundedConnection, queue: str, seconds: float) -> bool:
    """Take the queue's lock, trying again for so long."""
    until = time.monotonic() + seconds
    while not try_lock(connection, queue):
        if time.monotonic() >= until:
            return False
        time.sleep(_LOOK_SECONDS)
    return True


def unlock(connection: BoundedConnection, queue: str) -> None:
    """Give the queue's lock back before the session ends."""
    connection.execute(_UNLOCK, (queue,))


def holder_of(connection: BoundedConnection, queue: str) -> str | None:
    """Say who holds the queue's lock, None if nobody does."""
    row = connection.execute(_HOLDER, (queue,)).fetchone()
    if row is None:
        return None
    _, machine, pid, *_ = [*str(row[0] or "").split(), "", "", ""]
    return f"another server, on {machine} (process {pid})" if machine and pid else "another server"


class Patience:
    """When somebody who stands by for a queue may take it: when nobody has had it for a while.

    Its server needs a moment to replace a dead owner, and that owner's successor knows more: it can read the journals of
    its workers. After the database was away all have lost their sessions, and the owner waits up to 5 s before it looks
    again.
    """

    FREE_SECONDS: Final = 2.0
    AWAY_SECONDS: Final = 10.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._free_since: float | None = None
        self._not_before = 0.0

    def held(self) -> None:
        """Note that somebody has it."""
        self._free_since = None

    def away(self) -> None:
        """Note that the database does not answer, or that our own session was lost."""
        self._free_since = None
        self._not_before = self._clock() + self.AWAY_SECONDS

    def free(self) -> bool:
        """Note that nobody has it, and tell whether it may be taken."""
        now = self._clock()
        if self._free_since is None:
            self._free_since = now
        return now - self._free_since >= self.FREE_SECONDS and now >= self._not_before
