"""Insert: payloads as rows of a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Annotated, Any, Final

import sqlalchemy as sa
from pydantic import BeforeValidator, Field
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.schema import CreateTable

from autocoder import Sink, Statement, patiently, pipeline_database
from autocoder_components.sql.columns import INTEGER, AsItIs, ColumnKind, kinds_of, row_of
from autocoder_components.sql.engine import DatabaseError, DatabaseUrl, connect, said, shown
from autocoder_components.sql.upsert import Upsert

Row = dict[str, Any]
_SIGNED_64: Final = range(-(2**63), 2**63)
_MISSING: Final = re.compile(r"no such table|relation .* does not exist")


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def split_name(name: str) -> tuple[str | None, str]:
    """`schema.table` in its two parts; without a dot there is no schema."""
    schema, dot, table = name.rpartition(".")
    return (schema, table) if dot else (None, name)


class Insert(Sink[Any]):
    """Write payloads as rows of a table, a column for each field.

    With `key` a row that is there already is updated, so that the same payload may come twice. Without `database` the table
    is in the pipeline's own database and rows are committed together with the pipeline's progress: each exactly once.
    Another `database` is written before each commit; after a crash the last rows may be written again, so give a `key`.

    `create_table` makes the table where there is none: columns from the annotations of a dataclass or pydantic model; for
    dicts from the values of the first batch. Nested values are kept as JSON, moments in UTC. Values of an Enum are kept as
    their value, timedeltas as seconds.

    A payload without the key's fields, with a field that has no column, or with a value that its column does not take is
    refused as a message. What only the database can refuse (a constraint, a column of a table that was there) stops the
    pipeline.

    ```yaml
    pipeline: keep-orders
    components:
      orders: {use: flow.Generate, with: {count: 10, value: "{'id': i, 'amount': double(i) * 1.5}"}}
      table: {use: sql.Insert, from: orders, with: {table: orders, key: id, create_table: true}}
    ```
    """

    table: str = Field(min_length=1, description="name of the table, or schema.table")
    key: Annotated[list[str] | None, BeforeValidator(_one_or_many, json_schema_input_type=str | list[str] | None)] = (
        Field(
            default=None,
            description="column or columns that identify a row; they need a unique constraint or primary key",
        )
    )
    columns: list[str] | None = Field(
        default=None, min_length=1, description="the fields to write; without it all fields of the payload"
    )
    create_table: bool = Field(default=False, description="create the table where it does not exist")
    database: DatabaseUrl | None = Field(
        default=None, description="another database: sqlite:///path or postgresql://user@host/name"
    )

    def check(self) -> None:
        if self.key is not None and not self.key:
            raise ValueError("key is empty; name a column, or leave it out")
        missing = [name for name in self.key or () if self.columns is not None and name not in self.columns]
        if missing:
            raise ValueError(f"columns leaves out the key {missing[0]!r}; add it")
        for field, names in (("key", self.key or []), ("columns", self.columns or [])):
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                raise ValueError(f"{field} names {twice[0]!r} twice; leave one of them out")
        self._kinds: dict[str, ColumnKind] | None = None
        self._engine: AsyncEngine | None = None
        self._pending: list[Statement] = []

    def needs_database(self) -> bool:
        """Whether the rows go to the pipeline's own database."""
        return self.database is None

    def absorbs_repeats(self) -> bool:
        """Whether a row that comes again finds itself there already."""
        return self.key is not None

    async def open(self) -> None:
        """Reach another database, and find the table there; raises UnreachableError, DatabaseError where it is missing."""
        self._kinds = None
        self._pending = []
        if self.database is not None:
            self._engine = await connect(self.database)
        if self.create_table or await self._has_table():
            return
        await self.close()
        raise DatabaseError(
            f"the database {self._where} has no table {self.table!r}; make it, or set create_table: true"
        )

    async def _has_table(self) -> bool:
        """Whether the table (or a view) is there: without it no message could be written, and none should be read."""
        schema, name = split_name(self.table)

        async def look() -> bool:
            reading = pipeline_database().reading() if self._engine is None else self._engine.connect()
            async with reading as connection:
                return await connection.run_sync(lambda each: sa.inspect(each).has_table(name, schema=schema))

        if self._engine is None:
            return await patiently(pipeline_database(), "read", look)
        try:
            return await look()
        except (SQLAlchemyError, OSError) as error:
            await self.close()
            raise DatabaseError(f"table {self.table!r} of {self._where}: {said(error)}") from None

    @property
    def _where(self) -> str:
        return pipeline_database().url if self.database is None else shown(self.database)

    async def close(self) -> None:
        if self._engine is not None:
            await self._engine.dispose()

    def statements(self, batch: Sequence[Any], /) -> Iterable[Statement]:
        """The rows of a batch; for another database they wait for `flush`."""
        if not batch:
            return ()
        rows = [self._row(payload) for payload in batch]
        made: list[Statement] = []
        if self.create_table and self._kinds is None:
            kinds = kinds_of(batch, rows) if self.columns is None else _only(kinds_of(batch, rows), self.columns)
            self._check_types(rows, kinds)
            made.append(Statement(CreateTable(self._defined(kinds), if_not_exists=True)))
            self._kinds = kinds
        elif self._kinds is not None:
            self._check_types(rows, self._kinds)
        # Rows of the same fields in a row: their order stays, since a later one of the same key must win.
        made += [Statement(self._insert(names), list(group)) for names, group in groupby(rows, key=tuple)]
        if self.database is None:
            return made
        self._pending += made
        return ()

    async def flush(self) -> None:
        """Write what waits to the other database, in one transaction; raises DatabaseError."""
        if self._engine is None or self.database is None or not self._pending:
            return
        try:
            async with self._engine.begin() as connection:
                for each in self._pending:
                    await connection.execute(each.statement, list(each.rows) or None)
        except (
            SQLAlchemyError,
            OverflowError,
            UnicodeEncodeError,
        ) as error:  # the last two: SQLite's driver, at a value
            what = said(error)
            cure = "; make it, or set create_table: true" if _MISSING.search(what) and not self.create_table else ""
            raise DatabaseError(f"table {self.table!r} of {self._where}: {what}{cure}") from None
        self._pending = []

    def _row(self, payload: Any) -> Row:
        row = row_of(payload, self.columns)
        if self.columns is not None:
            absent = [name for name in self.columns if name not in row]
            if absent:
                raise ValueError(f"the payload has no field {absent[0]!r} for its column in table {self.table!r}")
            row = {name: row[name] for name in self.columns}
        for name in self.key or ():
            if row.get(name) is None:
                what = "is null" if name in row else f"is missing; the payload has {', '.join(row) or 'no fields'}"
                raise ValueError(f"the key {name!r} of table {self.table!r} {what}")
        if not row:
            raise ValueError("the payload has no fields, so there is no row to write")
        if "" in row:
            raise ValueError("a field of the payload has an empty name; list the fields to write with columns: [...]")
        return row

    def _check_types(self, rows: Sequence[Row], kinds: dict[str, ColumnKind]) -> None:
        """Blame the message instead of failing the commit that it is a part of."""
        for row in rows:
            for name, value in row.items():
                kind = kinds.get(name)
                if kind is None:
                    raise ValueError(
                        f"field {name!r} has no column in table {self.table!r} (columns: {', '.join(kinds)}); "
                        f"list the fields to write with columns: [...]"
                    )
                fits = isinstance(value, kind.takes) and not (isinstance(value, bool) and bool not in kind.takes)
                if value is not None and not fits:
                    raise ValueError(
                        f"column {name!r} of table {self.table!r} takes {kind.name}, found {type(value).__name__}"
                    )
                if kind is INTEGER and value is not None and value not in _SIGNED_64:
                    raise ValueError(
                        f"column {name!r} of table {self.table!r} takes {kind.name} of 64 bits, found a larger one"
                    )

    def _defined(self, kinds: dict[str, ColumnKind]) -> sa.Table:
        schema, table = split_name(self.table)
        key = self.key or ()
        columns: list[Any] = [
            sa.Column(name, kind.sql, nullable=name not in key, primary_key=name in key, autoincrement=False)
            for name, kind in kinds.items()
        ]
        return sa.Table(table, sa.MetaData(), *columns, schema=schema)

    def _insert(self, names: Sequence[str]) -> sa.Executable:
        schema, name = split_name(self.table)
        kinds = self._kinds or {}
        columns = [sa.column(each, kinds[each].sql if each in kinds else AsItIs()) for each in names]
        table = sa.table(name, *columns, schema=schema)
        return sa.insert(table) if self.key is None else Upsert(table, self.key, names)


def _only(kinds: dict[str, ColumnKind], columns: Sequence[str]) -> dict[str, ColumnKind]:
    return {name: kinds[name] for name in columns}
