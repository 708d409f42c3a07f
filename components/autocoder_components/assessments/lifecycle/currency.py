"""How new a copy of the database is: up to which moment, by the clock of the database, it is known to have everything.

A streaming standby of PostgreSQL says it itself, and needs nothing written: where it has replayed all that the database has
logged, it has everything until now; otherwise everything until the last commit that it replayed, which has its time. Any
other copy (logical replication, a copied file) says nothing of the kind. So a heartbeat is written to the database, a row that
is copied like all others: a copy that takes transactions over in their order has everything from before the heartbeat that it
shows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder import Instant, JsonText

_storage: Final = sa.table(
    "sink_storage",
    sa.column("pipeline", sa.Text()),
    sa.column("sink_name", sa.Text()),
    sa.column("data", JsonText()),
    sa.column("updated_at", Instant()),
)
_is_heartbeat: Final = sa.and_(_storage.c.pipeline == "assessments", _storage.c.sink_name == "heartbeat")
_beats: Final = sa.select(sa.func.max(_storage.c.updated_at, type_=Instant())).where(_is_heartbeat)
_REPLAYED: Final = sa.text(
    "SELECT pg_is_in_recovery() AS is_standby, pg_last_wal_replay_lsn()::text AS position, "
    "pg_last_xact_replay_timestamp() AS moment"
)
# What was logged, not what was written out of it: commits of others are seen before that.
_PASSED: Final = sa.text("SELECT CAST(CAST(:position AS text) AS pg_lsn) >= pg_current_wal_insert_lsn()")


@dataclass(frozen=True, slots=True)
class Mark:
    """What a copy says of itself: of a standby how far it has replayed, and the last moment that it knows of the database."""

    position: str | None
    moment: datetime | None

    @property
    def is_standby(self) -> bool:
        """Whether it needs no heartbeat."""
        return self.position is not None


async def now_of(database: AsyncConnection) -> datetime:
    """The time by the clock of a database."""
    if database.dialect.name == "sqlite":
        return datetime.now(UTC)
    moment: datetime = (await database.execute(sa.text("SELECT clock_timestamp()"))).scalar_one()
    return moment


async def mark_of(copy: AsyncConnection) -> Mark:
    """How far a copy is; asked before the database is."""
    if copy.dialect.name == "postgresql":
        replayed: Any = (await copy.execute(_REPLAYED)).one()
        if replayed.is_standby:
            return Mark(replayed.position, replayed.moment)
    return Mark(None, (await copy.execute(_beats)).scalar_one())


async def known_until(database: AsyncConnection, mark: Mark, now: datetime) -> datetime | None:
    """The moment until which the copy that gave this mark has everything; None where nobody knows. `now` is the database's."""
    if mark.is_standby and (await database.execute(_PASSED, {"position": mark.position})).scalar_one():
        return now
    return mark.moment


async def beat(database: AsyncConnection, now: datetime) -> None:
    """Write the heartbeat in a transaction of the caller. Two that do it first at once leave two, which are as good as one."""
    values = {"updated_at": now}
    if not (await database.execute(sa.update(_storage).where(_is_heartbeat).values(values))).rowcount:
        row = {"pipeline": "assessments", "sink_name": "heartbeat", "data": json.dumps({})} | values
        await database.execute(sa.insert(_storage), [row])
