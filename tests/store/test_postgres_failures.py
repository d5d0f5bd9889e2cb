"""What a lost connection, another owner, and PostgreSQL's own refusals mean to a queue's owner."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from callboard.actors.errors import (
    KeptAfterAll,
    OwnedElsewhere,
    QueueNotEmpty,
    SettingsError,
    StoreTooNew,
    StoreUnavailable,
    Superseded,
)
from callboard.actors.store import Change, QueueStore, Store
from callboard.actors.store.opening import migrate, open_store
from callboard.actors.store.postgres_connection import BoundedConnection, connect
from callboard.actors.store.postgres_lock import Patience
from callboard.actors.store.postgres_owner import PostgresQueueStore
from callboard.actors.task import TaskState
from tests.store.made import NOW, QUEUE, insert, put, task_id
from tests.support.polling import eventually
from tests.support.postgres import PostgresServer


@pytest.fixture
def url(postgres_server: PostgresServer) -> str:
    return postgres_server.new_database(migrated=True)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with closing(open_store(url)) as store:
        store.put_queue(QUEUE, "{}", "", NOW)
        yield store


@pytest.fixture
def owner(store: Store) -> Iterator[PostgresQueueStore]:
    owner, _ = store.own(QUEUE)
    assert isinstance(owner, PostgresQueueStore)
    yield owner
    owner.close()


def session_of(owner: PostgresQueueStore) -> BoundedConnection:
    connection = owner._session._connection
    assert connection is not None
    return connection


def end_session(url: str, pid: int) -> None:
    """End a session as a crash of the server would: at once, from outside."""
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))


def test_a_connection_that_ended_between_two_transactions_is_not_missed(url: str, owner: PostgresQueueStore) -> None:
    put(owner, insert(1))
    end_session(url, session_of(owner).info.backend_pid)
    put(owner, insert(2))
    end_session(url, session_of(owner).info.backend_pid)
    assert owner.counts()[TaskState.AVAILABLE] == 2


def test_a_connection_that_ends_inside_a_transaction_leaves_nothing_of_it(url: str, owner: PostgresQueueStore) -> None:
    def write() -> None:
        with owner.transaction() as transaction:
            transaction.apply(Change(inserts=[insert(1)]))
            end_session(url, session_of(owner).info.backend_pid)
            transaction.apply(Change(inserts=[insert(2)]))

    with pytest.raises(StoreUnavailable):
        write()
    assert owner.load([task_id(1), task_id(2)]) == []
    put(owner, insert(1))


class LostAnswer(psycopg.OperationalError):
    """The connection ended after COMMIT was sent."""


def lose(owner: PostgresQueueStore, monkeypatch: pytest.MonkeyPatch, *, committed: bool) -> None:
    """Have the connection end at the next COMMIT, just before it is done or just after."""
    connection = session_of(owner)
    execute: Any = connection.execute

    def execute_or_not(query: str, *arguments: object, **options: object) -> object:
        if query == "COMMIT":
            if committed:
                execute("COMMIT")
                connection._pipeline.sync()  # type: ignore[union-attr]
            connection.pgconn.finish()
            raise LostAnswer
        return execute(query, *arguments, **options)

    monkeypatch.setattr(connection, "execute", execute_or_not)


def test_a_commit_whose_answer_was_lost_ends_the_owner_if_it_was_kept(
    owner: PostgresQueueStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its picture is wrong then: it was told that nothing had been stored."""
    lose(owner, monkeypatch, committed=True)
    with pytest.raises(StoreUnavailable):
        put(owner, insert(1))
    with pytest.raises(KeptAfterAll, match="was stored although"):
        put(owner, insert(2))


