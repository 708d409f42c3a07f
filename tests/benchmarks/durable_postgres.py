"""A durable hop to a SQL sink on PostgreSQL, exactly once, against the same work by hand on asyncpg in one task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import asyncpg

from tests.benchmarks.harness import OPTIONS, Bar, Contender, Result, measure
from tests.benchmarks.orders import BATCH, CREATE_RESULTS, ORDER, orders, price, run_pipeline
from tests.benchmarks.postgres import postgres

MESSAGES = 100_000
TABLES = """
CREATE TABLE messages (
    seq BIGSERIAL PRIMARY KEY, data JSON NOT NULL, status TEXT NOT NULL, created_at TIMESTAMPTZ NOT NULL,
    completed_at TIMESTAMPTZ
);
CREATE INDEX waiting ON messages (seq) WHERE status = 'pending';
CREATE TABLE position (resume BIGINT NOT NULL);
INSERT INTO position VALUES (0);
"""
PUT = (
    "INSERT INTO messages (data, status, created_at) SELECT data, 'pending', $1 FROM unnest($2::json[]) AS given (data)"
)
TAKE = "SELECT seq, data FROM messages WHERE status = 'pending' AND seq > $1 ORDER BY seq LIMIT $2"
WRITE = "INSERT INTO results SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[])"
COMPLETE = "UPDATE messages SET status = 'completed', completed_at = $1 WHERE status = 'pending' AND seq = ANY($2)"


async def by_hand(messages: int, url: str) -> None:
    """Two steps that take turns, each one transaction for a batch: read and enqueue; take, price, complete and write."""
    connection = await asyncpg.connect(url)
    await connection.execute(TABLES + CREATE_RESULTS)
    cursor = 0
    for at in range(0, messages, BATCH):
        await enqueue(connection, at)
        cursor = await handle(connection, cursor)
    await connection.close()


async def enqueue(connection: asyncpg.Connection, at: int) -> None:
    moment = datetime.now(UTC)
    data = [ORDER.dump_json(each).decode() for each in orders(at, BATCH)]
    async with connection.transaction():
        await connection.execute(PUT, moment, data)
        await connection.execute("UPDATE position SET resume = $1", at + BATCH)


async def handle(connection: asyncpg.Connection, cursor: int) -> int:
    taken = await connection.fetch(TAKE, cursor, BATCH)
    priced = [price(ORDER.validate_json(data)) for _, data in taken]
    rows = [(each.number, each.customer, each.total) for each in priced]
    columns = [list(each) for each in zip(*rows, strict=True)]
    async with connection.transaction():
        await connection.execute(COMPLETE, datetime.now(UTC), [seq for seq, _ in taken])
        await connection.execute(WRITE, *columns)
    return int(taken[-1][0])


class Work:
    """One round: an empty database before, and the rows counted when the time is over and the next round begins."""

    def __init__(self, fresh: Callable[[], str], work: Callable[[int, str], None], messages: int) -> None:
        self._fresh, self._work, self._messages = fresh, work, messages
        self.url = ""

    def before(self) -> None:
        self.check()
        self.url = self._fresh()

    def __call__(self) -> None:
        self._work(self._messages, self.url)

    def check(self) -> None:
        if self.url:
            count, total = asyncio.run(counted(self.url))
            assert count == self._messages, (count, total)
            assert total == sum(250 * (number % 7 + 1) for number in range(self._messages)), (count, total)


async def counted(url: str) -> tuple[int, int]:
    connection = await asyncpg.connect(url)
    row = await connection.fetchrow("SELECT count(*), sum(total) FROM results")
    await connection.close()
    return int(row[0]), int(row[1])


def run() -> list[Result]:
    messages = max(2 * BATCH, OPTIONS.sized(MESSAGES))
    with postgres() as fresh:
        ours = Work(fresh, run_pipeline, messages)
        twin = Work(fresh, lambda number, url: asyncio.run(by_hand(number, url)), messages)
        result = measure(
            f"durable hop to a SQL sink, PostgreSQL with fsync, exactly once, batches of {BATCH:,}",
            [
                Contender("autocoder", ours, messages, before=ours.before),
                Contender("asyncpg by hand", twin, messages, before=twin.before),
            ],
            [Bar("asyncpg by hand", least=0.8)],
        )
        ours.check()
        twin.check()
    return [result]
