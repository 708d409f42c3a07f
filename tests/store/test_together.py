"""Regions that are ready at the same time share a transaction on SQLite; what befalls one costs the others nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from autocoder.database import Database
from autocoder.statement import Statement
from autocoder.store.committing import Committer, LeaseLost, SinkRefused
from autocoder.store.epoch import EpochCommit, Output, Parked, SinkRows
from autocoder.store.schema import prepare
from autocoder.store.tables import port_messages, regions
from tests.store.statements import asked

pytestmark = pytest.mark.anyio
NAMES = ("one", "two", "three")


@pytest.fixture
async def committer(database: Database) -> Committer:
    await prepare(database)
    async with database.transaction() as connection:
        await connection.execute(sa.insert(regions), [{"pipeline": "p", "region": name, "token": 1} for name in NAMES])
        await connection.exec_driver_sql("CREATE TABLE numbers (number INTEGER PRIMARY KEY CHECK (number > 0))")
    return Committer(database, "p")


def epoch(name: str, *, token: int = 1, sinks: Sequence[SinkRows] = ()) -> EpochCommit:
    return EpochCommit(name, token, 1, outputs=[Output(name, name, "in", ["1", "2"])], sinks=list(sinks))


def rows(table: str, *numbers: int) -> SinkRows:
    """Rows of a sink, each of which parks its message when it is refused."""

    def statements(given: Sequence[int]) -> list[Statement]:
        insert = sa.text(f"INSERT INTO {table} (number) VALUES (:number)")
        return [Statement(insert, [{"number": each} for each in given])]

    def refused(at: int, kind: str, said: str) -> Parked:
        return Parked(f"h{numbers[at]}", "sink", "in", "dead_letter", data=str(numbers[at]), error_type=kind)

    return SinkRows("sink", len(numbers), statements(numbers), lambda at: statements([numbers[at]]), refused)


async def together(committer: Committer, *epochs: EpochCommit) -> dict[str, Exception]:
    """Commit epochs that become ready while somebody else writes; what those raise that fail."""
    raised: dict[str, Exception] = {}

    async def commit(each: EpochCommit) -> None:
        try:
            await committer.commit(each)
        except Exception as error:
            raised[each.region] = error

    async with anyio.create_task_group() as tasks, committer.database.turn():
        for each in epochs:
            tasks.start_soon(commit, each)
        await anyio.wait_all_tasks_blocked()
    return raised


async def stored(database: Database) -> dict[str, list[Any]]:
    """The payloads of each port, in order, and the numbers that a sink wrote."""
    found: dict[str, list[Any]] = {}
    async with database.reading() as connection:
        table = port_messages.c
        query = sa.select(table.target_component, table.message_data).order_by(table.seq)
        for component, data in await connection.execute(query):
            found.setdefault(component, []).append(data)
        numbers = (await connection.exec_driver_sql("SELECT number FROM numbers ORDER BY number")).scalars()
        return found | {"numbers": list(numbers)}


ALL = {name: ["1", "2"] for name in NAMES}


async def test_regions_that_are_ready_wait_for_the_disk_once(database: Database, committer: Committer) -> None:
    with asked() as statements:
        assert await together(committer, *(epoch(name) for name in NAMES)) == {}
    begun = [each for each in statements if each.sql == "BEGIN IMMEDIATE"]
    assert len(begun) == (1 if database.is_sqlite else 0)
    assert await stored(database) == ALL | {"numbers": []}


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: epoch("two", token=7), LeaseLost),
        (lambda: epoch("two", sinks=[rows("missing", 1)]), SinkRefused),
    ],
    ids=["taken over", "no such table"],
)
async def test_one_that_fails_costs_the_others_nothing(
    database: Database, committer: Committer, make: Callable[[], EpochCommit], error: type[Exception]
) -> None:
    raised = await together(committer, epoch("one"), make(), epoch("three"))
    assert {name: type(each) for name, each in raised.items()} == {"two": error}
    assert await stored(database) == {"one": ["1", "2"], "three": ["1", "2"], "numbers": []}


async def test_a_row_that_is_refused_costs_the_others_nothing(database: Database, committer: Committer) -> None:
    bad = epoch("two", sinks=[rows("numbers", 1, -2, 3)])
    assert await together(committer, epoch("one", sinks=[rows("numbers", 7)]), bad, epoch("three")) == {}
    assert await stored(database) == ALL | {"sink": ["-2"], "numbers": [1, 3, 7]}


async def test_one_that_is_cancelled_while_it_waits_is_not_written(database: Database, committer: Committer) -> None:
    async with anyio.create_task_group() as tasks, committer.database.turn():
        tasks.start_soon(committer.commit, epoch("one"))
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert await together(committer, epoch("two")) == {}
    found = await stored(database)
    assert found["two"] == ["1", "2"]
    assert not (database.is_sqlite and "one" in found)  # on PostgreSQL nobody waits, and it may have been faster