def test_a_commit_that_never_arrived_was_not_kept_and_the_owner_goes_on(
    owner: PostgresQueueStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(owner, monkeypatch, committed=False)
    with pytest.raises(StoreUnavailable):
        put(owner, insert(1))
    put(owner, insert(1))
    assert owner.counts()[TaskState.AVAILABLE] == 1


def test_a_queue_has_one_owner_in_the_whole_cluster(url: str, store: Store, owner: PostgresQueueStore) -> None:
    with closing(open_store(url)) as other:
        with pytest.raises(OwnedElsewhere, match=f"process {os.getpid()}"):
            other.own(QUEUE)
        with pytest.raises(OwnedElsewhere):
            other.delete_queue(QUEUE)
        put(owner, insert(1))
        other.put_queue("another", "{}", "", NOW)
        theirs, _ = other.own("another")
        put(theirs, insert(2))
        theirs.close()


def test_a_queue_that_is_deleted_if_it_is_empty_waits_for_a_move_to_it(
    url: str, store: Store, owner: PostgresQueueStore
) -> None:
    put(owner, insert(1))
    store.put_queue("other", "{}", "", NOW)
    (task,) = owner.load([task_id(1)])
    with closing(open_store(url)) as registry, ThreadPoolExecutor(1) as thread:
        with owner.transaction() as transaction:
            assert transaction.move(task, "other", 0, None)
            deletion = thread.submit(registry.delete_queue, "other", only_empty=True)
            eventually(lambda: somebody_waits(url))
        with pytest.raises(QueueNotEmpty):
            deletion.result(30)
    moved = store.get(task_id(1))
    assert moved is not None
    assert moved.queue == "other"
    store.own("other")[0].close()


def somebody_waits(url: str) -> bool:
    with psycopg.connect(url, autocommit=True) as other:
        waiting = other.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'").fetchone()
    return waiting is not None and waiting[0] > 0


def test_who_stands_by_takes_over_a_while_after_the_owner_has_gone(
    url: str, owner: PostgresQueueStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Patience, "FREE_SECONDS", 0.2)
    put(owner, insert(1))
    with closing(open_store(url)) as other:
        with pytest.raises(OwnedElsewhere):
            other.own(QUEUE)
        owner.close()
        refusals = []

        def taken() -> QueueStore | None:
            try:
                return other.own(QUEUE)[0]
            except OwnedElsewhere as refusal:
                refusals.append(refusal.holder)
                return None

        successor = eventually(taken)
        assert successor is not None
        assert refusals[-1] == "nobody just now"
        put(successor, insert(2))
        with pytest.raises(Superseded):
            put(owner, insert(3))
        successor.close()


def test_an_owner_that_lost_its_connection_comes_before_who_stands_by() -> None:
    """Both have lost it when the server is started again; the owner looks again within 5 s."""
    now = [100.0]
    patience = Patience(lambda: now[0])
    patience.away()
    now[0] += 1
    assert not patience.free()
    now[0] += 5
    assert not patience.free()
    patience.held()
    now[0] += 60
    assert not patience.free()
    now[0] += Patience.FREE_SECONDS
    assert patience.free()


def test_an_owner_waits_while_its_own_old_session_still_has_the_queue(url: str, owner: PostgresQueueStore) -> None:
    """The server has not noticed yet that the connection is gone."""
    old = session_of(owner)
    owner._session._connection = None
    with pytest.raises(StoreUnavailable, match="still held by another session"):
        put(owner, insert(1))
    old.close()

    def stored() -> bool:
        try:
            put(owner, insert(1))
        except StoreUnavailable:
            return False
        return True

    eventually(stored)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks at what a descriptor is")
def test_a_forked_child_neither_holds_nor_ends_its_parents_session(owner: PostgresQueueStore) -> None:
    put(owner, insert(1))
    socket = session_of(owner).pgconn.socket
    child = os.fork()
    if child == 0:
        inherited = str(Path(f"/proc/self/fd/{socket}").readlink())
        session_of(owner).close()
        os._exit(0 if inherited == os.devnull else 1)
    assert os.waitpid(child, 0)[1] == 0
    put(owner, insert(2))


def test_an_answer_that_does_not_come_ends_the_connection(url: str) -> None:
    with connect(url, "slow") as connection:
        connection.patience = 0.2
        with pytest.raises(psycopg.OperationalError, match=r"has not answered for 0\.2 s"):
            connection.execute("SELECT pg_sleep(30)")
        assert connection.closed


def test_reads_go_on_after_all_connections_were_ended(url: str, store: Store, owner: PostgresQueueStore) -> None:
    put(owner, insert(1))
    before = store.version()
    assert store.get(task_id(1)) is not None
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert store.get(task_id(1)) is not None
    assert isinstance(before, int)
    assert isinstance(store.version(), int)


def test_a_text_that_postgresql_can_not_hold_is_refused_before_anything_is_sent(owner: PostgresQueueStore) -> None:
    with pytest.raises(ValueError, match="U\\+0000"):
        put(owner, insert(1), insert(2, type="a\x00b"))
    put(owner, insert(1))


def test_hostile_texts_come_back_as_they_went_in(store: Store, owner: PostgresQueueStore) -> None:
    hostile = """'"\\ {},NULL %s $1 \t\n\r ü\U0001f600"""
    put(owner, insert(1, type=hostile, created_by=hostile), insert(2, type="NULL"))
    found = [task.type for task in store.get_many([task_id(1), task_id(2)])]
    assert found == [hostile, "NULL"]


# ---------------------------------------------------------------- opening


def test_a_newer_schema_is_refused_with_what_to_do(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0999'")
    with pytest.raises(StoreTooNew, match=r"its schema is 0999.*upgrade Callboard"):
        open_store(url)


def test_the_database_of_another_program_is_left_alone(postgres_server: PostgresServer) -> None:
    url = postgres_server.new_database()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE tasks (title text)")
    with pytest.raises(StoreUnavailable, match="database of another program"):
        open_store(url)


def test_a_migration_says_whether_there_was_anything_to_do(postgres_server: PostgresServer) -> None:
    url = postgres_server.new_database()
    assert migrate(url)
    assert not migrate(url)


def test_a_database_that_is_not_there_says_so_without_the_password(postgres_server: PostgresServer) -> None:
    url = postgres_server.url("nowhere").replace("postgres@", "postgres:s3cret@")
    with pytest.raises(
        StoreUnavailable, match=r'database "nowhere" does not exist.*\(postgresql://postgres:\*\*\*@/'
    ) as raised:
        open_store(url)
    assert "s3cret" not in str(raised.value)


def test_a_url_that_libpq_can_not_read_is_not_printed_with_its_password() -> None:
    with pytest.raises(SettingsError) as raised:
        open_store("postgresql://me:s3cret@host/database?no_such_option=1")
    assert "s3cret" not in str(raised.value)


def test_two_owners_that_move_tasks_to_each_others_queue_do_not_wait_for_each_other(url: str) -> None:
    with closing(open_store(url)) as first, closing(open_store(url)) as second:
        owners = {}
        for place, (name, store) in enumerate((("a", first), ("b", second))):
            store.put_queue(name, "{}", "", NOW)
            owners[name] = store.own(name)[0]
            put(owners[name], *(insert(100 * place + number) for number in range(1, 41)))

        def move_all(name: str, to: str) -> int:
            for task in owners[name].ready(None, 99, 9_999):
                with owners[name].transaction() as transaction:
                    assert transaction.move(task, to, 0, NOW + 1)
            return sum(owners[name].counts().values())

        with ThreadPoolExecutor(2) as pool:
            moved = [pool.submit(move_all, *names) for names in (("a", "b"), ("b", "a"))]
            assert [done.exception() for done in moved] == [None, None]
        assert {name: first.counts()[name][TaskState.SCHEDULED] for name in owners} == {"a": 40, "b": 40}


def test_a_task_is_not_moved_to_a_queue_that_is_being_deleted(url: str, store: Store, owner: PostgresQueueStore) -> None:
    store.put_queue("other", "{}", "", NOW)
    put(owner, insert(1))
    (task,) = owner.load([task_id(1)])
    with psycopg.connect(url) as deleting, ThreadPoolExecutor(1) as pool:
        deleting.execute("UPDATE queues SET deleted = 1 WHERE name = 'other'")

        def move_it() -> bool:
            with owner.transaction() as transaction:
                return transaction.move(task, "other", 0, NOW)

        moving = pool.submit(move_it)
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        with psycopg.connect(url, autocommit=True) as watching:
            eventually(lambda: watching.execute(waits).fetchone() == (1,))
        deleting.commit()
        assert moving.result() is False
    assert owner.load([task_id(1)]) == [task]
