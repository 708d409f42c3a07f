"""Many rows with one statement, handed to the driver as they are.

SQLAlchemy takes each row through its own processing, which costs as much again as what the driver and SQLite do with it.
Here a statement is compiled once for a batch, and only columns whose type has something to convert are converted. SQLite
gets many rows in one INSERT: it then works through them in one step, which costs half of a step for each row, and does not
hand the interpreter back and forth between them. PostgreSQL gets an array for each column, which costs it a fifth of what
executing an INSERT for each row does.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain, repeat
from operator import itemgetter
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import SQLCompiler

from autocoder.sqlite_driver import execute as execute_inside
from autocoder.sqlite_driver import is_inside
from autocoder.statement import Statement

FEW: Final = 8
"""Up to so many rows compiling costs more than it saves."""
MOST_VARIABLES: Final = 32_766 if sqlite3.sqlite_version_info >= (3, 32) else 999
"""What SQLite takes in one statement, unless it was built to take more."""
LADDER: Final = tuple(2**power for power in range(12, -1, -1))
"""Rows in one INSERT: a few sizes, so that SQLite finds its statement prepared, and so that few make up any number: behind
each of them its thread waits for the interpreter, while others work, for longer than it takes."""
ARRAY: Final = 1000
"""Rows in the arrays of one INSERT on PostgreSQL."""
_PLAIN: Final = re.compile(r"(?P<into>INSERT INTO .+ \(.+\)) VALUES \((?P<values>\$1::.+)\)", re.DOTALL)
_VALUE: Final = re.compile(r"\$\d+::([A-Z ]+(?:\([\d, ]+\))?)")
_SCALARS: Final = {
    *("BIGINT", "INTEGER", "SMALLINT", "VARCHAR", "TEXT", "FLOAT", "NUMERIC", "BOOLEAN", "BYTEA", "UUID", "DATE"),
    *("TIMESTAMP WITH TIME ZONE", "TIMESTAMP WITHOUT TIME ZONE"),
}
"""Types of which the driver takes a list of values where PostgreSQL asks for an array."""
LONG: Final = 4 * 1024 * 1024
"""Where they hold more characters, they are sent row by row: the message of a statement stands in memory whole."""


Call = tuple[str, Any]
"""Text for the driver, and its values: a tuple, or a list of tuples with each of which it is executed once."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    sql: str
    names: Sequence[str]
    processors: Mapping[int, Callable[[Any], Any]]
    inserts: bool

    def tuples(self, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
        """The rows in the order of the statement; raises KeyError where a row lacks a value."""
        if self.processors or len(self.names) == 1:
            convert = [self.processors.get(at, _as_it_is) for at in range(len(self.names))]
            pairs = list(zip(self.names, convert, strict=True))
            return [tuple([process(row[name]) for name, process in pairs]) for row in rows]
        return list(map(itemgetter(*self.names), rows))


def calls_for(statement: Statement, dialect: Dialect) -> Iterable[Call] | None:
    """The calls of the driver that execute a statement with all its rows; None where SQLAlchemy has to do it."""
    prepared = _prepared(statement.statement, statement.rows, dialect) if len(statement.rows) > FEW else None
    if prepared is None:
        return None
    try:
        values = prepared.tuples(statement.rows)
    except Exception:  # a value is missing or cannot be converted: SQLAlchemy says which
        return None
    return _calls(dialect, prepared, {}, values)


def execute(connection: sa.Connection, statement: Statement, calls: Iterable[Call] | None = None) -> None:
    """Execute a statement with all its rows; raises what `Connection.execute` raises. `calls` were made before."""
    calls = calls_for(statement, connection.dialect) if calls is None else calls
    if calls is None:
        connection.execute(statement.statement, list(statement.rows) or None)
    else:
        _run(connection, calls)


@dataclass(frozen=True, slots=True)
class Done:
    """What a statement did: the number of rows that it changed, and the first one that it gave, as the driver has it."""

    rowcount: int
    row: Sequence[Any] | None


def once(connection: sa.Connection, statement: Any, values: Mapping[str, Any]) -> Done:
    """Execute a statement that lives as long as the process, with one row.

    SQLAlchemy's own way to execute takes three times as long, and a small epoch is half a dozen of these.
    """
    fixed = _fixed(statement, tuple(values) if isinstance(statement, sa.Insert) else None, connection.dialect)
    given = [values.get(name, default) for name, default in fixed.defaults]
    for at, process in fixed.processors.items():
        given[at] = process(given[at])
    if is_inside(connection):
        cursor = execute_inside(connection, fixed.sql, given)
        return Done(cursor.rowcount, cursor.fetchone())
    result = connection.exec_driver_sql(fixed.sql, tuple(given))
    return Done(result.rowcount, result.first() if result.returns_rows else None)


@dataclass(frozen=True, slots=True)
class _Fixed:
    sql: str
    defaults: Sequence[tuple[str, Any]]
    """What is bound, in order, with what the statement itself says of it."""
    processors: Mapping[int, Callable[[Any], Any]]


@lru_cache(maxsize=128)
def _fixed(statement: Any, columns: Sequence[str] | None, dialect: Dialect) -> _Fixed:
    compiled = statement.compile(dialect=dialect, column_keys=columns)
    defaults = [(name, compiled.binds[name].value) for name in compiled.positiontup]
    processors = {
        at: process
        for at, (name, _) in enumerate(defaults)
        if (process := compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect)) is not None
    }
    return _Fixed(str(compiled), defaults, processors)


