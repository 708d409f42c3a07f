"""The tables that migrations of packs have made, as they are in a database, for whoever copies rows and knows no pack.

No pack tells its tables: which they are is found by taking all migrations on an empty database in memory, and their columns
by looking. What differs between the databases is put right by the type of a column alone: a moment (`Instant`) is
`timestamptz` on PostgreSQL and microseconds on SQLite, text that is JSON (`JsonText`) is `json` or text.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder.errors import UsageError
from autocoder.store.columns import Instant, JsonText
from autocoder.store.schema import pack_branches
from autocoder.store.tables import VERSION_TABLE, metadata

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_KEPT: Final = (str, int, float, type(None))


@cache
def _names() -> frozenset[str]:
    """The tables that the migrations of packs make."""
    if not pack_branches():
        return frozenset()
    from autocoder.store.migrate import upgrade_on  # noqa: PLC0415  Alembic is heavy, and rarely needed

    engine = sa.create_engine("sqlite://")
    try:
        with engine.begin() as connection:
            upgrade_on(connection)
            made = sa.inspect(connection).get_table_names()
    finally:
        engine.dispose()
    return frozenset(made) - frozenset(metadata.tables) - {VERSION_TABLE}


async def pack_tables(connection: AsyncConnection) -> list[sa.Table]:
    """The tables of packs that are there, those first that others refer to."""
    names = _names()

    def reflect(sync: sa.Connection) -> list[sa.Table]:
        found = sa.MetaData()
        sa.event.listen(found, "column_reflect", _meant)
        found.reflect(sync, only=sorted(names & set(sa.inspect(sync).get_table_names())))
        return [table for table in found.sorted_tables if table.name in names]

    return await connection.run_sync(reflect) if names else []


def _meant(_inspector: Any, _table: Any, column: dict[str, Any]) -> None:
    """Read a column as the framework's own types do."""
    if isinstance(column["type"], sa.JSON):
        column["type"] = JsonText()
    elif isinstance(column["type"], sa.TIMESTAMP) and column["type"].timezone:
        column["type"] = Instant()


def written(table: sa.Table, values: Iterable[Any]) -> list[Any]:
    """A row such that JSON can hold it; raises UsageError, naming the table, where it cannot."""
    plain = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    for value, column in zip(plain, table.columns, strict=True):
        if not isinstance(value, _KEPT):
            raise UsageError(
                f"column {column.name!r} of table {table.name!r} holds values of the type {type(value).__name__}, for which "
                f"a dump has no form; back the database up as a whole (pg_dump, or a copy of the SQLite file)"
            )
    return plain


def read_back(column: sa.Column[Any], value: Any) -> Any:
    """A value of a dump as the column takes it, whichever database the dump was made from."""
    if isinstance(column.type, Instant):
        if isinstance(value, str):
            return datetime.fromisoformat(value)
        return value if value is None else _EPOCH + timedelta(microseconds=value)
    if isinstance(column.type, sa.Integer) and isinstance(value, str):  # a moment, in an SQLite file
        return (datetime.fromisoformat(value) - _EPOCH) // timedelta(microseconds=1)
    return value
