"""sql.Insert on real SQLite files and a real PostgreSQL: the same pipeline, the same rows."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import sqlite3
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import sqlalchemy as sa
from autocoder_components.sql import DatabaseError, Insert
from autocoder_components.sql.engine import said, shown
from pydantic import BaseModel, SecretStr
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from autocoder import Pipeline, PipelineError, UnreachableError
from autocoder.database import in_use, open_database
from tests.store.fresh import fresh_postgres

pytestmark = pytest.mark.anyio


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'data.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind, as a user writes its URL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'data.db'}"
    return str(request.getfixturevalue("postgres_url")).replace("postgresql+asyncpg", "postgresql")


@pytest.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    """What a user would look into the database with; the tables of the test go with it."""
    engine = create_async_engine(
        url.replace("sqlite:", "sqlite+aiosqlite:").replace("postgresql:", "postgresql+asyncpg:")
    )
    yield engine
    if engine.dialect.name == "postgresql":
        async with engine.begin() as connection:
            await connection.execute(sa.text("DROP SCHEMA public CASCADE"))
            await connection.execute(sa.text("CREATE SCHEMA public"))
    await engine.dispose()


async def rows(engine: AsyncEngine, query: str) -> list[tuple[Any, ...]]:
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(sa.text(query))]


async def execute(engine: AsyncEngine, statement: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(sa.text(statement))


async def write(engine: AsyncEngine, insert: Insert, *batches: list[Any]) -> None:
    """What the committer does: one transaction for the statements of each batch."""
    async with open_database(engine.url.render_as_string(hide_password=False)) as database:
        with in_use(database):
            await insert.open()
    for batch in batches:
        async with engine.begin() as connection:
            for each in insert.statements(batch):
                await connection.execute(each.statement, list(each.rows) or None)
    await insert.close()


class Colour(enum.Enum):
    RED = "red"


class Line(BaseModel):
    article: str
    pieces: int


@dataclass(frozen=True)
class Order:
    id: int
    customer: str | None
    paid: bool
    amount: decimal.Decimal
    weight: float
    at: datetime.datetime
    day: datetime.date
    code: uuid.UUID
    colour: Colour
    state: Literal["open", "done"]
    raw: bytes
    lines: list[Line] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


def order(id: int = 1, **changed: Any) -> Order:
    values: dict[str, Any] = {
        "customer": "O'Brien; DROP TABLE orders", "paid": True, "amount": decimal.Decimal("12.30"), "weight": 2,
        "at": datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
        "day": datetime.date(2024, 5, 1), "code": uuid.UUID(int=7), "colour": Colour.RED, "state": "open",
        "raw": b"\x00\xff", "lines": [Line(article="pen", pieces=2)], "extra": {"ünïcode": [1, None]},
    }  # fmt: skip
    return Order(id, **{**values, **changed})


async def test_a_table_is_made_of_a_dataclass_and_takes_every_type(engine: AsyncEngine) -> None:
    await write(
        engine, Insert(table="orders", key="id", create_table=True), [order(1), order(2, customer=None, paid=False)]
    )
    first, second = await rows(engine, "SELECT customer, paid, colour, state, weight, raw, id FROM orders ORDER BY id")
    assert first[:5] == ("O'Brien; DROP TABLE orders", True, "red", "open", 2.0)
    assert bytes(first[5]) == b"\x00\xff"
    assert second[:2] == (None, False)
    ((amount, at, day, code, lines, extra),) = await rows(
        engine, "SELECT amount, at, day, code, lines, extra FROM orders WHERE id = 1"
    )
    assert str(amount) == "12.30"
    assert str(at)[:19] == "2024-05-01 10:00:00"
    assert str(day) == "2024-05-01"
    assert str(code) == str(uuid.UUID(int=7))
    decoded = [each if not isinstance(each, str) else json.loads(each) for each in (lines, extra)]
    assert decoded == [[{"article": "pen", "pieces": 2}], {"ünïcode": [1, None]}]


async def test_a_key_makes_writing_twice_the_same_as_once(engine: AsyncEngine) -> None:
    insert = Insert(table="t", key=["a", "b"], create_table=True)
    batch = [{"a": 1, "b": "x", "n": 1}, {"a": 1, "b": "y", "n": 2}, {"a": 1, "b": "x", "n": 3}]
    await write(engine, insert, batch, batch)
    await write(engine, Insert(table="t", key=["a", "b"], create_table=True), batch)
    assert await rows(engine, "SELECT a, b, n FROM t ORDER BY b") == [(1, "x", 3), (1, "y", 2)]


async def test_a_row_that_is_nothing_but_its_key(engine: AsyncEngine) -> None:
    await write(engine, Insert(table="seen", key="id", create_table=True), [{"id": "a"}, {"id": "a"}, {"id": "b"}])
    assert await rows(engine, "SELECT id FROM seen ORDER BY id") == [("a",), ("b",)]


async def test_without_a_key_rows_are_added(engine: AsyncEngine) -> None:
    await write(engine, Insert(table="t", create_table=True), [{"n": 1}, {"n": 1}])
    assert await rows(engine, "SELECT n FROM t") == [(1,), (1,)]


ODD = ["a b", "select", 'quo"te', "CamelCase", "x:y", "50%", "%(a)s", "(a)", "a.b", "ünï", "semi;colon", "$1"]


@pytest.mark.parametrize("table", ["order", 'we"ird Table; --', "%s"])
async def test_names_are_quoted(engine: AsyncEngine, table: str) -> None:
    insert = Insert(table=table, key=["select", "a b"], create_table=True)
    await write(engine, insert, [dict.fromkeys(ODD, 1), {name: 1 if name in ("select", "a b") else 2 for name in ODD}])
    quoted = table.replace('"', '""')
    (row,) = await rows(engine, f'SELECT * FROM "{quoted}"'.replace(":", "\\:"))
    assert sorted(row) == [1, 1] + [2] * 10


async def test_a_field_missing_in_an_update_keeps_its_value(engine: AsyncEngine) -> None:
    insert = Insert(table="t", key="id", create_table=True)
    await write(engine, insert, [{"id": 1, "a": 1, "b": 1}, {"id": 1, "b": 2}, {"id": 2, "a": 5}, {"id": 2, "b": 5}])
    assert await rows(engine, "SELECT id, a, b FROM t ORDER BY id") == [(1, 1, 2), (2, 5, 5)]


async def test_columns_selects_fields(engine: AsyncEngine) -> None:
    insert = Insert(table="t", columns=["id", "amount"], key="id", create_table=True)
    await write(engine, insert, [order(1)])
    assert [len(row) for row in await rows(engine, "SELECT * FROM t")] == [2]
    with pytest.raises(ValueError, match="no field 'amount' for its column"):
        insert.statements([{"id": 1}])


async def test_a_table_that_was_there_takes_values_as_the_driver_does(engine: AsyncEngine) -> None:
    moment = "timestamptz" if engine.dialect.name == "postgresql" else "text"
    json_type = "jsonb" if engine.dialect.name == "postgresql" else "text"
    await execute(
        engine, f"CREATE TABLE t (id bigint PRIMARY KEY, at {moment}, data {json_type}, note text DEFAULT 'none')"
    )
    at = datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC)
    await write(engine, Insert(table="t", key="id"), [{"id": 1, "at": at, "data": {"a": [1]}}])
    ((found, data, note),) = await rows(engine, "SELECT at, data, note FROM t")
    assert str(found)[:10] == "2024-05-01"
    assert (json.loads(data) if isinstance(data, str) else data) == {"a": [1]}
    assert note == "none"


async def test_a_schema_may_be_named(engine: AsyncEngine) -> None:
    schema = "public" if engine.dialect.name == "postgresql" else "main"
    await write(engine, Insert(table=f"{schema}.t", key="id", create_table=True), [{"id": 1}])
    assert await rows(engine, "SELECT id FROM t") == [(1,)]


@pytest.mark.parametrize(
    ("payload", "said_of_it"),
    [
        ({"id": 1, "n": 2, "nwe": 3}, "field 'nwe' has no column in table 't' (columns: id, n)"),
        ({"n": 2}, "the key 'id' of table 't' is missing; the payload has n"),
        ({"id": None, "n": 2}, "the key 'id' of table 't' is null"),
        ({"id": 1, "n": "many"}, "column 'n' of table 't' takes a whole number, found str"),
        ({"id": 1, "n": True}, "takes a whole number, found bool"),
        ({"id": 1, "n": SecretStr("hunter2")}, "field 'n' is a secret"),
        ({"id": 1, "n": object()}, "field 'n' holds a object"),
        ({"id": 1, "": 2}, "a field of the payload has an empty name"),
        (5, "a payload of type int has no fields"),
    ],
)
async def test_a_payload_that_does_not_fit_is_refused_by_name(payload: Any, said_of_it: str) -> None:
    insert = Insert(table="t", key="id", create_table=True)
    insert.statements([{"id": 1, "n": 1}])
    with pytest.raises(ValueError) as caught:
        insert.statements([payload])
    assert said_of_it in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "many" not in str(caught.value)


async def test_columns_of_dicts_come_from_the_whole_first_batch(engine: AsyncEngine) -> None:
    insert = Insert(table="t", create_table=True)
    await write(engine, insert, [{"a": None, "b": 1}, {"a": True, "b": 1.5, "c": "x"}])
    assert await rows(engine, "SELECT a, b, c FROM t ORDER BY b") == [(None, 1.0, None), (True, 1.5, "x")]
    with pytest.raises(ValueError, match="field 'a' holds int and str"):
        Insert(table="t", create_table=True).statements([{"a": 1}, {"a": "x"}])


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"key": []}, "key is empty"),
        ({"key": "id", "columns": ["n"]}, "columns leaves out the key 'id'"),
        ({"key": ["id", "id"]}, "key names 'id' twice"),
        ({"columns": ["n", "n"]}, "columns names 'n' twice"),
        ({"database": "mysql://root:hunter2@host/x"}, "of the kind 'mysql' is not supported"),
        ({"database": "nonsense hunter2"}, "cannot be read; write sqlite:///path"),
        ({"database": "sqlite://"}, "lost with the process"),
    ],
)
def test_bad_configuration_is_refused_without_showing_the_url(config: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError) as caught:
        Insert(table="t", **config)
    assert expected in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_another_database_is_written_at_flush(url: str, engine: AsyncEngine) -> None:
    insert = Insert(table="t", create_table=True, database=url)
    assert not insert.needs_database()
    await insert.open()
    assert list(insert.statements([{"id": 1}])) == []
    assert list(insert.statements([{"id": 2}, {"id": 1}])) == []
    await insert.flush()
    await insert.flush()
    assert await rows(engine, "SELECT id FROM t ORDER BY id") == [(1,), (1,), (2,)]
    await insert.close()


async def test_an_unreachable_database_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError) as caught:
        await Insert(table="t", database="postgresql://me:hunter2@127.0.0.1:1/shop").open()
    assert "postgresql://me:***@127.0.0.1:1/shop" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(UnreachableError, match="unable to open database file"):
        await Insert(table="t", database=f"sqlite:///{tmp_path}/no/folder.db").open()
    assert shown(SecretStr("postgresql://me:hunter2@h/x?password=hunter2")) == "postgresql://me:***@h/x"


async def test_what_the_database_refuses_is_said_without_the_values(url: str, engine: AsyncEngine) -> None:
    await execute(engine, "CREATE TABLE t (id bigint PRIMARY KEY, word text NOT NULL CHECK (length(word) < 6))")

    async def refused(table: str, *payloads: Any) -> str:
        insert = Insert(table=table, database=url)
        await insert.open()
        insert.statements(list(payloads))
        with pytest.raises(DatabaseError) as caught:
            await insert.flush()
        await insert.close()
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None
        return str(caught.value)

    assert "table 't' of" in await refused("t", {"id": 1, "word": "hunter2"})
    assert "wrod" in await refused("t", {"id": 1, "wrod": "hunter2"})
    assert "unique" in (await refused("t", {"id": 77, "word": "a"}, {"id": 77, "word": "b"})).lower()
    if engine.dialect.name == "postgresql":
        assert "query argument $1" in await refused("t", {"id": "hunter2", "word": "x"})
        assert "query argument $1" in await refused("t", {"id": "hunter2 (expected 'hunter2'", "word": "x"})


def test_what_a_driver_says_is_cut_to_its_first_line() -> None:
    error = DBAPIError("INSERT", {"a": "hunter2"}, Exception("<class 'x.Y'>: duplicate key\nDETAIL: Key (a)=(hunter2)"))
    assert said(error) == "duplicate key"


@pytest.fixture
def pipeline() -> str:
    return """
