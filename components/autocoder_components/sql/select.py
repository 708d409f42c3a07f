"""Select: rows of a table or query as payloads, in the order of a cursor column."""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import sqlalchemy as sa
from pydantic import Field, TypeAdapter, ValidationError
from sqlalchemy.exc import NoSuchTableError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from typing_extensions import TypeVar

from autocoder import Batch, Rejected, Source
from autocoder_components.sql.engine import DatabaseError, DatabaseUrl, connect, parse_url, said, shown
from autocoder_components.sql.insert import split_name

T = TypeVar("T")

# Cursor values that JSON does not know, by the name under which the position keeps them.
_POSITIONS: Final[dict[str, tuple[type, Callable[[str], Any]]]] = {
    "datetime": (datetime.datetime, datetime.datetime.fromisoformat),
    "date": (datetime.date, datetime.date.fromisoformat),
    "decimal": (decimal.Decimal, decimal.Decimal),
    "uuid": (uuid.UUID, uuid.UUID),
}


def encode_position(value: Any) -> Any:
    """A cursor value as JSON; raises TypeError for a type that has no order worth resuming from."""
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        return value
    for name, (kind, _) in _POSITIONS.items():
        if isinstance(value, kind):
            return {name: value.isoformat() if isinstance(value, datetime.date) else str(value)}
    raise TypeError(f"{type(value).__name__} values are no position; take a column of numbers, text, dates or UUIDs")


def decode_position(position: Any) -> Any:
    """The cursor value that `encode_position` was given."""
    if isinstance(position, dict):
        ((name, text),) = position.items()
        return _POSITIONS[name][1](text)
    return position


