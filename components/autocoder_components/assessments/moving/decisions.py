"""Who does which assessment, as rows: the first decision for an id holds in every process, whatever their flags say."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder import Database
from autocoder_components.assessments.lifecycle.tables import assessment_routes, assessment_states
from autocoder_components.assessments.moving.flags import Home

_routes: Final = assessment_routes.c
_UNCOMPARED: Final = sa.text("compared AND comparison IS NULL")  # the words of the partial index


@dataclass(frozen=True, slots=True)
class Decision:
    """Who does an assessment. `compared`: the other system does it too, and `home` has the answer that counts.

    `why` is kept with it as JSON where the flags say so; `comparison` is what a comparison found, once there was one.
    """

    assessment_id: str
    home: Home
    compared: bool = False
    decided_at: datetime | None = None
    why: dict[str, Any] | None = field(default=None, repr=False)
    comparison: dict[str, Any] | None = field(default=None, repr=False)


async def claim(connection: AsyncConnection, wanted: Decision, moment: datetime) -> Decision:
    """The decision that holds for an id: this one where there was none before, in the transaction of `connection`.

    Where another transaction is at the same id, this one waits for its end: what it made, or did not make, is certain then.
    """
    dialect: Any = sqlite if connection.dialect.name == "sqlite" else postgresql
    row = {
        "assessment_id": wanted.assessment_id,
        "home": wanted.home,
        "compared": wanted.compared,
        "decided_at": moment,
        "decision": None if wanted.why is None else _said(wanted.why),
    }
    insert = dialect.insert(assessment_routes).on_conflict_do_nothing(index_elements=["assessment_id"])
    made = await connection.execute(insert.returning(_routes.assessment_id), [row])
    if made.scalar_one_or_none() is None:
        found = await _find(connection, wanted.assessment_id)
        if found is not None:
            return found
    elif (wanted.home is Home.LEGACY or wanted.compared) and await is_stored(connection, wanted.assessment_id):
        # It came into the store by another way, and is done there: an import, a caller of its own.
        await connection.execute(
            sa.update(assessment_routes)
            .where(_routes.assessment_id == wanted.assessment_id)
            .values(home=Home.STORE, compared=False)
        )
        return Decision(wanted.assessment_id, Home.STORE)
    return wanted


async def is_stored(connection: AsyncConnection, assessment_id: str) -> bool:
    """Whether the store has a row of this id."""
    query = sa.select(assessment_states.c.id).where(assessment_states.c.assessment_id == assessment_id)
    return (await connection.execute(query)).scalar_one_or_none() is not None


async def decision_of(database: Database, assessment_id: str) -> Decision | None:
    """What was decided for an id, if anything was (or is still kept)."""
    async with database.reading() as connection:
        return await _find(connection, assessment_id)


async def uncompared(database: Database, after: str, limit: int) -> list[Decision]:
    """Decisions behind this id whose comparison is not there yet, in the order of their ids."""
    query = (
        sa.select(assessment_routes)
        .where(_UNCOMPARED, _routes.assessment_id > after)
        .order_by(_routes.assessment_id)
        .limit(limit)
    )
    async with database.reading() as connection:
        return [_of(row) for row in await connection.execute(query)]


async def note_comparison(connection: AsyncConnection, assessment_id: str, found: dict[str, Any]) -> bool:
    """Keep what a comparison found; false where another process was faster."""
    noted = await connection.execute(
        sa.update(assessment_routes)
        .where(_routes.assessment_id == assessment_id, _routes.compared, _routes.comparison.is_(None))
        .values(comparison=_said(found))
    )
    return noted.rowcount == 1


async def give_up_comparison(connection: AsyncConnection, assessment_id: str) -> None:
    """Nothing is left to compare: the decision stays until it is forgotten, like one that was never to be compared."""
    waits = sa.and_(_routes.assessment_id == assessment_id, _UNCOMPARED)
    await connection.execute(sa.update(assessment_routes).where(waits).values(compared=False))


async def list_differing(database: Database, limit: int) -> list[Decision]:
    """The last decisions whose comparison found differences, the newest first."""
    said = sa.cast(_routes.comparison, sa.Text())
    query = (
        sa.select(assessment_routes)
        .where(_routes.comparison.is_not(None), said != _said({"differences": []}))
        .order_by(_routes.decided_at.desc(), _routes.assessment_id)
        .limit(limit)
    )
    async with database.reading() as connection:
        return [_of(row) for row in await connection.execute(query)]


@dataclass(frozen=True, slots=True)
class Standing:
    """How many decisions are kept, by home; of those that both systems do, how many were compared, differ, and wait."""

    store: int
    legacy: int
    compared: int
    differing: int
    waiting: int


async def standing(database: Database) -> Standing:
    """Where a move stands, by what was decided and is still kept."""
    differs = sa.cast(_routes.comparison, sa.Text()) != _said({"differences": []})
    query = sa.select(
        _count(_routes.home == Home.STORE).label("store"),
        _count(_routes.home == Home.LEGACY).label("legacy"),
        _count(_routes.comparison.is_not(None)).label("compared"),
        _count(differs).label("differing"),
        _count(sa.and_(_routes.compared, _routes.comparison.is_(None))).label("waiting"),
    )
    async with database.reading() as connection:
        return Standing(**(await connection.execute(query)).one()._asdict())


def _count(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.count(sa.case((condition, 1)))


async def forget(connection: AsyncConnection, until: datetime, limit: int) -> int:
    """Delete decisions from before a moment, at most so many, but none that waits for its comparison."""
    old = (
        sa.select(_routes.assessment_id)
        .where(_routes.decided_at < until, sa.or_(~_routes.compared, _routes.comparison.is_not(None)))
        .order_by(_routes.decided_at)
        .limit(limit)
    )
    ids = list((await connection.execute(old)).scalars())
    if ids:
        await connection.execute(sa.delete(assessment_routes).where(_routes.assessment_id.in_(ids)))
    return len(ids)


def _said(value: dict[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, default=str)


async def _find(connection: AsyncConnection, assessment_id: str) -> Decision | None:
    query = sa.select(assessment_routes).where(_routes.assessment_id == assessment_id)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _of(row)


def _of(row: Any) -> Decision:
    return Decision(
        row.assessment_id,
        Home(row.home),
        bool(row.compared),
        row.decided_at,
        None if row.decision is None else json.loads(row.decision),
        None if row.comparison is None else json.loads(row.comparison),
    )
