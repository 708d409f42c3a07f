"""What keeps the store in order: retries that are due, and attempts that can have no end. Any number at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder import Instant, JsonText, reached
from autocoder_components.assessments.deliveries import forget_deliveries
from autocoder_components.assessments.lifecycle import reading
from autocoder_components.assessments.lifecycle.rows import Context, change
from autocoder_components.assessments.lifecycle.states import Action, Actor, State
from autocoder_components.assessments.lifecycle.tables import assessment_states
from autocoder_components.assessments.lifecycle.writing import BATCH, Writer, without_verdict

SWEEPER: Final = Actor("sweeper")
GIVEN_UP: Final = "; no attempts remain"
CURE: Final = "`autocoder dlq` shows it; `autocoder assessments retry` gives another attempt"
MOST_INTEGER: Final = 2**31 - 1
"""The largest number that a column of retries holds."""
MOST_SAID: Final = 500
"""So many characters of an error are kept."""
_states: Final = assessment_states.c
# The view in which the framework shows its dead letters.
_letters: Final = sa.table(
    "dead_letter_queue",
    sa.column("pipeline", sa.Text()),
    sa.column("target_component", sa.Text()),
    sa.column("message_data", JsonText()),
    sa.column("error_message", sa.Text()),
    sa.column("created_at", Instant()),
    sa.column("processed_at", Instant()),
).c


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did, by id.

    `rescued`: orphans that went back to pending; `given_up`: those without attempts left; `retried`: whose retry was due;
    `stranded`: failed, because a message of their attempt became a dead letter.
    """

    rescued: tuple[str, ...] = ()
    given_up: tuple[str, ...] = ()
    retried: tuple[str, ...] = ()
    stranded: tuple[str, ...] = ()


async def retry_failed(writer: Writer, context: Context, max_retries: int | None, limit: int) -> list[str]:
    """Failed assessments with fewer retries behind them than `max_retries` and their own: back to pending."""
    given = min(MOST_INTEGER if max_retries is None else max_retries, MOST_INTEGER)
    column: Any = _states.max_retries
    most = sa.case((column < given, column), else_=given)
    wanted = sa.and_(_states.state == State.FAILED, _states.retry_count < most)
    return await _requeue_all(writer, context, wanted, limit, Action.RETRY)


async def sweep(writer: Writer, limit: int) -> Swept:
    """Retries that are due, attempts that ended in a dead letter, and orphans; see `AssessmentStore.sweep`."""
    context = writer.context(SWEEPER)
    stranded = await _fail_stranded(writer, context, limit)
    remain = _states.retry_count < _states.max_retries
    due = sa.and_(_states.state == State.FAILED, _states.next_retry_at <= context.moment, remain)
    retried = await _requeue_all(writer, context, due, limit, Action.RETRY)
    silent = context.moment - timedelta(seconds=writer.policy.grace)
    orphaned = sa.and_(_states.state == State.PROCESSING, _states.deadline_at < silent)
    rescued = await _requeue_all(writer, context, sa.and_(orphaned, remain), limit, Action.RESCUE)
    given_up = await writer.do(lambda connection: _give_up(connection, context, sa.and_(orphaned, ~remain), limit))
    await writer.cache.changed_otherwise(*given_up)
    await writer.do(lambda connection: forget_deliveries(connection, context.moment))
    return Swept(tuple(rescued), tuple(given_up), tuple(retried), tuple(stranded))


async def _fail_stranded(writer: Writer, context: Context, limit: int) -> list[str]:
    """Fail the attempts of which a message became a dead letter: their verdict cannot come any more.

    Not to be tried again by itself: the component's own policy said that another attempt is of no use.
    """
    why = await _dead_attempts(writer, context)

    async def work(connection: AsyncConnection, ids: list[str]) -> list[str]:
        wanted = sa.and_(_states.state == State.PROCESSING, _states.assessment_id.in_(ids))
        done = []
        for each in await reading.locked(connection, wanted, len(ids)):
            said = why.get((each.assessment_id, each.retry_count))
            if said is not None:
                ended = {"error_message": said, "completed_at": context.moment}
                await change(connection, context, each, State.FAILED, Action.FAIL, reason=said, **ended)
                done.append(each.assessment_id)
        reached("sweep.failed")
        return done

    ids, done = sorted({each for each, _ in why})[:limit], list[str]()
    for at in range(0, len(ids), BATCH):
        part = await writer.do(partial(work, ids=ids[at : at + BATCH]))
        await writer.cache.changed_otherwise(*part)
        done += part
    return done


async def _dead_attempts(writer: Writer, context: Context) -> Mapping[tuple[str, int], str]:
    """Attempts with a dead letter from the time of what is being worked on, and what became of each, in words."""
    failed_at = sa.func.coalesce(_letters.processed_at, _letters.created_at)
    of_pipeline = sa.select(_letters.target_component, _letters.message_data, _letters.error_message).where(
        _letters.pipeline == writer.pipeline
    )
    found: dict[tuple[str, int], str] = {}
    async with writer.database.reading() as connection:
        begun = sa.select(sa.func.min(_states.started_at, type_=Instant())).where(_states.state == State.PROCESSING)
        oldest = (await connection.execute(begun)).scalar_one()
        if oldest is None:
            return found
        since = oldest - timedelta(seconds=context.policy.grace)  # clocks of two machines
        for row in await connection.execute(of_pipeline.where(failed_at >= since)):
            attempt = _attempt_of(row.message_data)
            if attempt is not None:
                error = (row.error_message or "")[:MOST_SAID]
                found[attempt] = f"a message became a dead letter at {row.target_component}: {error}; {CURE}"
    return found


def _attempt_of(data: str | None) -> tuple[str, int] | None:
    """The attempt to which a message of the pipeline belongs: each is the request, or carries it."""
    try:
        message = json.loads(data or "null")
        request = message.get("request", message)
        return str(request["assessment_id"]), int(request["attempt"])
    except (ValueError, AttributeError, KeyError, TypeError):
        return None  # a ticket, or what was not kept


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
        await writer.cache.changed_otherwise(*part)
        done += part
    return done


async def _give_up(
    connection: AsyncConnection, context: Context, wanted: sa.ColumnElement[bool], limit: int
) -> list[str]:
    befores = await reading.locked(connection, wanted, limit)
    for each in befores:
        said = without_verdict(each) + GIVEN_UP
        ended = {"error_message": said, "completed_at": context.moment}
        await change(connection, context, each, State.FAILED, Action.TIMEOUT, reason=said, **ended)
        reached("sweep.given_up")
    return [each.assessment_id for each in befores]
