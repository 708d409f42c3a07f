"""sql.Select on real SQLite files and a real PostgreSQL: every row once, in order, also across restarts."""

from __future__ import annotations

import datetime
import decimal
import inspect
import itertools
import json
import re
import sqlite3
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from autocoder_components.sql import DatabaseError, Insert, Select
from autocoder_components.sql.select import decode_position, encode_position
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from autocoder import Batch, Pipeline, PipelineError

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'data.db'}"
    return str(request.getfixturevalue("postgres_url")).replace("postgresql+asyncpg", "postgresql")


@pytest.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(
        url.replace("sqlite:", "sqlite+aiosqlite:").replace("postgresql:", "postgresql+asyncpg:")
    )
    yield engine
    if engine.dialect.name == "postgresql":
        async with engine.begin() as connection:
            await connection.execute(sa.text("DROP SCHEMA public CASCADE"))
            await connection.execute(sa.text("CREATE SCHEMA public"))
    await engine.dispose()


async def execute(engine: AsyncEngine, *statements: str) -> None:
    async with engine.begin() as connection:
        for each in statements:
            await connection.execute(sa.text(each))


async def read(select: Select[Any], resume: Any = None, most: int | None = None) -> list[Batch[Any]]:
    """All batches, or the first so many."""
    await select.open()
    batches: list[Batch[Any]] = []
    try:
        async with aclosing(select.read(resume)) as reading:  # type: ignore[type-var]  # a generator
            async for batch in reading:
                batches.append(batch)
                if len(batches) == most:
                    break
    finally:
        await select.close()
    return batches


def payloads(batches: Sequence[Batch[Any]]) -> list[Any]:
    return [each for batch in batches for each in batch.payloads]


async def numbered(engine: AsyncEngine, numbers: Sequence[int]) -> None:
    """A table `t` with these values in the column `n`, and a serial `id`."""
    values = ", ".join(f"({id}, {n})" for id, n in enumerate(numbers))  # noqa: A001
    await execute(engine, "CREATE TABLE t (id integer PRIMARY KEY, n integer)", f"INSERT INTO t VALUES {values}")


async def test_a_table_comes_in_order_and_in_batches(url: str, engine: AsyncEngine) -> None:
    await numbered(engine, [7, 5, 9, 1, 3])
    batches = await read(Select(database=url, table="t", cursor="n", batch=2))
    assert [[row["n"] for row in batch.payloads] for batch in batches] == [[1, 3], [5, 7], [9]]
    assert [batch.resume for batch in batches] == [3, 7, 9]
    assert payloads(batches)[0] == {"id": 3, "n": 1}


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 100])
async def test_ties_stay_together_and_nothing_is_skipped(url: str, engine: AsyncEngine, batch: int) -> None:
    numbers = [1, 2, 2, 2, 2, 3, 4, 4, 5, 5, 5]
    await numbered(engine, numbers)
    batches = await read(Select(database=url, table="t", cursor="n", batch=batch))
    assert [row["n"] for row in payloads(batches)] == numbers
    assert sorted(row["id"] for row in payloads(batches)) == list(range(len(numbers)))
    for one, following in itertools.pairwise(batches):
        assert one.payloads[-1]["n"] < following.payloads[0]["n"]


async def test_a_restart_goes_on_behind_every_position(url: str, engine: AsyncEngine) -> None:
    await numbered(engine, [1, 2, 2, 3, 5, 8])
    select = Select(database=url, table="t", cursor="n", batch=2)
    batches = await read(select)
    for at, batch in enumerate(batches):
        position = json.loads(json.dumps(batch.resume))
        assert payloads(await read(select, position)) == payloads(batches[at + 1 :])


async def test_rows_without_a_cursor_are_left_out(url: str, engine: AsyncEngine) -> None:
    await execute(engine, "CREATE TABLE t (n integer)", "INSERT INTO t VALUES (2), (NULL), (1)")
    assert payloads(await read(Select(database=url, table="t", cursor="n"))) == [{"n": 1}, {"n": 2}]


async def test_an_empty_table_gives_nothing(url: str, engine: AsyncEngine) -> None:
    await execute(engine, "CREATE TABLE t (n integer)")
    assert await read(Select(database=url, table="t", cursor="n")) == []


