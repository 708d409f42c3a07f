"""What is deleted: assessments that ended long ago with all that is kept of them, and later their trail, which frees the id."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder import reached
from autocoder_components.assessments.deep.memory import forget_inline_tools
from autocoder_components.assessments.deliveries import forget_deliveries_of
from autocoder_components.assessments.lifecycle.tables import assessment_state_audit, assessment_states
from autocoder_components.assessments.lifecycle.writing import Writer

TRAIL_STAYS: Final = timedelta(hours=1)
"""So long behind its last entry is a trail kept at least. What was under way of the assessment is gone by then (JoinOutcomes
forgets what is left of an attempt after a quarter of it), and is not taken for a part of another one under the same id."""
_states: Final = assessment_states.c
_trail: Final = assessment_state_audit.c


async def cleanup(writer: Writer, retention_days: float, audit_days: float | None, batch: int) -> int:
    """Delete what ended long ago; see `AssessmentStore.cleanup`."""
    moment, deleted = writer.clock(), 0
    until = moment - timedelta(days=retention_days)
    while gone := await writer.do(lambda connection: _delete_ended(connection, until, batch)):
        reached("cleanup.deleted")
        await writer.cache.changed_otherwise(*gone)
        deleted += len(gone)
    if audit_days is not None:
        since = moment - max(timedelta(days=audit_days), TRAIL_STAYS)
        while await writer.do(lambda connection: _delete_trail(connection, since, batch)):
            pass
    return deleted


async def _delete_ended(connection: AsyncConnection, until: datetime, limit: int) -> list[str]:
    """Delete what ended before a moment, at most so many, but nothing that awaits its retry; returns their ids."""
    query = (
        sa.select(_states.id, _states.assessment_id, _states.retry_count)
        .where(_states.completed_at.is_not(None), _states.completed_at < until, _states.next_retry_at.is_(None))
        .order_by(_states.completed_at, _states.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = (await connection.execute(query)).all()
    if rows:
        await connection.execute(sa.delete(assessment_states).where(_states.id.in_([each.id for each in rows])))
        await forget_deliveries_of(connection, {each.assessment_id: each.retry_count for each in rows})
        await forget_inline_tools(connection, [each.assessment_id for each in rows])
    return [each.assessment_id for each in rows]


async def _delete_trail(connection: AsyncConnection, until: datetime, limit: int) -> int:
    """Delete entries of trails that ended before a moment and whose assessments are gone, at most so many; returns how many.

    A trail goes as a whole: who reads how many attempts there were would else count too few.
    """
    there: Any = sa.select(_states.id).where(_states.assessment_id == _trail.assessment_id).exists()
    later = assessment_state_audit.alias("later")
    goes_on = (
        sa.select(later.c.id).where(later.c.assessment_id == _trail.assessment_id, later.c.created_at >= until).exists()
    )
    old = sa.select(_trail.id).where(_trail.created_at < until, ~there, ~goes_on)
    chosen = old.order_by(_trail.created_at).limit(limit)
    ids = list((await connection.execute(chosen)).scalars())
    if ids:
        await connection.execute(sa.delete(assessment_state_audit).where(_trail.id.in_(ids)))
    return len(ids)