def insert(
    connection: sa.Connection, table: sa.Table, same: Mapping[str, Any], columns: Mapping[str, Sequence[Any]]
) -> Sequence[int]:
    """Insert rows of which some columns are the same in all, the others given column by column, one value a row.

    The table has one key, which the database counts up. Returns the keys in the order of the rows; none where it did not say.
    """
    names = [*same, *columns]
    prepared = _prepared(_insert(table), [dict.fromkeys(names)], connection.dialect)
    if prepared is None:
        raise TypeError(f"table {table.name} has columns that cannot be written in bulk: {', '.join(columns)}")
    process = {name: prepared.processors.get(at, _as_it_is) for at, name in enumerate(prepared.names)}
    shared = {at: process[name](same[name]) for at, name in enumerate(prepared.names) if name in same}
    varying = [
        columns[name] if process[name] is _as_it_is else list(map(process[name], columns[name]))
        for name in prepared.names
        if name in columns
    ]
    rows = list(zip(*varying, strict=True))
    if connection.dialect.name != "postgresql":
        if len(rows) == 1 and is_inside(connection):
            (values,) = _whole(len(prepared.names), shared, rows)
            last = execute_inside(connection, prepared.sql, values).lastrowid or 0
        else:
            _run(connection, _calls(connection.dialect, prepared, shared, rows))
            last = connection.exec_driver_sql("SELECT last_insert_rowid()").scalar_one()
        return range(last - len(rows) + 1, last + 1)  # a transaction has the only writer
    sql = _with_arrays(table, tuple(prepared.names), tuple(shared))
    keys: list[int] = []
    for at in range(0, len(rows), ARRAY):
        arrays = [list(each[at : at + ARRAY]) for each in varying]
        if _is_long(arrays):
            _run(connection, _calls(connection.dialect, prepared, shared, rows[at : at + ARRAY]))
        else:
            keys += connection.exec_driver_sql(sql, (*shared.values(), *arrays)).scalars()
    return keys if len(keys) == len(rows) else []


@cache
def _insert(table: sa.Table) -> sa.Insert:
    return sa.insert(table).inline()


def _run(connection: sa.Connection, calls: Iterable[Call]) -> None:
    for sql, values in calls:
        connection.exec_driver_sql(sql, values)


def _calls(dialect: Dialect, prepared: _Prepared, shared: Mapping[int, Any], rows: Sequence[Any]) -> Iterator[Call]:
    """Rows for the driver; `shared` are the values by place that all have, the rows hold the others in order."""
    if dialect.name == "sqlite" and prepared.inserts:
        at = 0
        for size in _sizes(len(rows), len(prepared.names) - len(shared), MOST_VARIABLES - len(shared)):
            sql = _with_many_rows(prepared.sql, len(prepared.names), tuple(shared), size)
            if sql is None:
                break
            yield sql, (*shared.values(), *chain.from_iterable(rows[at : at + size]))
            at += size
        rows = rows[at:]
    elif dialect.name == "postgresql" and prepared.inserts and not shared:
        sql = _with_columns(prepared.sql)
        for at in range(0, len(rows) if sql is not None else 0, ARRAY):
            columns = list(map(list, zip(*rows[at : at + ARRAY], strict=True)))
            if sql is None or _is_long(columns):
                yield prepared.sql, rows[at : at + ARRAY]
            else:
                yield sql, tuple(columns)
        rows = rows if sql is None else []
    if rows:
        yield prepared.sql, list(_whole(len(prepared.names), shared, rows))


def _whole(width: int, shared: Mapping[int, Any], rows: Sequence[Any]) -> Iterable[tuple[Any, ...]]:
    """The rows with what all of them have."""
    if not shared:
        return rows
    varying = iter(zip(*rows, strict=True))
    return zip(*(repeat(shared[at], len(rows)) if at in shared else next(varying) for at in range(width)), strict=True)


