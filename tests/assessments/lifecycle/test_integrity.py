"""`autocoder db verify` over the lifecycle: what is sound passes, and each way to lose a part of a trail is seen."""

from __future__ import annotations

import json
from unittest.mock import AsyncMock

import pytest
import sqlalchemy as sa
from autocoder_components.assessments.lifecycle import rows
from autocoder_components.assessments.lifecycle.errors import LateResultError
from autocoder_components.assessments.lifecycle.reading import AuditFilters
from autocoder_components.assessments.lifecycle.store import AssessmentStore

from autocoder import Database
from autocoder.store.verify import violations
from tests.assessments.lifecycle.conftest import Clock

pytestmark = pytest.mark.anyio
NO_BEGINNING = "assessments whose audit trail has no beginning"
NOT_AS_LEFT = "assessments that are not as their audit trail leaves them"
GAP = "entries of audit trails that do not follow from the one before"
OF_WHOLE = "WHERE assessment_id = 'whole' AND change_action"


async def found(database: Database) -> list[str]:
    async with database.reading() as connection:
        return await violations(connection, is_sqlite=database.is_sqlite)


async def change(database: Database, statement: str) -> None:
    async with database.transaction() as connection:
        assert (await connection.execute(sa.text(statement))).rowcount == 1


@pytest.fixture
async def lived(store: AssessmentStore, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> AssessmentStore:
    """Lives of every kind: retried, rescued, cancelled, late, taken over, deleted and begun anew, with a part of its trail."""
    await store.batch_create([{"id": each} for each in ("whole", "waits", "orphan", "again")])
    for error in ("no answer", None):
        begun = await store.start_processing("whole")
        await store.update_progress("whole", 60, attempt=begun.retry_count)
        if error is not None:
            await store.fail("whole", error)
            await store.retry("whole")
    await store.complete("whole", {}, attempt=1)
    with pytest.raises(LateResultError):
        await store.complete("whole", {}, attempt=0)
    await store.start_processing("orphan")
    clock.move(1)
    await store.start_processing("again")
    await store.cancel("again")
    clock.move(3600)
    assert (await store.sweep()).rescued == ("orphan",)
    line = {"id": "taken over", "status": "failed", "error": "x", "created_at": "2025-01-01T00:00:00Z"}
    await store.import_legacy([json.dumps(line)])
    await store.retry("taken over")
    await store.cancel("waits")
    # Of the two that ended an hour ago, the trail of the first is forgotten, and that of the other when it is all old enough.
    assert await store.cleanup(0.01, audit_days=3600.5 / 86_400) == 2
    assert [each.change_action for each in await store.audit(AuditFilters("whole"))] == []
    assert [each.change_action for each in await store.audit(AuditFilters("again"))] == ["create", "start", "cancel"]
    # A cleanup that was ended between two batches leaves a part of one.
    await change(
        store.database, "DELETE FROM assessment_state_audit WHERE assessment_id = 'again' AND new_state = 'pending'"
    )
    assert [each.change_action for each in await store.audit(AuditFilters("again"))] == ["start", "cancel"]
    # The ids are given again: of one by an older version, which did not ask whether its trail is there.
    with monkeypatch.context() as patch:
        patch.setattr(rows, "with_trail", AsyncMock(return_value=set()))
        await store.batch_create([{"id": each} for each in ("whole", "again")])
    await store.start_processing("whole")
    await store.cancel("whole")
    return store


async def test_what_was_lived_is_sound(lived: AssessmentStore, database: Database) -> None:
    assert await found(database) == []


@pytest.mark.parametrize(
    ("statement", "wrong"),
    [
        (f"{OF_WHOLE} = 'create'", NO_BEGINNING),
        (f"{OF_WHOLE} = 'start'", GAP),
        (f"{OF_WHOLE} = 'cancel'", NOT_AS_LEFT),
    ],
)
async def test_what_is_missing_is_told(lived: AssessmentStore, database: Database, statement: str, wrong: str) -> None:
    await change(database, f"DELETE FROM assessment_state_audit {statement}")
    assert await found(database) == [f"1 {wrong}"]


async def test_a_database_without_these_tables_is_judged_without_them(database: Database) -> None:
    async with database.transaction() as connection:
        for view in ("active_assessments", "completed_assessments_summary", "assessment_stats_by_hour"):
            await connection.execute(sa.text(f"DROP VIEW {view}"))
        for table in ("assessment_metrics", "assessment_state_audit", "assessment_states"):
            await connection.execute(sa.text(f"DROP TABLE {table}"))
    assert await found(database) == []
