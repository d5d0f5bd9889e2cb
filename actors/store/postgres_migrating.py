"""Brings a PostgreSQL database to the schema of this version."""

from contextlib import closing
from typing import Any, Final

import psycopg
from sqlalchemy import NullPool, create_engine

from callboard.actors.errors import StoreUnavailable
from callboard.actors.store.migrating import check_tables, upgrade
from callboard.actors.store.postgres_connection import connect
from callboard.actors.store.schema import HEAD

_TABLES: Final = "SELECT tablename::text FROM pg_catalog.pg_tables WHERE schemaname = current_schema()"
_REVISION: Final = "SELECT version_num FROM alembic_version"
_ONE_AT_A_TIME: Final = "SELECT pg_advisory_xact_lock(hashtextextended('callboard migration ' || current_schema(), 0))"
MIGRATION_SECONDS: Final = 3_600.0
"""A step over a large table takes its time."""


def migrate_postgres(url: str, place: str) -> bool:
    """Upgrade the database in one transaction; return whether there was anything to do.

    One that is up to date is told by two small queries. Several servers may start at once: they upgrade it in turn.
    """
    with closing(connect(url, "start")) as connection:
        if _revision(connection, place) == HEAD:
            return False
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: _patient(url), poolclass=NullPool, use_native_hstore=False
    )
    with engine.connect() as upgraded:
        upgraded.exec_driver_sql("BEGIN")
        upgraded.exec_driver_sql(_ONE_AT_A_TIME)
        upgrade(upgraded, _revision(upgraded.connection.driver_connection, place), place)
        upgraded.exec_driver_sql("COMMIT")
    return True


def _patient(url: str) -> psycopg.Connection[Any]:
    connection = connect(url, "migration")
    connection.patience = MIGRATION_SECONDS
    connection.execute("SET statement_timeout = 0")
    return connection


def _revision(connection: Any, place: str) -> str | None:
    """Return the schema's revision, None for an empty one. Raises `StoreUnavailable` when it isn't one of ours."""
    tables = {row[0] for row in connection.execute(_TABLES)}
    if not tables and connection.execute("SELECT current_schema()").fetchone()[0] is None:
        raise StoreUnavailable(f"{place}: none of the schemas of the search_path exists: create one for Callboard")
    if not check_tables(tables, place, "another database, or a schema of its own (?options=-csearch_path%3DNAME),"):
        return None
    row = connection.execute(_REVISION).fetchone()
    return None if row is None else str(row[0])
