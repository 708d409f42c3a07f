"""Rows of parked messages, written together: as they stand, once each, and never back from completed."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from autocoder.database import Database
from autocoder.store.committing import Committer
from autocoder.store.epoch import EpochCommit, Parked, Reference, Status
from autocoder.store.schema import prepare
from autocoder.store.tables import port_messages, regions
from tests.store.filled import message
from tests.store.statements import asked

pytestmark = pytest.mark.anyio
DUE = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def committer(database: Database) -> Committer:
    await prepare(database)
    async with database.transaction() as connection:
        await connection.execute(sa.insert(regions).values(pipeline="p", region="r", token=1))
    return Committer(database, "p")


def parked(reference: Reference, status: Status, attempts: int = 1, details: Any = None) -> Parked:
    error = None if status in ("completed", "processing") else "ValueError"
    return Parked(
        reference,
        "c",
        "in",
        status,
        data=f'"{reference}"',
        identity=f"i{reference}",
        attempts=attempts,
        max_attempts=9,
        next_retry_at=DUE + timedelta(seconds=attempts),
        error_type=error,
        details=details,
    )


async def stored(database: Database) -> list[tuple[Any, ...]]:
    """How the rows stand, in the order of their making."""
    table = port_messages.c
    columns = (table.handle, table.status, table.retry_count, table.next_retry_at, table.error_type, table.message_data)
    async with database.reading() as connection:
        query = sa.select(*columns, table.error_details, table.parked).order_by(table.seq)
        return [tuple(each) for each in await connection.execute(query)]


def expected(each: Parked, details: str | None = None) -> tuple[Any, ...]:
    due = each.next_retry_at if each.status == "failed" else None
    return (each.reference, each.status, each.attempts, due, each.error_type, each.data, details, True)


@pytest.mark.parametrize("count", [1, 8, 9, 40, 1000])
async def test_new_ones_are_inserted_in_order_and_are_there_once(
    database: Database, committer: Committer, count: int
) -> None:
    new = [parked(f"h{number}", "failed" if number % 2 else "processing") for number in range(count)]
    with asked() as statements:
        await committer.commit(EpochCommit("r", 1, 1, parked=new))
    assert len([each for each in statements if "port_messages" in each.sql]) <= 10
    rows = [expected(each) for each in new]
    assert await stored(database) == rows
    for number in (1, 2):  # the answer to the first commit was lost, and a later epoch says the same
        await committer.commit(EpochCommit("r", 1, number, parked=new))
        assert await stored(database) == rows
    with asked() as statements:
        done = [parked(each.reference, "completed") for each in new]
        await committer.commit(EpochCommit("r", 1, 3, parked=done))
    assert len([each for each in statements if "port_messages" in each.sql]) == 1
    assert {row[1] for row in await stored(database)} == {"completed"}
    await committer.commit(EpochCommit("r", 1, 4, parked=new))
    assert {row[1] for row in await stored(database)} == {"completed"}


@pytest.mark.parametrize("seed", range(5))
async def test_any_changes_in_any_order(database: Database, committer: Committer, seed: int) -> None:
    chance = random.Random(seed)
    async with database.transaction() as connection:
        rows = [message("pending", message_data=f'"{number}"') for number in range(1, 16)]
        await connection.execute(sa.insert(port_messages), rows)
        await connection.execute(sa.insert(port_messages).values(message("pending", pipeline="other")))
    model: dict[Reference, Parked] = {}
    details: dict[Reference, str] = {}
    for number in range(1, 12):
        references: list[Reference] = [*range(1, 17), *(f"h{each}" for each in range(25))]
        changes = []
        for reference in chance.sample(references, chance.choice([1, 5, 20, 41])):
            status: Status = chance.choice(["processing", "failed", "failed", "dead_letter", "completed"])
            given = {"n": number} if chance.random() < 0.3 and status != "completed" else None
            each = parked(reference, status, number, given)
            changes.append(each)
            before = model.get(reference)
            gone = before is not None and before.status == "completed"
            if gone or (before is None and isinstance(reference, str) and status == "completed"):
                continue
            model[reference] = each
            if given:
                details[reference] = f'{{"n": {number}}}'
        await committer.commit(EpochCommit("r", 1, number, parked=changes))
    model.pop(16, None)  # the row of another pipeline
    found = {row[0] or index: row for index, row in enumerate(await stored(database), 1)}
    assert found[16][1] == "pending"
    for reference, each in model.items():
        assert found[reference][1:] == expected(each, details.get(reference))[1:]
    assert {each for each in found if isinstance(each, str)} == {each for each in model if isinstance(each, str)}