def _sizes(count: int, width: int, most: int) -> Iterator[int]:
    """So many rows of so many values a statement; what is left is too little for one of these."""
    for size in LADDER:
        if size * width <= most:
            while count >= size:
                yield size
                count -= size


@lru_cache(maxsize=256)
def _with_many_rows(sql: str, width: int, shared: tuple[int, ...], size: int) -> str | None:
    """An INSERT of one row as one of many; None where it is none of plain values. Shared values are numbered first."""
    values = f"VALUES ({', '.join('?' * width)})"
    if sql.count(values) != 1:
        return None
    number = {at: place + 1 for place, at in enumerate(shared)}
    places = [at for at in range(width) if at not in number]
    rows = (
        ", ".join(
            f"?{number[at]}" if at in number else f"?{len(number) + row * len(places) + places.index(at) + 1}"
            for at in range(width)
        )
        for row in range(size)
    )
    return sql.replace(values, f"VALUES {', '.join(f'({each})' for each in rows)}")


def _is_long(columns: Sequence[Sequence[Any]]) -> bool:
    return sum(len(value) for each in columns for value in each if isinstance(value, str | bytes)) > LONG


@lru_cache(maxsize=256)
def _with_columns(sql: str) -> str | None:
    """An INSERT of one row on PostgreSQL as one of an array for each column; None where it is none of plain values."""
    found = _PLAIN.fullmatch(sql)
    types = _VALUE.findall(found["values"]) if found is not None else []
    if found is None or found["values"] != ", ".join(f"${at}::{each}" for at, each in enumerate(types, 1)):
        return None
    if not {each.partition("(")[0] for each in types} <= _SCALARS:
        return None
    values = ", ".join(f"given.c{at}" for at in range(len(types)))
    arrays = ", ".join(f"${at}::{each}[]" for at, each in enumerate(types, 1))
    names = ", ".join(f"c{at}" for at in range(len(types)))
    return f"{found['into']} SELECT {values} FROM unnest({arrays}) AS given({names})"  # noqa: S608  of a compiled statement


@lru_cache(maxsize=64)
def _with_arrays(table: sa.Table, names: tuple[str, ...], shared: tuple[int, ...]) -> str:
    """An INSERT of PostgreSQL that takes the shared values first, and then an array for each other column."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    quote = dialect.identifier_preparer
    types = [table.c[name].type.compile(dialect=dialect) for name in names]
    # The driver has its own way with JSON, and these values are encoded already.
    sent = ["TEXT" if each == "JSON" else each for each in types]
    varying = [at for at in range(len(names)) if at not in shared]
    given = {at: f"${place}::{sent[at]}" for place, at in enumerate(shared, 1)}
    given |= {at: f"given.c{at}" for at in varying}
    arrays = ", ".join(f"${place}::{sent[at]}[]" for place, at in enumerate(varying, len(shared) + 1))
    columns = ", ".join(quote.quote(table.c[name].name) for name in names)
    values = ", ".join(f"{given[at]}::{types[at]}" for at in range(len(names)))
    found = f"unnest({arrays}) AS given({', '.join(f'c{at}' for at in varying)})"
    (key,) = table.primary_key
    into = f"{quote.format_table(table)} ({columns})"
    return f"INSERT INTO {into} SELECT {values} FROM {found} RETURNING {quote.quote(key.name)}"  # noqa: S608  our own names


def _prepared(statement: Any, rows: Sequence[Mapping[str, Any]], dialect: Dialect) -> _Prepared | None:
    """The statement for the driver; None where SQLAlchemy has more to do than to pass the rows on."""
    if not isinstance(statement, sa.Insert | sa.Update | sa.Delete):
        return None
    return _compiled(statement, tuple(rows[0]), dialect)


@lru_cache(maxsize=128)
def _compiled(
    statement: sa.Insert | sa.Update | sa.Delete, columns: tuple[str, ...], dialect: Dialect
) -> _Prepared | None:
    """Kept for those who give the same statement object again."""
    compiled = statement.compile(dialect=dialect, column_keys=list(columns), for_executemany=True)
    if not isinstance(compiled, SQLCompiler) or compiled.positiontup is None:
        return None
    names = compiled.positiontup
    more_to_do = (
        compiled.prefetch
        or compiled.effective_returning
        or compiled.post_compile_params
        or compiled.literal_execute_params
    )
    if more_to_do or not names or not set(names) <= set(columns):
        return None
    processors: dict[int, Callable[[Any], Any]] = {}
    for at, name in enumerate(names):
        process = compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect)
        if process is not None:
            processors[at] = process
    return _Prepared(str(compiled), names, processors, isinstance(statement, sa.Insert))


def _as_it_is(value: Any) -> Any:
    return value