async def test_a_query_is_read_like_a_table(url: str, engine: AsyncEngine) -> None:
    await numbered(engine, [3, 1, 2])
    query = "SELECT n * 10 AS \"Tens\", CAST('12 :x' AS varchar(9)) AS at, n % 2 AS odd FROM t WHERE n > 1;"
    batches = await read(Select(database=url, query=query, cursor="Tens", batch=1))
    commented = await read(
        Select(database=url, query=f"{query.removesuffix(';')} -- all of 'them'", cursor="Tens", batch=1)
    )
    assert payloads(commented) == payloads(batches)
    assert payloads(batches) == [{"Tens": 20, "at": "12 :x", "odd": 0}, {"Tens": 30, "at": "12 :x", "odd": 1}]
    if url.startswith("postgresql"):
        got = await read(Select(database=url, query="SELECT n::bigint AS n FROM t", cursor="n"), 2)
        assert payloads(got) == [{"n": 3}]


async def test_names_are_quoted(url: str, engine: AsyncEngine) -> None:
    await execute(engine, 'CREATE TABLE "We""ird; x" ("or der" integer, "select" text)')
    await execute(engine, "INSERT INTO \"We\"\"ird; x\" VALUES (1, 'a'), (2, 'b')")
    got = await read(Select(database=url, table='We"ird; x', cursor="or der", batch=1))
    assert payloads(got) == [{"or der": 1, "select": "a"}, {"or der": 2, "select": "b"}]


async def test_moments_texts_and_uuids_are_positions_too(url: str, engine: AsyncEngine) -> None:
    postgres = engine.dialect.name == "postgresql"
    await execute(
        engine,
        f"CREATE TABLE t (at {'timestamptz' if postgres else 'timestamp'}, day date, price numeric, word text, "
        f"code {'uuid' if postgres else 'text'})",
        *(
            f"INSERT INTO t VALUES ('2024-05-0{i} 10:00:00', '2024-05-0{i}', {i}.5, 'word {i}', "
            f"'00000000-0000-0000-0000-00000000000{i}')"
            for i in (1, 2, 3)
        ),
    )
    for cursor in ("at", "day", "price", "word", "code"):
        select = Select(database=url, table="t", cursor=cursor, batch=1)
        batches = await read(select)
        assert [row["word"] for row in payloads(batches)] == ["word 1", "word 2", "word 3"]
        position = json.loads(json.dumps(batches[0].resume))
        assert [row["word"] for row in payloads(await read(select, position))] == ["word 2", "word 3"]


positions = (
    st.integers() | st.text() | st.floats(allow_nan=False) | st.dates() | st.datetimes(timezones=st.none() | st.timezones())
    | st.decimals(allow_nan=False) | st.uuids()
)  # fmt: skip


@given(positions)
def test_a_position_survives_json(value: Any) -> None:
    decoded = decode_position(json.loads(json.dumps(encode_position(value))))
    assert isinstance(decoded, type(value))
    if isinstance(
        value, datetime.datetime
    ):  # moments of a clock change equal none of another zone, not even themselves
        assert decoded.utcoffset() == value.utcoffset()
        decoded, value = decoded.replace(tzinfo=None), value.replace(tzinfo=None, fold=0)
    assert decoded == value


def test_what_is_no_position_is_refused() -> None:
    for value in (b"x", True, None):
        with pytest.raises(TypeError, match="no position; take a column of"):
            encode_position(value)
    assert decode_position(encode_position(uuid.UUID(int=1))) == uuid.UUID(int=1)
    assert decode_position(encode_position(decimal.Decimal("1.10"))) == decimal.Decimal("1.10")


@dataclass(frozen=True)
class Order:
    id: int
    at: datetime.datetime
    lines: list[dict[str, int]]


