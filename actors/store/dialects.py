"""What SQLite and PostgreSQL write differently: one name here for each, so that most statements are written once."""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class IsGiven(FunctionElement[Any]):
    """Whether a column is among many texts that come as one parameter: JSON for SQLite, an array for PostgreSQL.

    SQLite limits how many parameters there are, not how long one is. It has no type on purpose: of a Boolean SQLAlchemy
    makes `… = 1` there, and that uses no index.
    """

    name = "is_given"
    inherit_cache = True


class Unindexed(FunctionElement[str]):
    """A column that SQLite's planner must not look up in an index: it would have to sort all that it finds there."""

    name = "unindexed"
    type = Text()
    inherit_cache = True


class Larger(FunctionElement[int]):
    """The larger of two numbers."""

    name = "larger"
    type = BigInteger()
    inherit_cache = True


class Elements(FunctionElement[str]):
    """The elements of a JSON list of texts, as rows with a column `value`."""

    name = "elements"
    inherit_cache = True


def unindexed(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Keep SQLite's planner from this column's indexes; PostgreSQL decides by its statistics."""
    return Unindexed(column)


@compiles(IsGiven, "sqlite")
def _is_given_sqlite(element: IsGiven, compiler: SQLCompiler, **options: Any) -> str:
    column, given = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({given}))"  # noqa: S608 - what the compiler has written


@compiles(IsGiven, "postgresql")
def _is_given_postgres(element: IsGiven, compiler: SQLCompiler, **options: Any) -> str:
    column, given = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} = ANY(CAST({given} AS text[]))"


@compiles(Unindexed, "sqlite")
def _unindexed_sqlite(element: Unindexed, compiler: SQLCompiler, **options: Any) -> str:
    return f"+{compiler.process(element.clauses, **options)}"


@compiles(Unindexed, "postgresql")
def _unindexed_postgres(element: Unindexed, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(Larger, "sqlite")
def _larger_sqlite(element: Larger, compiler: SQLCompiler, **options: Any) -> str:
    return f"max({compiler.process(element.clauses, **options)})"


@compiles(Larger, "postgresql")
def _larger_postgres(element: Larger, compiler: SQLCompiler, **options: Any) -> str:
    return f"greatest({compiler.process(element.clauses, **options)})"


@compiles(Elements, "sqlite")
def _elements_sqlite(element: Elements, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


@compiles(Elements, "postgresql")
def _elements_postgres(element: Elements, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_array_elements_text(CAST({compiler.process(element.clauses, **options)} AS json))"
