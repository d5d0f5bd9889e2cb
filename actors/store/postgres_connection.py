"""How PostgreSQL is reached, whatever for, and what its failures mean to people."""

import os
import socket
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import Any, ClassVar, Final

import psycopg
from psycopg import errors
from psycopg.abc import PQGen
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoneLeft

from callboard.actors.errors import SettingsError, StoreUnavailable
from callboard.conf.store_url import shown_url

ANSWER_SECONDS: Final = 8.0
"""So long PostgreSQL has for an answer: less than the Registry's patience with a Queue that waits for it."""
CONNECT_SECONDS: Final = 5
OLDEST_VERSION: Final = 140_000
"""The first that looks, while it works, whether its client is still there."""

_REACH: Final[dict[str, int]] = {
    "connect_timeout": CONNECT_SECONDS,
    # A machine that has vanished says nothing; the system finds out by these.
    "keepalives_idle": 3,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 8_000,
}
_SESSION: Final = {
    "client_min_messages": "warning",
    "statement_timeout": "7s",
    "idle_in_transaction_session_timeout": "60s",
    # The same from the other side: a session whose client is gone gives its queue back.
    "tcp_keepalives_idle": "3",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "2",
    "tcp_user_timeout": "8000",
}
_SET: Final = "SELECT count(set_config(name, value, false)) FROM unnest(%s::text[], %s::text[]) AS given(name, value)"
_CHECK_CLIENT: Final = "SET client_connection_check_interval = '1s'"
_DURABLE: Final = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"

_ADVICE: Final = {
    "28": "check the user and the password in the store's url, and the server's pg_hba.conf",
    "3D": "there is no such database: create it, or check the store's url",
    "42501": "the user may not do this: grant it, or make the user the owner of the database",
    "53100": "the database server's disk is full: make room, nothing has to be restarted",
    "53300": "the database server has no connection left: raise its max_connections",
    "25006": "this server is a read-only replica: name the primary in the store's url",
    "57014": "the database server was too slow, or something holds a lock",
    "57P": "the database server stops or starts",
}


class NoAnswer(psycopg.OperationalError):
    """The server took too long: not worth another try at once."""


class BoundedConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that waits for no answer longer than `patience` seconds, and that no forked child can use.

    A child inherits the socket: as long as it has it open, the server believes that its parent lives. So all sockets
    that are open at a fork are replaced in the child, by nothing that can be written to.
    """

    patience: float = ANSWER_SECONDS
    # The process's own sockets, known to the handler below: which are open at a fork can't be passed to it.
    _open: ClassVar["weakref.WeakSet[BoundedConnection]"] = weakref.WeakSet()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._open.add(self)

    def __del__(self, *_: Any) -> None:
        """Say nothing: a connection that nobody holds any more ends, like SQLite's."""

    def wait(self, gen: PQGen[Any], *arguments: Any, **options: Any) -> Any:
        """Wait for an answer; one that does not come in time ends the connection, since it may come later."""
        options["timeout"] = self.patience
        try:
            return super().wait(gen, *arguments, **options)
        except errors._WaitTimeout as error:  # noqa: SLF001 - documented, but its name is not public
            self.pgconn.finish()
            raise NoAnswer(f"the database server has not answered for {self.patience:g} s") from error

    @classmethod
    def disown(cls) -> None:
        """Let go of the parent's sockets; called in every forked child."""
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for connection in cls._open:
            with suppress(psycopg.OperationalError):  # closed meanwhile
                os.dup2(nothing, connection.pgconn.socket, inheritable=False)
        os.close(nothing)
        cls._open.clear()


os.register_at_fork(after_in_child=BoundedConnection.disown)


def connect(url: str, purpose: str, settings: Mapping[str, str] = MappingProxyType({})) -> BoundedConnection:
    """Open a connection in autocommit mode: transactions begin where we say BEGIN. Raises psycopg.Error.

    purpose: what the server shows beside this machine and process, for example a queue's name. settings: PostgreSQL's own,
    for the whole session.
    """
    connection = BoundedConnection.connect(
        url,
        autocommit=True,
        prepare_threshold=0,
        application_name=application_name(purpose),
        **_with_defaults(url),
    )
    try:
        _check_version(connection, url)
        configured = {**_SESSION, **settings}
        connection.execute(_SET, (list(configured), list(configured.values())))
        connection.execute(_DURABLE)
        with suppress(errors.InvalidParameterValue):  # not every system that PostgreSQL runs on can do that
            connection.execute(_CHECK_CLIENT)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_version(connection: BoundedConnection, url: str) -> None:
    if connection.info.server_version < OLDEST_VERSION:
        raise SettingsError(f"{shown_url(url)}: PostgreSQL 14 or later is needed")


def application_name(purpose: str) -> str:
    """Name a session for who looks at the server: it cuts off what is too long, and takes ASCII only."""
    return f"callboard {socket.gethostname()[:20]} {os.getpid()} {purpose}"[:63]


def _with_defaults(url: str) -> dict[str, Any]:
    given = psycopg.conninfo.conninfo_to_dict(url)
    return {name: value for name, value in _REACH.items() if name not in given}


@contextmanager
def store_errors(place: str) -> Iterator[None]:
    """Turn what PostgreSQL raises inside the block into `StoreUnavailable`. Wrong SQL is a bug and passes as it is.

    place: the URL as it may be shown.
    """
    try:
        yield
    except NoneLeft as error:
        raise StoreUnavailable(f"all connections to {place} are in use, and none answers") from error
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.Error) and _passes(error.orig):
            raise unavailable(error.orig, place) from error
        raise
    except psycopg.Error as error:
        if _passes(error):
            raise unavailable(error, place) from error
        raise


def _passes(error: psycopg.Error) -> bool:
    """Tell whether an error may be gone by itself, or when somebody has looked after the server."""
    return isinstance(
        error,
        psycopg.OperationalError
        | psycopg.InterfaceError
        | errors.ReadOnlySqlTransaction
        | errors.InFailedSqlTransaction
        | errors.InsufficientPrivilege
        | errors.UndefinedTable,
    )


def unavailable(error: psycopg.Error, place: str) -> StoreUnavailable:
    """Return the error to raise for one of PostgreSQL's: its own words, the database, and what to do."""
    words = " ".join(str(error).split()) or type(error).__name__
    code = error.sqlstate or ""
    advice = next((advice for start, advice in _ADVICE.items() if code.startswith(start)), None)
    return StoreUnavailable(f"{words} ({place})" + (f": {advice}" if advice else ""))
