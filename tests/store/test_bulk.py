"""Rows written in bulk are the rows that SQLAlchemy would have written, whatever their number, columns and types."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, StatementError

from autocoder.database import Database
from autocoder.statement import Statement
from autocoder.store import bulk
from autocoder.store.columns import BigKey, Instant, JsonText
from tests.store.statements import asked

METADATA = sa.MetaData()
THINGS = sa.Table(
    "things",
    METADATA,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text),
    sa.Column("at", Instant),
    sa.Column("facts", JsonText),
    sa.Column("share", sa.Float, server_default="0.5"),
)
ORDERED = sa.Table(
    "Ordered things",
    METADATA,
    sa.Column("place", BigKey, primary_key=True, autoincrement=True),
    sa.Column("number", sa.BigInteger),
    sa.Column("name", sa.Text),
    sa.Column("at", Instant),
    sa.Column("facts", JsonText),
)
KINDS: dict[str, tuple[Any, Any]] = {
    "small": (sa.SmallInteger, 7),
    "whole": (sa.Integer, -(2**31)),
    "short": (sa.String(9), "it's $1"),
    "share": (sa.Float, 0.1),
    "exact": (sa.Numeric(10, 2), Decimal("12345678.90")),
    "flag": (sa.Boolean, True),
    "bytes": (sa.LargeBinary, b"\x00\xff"),
    "identity": (sa.Uuid, UUID("12345678-1234-5678-1234-567812345678")),
    "day": (sa.Date, date(2026, 2, 28)),
    "hour": (sa.Time, time(1, 2, 3)),
    "local": (sa.DateTime, datetime(2026, 1, 1)),
    "choice": (sa.Enum("one", "two", name="choice"), "two"),
}
OF_ALL_KINDS = sa.Table(
    "of_all_kinds",
    METADATA,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    *(sa.Column(name, kind) for name, (kind, _) in KINDS.items()),
)
START = datetime(2026, 1, 1, tzinfo=UTC)


def row(number: int, name: str | None) -> dict[str, Any]:
    moment = None if number % 3 == 0 else START + timedelta(seconds=number)
    return {"number": number, "name": name, "at": moment, "facts": None if number % 2 else f'{{"n": {number}}}'}


def upsert(database: Database) -> Any:
    statement: Any = (sqlite if database.is_sqlite else postgresql).insert(THINGS)
    return statement.on_conflict_do_update(index_elements=["number"], set_={"name": statement.excluded.name})


async def written(database: Database, *statements: Statement, in_bulk: bool) -> list[tuple[Any, ...]]:
    """What stands in the table after these statements, on an empty one."""
    async with database.transaction() as connection:
        await connection.run_sync(METADATA.drop_all)
        await connection.run_sync(METADATA.create_all)
        for each in statements:
            if in_bulk:
                await connection.run_sync(bulk.execute, each)
            else:
                await connection.execute(each.statement, list(each.rows))
        found = await connection.execute(sa.select(THINGS).order_by(THINGS.c.number))
        return [tuple(each) for each in found]


@pytest.mark.anyio
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(2, 700),
    st.sets(st.sampled_from(["name", "at", "facts"])).map(lambda some: some | {"number"}),
    st.lists(st.one_of(st.none(), st.sampled_from(["a", "it's ?1", "ü"])), min_size=1, max_size=5),
)
async def test_statements_of_sinks(database: Database, count: int, columns: set[str], names: list[str | None]) -> None:
    rows = [row(number, names[number % len(names)]) for number in range(count)]
    rows = [{name: value for name, value in each.items() if name in columns} for each in rows]
    statements = [Statement(sa.insert(THINGS), rows)]
    if "name" in columns and not database.is_sqlite:
        statements.append(Statement(upsert(database), [{**each, "name": "new"} for each in rows[: count // 2]]))
    elif "name" in columns:  # SQLite takes a row twice in one statement, the last one wins
        again = [{**each, "name": f"new {number}"} for number in range(2) for each in rows[: count // 2]]
        statements.append(Statement(upsert(database), again))
    change = sa.update(THINGS).where(THINGS.c.number == sa.bindparam("which")).values(name=sa.bindparam("given"))
    statements.append(Statement(change, [{"which": each["number"], "given": "changed"} for each in rows[::3]]))
    gone = sa.delete(THINGS).where(THINGS.c.number == sa.bindparam("which"))
    statements.append(Statement(gone, [{"which": each["number"]} for each in rows[::5]]))
    expected = await written(database, *statements, in_bulk=False)
    assert await written(database, *statements, in_bulk=True) == expected


@pytest.mark.anyio
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(1, 1200))
async def test_columns_with_values_that_all_rows_share(database: Database, count: int) -> None:
    async with database.transaction() as connection:
        await connection.run_sync(METADATA.drop_all)
        await connection.run_sync(METADATA.create_all)
        same = {"name": "same", "at": START}
        numbers = {"number": range(count), "facts": [None] * count}
        await connection.run_sync(bulk.insert, THINGS, same, numbers)
        found = (await connection.execute(sa.select(THINGS).order_by(THINGS.c.number))).all()
    assert [tuple(each) for each in found] == [(number, "same", START, None, 0.5) for number in range(count)]


@pytest.mark.anyio
@pytest.mark.parametrize("long", [bulk.LONG, 50])
@pytest.mark.parametrize("count", [1, 999, 2500])
async def test_columns_of_every_type_in_order(
    database: Database, monkeypatch: pytest.MonkeyPatch, count: int, long: int
) -> None:
    monkeypatch.setattr(bulk, "LONG", long)
    rows = [row(number, None if number % 5 == 0 else "it's ü") for number in reversed(range(count))]
    names = ("number", "name", "at")
    columns = {name: [each[name] for each in rows] for name in names}
    async with database.transaction() as connection:
        await connection.run_sync(METADATA.drop_all)
        await connection.run_sync(METADATA.create_all)
        with asked() as statements:
            keys = await connection.run_sync(bulk.insert, ORDERED, {"facts": '{"a":  1.50}'}, columns)
        found = (await connection.execute(sa.select(ORDERED).order_by(ORDERED.c.place))).all()
        with pytest.raises(ValueError, match="zip"):
            await connection.run_sync(bulk.insert, ORDERED, {}, {"number": [1, 2], "name": ["x"]})
    row_by_row = any(each.many for each in statements) and not database.is_sqlite
    assert list(keys) == ([] if row_by_row else [each.place for each in found])
    assert [tuple(each)[1:] for each in found] == [(*(each[n] for n in names), '{"a":  1.50}') for each in rows]
    if not database.is_sqlite:
        assert any(each.many for each in statements) == (long == 50 and count > 8)
        assert len(statements) == -(-count // bulk.ARRAY)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
async def test_values_of_every_kind(database: Database, kind: str) -> None:
    value = KINDS[kind][1]
    rows = [{"number": number, kind: None if number % 5 == 0 else value} for number in range(1200)]
    async with database.transaction() as connection:
        await connection.run_sync(METADATA.drop_all)
        await connection.run_sync(METADATA.create_all)
        with asked() as statements:
            await connection.run_sync(bulk.execute, Statement(sa.insert(OF_ALL_KINDS), rows))
        query = sa.select(OF_ALL_KINDS.c.number, OF_ALL_KINDS.c[kind]).order_by(OF_ALL_KINDS.c.number)
        found = [tuple(each) for each in await connection.execute(query)]
    assert found == [(each["number"], each[kind]) for each in rows]
    if not database.is_sqlite:  # an array of times, or of a type of one's own, is left to the driver
        assert {each.many for each in statements} == {kind in ("hour", "choice")}


@pytest.mark.anyio
@pytest.mark.parametrize("count", [3, 40, 600])
async def test_a_row_that_the_database_refuses(database: Database, count: int) -> None:
    rows = [row(number, "x") for number in range(count)]
    with pytest.raises(DBAPIError):
        await written(database, Statement(sa.insert(THINGS), [*rows, rows[0]]), in_bulk=True)


@pytest.mark.anyio
async def test_a_row_without_a_value_is_told(database: Database) -> None:
    rows = [row(number, "x") for number in range(40)]
    del rows[20]["name"]
    with pytest.raises(StatementError, match="name"):
        await written(database, Statement(sa.insert(THINGS), rows), in_bulk=True)