class Select(Source[T]):
    """Read the rows of a table or query in the order of a `cursor` column, and go on behind the last one after a restart.

    Rows are read `batch` at a time, each time those whose cursor is beyond the last (keyset pagination: no transaction
    stays open, and no row is skipped or repeated when others are added or deleted meanwhile). Rows that share a cursor
    value always come in one batch, even if that makes it larger. With `poll` the source does not end but looks for new
    rows.

    What appears later with a cursor value at or before the last one read is not seen: take a column that only grows, such
    as a serial id or a time of insertion. Rows whose cursor is null are not read. A row that does not fit the `payload`
    type is rejected as a message.

    ```yaml
    pipeline: copy-orders
    components:
      orders: {use: sql.Select, with: {database: "sqlite:///shop.db", table: orders, cursor: id}}
      done: {use: flow.Discard, from: orders}
    ```
    """

    database: DatabaseUrl = Field(description="where to read: sqlite:///path or postgresql://user@host/name")
    table: str | None = Field(default=None, min_length=1, description="name of the table, or schema.table")
    query: str | None = Field(default=None, min_length=1, description="a SELECT statement to read instead of a table")
    cursor: str = Field(min_length=1, description="the column to read in order of; it should only grow, such as an id")
    payload: type[T] = Field(default=dict, description="type to make of each row; without it a dict")  # type: ignore[assignment]  # dict is T then
    batch: int = Field(default=1000, gt=0, le=100_000, description="how many rows to read at a time")
    poll: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="seconds after which to look for new rows; without it, end"
    )

    def check(self) -> None:
        if (self.table is None) == (self.query is None):
            raise ValueError("give either table or query")
        self._engine: AsyncEngine | None = None
        self._adapter: TypeAdapter[Any] | None = None

    def repeats_batches(self) -> bool:
        """Whether batches are cut by size alone: a polled table gives what is there when it is asked."""
        return self.poll is None

    async def open(self) -> None:
        parsed = parse_url(self.database.get_secret_value())
        # SQLite would make an empty file of what is only misspelt.
        if parsed.get_backend_name() == "sqlite" and not await anyio.Path(str(parsed.database)).exists():
            file = str(Path(str(parsed.database)))
            raise FileNotFoundError(
                f"there is no database file {file!r} (working folder: {Path.cwd()}); correct `database`"
            )
        self._adapter = None if self.payload is dict else TypeAdapter(self.payload)
        self._engine = await connect(self.database)

    async def close(self) -> None:
        if self._engine is not None:
            await self._engine.dispose()

    async def read(self, resume: Any, /) -> AsyncIterator[Batch[T]]:
        engine = self._engine
        if engine is None:
            raise RuntimeError("read before open")
        after = decode_position(resume)
        try:
            async with engine.connect() as connection:
                origin = await self._origin(connection)
            while True:
                async with engine.connect() as connection:
                    rows, is_last = await self._page(connection, origin, after)
                if rows:
                    after = rows[-1][self.cursor]
                    yield self._made(rows, after)
                if is_last:
                    if self.poll is None:
                        return
                    await anyio.sleep(self.poll)
        except SQLAlchemyError as error:
            raise DatabaseError(f"{self._what} of {shown(self.database)}: {said(error)}") from None

    @property
    def _what(self) -> str:
        return "the query" if self.table is None else f"table {self.table!r}"

    async def _origin(self, connection: AsyncConnection) -> sa.FromClause:
        """What to select from: the table with its columns as the database describes them, or the query."""
        if self.table is None:
            query = (self.query or "").rstrip().rstrip(";")
            # A colon of the query is no parameter of ours.
            # A comment at its end must not take the closing bracket along.
            return sa.text(query.replace(":", "\\:") + "\n").columns(sa.column(self.cursor)).subquery("page")
        schema, name = split_name(self.table)
        try:
            table = await connection.run_sync(
                lambda sync: sa.Table(name, sa.MetaData(), schema=schema, autoload_with=sync, resolve_fks=False)
            )
        except NoSuchTableError:
            raise DatabaseError(f"{shown(self.database)} has no table {self.table!r}") from None
        if self.cursor not in table.c:
            columns = ", ".join(table.c.keys())
            raise DatabaseError(f"{self._what} has no column {self.cursor!r} for the cursor; it has {columns}")
        if connection.dialect.name == "sqlite":
            # SQLite keeps moments and decimals as the text or number that was put there; any other reading is a guess.
            for column in table.c:
                if isinstance(column.type, sa.DateTime | sa.Date | sa.Time | sa.Numeric):
                    column.type = sa.types.NullType()
        return table

    async def _page(
        self, connection: AsyncConnection, origin: sa.FromClause, after: Any
    ) -> tuple[Sequence[sa.RowMapping], bool]:
        """The next rows, complete as to their last cursor value, and whether there were no more behind them."""
        cursor = origin.c[self.cursor]
        shape = sa.select(origin) if self.table is not None else sa.select(sa.text("page.*")).select_from(origin)
        shape = shape.where(cursor.is_not(None)).order_by(cursor)
        beyond = shape if after is None else shape.where(cursor > after)
        rows = (await connection.execute(beyond.limit(self.batch + 1))).mappings().all()
        if len(rows) <= self.batch:
            return rows, True
        tied = rows[-1][self.cursor]
        complete = [row for row in rows if row[self.cursor] != tied]
        if complete:
            return complete, False
        # The whole page has one cursor value: take all rows that do.
        return (await connection.execute(shape.where(cursor == tied))).mappings().all(), False

    def _made(self, rows: Sequence[sa.RowMapping], position: Any) -> Batch[Any]:
        if self._adapter is None:
            return Batch([dict(row) for row in rows], resume=encode_position(position))
        payloads: list[Any] = []
        rejected: list[Rejected] = []
        for row in rows:
            try:
                payloads.append(self._adapter.validate_python(dict(row)))
            except ValidationError as error:
                problem = ValueError("; ".join(_problems(error)))
                rejected.append(Rejected(dict(row), problem, f"{self._what}, {self.cursor}={row[self.cursor]}"))
        return Batch(payloads, resume=encode_position(position), rejected=rejected)


def _problems(error: ValidationError) -> list[str]:
    """What is wrong with a row, column by column, without the values."""
    return [
        f"{'.'.join(map(str, each['loc'])) or 'the row'}: {each['msg']}"
        for each in error.errors(include_url=False, include_context=False, include_input=False)
    ]
