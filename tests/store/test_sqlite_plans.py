"""How SQLite finds what is asked for: through which index, never by walking or sorting all tasks."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.dialects import sqlite

from callboard.actors.store import QueueStore, Store, TaskFilter, definitions, statements
from callboard.actors.store.listing import FEW_TASKS, id_statements
from callboard.actors.store.sqlite_connection import connect
from callboard.actors.task import TaskState
from tests.store.made import QUEUE, insert, move, put, task_id

WALKS_ALL = {"IDS_AFTER", "KEYS_AFTER", "QUEUES", "COUNTS", "HALF_DELETED"}
"""These walk a table, and are meant to: tasks that no index has and the keys of a day, for a deletion; or the few queues."""


def plan(connection: sqlite3.Connection, sql: str) -> str:
    given = (None,) * sql.count("?")
    return "; ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", given))


ALL_PREPARED = [
    (name, prepared)
    for module in (statements, definitions)
    for name, prepared in vars(module).items()
    if isinstance(prepared, statements.Prepared)
] + [(f"IDS_IN_STATE {state}", prepared) for state, prepared in definitions.IDS_IN_STATE.items()]


@pytest.mark.parametrize(("name", "prepared"), ALL_PREPARED, ids=[name for name, _ in ALL_PREPARED])
def test_no_statement_of_an_owner_walks_a_table_or_sorts_it(path: Path, name: str, prepared: statements.Prepared) -> None:
    """So what a restart, a window, a promotion and a purge cost does not depend on how many tasks there are."""
    with closing(connect(path, writes=False)) as connection:
        steps = plan(connection, prepared.sql)
    if name not in WALKS_ALL:
        assert not re.search(r"SCAN (tasks|purged|queues|counts|hand_outs|key_uses)\b", steps), steps
    if name in {"READY", "DUE", "PURGE", "FIRST_OF_NEXT_LANE", "OLD_KEYS_GO", "HAND_OUTS", "IDS_AFTER"}:
        assert "TEMP B-TREE" not in steps, steps


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("READY", "tasks_ready"),
        ("FIRST_OF_NEXT_LANE", "tasks_ready"),
        ("DUE", "tasks_due"),
        ("NEXT_DUE", "tasks_due"),
        ("PURGE", "tasks_finished"),
        ("OLD_KEYS_GO", "key_uses_created"),
    ],
)
def test_each_index_serves_the_statement_that_it_is_for(path: Path, name: str, index: str) -> None:
    with closing(connect(path, writes=False)) as connection:
        assert index in plan(connection, vars(statements)[name].sql)


def list_plans(path: Path, chosen: TaskFilter, number: int) -> list[str]:
    counts = {QUEUE: dict.fromkeys(TaskState, number), "other": dict.fromkeys(TaskState, number)}
    with closing(connect(path, writes=False)) as connection:
        return [
            plan(connection, str(one.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})))
            for one in id_statements(chosen, counts, task_id(5), 10)
        ]


@pytest.mark.parametrize("number", [5, FEW_TASKS * 10])
@pytest.mark.parametrize("state", ["scheduled", "executing", "retryable", "dead", "cancelled"])
def test_rare_states_are_listed_through_their_index_without_sorting(path: Path, state: str, number: int) -> None:
    for steps in list_plans(path, TaskFilter(state=TaskState(state)), number):
        assert "tasks_listed" in steps
        assert "TEMP B-TREE" not in steps


@pytest.mark.parametrize("state", [None, TaskState.AVAILABLE, TaskState.COMPLETED])
@pytest.mark.parametrize("queue", [None, QUEUE])
def test_many_tasks_are_listed_by_walking_back_without_sorting(
    path: Path, state: TaskState | None, queue: str | None
) -> None:
    [steps] = list_plans(path, TaskFilter(queue=queue, state=state), FEW_TASKS * 10)
    assert "sqlite_autoindex_tasks_1 (id<?)" in steps
    assert "TEMP B-TREE" not in steps


def test_few_tasks_are_listed_without_a_walk(path: Path) -> None:
    for state in (None, *TaskState):
        for steps in list_plans(path, TaskFilter(queue=QUEUE, state=state), 5):
            assert "SCAN tasks" not in steps
            assert re.search(r"tasks_ready|tasks_listed|tasks_finished|hand_outs", steps), steps


def test_a_move_leaves_no_row_in_an_index_that_it_left(path: Path, opened: tuple[Store, QueueStore]) -> None:
    _, owner = opened
    put(owner, *(insert(number) for number in range(7)))
    for number, state in enumerate(TaskState):
        move(owner, [number], state)
        move(owner, [number], "completed")
    with closing(sqlite3.connect(path)) as connection:
        for index, condition in (("ready", "state = 'available'"), ("due", "state = 'scheduled' OR state = 'retryable'")):
            sql = f"SELECT count(*) FROM tasks INDEXED BY tasks_{index} WHERE {condition}"
            assert connection.execute(sql).fetchone() == (0,)