pipeline: p
components:
  orders: {use: flow.Generate, with: {count: 2500, value: "{'id': i % 1000, 'n': i}"}}
  table: {use: sql.Insert, from: orders, with: {table: orders, key: id, create_table: true}}
"""


@pytest.fixture
def summed() -> Iterator[int]:
    yield sum(range(1500, 2500))


async def test_a_pipeline_writes_to_its_own_database(pipeline: str, url: str, engine: AsyncEngine, summed: int) -> None:
    for _ in range(2):
        await Pipeline.from_yaml(pipeline).run_async(database=url)
        assert await rows(engine, "SELECT count(*), sum(n) FROM orders") == [(1000, summed)]


async def test_a_payload_that_does_not_fit_becomes_a_dead_letter(sqlite_url: str) -> None:
    text = """
pipeline: p
components:
  orders: {use: flow.Generate, with: {count: 5, value: "i == 3 ? {'id': i, 'x': 'odd'} : {'id': i}"}}
  table: {use: sql.Insert, from: orders, with: {table: orders, key: id, columns: [id], create_table: true}}
  typed: {use: sql.Insert, from: orders, with: {table: typed, key: x, create_table: true}}
"""
    summary = await Pipeline.from_yaml(text).run_async(database=sqlite_url)
    assert summary.components["table"].dead_letters == 0
    assert summary.components["typed"].dead_letters == 4
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (5,)
        assert connection.execute("SELECT id, x FROM typed").fetchall() == [(3, "odd")]
    connection.close()


async def test_a_pipeline_with_a_broken_table_says_which(sqlite_url: str) -> None:
    text = """
