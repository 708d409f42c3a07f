"""A durable hop to a SQL sink on SQLite, exactly once, against the same work by hand on sqlite3 in one thread."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks.harness import OPTIONS, Bar, Contender, Result, measure
from tests.benchmarks.orders import BATCH, CREATE_RESULTS, NOTE, ORDER, orders, pipeline, price

MESSAGES = 200_000
TABLES = """
CREATE TABLE messages (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, data TEXT NOT NULL, status TEXT NOT NULL, created_at TEXT NOT NULL,
    completed_at TEXT
);
CREATE INDEX waiting ON messages (seq) WHERE status = 'pending';
CREATE TABLE position (resume INTEGER NOT NULL);
INSERT INTO position VALUES (0);
"""


def connect(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def ours(messages: int, file: Path, batch: int = BATCH, note: str = NOTE) -> None:
    pipeline(messages, batch=batch, note=note).run(database=f"sqlite:///{file}")


def by_hand(messages: int, file: Path, batch: int = BATCH, note: str = NOTE) -> None:
    """Two steps that take turns, each one transaction for a batch: read and enqueue; take, price, complete and write."""
    connection = connect(file)
    connection.executescript(TABLES + CREATE_RESULTS)
    cursor = 0
    for at in range(0, messages, batch):
        enqueue(connection, at, batch, note)
        cursor = handle(connection, cursor, batch)
    connection.close()


def enqueue(connection: sqlite3.Connection, at: int, batch: int, note: str) -> None:
    moment = datetime.now(UTC).isoformat()
    rows = [(ORDER.dump_json(each).decode(), moment) for each in orders(at, batch, note)]
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT INTO messages (data, status, created_at) VALUES (?, 'pending', ?)", rows)
    connection.execute("UPDATE position SET resume = ?", (at + batch,))
    connection.execute("COMMIT")


def handle(connection: sqlite3.Connection, cursor: int, batch: int) -> int:
    query = "SELECT seq, data FROM messages WHERE status = 'pending' AND seq > ? ORDER BY seq LIMIT ?"
    taken = connection.execute(query, (cursor, batch)).fetchall()
    priced = [price(ORDER.validate_json(data)) for _, data in taken]
    rows = [(each.number, each.customer, each.total) for each in priced]
    first, last = taken[0][0], taken[-1][0]
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        "UPDATE messages SET status = 'completed', completed_at = ? WHERE status = 'pending' AND seq BETWEEN ? AND ?",
        (datetime.now(UTC).isoformat(), first, last),
    )
    connection.executemany("INSERT INTO results VALUES (?, ?, ?)", rows)
    connection.execute("COMMIT")
    return int(last)


def checked(work: Callable[[int, Path], None], messages: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bench.db"
        work(messages, file)
        connection = sqlite3.connect(file)
        count, total = connection.execute("SELECT count(*), sum(total) FROM results").fetchone()
        connection.close()
    assert count == messages and total == sum(250 * (number % 7 + 1) for number in range(messages)), (count, total)


def run() -> list[Result]:
    messages = max(2 * BATCH, OPTIONS.sized(MESSAGES))
    return [
        measure(
            f"durable hop to a SQL sink, SQLite FULL, exactly once, batches of {BATCH:,}",
            [
                Contender("autocoder", lambda: checked(ours, messages), messages),
                Contender("sqlite3 by hand", lambda: checked(by_hand, messages), messages),
            ],
            [Bar("sqlite3 by hand", least=0.8)],
        )
    ]
