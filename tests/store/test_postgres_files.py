"""The tables of a PostgreSQL store, how they are made, and what several servers at once do to them."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest
from sqlalchemy import create_engine

from callboard.actors.store import TaskFilter
from callboard.actors.store.opening import migrate, open_store
from callboard.actors.store.postgres_limit import measure_postgres_limit
from callboard.actors.store.postgres_schema import new_schema
from callboard.actors.store.schema import metadata
from tests.store.made import NOW, QUEUE, insert, put
from tests.support.postgres import PostgresServer

COLUMNS = """
SELECT table_name::text, column_name::text, data_type::text, is_nullable::text, collation_name::text, column_default::text
FROM information_schema.columns WHERE table_schema = current_schema() AND table_name <> 'alembic_version'
ORDER BY table_name, ordinal_position
"""
INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema() AND tablename <> 'alembic_version' ORDER BY 1"


def made_of(url: str) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    with psycopg.connect(url) as connection:
        return connection.execute(COLUMNS).fetchall(), connection.execute(INDEXES).fetchall()


def test_the_migrations_make_the_tables_that_the_statements_know(postgres_server: PostgresServer) -> None:
    migrated, made = postgres_server.new_database(migrated=True), postgres_server.new_database()
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(made))
    metadata.create_all(engine)
    engine.dispose()
    columns, indexes = made_of(migrated)
    assert len(columns) > 30
    assert sum("WHERE" in index for (index,) in indexes) == 4
    assert (columns, indexes) == made_of(made)


def test_servers_that_start_at_once_make_the_tables_once(postgres_server: PostgresServer) -> None:
    url = postgres_server.new_database()
    with ThreadPoolExecutor(4) as threads:
        migrated = list(threads.map(migrate, [url] * 4))
    assert any(migrated)
    with closing(open_store(url)) as store:
        assert store.queues() == []


def test_two_stores_in_two_schemas_of_a_database_know_nothing_of_each_other(postgres_server: PostgresServer) -> None:
    database = postgres_server.new_database()
    with (
        new_schema(database, "one") as first,
        new_schema(database, "other") as second,
        closing(open_store(first)) as one,
        closing(open_store(second)) as other,
    ):
        for store in (one, other):
            store.put_queue(QUEUE, "{}", "", NOW)
            owner, _ = store.own(QUEUE)
            put(owner, insert(1))
        assert one.counts() == other.counts()
        assert [len(store.page(TaskFilter(), 10, None).tasks) for store in (one, other)] == [1, 1]
    with psycopg.connect(database) as connection:
        left = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname ~ '^(one|other)_'").fetchall()
    assert left == []


def test_the_limit_is_measured_on_the_products_tables(postgres_server: PostgresServer) -> None:
    database = postgres_server.new_database()
    limit = measure_postgres_limit(database, tasks=500, submit_batch=100, drain_batch=64)
    assert min(limit) > 0


def test_settings_that_an_owner_has_looked_at_are_not_replaced_before_it_has_changed_them(
    postgres_server: PostgresServer,
) -> None:
    url = postgres_server.new_database(migrated=True)
    with closing(open_store(url)) as store, closing(open_store(url)) as other, ThreadPoolExecutor(1) as threads:
        store.put_queue(QUEUE, "{}", "", NOW)
        owner, _ = store.own(QUEUE)
        with owner.transaction() as transaction:
            looked = transaction.settings()
            putting = threads.submit(other.put_queue, QUEUE, '{"priority": 9}', "", NOW)
            with pytest.raises(TimeoutError):
                putting.result(0.3)
            assert transaction.settings() == looked == ("{}", 1)
            assert transaction.set_settings('{"priority": 3}') == 2
        assert putting.result(30).settings_version == 3
        with owner.transaction() as transaction:
            assert transaction.settings() == ('{"priority": 9}', 3)
        owner.close()
