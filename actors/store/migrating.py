"""Brings a database to the schema of this version, or says why that can't be done."""

from pathlib import Path
from typing import Any

from sqlalchemy import NullPool, create_engine

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
            _upgrade(path)
    return True


def _revision(connection: Any, path: Path) -> str | None:
    """Return the schema's revision, None for an empty database. Raises `StoreUnavailable` when it isn't one of ours."""
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return None
    if "alembic_version" not in tables or "tasks" not in tables:
        raise StoreUnavailable(f"{path} is a database of another program: choose another file in the store's url")
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


def _upgrade(path: Path) -> None:
    from alembic import command  # noqa: PLC0415 - see above: only when there is something to do
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    engine = create_engine("sqlite://", creator=lambda: connect(path, writes=True), poolclass=NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        found = _revision(connection.connection.driver_connection, path)
        if found not in {None, *(script.revision for script in ScriptDirectory.from_config(config).walk_revisions())}:
            raise StoreTooNew(
                f"{path} was written by a later version of Callboard (its schema is {found}, this version's is {HEAD}): "
                "upgrade Callboard, or restore a backup from before that upgrade",
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
