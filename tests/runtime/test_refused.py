"""Rows that the database refuses: each is the dead letter of its own message, once, and nothing else is touched."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from autocoder import ErrorPolicy, Pipeline, Sink, Value
from autocoder.database import open_database
from autocoder.declaration import ChannelOptions
from autocoder.statement import Statement
from autocoder.store.schema import prepare
from tests.support import Numbers

metadata = sa.MetaData()
kept = sa.Table(
    "kept",
    metadata,
    sa.Column("number", sa.Integer, sa.CheckConstraint("number % 7 <> 3"), nullable=False),
    sa.Column("place", sa.Integer),
)
CHANNELS = {"memory": ChannelOptions(), "durable": ChannelOptions(durable=True)}


class Keep(Sink[int]):
    """One row for each number."""

    def statements(self, batch: Sequence[int], /) -> Iterable[Statement]:
        yield Statement(sa.insert(kept), [{"number": number} for number in batch])


class Counting(Sink[int]):
    """One row for each number, with its place among all."""

    places = Value(int, default=0)

    def statements(self, batch: Sequence[int], /) -> Iterable[Statement]:
        rows = []
        for number in batch:
            self.places.value += 1
            rows.append({"number": number, "place": self.places.value})
        yield Statement(sa.insert(kept), rows)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "x.db"

    async def make() -> None:
        async with open_database(f"sqlite:///{file}") as database:
            await prepare(database)
            async with database.transaction() as connection:
                await connection.run_sync(metadata.create_all)

    anyio.run(make)
    return file


@pytest.fixture
def faults() -> Iterator[list[str]]:
    """The beginnings of statements over which the store is in trouble, once each."""
    coming: list[str] = []

    def trouble(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        for each in coming:
            if statement.startswith(each):
                coming.remove(each)
                raise sqlite3.OperationalError("disk I/O error")

    sa.event.listen(sa.Engine, "before_cursor_execute", trouble)
    yield coming
    sa.event.remove(sa.Engine, "before_cursor_execute", trouble)


def ran(file: Path, sink: Sink[int], channel: str, policy: ErrorPolicy | None = None) -> Any:
    pipeline = Pipeline("refusals")
    numbers = pipeline.add("numbers", Numbers(upto=30))
    pipeline.add("sink", sink, after=numbers, channel=CHANNELS[channel], on_error=policy)
    return pipeline.run(database=f"sqlite:///{file}")


def rows(file: Path, query: str) -> list[Any]:
    connection = sqlite3.connect(file)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


REFUSED = [3, 10, 17, 24]


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("trouble", [(), ("UPDATE port_messages SET status=",), ("INSERT INTO checkpoints",) * 2])
def test_a_refused_row_is_the_dead_letter_of_its_message(
    file: Path, channel: str, trouble: Sequence[str], faults: list[str]
) -> None:
    faults += [each for each in trouble if channel == "durable" or each.startswith("INSERT")]
    summary = ran(file, Keep(), channel)
    assert not faults
    assert rows(file, "SELECT number FROM kept ORDER BY rowid") == [(n,) for n in range(30) if n % 7 != 3]
    found = "SELECT json_extract(message_data, '$'), retry_count FROM port_messages WHERE status "
    assert rows(file, found + "= 'dead_letter' ORDER BY seq") == [(n, 1) for n in REFUSED]
    assert summary.dead_letters == 4
    assert rows(file, "SELECT count(*) FROM port_messages") == [(30 if channel == "durable" else 4,)]
    assert rows(file, "SELECT count(*) FROM port_messages WHERE status = 'completed' AND seq IN (4, 11)") == [(0,)]


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_refused_row_may_be_dropped(file: Path, channel: str) -> None:
    summary = ran(file, Keep(), channel, ErrorPolicy(then="drop"))
    assert (summary.components["sink"].dropped, summary.dead_letters) == (4, 0)
    assert rows(file, "SELECT count(*) FROM port_messages WHERE status <> 'completed'") == [(0,)]


def test_a_replayed_message_that_is_refused_again_returns_to_its_row(file: Path) -> None:
    ran(file, Keep(), "durable")
    before = rows(file, "SELECT seq FROM port_messages WHERE status = 'dead_letter' ORDER BY seq")
    connection = sqlite3.connect(file)
    replayed = "UPDATE port_messages SET status = 'pending', parked = 1, error_type = NULL WHERE status = 'dead_letter'"
    connection.execute(replayed)
    connection.commit()
    connection.close()
    assert ran(file, Keep(), "durable").dead_letters == 4
    assert rows(file, "SELECT seq FROM port_messages WHERE status = 'dead_letter' ORDER BY seq") == before


@pytest.mark.parametrize("channel", CHANNELS)
def test_state_is_of_one_call_for_each_message(file: Path, channel: str) -> None:
    ran(file, Counting(), channel)
    assert rows(file, "SELECT number, place FROM kept ORDER BY rowid") == [(n, n + 1) for n in range(30) if n % 7 != 3]
    assert rows(file, "SELECT state_data FROM component_state") == [("30",)]
