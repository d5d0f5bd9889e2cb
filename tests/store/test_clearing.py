"""How the tasks of deleted queues are removed from the databases: in slices, by whoever comes."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from callboard.actors.errors import QueueBeingDeleted
from callboard.actors.store import Change, HandOut, KeyUse, Store, clearing
from callboard.actors.store.opening import open_store
from callboard.actors.store.postgres_connection import connect
from callboard.actors.store.postgres_lock import try_lock
from tests.store.made import NOW, QUEUE, insert, put, task_id, url
from tests.support.postgres import PostgresServer

TABLES = ("tasks", "hand_outs", "key_uses", "counts", "queues")
NUMBER = 40


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        return server.new_database(migrated=True)
    return url(tmp_path / "callboard.db")


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clearing, "FIRST_BATCH", 3)
    monkeypatch.setattr(clearing, "MOST", 3)


def rows(place: str) -> dict[str, int]:
    """Count the rows of each table."""
    if place.startswith("sqlite"):
        connection: Any = sqlite3.connect(place.removeprefix("sqlite:///"))
    else:
        connection = psycopg.connect(place)
    with closing(connection):
        return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}


def fill(store: Store, queue: str, first: int) -> None:
    store.put_queue(queue, "{}", "", NOW)
    owner, _ = store.own(queue)
    put(owner, *(insert(first + each, "claimed" if each % 2 else "available") for each in range(NUMBER)))
    keys = [KeyUse(f"{queue} {each}", "", (task_id(first + each),)) for each in range(10)]
    claimed = tuple(task_id(first + each) for each in range(1, NUMBER, 2))
    with owner.transaction() as transaction:
        transaction.apply(Change(hand_outs=[HandOut(1, "w", claimed[:5]), HandOut(2, "w", claimed[5:])], keys=keys))
    owner.close()


def test_slices_of_different_visitors_leave_nothing_of_the_queue_and_all_of_the_others(place: str) -> None:
    with closing(open_store(place)) as store:
        fill(store, "other", 1_000)
        before = rows(place)
        fill(store, QUEUE, 1)
        assert store.delete_queue(QUEUE) == NUMBER
    slices = 0
    left = rows(place)["tasks"]
    while True:
        with closing(open_store(place)) as visitor:
            if visitor.clear_deleted(1e-6):  # over after one batch
                break
            with pytest.raises(QueueBeingDeleted):
                visitor.put_queue(QUEUE, "{}", "", NOW)
            assert visitor.get(task_id(NUMBER)) is None
            assert list(visitor.counts()) == ["other"]
        now_left = rows(place)["tasks"]
        assert now_left >= left - 3
        left = now_left
        slices += 1
        assert slices < 10 * NUMBER
    assert slices >= NUMBER // 3
    assert rows(place) == before
    with closing(open_store(place)) as store:
        assert store.put_queue(QUEUE, "{}", "", NOW).settings_version == 1
        assert sum(store.own(QUEUE)[1].counts.values()) == 0


def test_a_failure_in_the_middle_leaves_what_is_left_to_the_next(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(open_store(place)) as store:
        fill(store, QUEUE, 1)
        store.delete_queue(QUEUE)
        with monkeypatch.context() as patched:
            patched.setattr(clearing.Clearing, "_keys", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                store.clear_deleted(1_000)
        assert (rows(place)["tasks"], rows(place)["queues"], rows(place)["key_uses"]) == (0, 1, 10)
        assert store.clear_deleted(1_000)
        assert set(rows(place).values()) == {0}


def test_tasks_that_no_index_has_are_looked_for_when_the_counts_say_so(place: str) -> None:
    with closing(open_store(place)) as store:
        store.put_queue(QUEUE, "{}", "", NOW)
        owner, _ = store.own(QUEUE)
        put(owner, *(insert(each, "claimed") for each in range(NUMBER)))
        owner.close()
        store.delete_queue(QUEUE)
        assert not store.clear_deleted(1e-6)  # over after one batch
        assert rows(place)["tasks"] == NUMBER - 3
        assert store.clear_deleted(1_000)
        assert set(rows(place).values()) == {0}


def test_who_has_little_time_removes_some_of_what_is_soonest_done(place: str) -> None:
    with closing(open_store(place)) as store:
        fill(store, "a large one", 1)
        store.put_queue("small", "{}", "", NOW)
        owner, _ = store.own("small")
        put(owner, insert(1_000))
        owner.close()
        store.delete_queue("a large one")
        store.delete_queue("small")
        assert not store.clear_deleted(1e-6)
        assert rows(place)["tasks"] == NUMBER
        assert store.get(task_id(1_000)) is None
        while not store.clear_deleted(1e-6):
            pass
        assert set(rows(place).values()) == {0}


def test_what_another_process_has_removed_meanwhile_is_not_counted_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two of them at one queue are possible with SQLite only.
    place = url(tmp_path / "callboard.db")
    delete_tasks = clearing.Clearing._delete_tasks
    left: list[int] = []

    def delete_after_another(visit: clearing.Clearing, queue: str, ids: list[str]) -> None:
        if not left:
            with closing(open_store(place)) as another, monkeypatch.context() as patched:
                patched.setattr(clearing.Clearing, "_delete_tasks", delete_tasks)
                assert not another.clear_deleted(1e-6)
        delete_tasks(visit, queue, ids)
        left.append(visit._left(queue))

    with closing(open_store(place)) as store:
        fill(store, QUEUE, 1)
        store.delete_queue(QUEUE)
        monkeypatch.setattr(clearing.Clearing, "_delete_tasks", delete_after_another)
        assert not store.clear_deleted(1e-6)
        assert left == [rows(place)["tasks"]] == [NUMBER - 3]
        assert store.clear_deleted(1_000)
        assert set(rows(place).values()) == {0}


def test_what_another_server_clears_is_left_to_it(postgres_server: PostgresServer) -> None:
    place = postgres_server.new_database(migrated=True)
    with closing(open_store(place)) as store:
        fill(store, "another", 1)
        fill(store, QUEUE, 1_000)
        store.delete_queue("another")
        store.delete_queue(QUEUE)
        with closing(connect(place, "other server")) as other:
            assert try_lock(other, "another")
            assert not store.clear_deleted(1_000)
            assert rows(place)["tasks"] == NUMBER
            with pytest.raises(QueueBeingDeleted):
                store.put_queue("another", "{}", "", NOW)
            assert store.put_queue(QUEUE, "{}", "", NOW).settings_version == 1
