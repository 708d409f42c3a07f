"""What is said of an attempt while it goes on and at its end; what comes too late is noted and dropped. How it is given up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder import reached, storable
from autocoder_components.assessments.lifecycle.errors import LateResultError
from autocoder_components.assessments.lifecycle.rows import audit_row, change, found, refuse_unless, requeued
from autocoder_components.assessments.lifecycle.states import Action, Actor, AssessmentState, State
from autocoder_components.assessments.lifecycle.tables import assessment_state_audit, assessment_states
from autocoder_components.assessments.lifecycle.writing import Writer

Ended = Callable[[AssessmentState], tuple[str | None, dict[str, Any]]]
"""The reason for the trail, and what the row gets, of an attempt as it stood."""


async def progressed(
    writer: Writer, actor: Actor | None, assessment_id: str, progress: int, message: str | None, attempt: int | None
) -> AssessmentState:
    """Note how far an attempt is; see `AssessmentStore.update_progress`."""
    said = None if message is None else storable(message)

    async def work(connection: AsyncConnection) -> AssessmentState:
        context, before = writer.context(actor), await found(connection, assessment_id, lock=True)
        late = _late(before, State.PROCESSING, attempt)
        if late is not None:
            raise late
        highest = max(progress, before.progress)
        await connection.execute(
            sa.update(assessment_states)
            .where(assessment_states.c.assessment_id == assessment_id)
            .values(progress=highest, message=said, updated_at=context.moment)
        )
        step = context.policy.progress_step
        if highest // step > before.progress // step:
            row = audit_row(context, before, Action.PROGRESS, before.state, f"{highest} %")
            await connection.execute(sa.insert(assessment_state_audit), [row])
        return await found(connection, assessment_id)

    return await writer.changed(work)


async def ended(
    writer: Writer, actor: Actor | None, assessment_id: str, attempt: int | None, action: Action, how: Ended
) -> AssessmentState:
    """An attempt comes to its end, with a verdict or without; see `AssessmentStore.complete` and `fail`."""
    new = State.COMPLETED if action is Action.COMPLETE else State.FAILED

    async def work(connection: AsyncConnection) -> AssessmentState | LateResultError:
        context, before = writer.context(actor), await found(connection, assessment_id, lock=True)
        late = _late(before, new, attempt)
        if late is not None:
            said = f"{new} for attempt {before.retry_count if attempt is None else attempt}"
            row = audit_row(context, before, Action.LATE_RESULT, before.state, said)
            await connection.execute(sa.insert(assessment_state_audit), [row])
            return late  # raised behind the commit, which keeps the note
        reason, values = how(before)
        reached(f"{action}.judged")
        await change(connection, context, before, new, action, reason=reason, completed_at=context.moment, **values)
        return await found(connection, assessment_id)

    outcome = await writer.do(work)
    if isinstance(outcome, LateResultError):
        raise outcome
    await writer.cache.changed(outcome)
    return outcome


async def cancelled(
    writer: Writer, actor: Actor | None, assessment_id: str, reason: str | None, version: int | None
) -> AssessmentState:
    """Give up what waits or is worked on; see `AssessmentStore.cancel`."""

    async def work(connection: AsyncConnection) -> AssessmentState:
        context, before = writer.context(actor), await found(connection, assessment_id, lock=True)
        if before.state is State.FAILED and before.next_retry_at is not None and version in (None, before.version):
            # The lifecycle has no way from failed to cancelled: the retry is begun, and given up before anybody sees it.
            values = requeued(before, context)
            await change(
                connection, context, before, State.PENDING, Action.RETRY, reason=before.error_message, **values
            )
            before = await found(connection, assessment_id)
        else:
            refuse_unless(before, State.CANCELLED, version=version)
        ended = {"completed_at": context.moment}
        await change(connection, context, before, State.CANCELLED, Action.CANCEL, reason=reason, **ended)
        return await found(connection, assessment_id)

    return await writer.changed(work)


def _late(before: AssessmentState, new: State, attempt: int | None) -> LateResultError | None:
    """Why a word on an attempt comes too late, if it does."""
    if before.state is State.PROCESSING and attempt in (None, before.retry_count):
        return None
    now = "nobody waits for it any more" if before.is_terminal else f"attempt {before.retry_count} counts now"
    return LateResultError(before.assessment_id, before.state, new, before.version, f"{now}; it was dropped")
