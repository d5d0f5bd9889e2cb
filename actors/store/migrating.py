"""Brings a database to the schema of this version, or says why that can't be done."""

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, NullPool, create_engine

from callboard.actors.errors import StoreTooNew, StoreUnavailable
from callboard.actors.store.schema import HEAD
from callboard.actors.store.sqlite_connection import connect, store_errors
from callboard.actors.store.turn import Turn


def migrate_sqlite(path: Path, turn: Turn) -> bool:
    """Upgrade the database in one transaction; return whether there was anything to do.

    A database that is up to date is told by one small query: Alembic costs more time and memory than all of a start.
    """
    with store_errors(path):
        connection = connect(path, writes=True)
        try:
            if _revision(connection, path) == HEAD:
                return False
        finally:
            connection.close()
        # Somebody else may upgrade it while we wait for the turn: what is to be done is read again.
        with turn.taken():
            engine = create_engine("sqlite://", creator=lambda: connect(path, writes=True), poolclass=NullPool)
            with engine.connect() as upgraded:
                upgraded.exec_driver_sql("BEGIN IMMEDIATE")
                upgrade(upgraded, _revision(upgraded.connection.driver_connection, path), str(path))
                upgraded.commit()
    return True


def check_tables(tables: set[str], place: str, otherwise: str) -> bool:
    """Tell whether the database is one of ours, or empty. Raises `StoreUnavailable` when it is another program's."""
    ours = {"alembic_version", "tasks"} <= tables
    if tables and not ours:
        raise StoreUnavailable(f"{place} is a database of another program: choose {otherwise} in the store's url")
    return ours


def _revision(connection: Any, path: Path) -> str | None:
    """Return the schema's revision, None for an empty database. Raises `StoreUnavailable` when it isn't one of ours."""
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not check_tables(tables, str(path), "another file"):
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


def upgrade(connection: Connection, found: str | None, place: str) -> None:
    """Run the migrations that a database of the revision `found` lacks, in the transaction that is open.

    Raises `StoreTooNew` for a revision that only a later version knows.
    """
    from alembic import command  # noqa: PLC0415 - see above: only when there is something to do
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    if found not in {None, *(script.revision for script in ScriptDirectory.from_config(config).walk_revisions())}:
        raise StoreTooNew(
            f"{place} was written by a later version of Callboard (its schema is {found}, this version's is {HEAD}): "
            "upgrade Callboard, or restore a backup from before that upgrade",
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
