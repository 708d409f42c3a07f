"""What a run did is written down, and how its components fare."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from autocoder.database import Database, open_database
from autocoder.pipeline import Pipeline
from autocoder.store.columns import now
from autocoder.store.metrics import ComponentReading, PortReading, Recorder, health, judged
from autocoder.store.ownership import owning
from autocoder.store.schema import prepare
from autocoder.store.tables import HEALTH, component_metrics, port_metrics, regions, system_health
from tests.store.filled import MOMENT, fill

COUNTS = st.integers(0, 10**6)


def reading(taken: int = 0, dead_letters: int = 0, retried: int = 0) -> ComponentReading:
    return ComponentReading("c", taken, taken - dead_letters, 0, dead_letters, retried)


async def status(database: Database) -> str:
    async with database.reading() as connection:
        return str((await connection.execute(sa.select(system_health.c.health_status))).scalar_one())


@pytest.mark.anyio
async def test_only_what_changed_is_written_and_health_is_one_row(database: Database) -> None:
    await prepare(database)
    recorder = Recorder(database, "p", "run-1")
    port = PortReading("c", "in", received=5, dropped=0, waiting=3, capacity=4)
    await recorder.flush([reading()], [])
    assert await status(database) == "unknown"
    recorder.sample([port, port])
    await recorder.flush([reading(10)], [port])
    assert await status(database) == "healthy"
    await recorder.flush([reading(10)], [port])
    await recorder.flush([reading(12, dead_letters=1)], [port])
    assert await status(database) == "degraded"
    await recorder.flush([reading(13, dead_letters=12)], [port])
    assert await status(database) == "unhealthy"
    async with database.reading() as connection:
        rows = list(await connection.execute(sa.select(component_metrics).order_by(component_metrics.c.id)))
        ports = list(await connection.execute(sa.select(port_metrics)))
    taken = [row.metric_value for row in rows if row.metric_name == "messages_taken"]
    assert taken == [10.0, 12.0, 13.0]
    assert {row.metric_metadata for row in rows} == {json.dumps({"run": "run-1"})}
    (row,) = ports
    assert (row.messages_sent, row.messages_received, row.buffer_utilization) == (8, 5, 0.75)
    assert json.loads(row.buffer_histogram)[7] == 2


@pytest.mark.anyio
async def test_the_first_message_of_a_durable_channel_is_as_old_as_its_row(database: Database) -> None:
    await prepare(database)
    await fill(database)
    recorder = Recorder(database, "p", "run-1")
    waiting = PortReading("c", "in", received=0, dropped=0, waiting=1, capacity=4, durable=True)
    before = now()
    await recorder.flush([], [waiting, replace(waiting, port="other"), replace(waiting, component="d", durable=False)])
    after = now()
    async with database.reading() as connection:
        rows = list(await connection.execute(sa.select(port_metrics).order_by(port_metrics.c.id)))
    assert [row.oldest_message_age_ms is None for row in rows] == [False, True, True]
    assert (before - MOMENT).total_seconds() * 1000 <= rows[0].oldest_message_age_ms
    assert rows[0].oldest_message_age_ms <= (after - MOMENT).total_seconds() * 1000


@pytest.mark.anyio
async def test_who_was_superseded_writes_nothing_more(database: Database) -> None:
    await prepare(database)
    async with open_database(database.options) as own, owning(own, "p", ["r"], wait=False) as ownership:
        recorder = Recorder(database, "p", "run-1", still=ownership.holds)
        await recorder.flush([reading(10)], [])
        assert await status(database) == "healthy"
        async with database.transaction() as connection:
            await connection.execute(sa.update(regions).values(token=regions.c.token + 1))
        await recorder.flush([reading(20, dead_letters=20)], [])
    assert await status(database) == "healthy"


@pytest.mark.anyio
async def test_trouble_of_the_past_is_forgotten(database: Database) -> None:
    await prepare(database)
    recorder = Recorder(database, "p", "run-1")
    await recorder.flush([reading(2, dead_letters=2)], [])
    assert await status(database) == "unhealthy"
    for number in range(13):
        await recorder.flush([reading(10 + number, dead_letters=2)], [])
    assert await status(database) == "healthy"


@pytest.mark.anyio
async def test_a_store_that_fails_costs_no_run(database: Database) -> None:
    recorder = Recorder(database, "p", "run-1")
    await recorder.flush([reading(1)], [])  # there are no tables
    await prepare(database)
    await recorder.flush([reading(1)], [])
    assert await status(database) == "degraded"
    async with database.reading() as connection:
        assert len(list(await connection.execute(sa.select(component_metrics)))) == 2


@pytest.mark.anyio
async def test_a_run_leaves_its_counts(url: str) -> None:
    text = """
pipeline: counted
components:
  numbers: {use: flow.Generate, with: {count: 5, value: "{'id': i}"}}
  table: {use: sql.Insert, from: numbers, with: {table: numbers, key: id, create_table: true}}
"""
    await Pipeline.from_yaml(text).run_async(database=url)
    async with open_database(url) as database, database.reading() as connection:
        rows = await connection.execute(
            sa.select(component_metrics.c.metric_value).where(
                component_metrics.c.component_name == "table", component_metrics.c.metric_name == "messages_taken"
            )
        )
        assert max(rows.scalars()) == 5
        assert set((await connection.execute(sa.select(system_health.c.health_status))).scalars()) == {"healthy"}


@given(COUNTS, COUNTS, COUNTS, st.integers(0, 9), st.booleans())
def test_health_is_one_of_four_and_never_healthy_with_dead_letters(
    taken: int, dead: int, retried: int, failures: int, ever: bool
) -> None:
    found = health(taken, dead, retried, failures, ever=ever)
    assert found in HEALTH
    assert (found == "healthy") == (ever and not dead and not retried and not failures)
    assert (found == "unknown") == (not ever)


def test_who_is_silent_is_unknown() -> None:
    assert judged("healthy", MOMENT, MOMENT + timedelta(seconds=10)) == "healthy"
    assert judged("healthy", MOMENT, MOMENT + timedelta(seconds=16)) == "unknown"
