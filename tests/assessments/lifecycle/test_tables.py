"""The tables of the lifecycle: definition and migration agree, and the database itself refuses what may not be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa
from autocoder_components.assessments.lifecycle.states import TRANSITIONS, State
from autocoder_components.assessments.lifecycle.tables import (
    REVISION,
    active_assessments,
    assessment_metrics,
    assessment_states,
    assessment_stats_by_hour,
    assessment_tools,
    completed_assessments_summary,
    metadata,
)
from sqlalchemy.exc import DBAPIError

from autocoder.database import Database, open_database
from autocoder.store.migrate import downgrade, scripts, upgrade
from autocoder.store.schema import read_schema
from tests.store.catalog import catalog

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
GUARDS = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'",
    "postgresql": "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
}


async def described(database: Database) -> dict[str, str]:
    """Everything the database says of itself, triggers included."""
    found = await catalog(database)
    async with database.reading() as connection:
        query = GUARDS["sqlite" if database.is_sqlite else "postgresql"]
        found.update(
            {f"trigger {name}": " ".join(text.split()) for name, text in await connection.execute(sa.text(query))}
        )
    return found


def row(assessment_id: str = "a", **values: Any) -> dict[str, Any]:
    made = {"assessment_type": "security", "source": "compliance", "request_data": "{}", "claim_rank": 0}
    return {"assessment_id": assessment_id, "created_at": NOW, "updated_at": NOW, **made, **values}


AT: dict[State, dict[str, Any]] = {
    State.PENDING: {"state": "pending"},
    State.PROCESSING: {"state": "processing", "started_at": NOW, "deadline_at": NOW},
    State.COMPLETED: {"state": "completed", "progress": 100, "result_data": "{}", "completed_at": NOW},
    State.FAILED: {"state": "failed", "error_message": "no", "completed_at": NOW},
    State.CANCELLED: {"state": "cancelled", "completed_at": NOW},
}
CLEARED = {
    "progress": 0,
    "result_data": None,
    "error_message": None,
    "completed_at": None,
    "started_at": None,
    "deadline_at": None,
    "next_retry_at": None,
}


async def insert(database: Database, **values: Any) -> None:
    async with database.transaction() as connection:
        await connection.execute(sa.insert(assessment_states).values(row(**values)))


async def update(database: Database, **values: Any) -> None:
    async with database.transaction() as connection:
        await connection.execute(sa.update(assessment_states).values(values))


async def test_migrations_make_exactly_what_is_defined(database: Database) -> None:
    migrated = await described(database)
    assert (await read_schema(database)).revisions == {REVISION}
    await downgrade(database, "assessments@base")
    for name in metadata.tables:
        assert name not in " ".join(await described(database)), name
    async with database.transaction() as connection:
        await connection.run_sync(lambda each: metadata.create_all(each, checkfirst=False))
    assert await described(database) == migrated


async def test_the_branch_goes_down_and_up_again(url: str) -> None:
    async with open_database(url) as database:
        await upgrade(database)
        above = await described(database)
        await downgrade(database, "assessments@base")
        assert (await read_schema(database)).revisions == {"0001"}
        await upgrade(database)
        assert await described(database) == above
    assert REVISION in scripts().get_heads()


async def test_what_deep_scans_remembered_before_the_migration_is_kept(url: str) -> None:
    async with open_database(url) as database:
        await upgrade(database)
        above = await described(database)
        await downgrade(database, "assessments_0002")
        async with database.transaction() as connection:
            text = "server_key TEXT NOT NULL PRIMARY KEY, assessment_id TEXT NOT NULL, definitions TEXT NOT NULL, previous TEXT"
            await connection.execute(sa.text(f"CREATE TABLE assessment_tools ({text})"))
            await connection.execute(sa.text("INSERT INTO assessment_tools VALUES ('k', 'a', '{}', NULL)"))
        await upgrade(database)
        async with database.reading() as connection:
            assert (await connection.execute(sa.select(assessment_tools))).all() == [("k", "a", "{}", None)]
        if not database.is_sqlite:
            assert await described(database) == above


async def test_the_database_knows_the_lifecycle(database: Database) -> None:
    for old, new in (each for each in product(State, State) if each[0] is not each[1]):
        await insert(database, **AT[old])
        change = {**CLEARED, **AT[new], "version": 2}
        if (old, new) in TRANSITIONS:
            await update(database, **change)
        else:
            with pytest.raises(DBAPIError, match="along its lifecycle"):
                await update(database, **change)
        async with database.transaction() as connection:
            await connection.execute(sa.delete(assessment_states))


async def test_a_change_of_state_takes_the_next_version_and_nothing_else_does(database: Database) -> None:
    await insert(database)
    for version in (1, 3):
        with pytest.raises(DBAPIError, match="with the next version"):
            await update(database, **AT[State.PROCESSING], version=version)
    with pytest.raises(DBAPIError, match="with the next version"):
        await update(database, version=2)
    await update(database, message="still there")


async def test_what_was_asked_for_never_changes(database: Database) -> None:
    await insert(database)
    changes = ({"request_data": '{"other": 1}'}, {"assessment_id": "b"}, {"created_at": NOW + timedelta(1)})
    for change in changes:
        with pytest.raises(DBAPIError, match="never its request"):
            await update(database, **change)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"assessment_id": ""}, "assessment_id"),
    ({"assessment_id": "x" * 256}, "assessment_id"),
    ({"state": "done"}, "state"),
    ({**AT[State.PROCESSING], "progress": 101}, "progress"),
    ({"progress": 5}, "pending"),
    ({"priority": 0}, "priority"),
    ({"priority": 11}, "priority"),
    ({"retry_count": 4}, "retries"),
    ({"timeout_seconds": 0}, "timeout"),
    ({"timeout_seconds": 86401}, "timeout"),
    ({"completed_at": NOW}, "terminal"),
    ({**AT[State.CANCELLED], "completed_at": None}, "terminal"),
    ({**AT[State.COMPLETED], "progress": 99}, "completed"),
    ({**AT[State.COMPLETED], "result_data": None}, "completed"),
    ({**AT[State.FAILED], "error_message": None}, "failed"),
    ({**AT[State.PROCESSING], "deadline_at": None}, "processing"),
    ({"next_retry_at": NOW}, "next_retry"),
]


async def test_a_row_that_cannot_be_is_refused(database: Database) -> None:
    for wrong, constraint in WRONG:
        with pytest.raises(DBAPIError, match=f"ck_assessment_states_{constraint}"):
            await insert(database, **wrong)
    for state in State:
        await insert(database, assessment_id=state, **AT[state])


async def test_metrics_go_with_their_assessment(database: Database) -> None:
    await insert(database)
    metric = {
        "assessment_id": "a",
        "metric_type": "queue_time",
        "metric_value": 0.5,
        "metric_unit": "s",
        "timestamp": NOW,
    }
    async with database.transaction() as connection:
        await connection.execute(sa.insert(assessment_metrics).values(metric))
        await connection.execute(sa.delete(assessment_states))
        assert (await connection.execute(sa.select(sa.func.count()).select_from(assessment_metrics))).scalar_one() == 0
    with pytest.raises(DBAPIError):
        async with database.transaction() as connection:
            await connection.execute(sa.insert(assessment_metrics).values(metric))


async def test_the_views_tell_what_is_active_what_ended_and_when_it_came(database: Database) -> None:
    later = NOW + timedelta(hours=1)
    await insert(database, assessment_id="waits")
    await insert(database, assessment_id="works", **{**AT[State.PROCESSING], "started_at": datetime.now(UTC)})
    await insert(database, assessment_id="done", **AT[State.COMPLETED], started_at=NOW - timedelta(seconds=4))
    await insert(
        database,
        assessment_id="done later",
        **{**AT[State.COMPLETED], "completed_at": later},
        started_at=later - timedelta(seconds=2),
    )
    await insert(database, assessment_id="gone", **{**AT[State.CANCELLED]})
    async with database.reading() as connection:
        active = {each.assessment_id: each for each in await connection.execute(sa.select(active_assessments))}
        ended = {each.state: each for each in await connection.execute(sa.select(completed_assessments_summary))}
        hours = (await connection.execute(sa.select(assessment_stats_by_hour))).all()
    assert active.keys() == {"waits", "works"}
    assert active["waits"].duration_seconds is None
    assert 0 <= active["works"].duration_seconds < 3600
    assert active["waits"].age_seconds > 3600
    assert ended.keys() == {"completed", "cancelled"}
    assert ended["completed"].avg_duration_seconds == pytest.approx(3)
    assert (ended["completed"].earliest_completed, ended["completed"].latest_completed) == (NOW, later)
    assert ended["cancelled"].avg_duration_seconds is None
    assert {(each.hour, each.state, each.count) for each in hours} == {
        (NOW.replace(minute=0), state, 2 if state == "completed" else 1)
        for state in ("pending", "processing", "completed", "cancelled")
    }