pipeline: p
components:
  orders: {use: flow.Generate, with: {count: 5, value: "{'id': i}"}}
  table: {use: sql.Insert, from: orders, with: {table: nowhere, key: id}}
"""
    pipeline = Pipeline.from_yaml(text)
    with pytest.raises(
        PipelineError,
        match=r"pipeline 'p', component 'table': open failed: .*the database sqlite:.* has no table 'nowhere'; "
        r"make it, or set create_table: true",
    ):
        await pipeline.run_async(database=sqlite_url)
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:  # nothing was read for it
        assert connection.execute("SELECT count(*) FROM checkpoints").fetchone() == (0,)
        connection.execute("CREATE TABLE plain (id INTEGER)")
        connection.execute("CREATE VIEW nowhere AS SELECT * FROM plain")
        connection.execute("CREATE TRIGGER t INSTEAD OF INSERT ON nowhere BEGIN INSERT INTO plain VALUES (new.id); END")
        connection.commit()
        await Pipeline.from_yaml(text.replace(", key: id", "")).run_async(database=sqlite_url)
        assert connection.execute("SELECT count(*) FROM plain").fetchone() == (5,)
    connection.close()


async def test_a_missing_table_is_found_without_showing_the_password(postgres_url: str) -> None:
    async with fresh_postgres(postgres_url) as made:
        url = f"{made}{'&' if '?' in made else '?'}password=hunter2"
        for schema in ("", "nowhere."):
            text = TO_ANOTHER.replace("things", f"{schema}things")
            for database, with_url in ((None, text), (url, text.replace('database: "${URL}", ', ""))):
                with pytest.raises(PipelineError, match=rf"has no table '{schema}things'; make it") as caught:
                    await Pipeline.from_yaml(with_url, environ={"URL": url}).run_async(database=database)
                assert "hunter2" not in str(caught.value)


TO_ANOTHER = """
pipeline: p
components:
  numbers: {use: flow.Generate, with: {count: 1, value: "{'a': i}"}}
  table: {use: sql.Insert, from: numbers, with: {database: "${URL}", table: things}}
"""


async def test_an_error_of_a_pipeline_names_the_file_of_the_database(tmp_path: Path) -> None:
    file = tmp_path / "no folder" / "shop.db"
    with pytest.raises(PipelineError, match=r"no folder/shop\.db cannot be opened") as caught:
        await Pipeline.from_yaml(TO_ANOTHER, environ={"URL": f"sqlite:///{file}"}).run_async()
    assert caught.value.exit_code == 69


async def test_a_table_that_is_not_there_is_named_with_the_cure(url: str) -> None:
    with pytest.raises(PipelineError, match=r"has no table 'things'; make it, or set create_table: true") as caught:
        await Pipeline.from_yaml(TO_ANOTHER, environ={"URL": url}).run_async()
    assert shown(SecretStr(url)) in str(caught.value)


async def test_an_option_that_the_driver_does_not_know_is_named(tmp_path: Path) -> None:
    url = "postgresql://me:hunter2@127.0.0.1:1/shop?sslpasswort=hunter2"
    with pytest.raises(PipelineError, match="'sslpasswort'; leave that option out of the URL") as caught:
        await Pipeline.from_yaml(TO_ANOTHER, environ={"URL": url}).run_async()
    assert "hunter2" not in str(caught.value)
