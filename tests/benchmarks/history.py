"""Throughput must not fall with history: 10^4 to 10^6 completed rows in `port_messages` (`--long`: 10^7)."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import asyncpg
import sqlalchemy as sa

from tests.benchmarks.harness import OPTIONS, Bar, Contender, Result, measure_curve, step
from tests.benchmarks.orders import BATCH, pipeline
from tests.benchmarks.postgres import postgres

ROWS = (10_000, 100_000, 1_000_000)
MANY = 10_000_000
MESSAGES = 10_000
ROUNDS = 15
"""Half a second each, of which a disk that others use as well gives and takes a fifth."""
X = "completed rows"


class History:
    """A database in which so many messages were handled: some really, and then their rows over and over."""

    def __init__(self, url: str, rows: int) -> None:
        self._url = url
        self._read = 0
        self.work()
        more = rows - MESSAGES
        if more:
            if url.startswith("sqlite"):
                _repeat_sqlite(url.removeprefix("sqlite:///"), more)
            else:
                asyncio.run(_repeat_postgres(url, more))

    def work(self) -> None:
        self._read += MESSAGES
        pipeline(self._read, made=self._read > MESSAGES).run(database=self._url)


def _repeat_sqlite(file: str, more: int) -> None:
    connection = sqlite3.connect(file)
    columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(port_messages)")]
    while more > 0:
        more -= connection.execute(_repetition(columns), (more,)).rowcount
    connection.commit()
    connection.close()


async def _repeat_postgres(url: str, more: int) -> None:
    connection = await asyncpg.connect(url)
    query = "SELECT column_name FROM information_schema.columns WHERE table_name = 'port_messages'"
    columns = [name for (name,) in await connection.fetch(query)]
    while more > 0:
        done = await connection.execute(_repetition(columns).replace("?", "$1"), more)
        more -= int(done.split()[-1])
    await connection.execute("VACUUM ANALYZE port_messages")
    with suppress(asyncpg.InsufficientPrivilegeError):
        await connection.execute("CHECKPOINT")  # what made the history is not written while the work on it is measured
    await connection.close()


def _repetition(columns: list[str]) -> str:
    table = sa.table("port_messages", *(sa.column(name) for name in columns if name != "seq"))
    named = ", ".join(table.c.keys())
    return f"INSERT INTO port_messages ({named}) SELECT {named} FROM port_messages LIMIT ?"


def run() -> list[Result]:
    rows = ROWS[:2] if OPTIONS.quick else (*ROWS, *([MANY] if OPTIONS.long else []))
    with tempfile.TemporaryDirectory() as folder, postgres() as fresh:
        made: dict[tuple[str, int], History] = {}
        homes: dict[str, Callable[[int], str]] = {
            "SQLite": lambda number: f"sqlite:///{Path(folder) / f'{number}.db'}",
            "PostgreSQL": lambda _: fresh(),
        }
        for name, home in homes.items():
            for number in rows:
                made[name, number] = History(home(number), number)
        bars = [
            Bar(step(name, rows[0], X), least=0.9, of=step(name, number, X)) for name in homes for number in rows[1:]
        ]
        return [
            measure_curve(
                f"durable hop to a SQL sink by history, batches of {BATCH:,}",
                X,
                rows,
                lambda number: [Contender(name, made[name, number].work, MESSAGES) for name in homes],
                bars,
                rounds=ROUNDS,
            )
        ]
