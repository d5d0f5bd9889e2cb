"""Removes what is left of deleted queues from a SQLite store."""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar

from callboard.actors.store import definitions
from callboard.actors.store import statements as counting
from callboard.actors.store.clearing import Clearing
from callboard.actors.store.sqlite_transaction import written
from callboard.actors.store.turn import Turn


class SqliteClearing(Clearing):
    """Works on one connection; the writers' turn is taken for each batch anew."""

    statements: ClassVar[Any] = definitions
    counting: ClassVar[Any] = counting

    def __init__(self, connection: sqlite3.Connection, turn: Turn, seconds: float) -> None:
        super().__init__(seconds)
        self._connection = connection
        self._turn = turn

    def _run(self, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, values).fetchall()

    @contextmanager
    def _written(self) -> Iterator[None]:
        with self._turn.taken(), written(self._connection):
            yield

    def _alone(self, queue: str) -> AbstractContextManager[bool]:  # noqa: ARG002 - writers take turns as it is
        return nullcontext(enter_result=True)

    @staticmethod
    def _given(texts: Iterable[str]) -> str:
        return json.dumps(list(texts))
