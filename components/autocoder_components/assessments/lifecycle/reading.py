"""What is asked of the lifecycle's tables: pages, aggregates, the audit trail, health; and what retention deletes."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder import Database
from autocoder_components.assessments.lifecycle.arguments import is_text, refuse_no_id
from autocoder_components.assessments.lifecycle.cache import StateCache
from autocoder_components.assessments.lifecycle.errors import InvalidArgumentError
from autocoder_components.assessments.lifecycle.replica import NotUsableError, Replica
from autocoder_components.assessments.lifecycle.rows import OUTLINE, entry_of, found, outline_of, state_of
from autocoder_components.assessments.lifecycle.states import (
    AssessmentState,
    AuditEntry,
    Health,
    Outline,
    Policy,
    State,
    Stats,
)
from autocoder_components.assessments.lifecycle.tables import (
    SecondsBetween,
    assessment_state_audit,
    assessment_states,
)

T = TypeVar("T")
_states: Final = assessment_states.c
_trail: Final = assessment_state_audit.c
SLOW_SECONDS: Final = 1.0
STALE_STEPS: Final = 10
"""What waits longer than so many steps of ageing has passed everything urgent, and still nobody took it."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Which assessments to list; what is None or empty does not narrow. Times are aware; `created_before` is exclusive."""

    states: Sequence[State] = ()
    assessment_type: str | None = None
    source: str | None = None
    server_name: str | None = None
    created_since: datetime | None = None
    created_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditFilters:
    """Which entries of the audit trail to list; what is None does not narrow. `before` is exclusive."""

    assessment_id: str | None = None
    since: datetime | None = None
    before: datetime | None = None
    old_state: State | None = None
    new_state: State | None = None
    changed_by: str | None = None
    action: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Assessments without their requests and results, and what to ask for the next page with; None on the last one."""

    assessments: Sequence[Outline]
    next: str | None


class Reader:
    """Reads where an answer is to be had: the cache of the process, the shared one, a copy of the database, the database.

    What has to be the newest asks the database alone: `fresh`, and what this process wrote until the copy has it. That an
    assessment is not there is always the database's word.
    """

    def __init__(self, database: Database, cache: StateCache, replica: Replica | None = None) -> None:
        self._database, self._cache, self._replica = database, cache, replica
        if replica is not None:
            cache.on_write = replica.wrote

    @property
    def has_levels(self) -> bool:
        """Whether there is a shared cache or a copy of the database."""
        return self._replica is not None or self._cache.shared is not None

    async def ask(
        self, work: Callable[[AsyncConnection], Awaitable[T]], *, of: str | None = None, fresh: bool = False
    ) -> T:
        """What the copy says where it is usable, else the database. The work may be done twice.

        The database alone is asked where it has to be `fresh`, and where the copy may lack what this process wrote: of one
        assessment (`of`), or of many.
        """
        if self._replica is not None and not fresh:
            try:
                return await self._replica.ask(work, of)
            except NotUsableError:
                pass
        async with self._database.reading() as connection:
            return await work(connection)

    async def state(self, assessment_id: str, *, fresh: bool) -> AssessmentState:
        """One assessment. Raises AssessmentNotFoundError."""
        refuse_no_id(assessment_id)
        moment: int | None = None
        if not fresh:
            known = self._cache.get(assessment_id)
            if known is not None:
                return known
            if self._cache.shared is not None:
                known, moment = await self._cache.shared.get(assessment_id)
                if known is not None and not self._cache.is_older(known):
                    # How old it is, is not known here: the cache of the process would make it older still.
                    return known
            copied = await self._of_copy(assessment_id)
            if copied is not None:
                return copied
        async with self._database.reading() as connection:
            state = await found(connection, assessment_id)
        self._cache.put(state)
        if self._cache.shared is not None:
            await self._cache.shared.put(state, moment)
        return state

    async def _of_copy(self, assessment_id: str) -> AssessmentState | None:
        if self._replica is None:
            return None

        async def work(connection: AsyncConnection) -> AssessmentState | None:
            query = sa.select(assessment_states).where(_states.assessment_id == assessment_id)
            row = (await connection.execute(query)).one_or_none()
            return None if row is None else state_of(row)

        try:
            state = await self._replica.ask(work, assessment_id)
        except NotUsableError:
            return None
        if state is None or self._cache.is_older(state):
            return None
        self._cache.put(state)
        return state


async def page(connection: AsyncConnection, filters: Filters, limit: int, after: str | None) -> Page:
    """A page of assessments, the newest first. Raises InvalidArgumentError for an `after` that no page gave."""
    query = sa.select(_states.id, *(_states[name] for name in OUTLINE)).order_by(_states.id.desc()).limit(limit + 1)
    if after is not None:
        if not (after.isascii() and after.isdigit() and len(after) < 19):
            raise InvalidArgumentError(f"after: no page ended with {after[:40]!r}; take the `next` of the last page")
        query = query.where(_states.id < int(after))
    if filters.states:
        query = query.where(_states.state.in_(filters.states))
    equal = (
        (_states.assessment_type, filters.assessment_type),
        (_states.source, filters.source),
        (_states.server_name, filters.server_name),
    )
    query = query.where(*_equal(equal))
    if filters.created_since is not None:
        query = query.where(_states.created_at >= filters.created_since)
    if filters.created_before is not None:
        query = query.where(_states.created_at < filters.created_before)
    rows = (await connection.execute(query)).all()
    following = str(rows[limit - 1].id) if len(rows) > limit else None
    return Page([outline_of(each) for each in rows[:limit]], following)


def _equal(pairs: Iterable[tuple[sa.ColumnElement[str], str | None]]) -> list[sa.ColumnElement[bool]]:
    """Conditions for what narrows; no row has a text that no database takes."""
    return [column == value if is_text(value) else sa.false() for column, value in pairs if value is not None]


async def stats(connection: AsyncConnection, moment: datetime, window: float) -> Stats:
    """The seven aggregates in one query."""
    ended = _states.state.in_([State.COMPLETED, State.FAILED])
    lately = sa.and_(ended, _states.completed_at >= moment - timedelta(seconds=window))
    spent = SecondsBetween(_states.started_at, _states.completed_at)
    query = sa.select(
        *(_count(_states.state == each).label(each.value) for each in State),
        _count(lately).label("lately"),
        sa.func.avg(sa.case((_states.state == State.COMPLETED, spent)), type_=sa.Double()).label("spent"),
    )
    row = (await connection.execute(query)).one()._mapping
    by_state = {each: int(row[each.value]) for each in State}
    completed, failed = by_state[State.COMPLETED], by_state[State.FAILED]
    return Stats(
        total_assessments=sum(by_state.values()),
        active_assessments=by_state[State.PENDING] + by_state[State.PROCESSING],
        completed_assessments=completed,
        failed_assessments=failed,
        average_processing_time=None if row["spent"] is None else float(row["spent"]),
        throughput_per_minute=int(row["lately"]) / (window / 60),
        error_rate=failed / (completed + failed) if completed + failed else None,
        by_state=by_state,
    )


def _count(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.count(sa.case((condition, 1)))


async def trail(connection: AsyncConnection, filters: AuditFilters, limit: int, after: int) -> list[AuditEntry]:
    """Entries of the audit trail, the oldest first."""
    query = sa.select(assessment_state_audit).where(_trail.id > after).order_by(_trail.id).limit(limit)
    equal = (
        (_trail.assessment_id, filters.assessment_id),
        (_trail.old_state, filters.old_state),
        (_trail.new_state, filters.new_state),
        (_trail.changed_by, filters.changed_by),
        (_trail.change_action, filters.action),
    )
    query = query.where(*_equal(equal))
    if filters.since is not None:
        query = query.where(_trail.created_at >= filters.since)
    if filters.before is not None:
        query = query.where(_trail.created_at < filters.before)
    return [entry_of(each) for each in await connection.execute(query)]


async def health(connection: AsyncConnection, moment: datetime, policy: Policy, cache: StateCache) -> Health:
    """What waits, what should have been swept, and how fast the database answers."""
    began = time.perf_counter()
    waiting, working = _states.state == State.PENDING, _states.state == State.PROCESSING
    silent = sa.and_(working, _states.deadline_at < moment - timedelta(seconds=policy.grace))
    due = sa.and_(_states.state == State.FAILED, _states.next_retry_at <= moment)
    query = sa.select(
        _count(waiting).label("pending"),
        _count(working).label("processing"),
        _count(silent).label("overdue"),
        _count(due).label("due"),
        sa.func.min(sa.case((waiting, _states.updated_at)), type_=_states.updated_at.type).label("oldest"),
    ).where(_states.state.in_([State.PENDING, State.PROCESSING, State.FAILED]))
    row = (await connection.execute(query)).one()
    seconds = time.perf_counter() - began
    oldest = None if row.oldest is None else max(0.0, (moment - row.oldest).total_seconds())
    reasons = []
    if row.overdue:
        reasons.append(f"{row.overdue} silent since their deadline; the service sweeps them when it runs")
    if row.due:
        reasons.append(f"{row.due} failed and due for their retry; the service sweeps them when it runs")
    if oldest is not None and oldest > STALE_STEPS * policy.ageing:
        reasons.append(f"the oldest waits for {oldest:.0f} s; `autocoder run assessments` works on what waits")
    if seconds > SLOW_SECONDS:
        reasons.append(f"the database took {seconds:.1f} s for one answer")
    return Health(
        status="degraded" if reasons else "healthy",
        reasons=tuple(reasons),
        query_seconds=seconds,
        pending=row.pending,
        processing=row.processing,
        oldest_pending_seconds=oldest,
        overdue=row.overdue,
        retries_due=row.due,
        cache_hits=cache.hits,
        cache_misses=cache.misses,
    )


async def locked(connection: AsyncConnection, wanted: sa.ColumnElement[bool], limit: int) -> list[AssessmentState]:
    """The oldest assessments of a kind, held until the transaction ends; those that others hold are left to them."""
    query = sa.select(assessment_states).where(wanted).order_by(_states.id).limit(limit)
    return [state_of(each) for each in await connection.execute(query.with_for_update(skip_locked=True))]


async def settled(connection: AsyncConnection, assessment_ids: Sequence[str]) -> list[str]:
    """Those of these assessments that have ended without a retry ahead, or are not there (any more)."""
    going: set[str] = set()
    for at in range(0, len(assessment_ids), 500):
        query = sa.select(_states.assessment_id).where(
            _states.assessment_id.in_(assessment_ids[at : at + 500]),
            sa.or_(_states.completed_at.is_(None), _states.next_retry_at.is_not(None)),
        )
        going.update((await connection.execute(query)).scalars())
    return [each for each in assessment_ids if each not in going]
