"""What keeps the store in order: retries that are due, orphans of crashes, retention. In batches, any number at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder_components.assessments.lifecycle import reading
from autocoder_components.assessments.lifecycle.rows import Context, change
from autocoder_components.assessments.lifecycle.states import Action, Actor, State
from autocoder_components.assessments.lifecycle.tables import assessment_states
from autocoder_components.assessments.lifecycle.writing import BATCH, Writer

SWEEPER: Final = Actor("sweeper")
GIVEN_UP: Final = "its worker fell silent, and no attempts remain"
_states: Final = assessment_states.c


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did, by id: orphans that went back to pending, those without attempts left, retries that were due."""

    rescued: tuple[str, ...] = ()
    given_up: tuple[str, ...] = ()
    retried: tuple[str, ...] = ()


async def retry_failed(writer: Writer, context: Context, max_retries: int | None, limit: int) -> list[str]:
    """Failed assessments with fewer retries behind them than `max_retries` and their own: back to pending."""
    column: Any = _states.max_retries
    most = column if max_retries is None else sa.case((column < max_retries, column), else_=max_retries)
    wanted = sa.and_(_states.state == State.FAILED, _states.retry_count < most)
    return await _requeue_all(writer, context, wanted, limit, Action.RETRY)


async def sweep(writer: Writer, limit: int) -> Swept:
    """Retries that are due, and orphans; see `AssessmentStore.sweep`."""
    context = writer.context(SWEEPER)
    due = sa.and_(_states.state == State.FAILED, _states.next_retry_at <= context.moment)
    retried = await _requeue_all(writer, context, due, limit, Action.RETRY)
    silent = context.moment - timedelta(seconds=writer.policy.grace)
    orphaned = sa.and_(_states.state == State.PROCESSING, _states.deadline_at < silent)
    remain = _states.retry_count < _states.max_retries
    rescued = await _requeue_all(writer, context, sa.and_(orphaned, remain), limit, Action.RESCUE)
    given_up = await writer.do(lambda connection: _give_up(connection, context, sa.and_(orphaned, ~remain), limit))
    writer.cache.forget(*given_up)
    return Swept(tuple(rescued), tuple(given_up), tuple(retried))


async def _requeue_all(
    writer: Writer, context: Context, wanted: sa.ColumnElement[bool], limit: int, action: Action
) -> list[str]:
    async def work(connection: AsyncConnection, size: int) -> list[str]:
        befores = await reading.locked(connection, wanted, size)
        await writer.requeue(connection, context, befores, action)
        return [each.assessment_id for each in befores]

    done: list[str] = []
    while len(done) < limit:
        part = await writer.do(partial(work, size=min(BATCH, limit - len(done))))
        if not part:
            break
        writer.cache.forget(*part)
        done += part
    return done


async def _give_up(
    connection: AsyncConnection, context: Context, wanted: sa.ColumnElement[bool], limit: int
) -> list[str]:
    befores = await reading.locked(connection, wanted, limit)
    ended = {"error_message": GIVEN_UP, "completed_at": context.moment}
    for each in befores:
        await change(connection, context, each, State.FAILED, Action.TIMEOUT, reason=GIVEN_UP, **ended)
    return [each.assessment_id for each in befores]


async def cleanup(writer: Writer, retention_days: float, audit_days: float | None, batch: int) -> int:
    """Delete what ended long ago; see `AssessmentStore.cleanup`."""
    moment, deleted = writer.clock(), 0
    until = moment - timedelta(days=retention_days)
    while gone := await writer.do(lambda connection: reading.delete_ended(connection, until, batch)):
        writer.cache.forget(*gone)
        deleted += len(gone)
    if audit_days is not None:
        since = moment - timedelta(days=audit_days)
        while await writer.do(lambda connection: reading.delete_trail(connection, since, batch)):
            pass
    return deleted
