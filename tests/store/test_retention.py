"""What is past its time goes, in small batches; what is needed stays."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from autocoder.database import Database, open_database
from autocoder.pipeline import Pipeline
from autocoder.store import retention
from autocoder.store.columns import now
from autocoder.store.retention import DAY, Retention, clean_up
from autocoder.store.schema import prepare
from autocoder.store.tables import checkpoints, component_metrics, port_messages, savepoint_state
from tests.store.filled import MOMENT, message

pytestmark = pytest.mark.anyio


async def names(database: Database, column: sa.Column[Any]) -> list[Any]:
    async with database.reading() as connection:
        return sorted((await connection.execute(sa.select(column))).scalars())


async def test_only_completed_messages_past_their_time_go(database: Database) -> None:
    await prepare(database)
    old, young = MOMENT - timedelta(days=8), MOMENT - timedelta(days=6)
    rows = [message(each, created_at=old, handle=each) for each in ("pending", "processing", "failed", "dead_letter")]
    rows += [message("completed", created_at=old, completed_at=old, handle="old")]
    rows += [message("completed", created_at=old, completed_at=young, handle="young")]
    async with database.transaction() as connection:
        for row in rows:
            await connection.execute(sa.insert(port_messages).values(row))
    assert (await clean_up(database, Retention(), moment=MOMENT, dry_run=True))["port_messages"] == 1
    assert len(await names(database, port_messages.c.handle)) == 6
    assert (await clean_up(database, Retention(), moment=MOMENT))["port_messages"] == 1
    assert await names(database, port_messages.c.handle) == ["dead_letter", "failed", "pending", "processing", "young"]


async def test_what_is_kept_longer_than_there_are_years_stays(database: Database) -> None:
    await prepare(database)
    old = MOMENT - timedelta(days=700_000)
    async with database.transaction() as connection:
        await connection.execute(
            sa.insert(port_messages).values(message("completed", created_at=old, completed_at=old))
        )
    keeps = Retention(metrics=1e18, messages=1e18)
    for dry_run in (True, False):
        assert set((await clean_up(database, keeps, moment=MOMENT, dry_run=dry_run)).values()) == {0}
    assert (await clean_up(database, Retention(), moment=MOMENT))["port_messages"] == 1


async def test_more_than_a_batch_goes_and_an_interruption_loses_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await prepare(database)
    many = 2 * retention.BATCH + 3
    old = MOMENT - timedelta(days=30)
    async with database.transaction() as connection:
        await connection.execute(
            sa.insert(port_messages), [message("completed", completed_at=old) for _ in range(many)]
        )

    class InterruptedHereError(Exception):
        pass

    batches = iter([None])

    def stop_at_the_second(name: str) -> None:
        if name == "retention.batch" and next(batches, "stop") == "stop":
            raise InterruptedHereError

    with monkeypatch.context() as patch:
        patch.setattr(retention, "reached", stop_at_the_second)
        with pytest.raises(InterruptedHereError):
            await clean_up(database, Retention(), moment=MOMENT)
    assert len(await names(database, port_messages.c.seq)) == many - retention.BATCH
    assert (await clean_up(database, Retention(), moment=MOMENT))["port_messages"] == many - retention.BATCH


async def test_metrics_go_after_their_time(database: Database) -> None:
    await prepare(database)
    rows = [
        {
            "pipeline": "p",
            "component_name": name,
            "metric_name": "messages_taken",
            "metric_value": 1.0,
            "metric_unit": "messages",
            "timestamp": MOMENT - timedelta(days=days),
        }
        for name, days in (("old", 31), ("young", 29))
    ]
    async with database.transaction() as connection:
        await connection.execute(sa.insert(component_metrics), rows)
    await clean_up(database, Retention(), moment=MOMENT)
    assert await names(database, component_metrics.c.component_name) == ["young"]


async def test_named_checkpoints_and_positions_stay(database: Database) -> None:
    await prepare(database)
    expired = MOMENT - timedelta(seconds=1)

    def checkpoint(name: str, age: int, **values: Any) -> dict[str, Any]:
        made = MOMENT - timedelta(days=age)
        row = {"pipeline": "p", "checkpoint_name": name, "component_name": "s", "checkpoint_data": "1"}
        return {**row, "version": 1, "created_at": made, "expires_at": None, **values}

    rows = [checkpoint("", 400), checkpoint("before release", 400)]
    rows += [checkpoint(f"auto {age}", age, expires_at=expired) for age in range(1, 5)]
    rows += [checkpoint("auto 9", 9, expires_at=MOMENT + timedelta(days=1))]
    async with database.transaction() as connection:
        await connection.execute(sa.insert(checkpoints), rows)
        for name in ("auto 4", "before release"):
            await connection.execute(
                sa.insert(savepoint_state).values(
                    pipeline="p",
                    checkpoint_name=name,
                    component_name="c",
                    state_name="t",
                    state_key="k",
                    state_data="1",
                )
            )
    assert (await clean_up(database, Retention(checkpoints=2), moment=MOMENT))["checkpoints"] == 2
    assert await names(database, checkpoints.c.checkpoint_name) == ["", "auto 1", "auto 2", "auto 9", "before release"]
    assert await names(database, savepoint_state.c.checkpoint_name) == ["before release"]


async def test_short_runs_clean_up_as_well(url: str) -> None:
    text = """
pipeline: brief
components:
  numbers: {use: flow.Generate, with: {count: 3}}
  nothing: {use: flow.Discard, from: numbers}
"""
    await Pipeline.from_yaml(text).run_async(database=url)
    async with open_database(url) as database:
        old, young = now() - timedelta(days=8), now()
        async with database.transaction() as connection:
            for completed in (old, young):
                row = message("completed", completed_at=completed, created_at=completed)
                await connection.execute(sa.insert(port_messages).values(row))
        await Pipeline.from_yaml(text).run_async(database=url)
        assert await names(database, port_messages.c.completed_at) == [young]


def test_the_defaults_are_thirty_days_seven_days_and_ten() -> None:
    assert Retention() == Retention(metrics=30 * DAY, messages=7 * DAY, checkpoints=10)
