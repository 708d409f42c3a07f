"""Overdue: of which attempts no more is to be waited for, so that a check that gives no outcome holds nothing up for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import anyio
import sqlalchemy as sa
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder import Batch, Database, Source, patiently, pipeline_database
from autocoder_components.assessments.lifecycle.requests import MOST_RETRIES
from autocoder_components.assessments.lifecycle.states import TERMINAL, Action, State
from autocoder_components.assessments.lifecycle.tables import assessment_state_audit, assessment_states
from autocoder_components.assessments.model import TimeOver

MOST: Final = 1000
"""So many are told of in one look, of each sort."""
_states: Final = assessment_states.c
_trail: Final = assessment_state_audit.c
_WITHOUT_VERDICT: Final = (Action.FAIL, Action.TIMEOUT, Action.CANCEL, Action.RESCUE)


class Overdue(Source[TimeOver]):
    """Tell JoinOutcomes of the attempts whose time is over, and later of those that ended without it.

    What came of an attempt in its time becomes its verdict, `patience` seconds behind its deadline: checks end themselves
    there, and say more than that they are missing. What is left of an attempt that failed, was cancelled or gave way to
    another is forgotten `linger` seconds later, when nothing of it is under way any more; so it is where the assessment was
    deleted meanwhile.

    ```yaml
    overdue: {use: assessments.Overdue, with: {every: 5}}
    join:
      use: assessments.JoinOutcomes
      from: {config: config, security: security, status: status, deep: deep.outcomes, skipped: [plan.skipped, overdue]}
    ```
    """

    every: float = Field(default=5.0, gt=0, description="seconds between two looks")
    patience: float = Field(
        default=5.0, ge=0, description="seconds behind its deadline for which an attempt is waited for"
    )
    linger: float = Field(
        default=900.0, ge=0, description="seconds for which what is left of an attempt that ended is kept"
    )
    once: bool = Field(default=False, description="look once and end, instead of looking again and again")

    def repeats_batches(self) -> bool:
        return False  # what is found depends on when it is looked for

    async def read(self, resume: int | None, /) -> AsyncIterator[Batch[TimeOver]]:
        database, upto, told = pipeline_database(), resume or 0, frozenset[TimeOver]()
        while True:
            late = await patiently(database, "look for overdue assessments", partial(self._late, database))
            ended, upto = await patiently(database, "look for ended attempts", partial(self._ended, database, upto))
            if ended or not told.issuperset(late):
                yield Batch([*(each for each in late if each not in told), *ended], resume=upto)
            told = frozenset(late)
            if self.once:
                return
            await anyio.sleep(self.every)

    async def _late(self, database: Database) -> list[TimeOver]:
        """The attempts that are worked on behind their deadline."""
        until = datetime.now(UTC) - timedelta(seconds=self.patience)
        works = _states.state == sa.literal_column(f"'{State.PROCESSING}'")
        late = sa.select(_states.assessment_id, _states.retry_count).where(works, _states.deadline_at < until)
        async with database.reading() as connection:
            found = await connection.execute(late.order_by(_states.deadline_at).limit(MOST))
        return [TimeOver(each.assessment_id, each.retry_count, wanted=True) for each in found]

    async def _ended(self, database: Database, since: int) -> tuple[list[TimeOver], int]:
        """Attempts that the trail behind `since` shows to have ended with outcomes missing, and up to where it was read."""
        until = datetime.now(UTC) - timedelta(seconds=self.linger)
        last = sa.select(sa.func.max(_trail.id)).where(_trail.id > since, _trail.created_at < until)
        too_late = (_trail.change_action == Action.COMPLETE) & (_states.completed_at >= _states.deadline_at)
        is_gone = _states.id.is_(None)
        ways = (
            _trail.change_action.in_(_WITHOUT_VERDICT)
            | too_late
            | ((_trail.change_action == Action.COMPLETE) & is_gone)
        )
        entries = (
            sa.select(_trail.id, _trail.assessment_id, _states.retry_count, _states.state)
            .outerjoin_from(assessment_state_audit, assessment_states, _trail.assessment_id == _states.assessment_id)
            .order_by(_trail.id)
            .limit(MOST)
        )
        async with database.reading() as connection:
            upto = (await connection.execute(last)).scalar_one()
            if upto is None:
                return [], since
            rows = (await connection.execute(entries.where(_trail.id > since, _trail.id <= upto, ways))).all()
            gone = await _attempts_of_deleted(
                connection, sorted({each.assessment_id for each in rows if each.state is None})
            )
        over = {
            TimeOver(each.assessment_id, attempt, wanted=False): None
            for each in rows
            for attempt in range(
                gone.get(each.assessment_id, 0) if each.state is None else each.retry_count + (each.state in TERMINAL)
            )
        }
        return list(over), rows[-1].id if len(rows) == MOST else upto


async def _attempts_of_deleted(connection: AsyncConnection, assessment_ids: Sequence[str]) -> dict[str, int]:
    """How many attempts assessments had that are deleted, by their trail; at most, for those taken over had some before.

    One is left out whose trail was deleted meanwhile.
    """
    again = sa.case((_trail.change_action.in_((Action.RETRY, Action.RESCUE)), 1), else_=0)
    taken_over = sa.case((_trail.change_action == Action.IMPORT, MOST_RETRIES), else_=0)
    counted = sa.select(_trail.assessment_id, sa.func.sum(again + taken_over).label("before")).group_by(
        _trail.assessment_id
    )
    attempts: dict[str, int] = {}
    for at in range(0, len(assessment_ids), 500):
        part = counted.where(_trail.assessment_id.in_(assessment_ids[at : at + 500]))
        attempts |= {each.assessment_id: int(each.before) + 1 for each in await connection.execute(part)}
    return attempts