async def test_rows_become_payloads_of_a_type_and_misfits_are_rejected(url: str, engine: AsyncEngine) -> None:
    await execute(
        engine,
        "CREATE TABLE t (id integer, at timestamp, lines json)",
        "INSERT INTO t VALUES (1, '2024-05-01 10:00:00', '[{\"pieces\": 2}]'), (2, NULL, '[]')",
    )
    (batch,) = await read(Select(database=url, table="t", cursor="id", payload=Order))
    assert batch.payloads == [Order(1, datetime.datetime(2024, 5, 1, 10), [{"pieces": 2}])]
    (rejected,) = batch.rejected
    assert rejected.place == "table 't', id=2"
    assert str(rejected.error) == "at: Input should be a valid datetime"
    assert batch.resume == 2


async def test_polling_finds_what_comes_later(url: str, engine: AsyncEngine) -> None:
    await numbered(engine, [1])
    select = Select(database=url, table="t", cursor="n", poll=0.01)
    await select.open()
    seen: list[int] = []
    with anyio.fail_after(20):
        async with aclosing(select.read(None)) as reading:  # type: ignore[type-var]  # a generator
            async for batch in reading:
                seen += [row["n"] for row in batch.payloads]
                if len(seen) == 3:
                    break
                await execute(engine, f"INSERT INTO t VALUES ({10 + len(seen)}, {1 + len(seen)})")
    await select.close()
    assert seen == [1, 2, 3]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"table": "nowhere", "cursor": "n"}, "has no table 'nowhere'"),
        ({"table": "t", "cursor": "m"}, "table 't' has no column 'm' for the cursor; it has id, n"),
        ({"query": "SELEC n FROM t", "cursor": "n"}, "the query of"),
    ],
)
async def test_what_is_not_there_is_named(url: str, engine: AsyncEngine, config: dict[str, str], said: str) -> None:
    await numbered(engine, [1])
    with pytest.raises(DatabaseError) as caught:
        await read(Select(database=url, **config))
    assert said in str(caught.value)


async def test_a_misspelt_file_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no database file"):
        await Select(database=f"sqlite:///{tmp_path}/shpo.db", table="t", cursor="n").open()
    assert list(tmp_path.iterdir()) == []


def test_table_or_query_must_be_given(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    for config in ({}, {"table": "t", "query": "SELECT 1"}):
        with pytest.raises(ValueError, match="give either table or query"):
            Select(database=url, cursor="n", **config)


COPY = """
pipeline: copy
components:
  orders: {use: sql.Select, with: {database: "${SHOP}", table: t, cursor: n, batch: 10}}
  copies: {use: sql.Insert, from: orders, with: {table: copies, key: id, create_table: true}}
"""


async def test_a_pipeline_copies_a_table(url: str, engine: AsyncEngine, tmp_path: Path) -> None:
    await numbered(engine, [i // 3 for i in range(1000)])
    own = f"sqlite:///{tmp_path / 'own.db'}"
    summary = await Pipeline.from_yaml(COPY, environ={"SHOP": url}).run_async(database=own)
    assert summary.components["copies"].taken == 1000
    copies = create_async_engine(own.replace("sqlite:", "sqlite+aiosqlite:"))
    async with copies.connect() as connection:
        got = await connection.execute(sa.text("SELECT count(*), sum(n) FROM copies"))
        assert tuple(got.one()) == (1000, sum(i // 3 for i in range(1000)))
    await copies.dispose()


async def test_a_failing_pipeline_shows_no_password(tmp_path: Path) -> None:
    pipeline = Pipeline.from_yaml(COPY, environ={"SHOP": "postgresql://me:hunter2@127.0.0.1:1/shop"})
    with pytest.raises(PipelineError) as caught:
        await pipeline.run_async(database=f"sqlite:///{tmp_path / 'own.db'}")
    assert "cannot be opened" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("component", [Insert, Select])
async def test_the_example_in_the_documentation_runs(
    component: type[Insert | Select[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("shop.db")) as shop:
        shop.execute("CREATE TABLE orders (id integer)")
        shop.execute("INSERT INTO orders VALUES (1)")
        shop.commit()
    (example,) = re.findall(r"```yaml\n(.*?)```", inspect.getdoc(component) or "", re.DOTALL)
    summary = await Pipeline.from_yaml(example).run_async(database=f"sqlite:///{tmp_path}/own.db")
    assert summary.messages_out > 0
    assert summary.dead_letters == 0
    assert all(field.description for field in component.config_model().model_fields.values())
