"""SQLite's store as a file: its schema, its plans, its connections."""

import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from callboard.actors.errors import QueueNotEmpty
from callboard.actors.store import (
    KEY_MICROSECONDS,
    Change,
    KeyUse,
    QueueStore,
    Store,
    TaskFilter,
    migrations,
)
from callboard.actors.store.limit import measure_limit
from callboard.actors.store.opening import migrate, open_store
from callboard.actors.store.schema import HEAD, metadata
from callboard.actors.store.sqlite import SqliteStore
from callboard.actors.store.sqlite_connection import connect
from callboard.actors.task import TaskState
from tests.store.made import NOW, QUEUE, insert, put, task_id, url


def made_of(connection: sqlite3.Connection) -> dict[str, str]:
    """Return what made each table and index, with the spaces and quotes that differ taken out."""
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {name: re.sub(r"tasks\.|CONSTRAINT \w+ |[\s\"'()]", "", sql) for name, sql in rows if name != "alembic_version"}


def test_the_migrations_make_the_tables_that_the_statements_know(path: Path, tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'other.db'}")
    metadata.create_all(engine)
    engine.dispose()
    with closing(sqlite3.connect(path)) as migrated, closing(sqlite3.connect(tmp_path / "other.db")) as made:
        assert made_of(migrated) == made_of(made)


def test_the_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations.__path__[0]))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_a_migration_is_done_once(tmp_path: Path) -> None:
    assert migrate(url(tmp_path / "callboard.db"))
    assert not migrate(url(tmp_path / "callboard.db"))
    assert not migrate("memory:")


def test_a_database_of_the_first_version_keeps_its_tasks(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    store = SqliteStore(path, clock=lambda: NOW)
    store.put_queue(QUEUE, "{}", "", NOW)
    owner, _ = store.own(QUEUE)
    put(owner, insert(1))
    owner.close()
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "ALTER TABLE tasks DROP COLUMN logs; ALTER TABLE tasks DROP COLUMN launched;"
            "UPDATE alembic_version SET version_num = '0001'"
        )
    store = SqliteStore(path, clock=lambda: NOW)
    assert store.migrated
    task = store.get(task_id(1))
    assert task is not None
    assert (task.state, task.logs, task.meta) == ("available", [], {})
    store.close()


