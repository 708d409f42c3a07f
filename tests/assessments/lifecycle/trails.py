"""A verdict, and what the store and the database say of an assessment."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from autocoder_components.assessments.lifecycle.reading import AuditFilters
from autocoder_components.assessments.lifecycle.store import AssessmentStore

from autocoder import Database

RESULT = {"score": {"value": 90}}


async def count(database: Database, table: sa.Table) -> int:
    async with database.reading() as connection:
        return int((await connection.execute(sa.select(sa.func.count()).select_from(table))).scalar_one())


async def trail(store: AssessmentStore, assessment_id: str) -> list[Any]:
    return await store.audit(AuditFilters(assessment_id=assessment_id))


async def ways(store: AssessmentStore, assessment_id: str) -> list[str]:
    return [each.change_action for each in await trail(store, assessment_id)]
