"""Counts are exact after any history."""

import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path

import hypothesis.strategies as some
import psycopg
import pytest
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from callboard.actors.errors import StaleChange
from callboard.actors.store import Change, QueueStore, Store
from callboard.actors.store.opening import open_store
from callboard.actors.store.schema import COUNTED
from callboard.actors.store.sqlite_connection import connect
from callboard.actors.task import TaskState
from tests.store.made import NOW, QUEUE, completion, insert, put, task_id, update, url
from tests.support.postgres import PostgresServer

COUNT = "SELECT state, count(*) FROM tasks GROUP BY state"
STORED = ["available", "claimed", "executing", "scheduled"]
MOVED = [*STORED, "retryable", "completed", "dead", "cancelled"]


class CountsHistory(RuleBasedStateMachine):
    """Do what owners do, in any order, and keep a dictionary of what every task must be."""

    def new_store(self) -> str:
        """Return the URL of a new store."""
        self.folder = tempfile.TemporaryDirectory()
        return url(Path(self.folder.name) / "callboard.db")

    def stored(self) -> list[tuple[str, int]]:
        """Ask the database itself how many tasks are in each state."""
        with closing(connect(Path(self.url.removeprefix("sqlite:///")), writes=False)) as connection:
            return connection.execute(COUNT).fetchall()

    @initialize()
    def begin(self) -> None:
        self.url = self.new_store()
        self.store: Store = open_store(self.url)
        self.store.put_queue(QUEUE, "{}", "", NOW)
        self.owner: QueueStore = self.store.own(QUEUE)[0]
        self.states: dict[int, str] = {}
        self.next_number = 0

    def teardown(self) -> None:
        self.owner.close()
        self.store.close()
        if hasattr(self, "folder"):
            self.folder.cleanup()

    @rule(states=some.lists(some.sampled_from(STORED), min_size=1, max_size=6))
    def submit(self, states: list[str]) -> None:
        new = {self.next_number + place: state for place, state in enumerate(states)}
        put(self.owner, *(insert(number, state, run_at=NOW + number) for number, state in new.items()))
        self.states.update(new)
        self.next_number += len(states)

    @precondition(lambda self: self.states)
    @rule(data=some.data(), state=some.sampled_from(MOVED))
    def move(self, data: some.DataObject, state: str) -> None:
        chosen = data.draw(some.lists(some.sampled_from(sorted(self.states)), min_size=1, max_size=4, unique=True))
        with self.owner.transaction() as transaction:
            stored = self.owner.load([task_id(number) for number in chosen])
            transaction.apply(Change(updates=[update(task, state) for task in stored]))
        self.states.update(dict.fromkeys(chosen, state))

    @precondition(lambda self: self.states)
    @rule(data=some.data(), was=some.sampled_from(MOVED))
    def complete(self, data: some.DataObject, was: str) -> None:
        """Also with a wrong idea of the task's state, which must change nothing."""
        number = data.draw(some.sampled_from(sorted(self.states)))
        change = Change(inserts=[insert(self.next_number)], completions=[completion(number, was)])
        try:
            with self.owner.transaction() as transaction:
                transaction.apply(change)
        except StaleChange:
            assert self.states[number] != was
        else:
            assert self.states[number] == was
            self.states[number] = "completed"
            self.states[self.next_number] = "available"
            self.next_number += 1

    @rule(limit=some.integers(1, 5), later=some.integers(0, 40))
    def promote(self, limit: int, later: int) -> None:
        with self.owner.transaction() as transaction:
            due = transaction.due(NOW + later, limit, NOW)
        for task in due:
            number = int(task.id[-12:])
            assert self.states[number] in {"scheduled", "retryable"}
            self.states[number] = "available"

    @rule(state=some.sampled_from([TaskState.COMPLETED, TaskState.DEAD]), limit=some.integers(1, 3))
    def purge(self, state: TaskState, limit: int) -> None:
        with self.owner.transaction() as transaction:
            gone = transaction.purge(state, NOW + 1, limit)
        left = {number: self.states[number] for number in self.states if self.store.get(task_id(number)) is not None}
        assert len(self.states) - len(left) == gone <= limit
        assert all(self.states[number] == state for number in self.states if number not in left)
        self.states = left

    @rule()
    def succeed(self) -> None:
        self.owner.close()
        self.owner, ownership = self.store.own(QUEUE)
        assert ownership.counts == self.owner.counts()

    @invariant()
    def counts_are_exact(self) -> None:
        numbers = Counter(COUNTED[state] for state in self.states.values())
        expected = {state: numbers[state] for state in TaskState}
        assert self.store.counts()[QUEUE] == expected
        assert self.owner.counts() == expected
        assert dict(self.stored()) == dict(Counter(self.states.values()))


SOME = settings(max_examples=25, stateful_step_count=25, deadline=None)
CountsHistory.TestCase.settings = SOME
TestCountsAreExactAfterAnyHistory = CountsHistory.TestCase


@pytest.mark.timeout(120)
def test_counts_are_exact_after_any_history_in_postgresql(postgres_server: PostgresServer) -> None:
    class PostgresHistory(CountsHistory):
        def new_store(self) -> str:
            return postgres_server.new_database(migrated=True)

        def stored(self) -> list[tuple[str, int]]:
            with psycopg.connect(self.url) as connection:
                return connection.execute(COUNT).fetchall()

    run_state_machine_as_test(PostgresHistory, settings=SOME)