def test_a_database_that_is_up_to_date_is_opened_without_alembic(path: Path) -> None:
    program = f"""
import sys
from callboard.actors.store.opening import open_store
store = open_store({url(path)!r})
assert [queue.name for queue in store.queues()] == [{QUEUE!r}]
assert "sqlalchemy" in sys.modules
print(any(name.split(".")[0] in ("alembic", "mako") for name in sys.modules))
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told == "False\n"


def test_an_interrupted_migration_leaves_an_empty_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last statement of the migration fails, as it would on a full disk: none of the tables before is kept."""
    path = tmp_path / "callboard.db"

    def fail(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr("alembic.op.bulk_insert", fail)
        with pytest.raises(Exception, match="disk full"):
            open_store(url(path))
    with closing(sqlite3.connect(path)) as connection:
        assert made_of(connection) == {}
    open_store(url(path)).close()


@pytest.fixture
def statements_run(opened: tuple[Store, QueueStore]) -> Iterator[Callable[[], list[str]]]:
    """Say which statements the owner's connection ran since it was last asked."""
    run: list[str] = []
    connection = opened[1]._connection  # type: ignore[attr-defined]
    connection.set_trace_callback(run.append)

    def since() -> list[str]:
        told = run[:]
        run.clear()
        return told

    yield since
    connection.set_trace_callback(None)


def test_an_empty_change_writes_nothing(opened: tuple[Store, QueueStore], statements_run: Callable[[], list[str]]) -> None:
    with opened[1].transaction() as transaction:
        transaction.apply(Change())
    assert not [sql for sql in statements_run() if sql.split()[0] in {"UPDATE", "INSERT", "DELETE"}]


def test_counts_are_changed_once_a_transaction(
    opened: tuple[Store, QueueStore],
    statements_run: Callable[[], list[str]],
) -> None:
    put(opened[1], *(insert(number, "scheduled", run_at=NOW) for number in range(20)))
    statements_run()
    with opened[1].transaction() as transaction:
        transaction.due(NOW, 10, 1)
        transaction.apply(Change(inserts=[insert(30), insert(31, "claimed")]))
        transaction.purge(TaskState.COMPLETED, NOW, 10)
    assert sum(sql.startswith("UPDATE counts") for sql in statements_run()) == 1


def test_a_window_that_is_left_half_read_holds_no_snapshot(opened: tuple[Store, QueueStore], path: Path) -> None:
    _, owner = opened
    put(owner, *(insert(number) for number in range(100)))
    assert len(owner.ready(None, 3, 10_000)) == 3
    with closing(sqlite3.connect(path)) as connection:
        busy, pages, done = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert (busy, pages, done) == (0, 0, 0)


def test_old_keys_go_a_few_at_a_time(path: Path) -> None:
    now = [NOW]
    store = open_store(url(path), clock=lambda: now[0])
    owner, _ = store.own(QUEUE)

    def use(*names: str) -> int:
        with owner.transaction() as transaction:
            transaction.apply(Change(keys=[KeyUse(name, "", ()) for name in names]))
        with closing(sqlite3.connect(path)) as connection:
            return int(connection.execute("SELECT count(*) FROM key_uses").fetchone()[0])

    assert use(*(f"old {number}" for number in range(50))) == 50
    now[0] += KEY_MICROSECONDS + 1
    assert use("new") == 50 - 12 + 1
    left = [use("new") for _ in range(5)]
    assert left == sorted(left, reverse=True)
    assert left[-1] == 1
    owner.close()
    store.close()


def test_a_task_that_is_moved_while_a_deletion_waits_for_its_turn_keeps_the_queue(
    opened: tuple[Store, QueueStore], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, owner = opened
    put(owner, insert(1))
    store.put_queue("other", "{}", "", NOW)
    (task,) = owner.load([task_id(1)])
    registry = SqliteStore(path, clock=lambda: NOW)
    taken = registry._turn.taken

    def taken_late() -> AbstractContextManager[None]:
        with owner.transaction() as transaction:
            assert transaction.move(task, "other", 0, None)
        return taken()

    monkeypatch.setattr(registry._turn, "taken", taken_late)
    with closing(registry), pytest.raises(QueueNotEmpty):
        registry.delete_queue("other", only_empty=True)
    moved = store.get(task_id(1))
    assert moved is not None
    assert moved.queue == "other"
    store.own("other")[0].close()


def test_readers_in_many_threads_do_not_disturb_each_other(opened: tuple[Store, QueueStore]) -> None:
    store, owner = opened
    put(owner, *(insert(number) for number in range(300)))
    wrong: list[object] = []

    def read(number: int) -> None:
        for _ in range(20):
            task = store.get(task_id(number))
            if task is None or task.context != {"number": number} or len(store.page(TaskFilter(), 50, None).tasks) != 50:
                wrong.append(task)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for number in range(300, 330):
        put(owner, insert(number))
    for thread in threads:
        thread.join()
    assert wrong == []


def test_readers_cannot_write(path: Path) -> None:
    with closing(connect(path, writes=False)) as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM queues")


def test_a_forked_process_reads_on_connections_of_its_own(opened: tuple[Store, QueueStore]) -> None:
    store, owner = opened
    put(owner, insert(1))
    store.version()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            found = store.get(task_id(1))
            store.version()
            store.close()
            status = 0 if found is not None and len(store._inherited) == 2 else 2  # type: ignore[attr-defined]
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    before = store.version()
    put(owner, insert(2))
    assert store.version() != before
    assert store.get(task_id(2)) is not None


def test_only_what_others_write_changes_the_version(opened: tuple[Store, QueueStore]) -> None:
    store, owner = opened
    before = store.version()
    owner.ready(None, 10, 10)
    store.page(TaskFilter(), 10, None)
    assert store.version() == before


def test_a_store_can_be_used_again_after_it_was_closed(opened: tuple[Store, QueueStore]) -> None:
    store, owner = opened
    put(owner, insert(1))
    store.close()
    assert store.get(task_id(1)) is not None
    assert store.version() > 0


def test_the_limit_is_measured_on_the_products_tables(tmp_path: Path) -> None:
    limit = measure_limit(tmp_path / "limit.db", tasks=500, submit_batch=100, drain_batch=64)
    assert min(limit) > 0
    with closing(open_store(url(tmp_path / "limit.db"))) as store:
        counts = store.counts()["limit"]
        assert {state.value: number for state, number in counts.items() if number} == {"completed": 1_000}
        assert len(store.matching_ids(TaskFilter(state=TaskState.COMPLETED), 2_000)) == 1_000
