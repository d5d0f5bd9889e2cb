"""A schema of its own in somebody's PostgreSQL database, for a while: `callboard bench` measures in it."""

import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import quote

import psycopg
from psycopg import sql

from callboard.actors.store.postgres_connection import BoundedConnection, connect, store_errors
from callboard.conf.store_url import shown_url

SLOW_SECONDS = 120.0


@contextmanager
def new_schema(url: str, prefix: str) -> Iterator[str]:
    """Make a schema, give the URL of a store in it, and drop it with all that is in it at the end."""
    name = f"{prefix}_{uuid.uuid4().hex[:12]}"
    with _connected(url) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    try:
        yield within_schema(url, name)
    finally:
        with _connected(url) as connection:
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))


def within_schema(url: str, name: str) -> str:
    """Return the URL with this schema as the only one that is looked into; other options stay."""
    before = psycopg.conninfo.conninfo_to_dict(url).get("options") or ""
    options = quote(f"{before} -csearch_path={name}".strip(), safe="")
    # Of an option that stands there twice libpq takes the last.
    return f"{url}{'&' if '?' in url else '?'}options={options}"


@contextmanager
def _connected(url: str) -> Iterator[BoundedConnection]:
    with store_errors(shown_url(url)), closing(connect(url, "bench")) as connection:
        connection.patience = SLOW_SECONDS
        connection.execute("SET statement_timeout = 0")
        yield connection
