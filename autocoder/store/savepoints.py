"""Savepoints: all that a pipeline keeps, under a name, to go back to.

A savepoint is taken in one transaction over committed rows, whether or not the pipeline runs. That is a consistent cut over
all of its regions, without stopping any: a message passes from one region to the next only as a row, written by the
commit that holds its effects on the one side and settled by the commit that holds those on the other. So between any two
commits each message is either a row that waits, or part of state and positions, and never both or neither. (PostgreSQL
gives a transaction such a view from REPEATABLE READ on, SQLite always.)

Restoring puts state, positions and waiting messages back, in one transaction as well, and refuses while an instance owns the
pipeline. What it does with everything else:

- Messages completed since are made again out of what they came from: their sources read again from the positions. Rows that
  such messages left behind since the savepoint, and which are not in it, are deleted.
- Messages that were sent from outside since have no source to read them again, so they are kept, and those completed since
  are given again (as far as retention has left them).
- Dead letters stay as they are. One that was a dead letter then and has been replayed since is one again, because the
  effect of its replay is undone; one that was discarded stays discarded. A message that has failed since and is read again may
  become a second dead letter.
- Outputs are not undone: rows of sinks, files, requests that were sent. They are written again under the same idempotency
  keys; a sink that updates rows by their key is as it was, one that only appends has them twice.
- Epochs and tokens go on: they are never used twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder.database import Database
from autocoder.durations import later
from autocoder.errors import UsageError, did_you_mean
from autocoder.store.columns import now
from autocoder.store.epoch import RUNTIME_STATE
from autocoder.store.failpoints import reached
from autocoder.store.fingerprints import read_fingerprint, write_fingerprint
from autocoder.store.ownership import undisturbed
from autocoder.store.saved_messages import OPEN, copy_messages, restore_messages, saved_pages
from autocoder.store.tables import (
    checkpoints,
    component_state,
    port_messages,
    regions,
    savepoint_messages,
    savepoint_state,
)

HEADER: Final = ""
"""The component under which a savepoint itself is a row of `checkpoints`; no component has this name."""


@dataclass(frozen=True, slots=True)
class Savepoint:
    """A savepoint as it is listed. `messages` counts those that waited, `values` those of state, by key."""

    pipeline: str
    name: str
    created_at: datetime
    expires_at: datetime | None
    positions: int
    values: int
    messages: int

    def is_expired(self, moment: datetime) -> bool:
        """Whether it may be deleted at any time from now on."""
        return self.expires_at is not None and self.expires_at <= moment


@dataclass(frozen=True, slots=True)
class Content:
    """What a savepoint holds, or what the pipeline holds now: positions by source; counts by (component, state or port)."""

    positions: Mapping[str, Any]
    values: Mapping[tuple[str, str], int]
    messages: Mapping[tuple[str, str], int]


class Savepoints:
    """The savepoints of one pipeline in one database."""

    def __init__(self, database: Database, pipeline: str) -> None:
        self._database = database
        self._pipeline = pipeline

    # -- reading --------------------------------------------------------------------------------------------------

    async def all(self) -> list[Savepoint]:
        """The savepoints, the oldest first."""
        return await list_savepoints(self._database, self._pipeline)

    async def find(self, name: str) -> Savepoint:
        """The savepoint of a name; raises UsageError with the nearest names where there is none."""
        found = await self.all()
        for each in found:
            if each.name == name:
                return each
        raise self._unknown(name, [each.name for each in found])

    async def content(self, name: str) -> Content:
        """What a savepoint holds; with an empty name what the pipeline would go on from now."""
        async with self._database.transaction() as connection:
            await _one_view(connection, self._database)
            if name and not await self._exists(connection, name):
                raise self._unknown(name, [])
            table = checkpoints.c
            rows = await connection.execute(
                sa.select(table.component_name, table.checkpoint_data).where(
                    table.pipeline == self._pipeline, table.checkpoint_name == name, table.component_name != HEADER
                )
            )
            positions = {component: json.loads(data) for component, data in rows}
            return Content(positions, await self._values(connection, name), await self._messages(connection, name))

    async def _values(self, connection: AsyncConnection, name: str) -> dict[tuple[str, str], int]:
        table = savepoint_state if name else component_state
        kinds = (table.c.component_name, table.c.state_name)
        mine = (table.c.pipeline == self._pipeline, table.c.state_name != RUNTIME_STATE)
        query = sa.select(*kinds, sa.func.count()).where(*mine).group_by(*kinds)
        if name:
            query = query.where(table.c.checkpoint_name == name)
        return {(component, state): number for component, state, number in await connection.execute(query)}

    async def _messages(self, connection: AsyncConnection, name: str) -> dict[tuple[str, str], int]:
        counts: dict[tuple[str, str], int] = {}
        if not name:
            table = port_messages.c
            kinds = (table.target_component, table.port_name)
            query = sa.select(*kinds, sa.func.count()).where(table.pipeline == self._pipeline, table.status.in_(OPEN))
            rows = await connection.execute(query.group_by(*kinds))
            return {(component, port): number for component, port, number in rows}
        async for page in saved_pages(connection, self._pipeline, name):
            for row in page:
                if row["status"] in OPEN:
                    key = (row["target_component"], row["port_name"])
                    counts[key] = counts.get(key, 0) + 1
        return counts

    async def _exists(self, connection: AsyncConnection, name: str) -> bool:
        query = sa.select(checkpoints.c.version).where(*self._header(name))
        return (await connection.execute(query)).first() is not None

    def _header(self, name: str) -> tuple[Any, ...]:
        table = checkpoints.c
        return table.pipeline == self._pipeline, table.checkpoint_name == name, table.component_name == HEADER

    def _unknown(self, name: str, known: list[str]) -> UsageError:
        cure = did_you_mean(name, known, plural="savepoints") if known else "`autocoder checkpoint list` shows them"
        return UsageError(f"pipeline {self._pipeline!r} has no savepoint {name!r}; {cure}")

    # -- writing --------------------------------------------------------------------------------------------------

    async def save(self, name: str, *, expires: timedelta | None = None) -> Savepoint:
        """Take a savepoint, also while the pipeline runs. Once it has expired, retention may delete it.

        Raises UsageError where there is one of this name, or nothing to save. On SQLite the pipeline's commits wait
        until the copy is made.
        """
        moment = now()
        until = None if expires is None else later(moment, expires.total_seconds())
        async with self._database.transaction() as connection:
            await _one_view(connection, self._database)
            if not name or await self._exists(connection, name):
                raise UsageError(
                    f"pipeline {self._pipeline!r} has a savepoint {name!r} already; delete it first, or take another name"
                )
            positions = await self._copy_positions(connection, name, moment, until)
            values = await self._copy_state(connection, name)
            messages, waiting = await copy_messages(connection, self._pipeline, name)
            last = await connection.execute(sa.select(sa.func.max(port_messages.c.seq)))
            fingerprint = await read_fingerprint(connection, self._pipeline)
            ran = await connection.execute(sa.select(regions.c.region).where(regions.c.pipeline == self._pipeline))
            if not (messages or ran.first()):
                raise UsageError(
                    f"pipeline {self._pipeline!r} keeps nothing in this database, so there is nothing to save; run it first"
                )
            facts = {"positions": positions, "values": values, "messages": waiting, "fingerprint": fingerprint}
            await connection.execute(
                sa.insert(checkpoints).values(
                    pipeline=self._pipeline,
                    checkpoint_name=name,
                    component_name=HEADER,
                    checkpoint_data=json.dumps({"last_seq": last.scalar_one() or 0}),
                    checkpoint_metadata=json.dumps(facts),
                    version=0,
                    created_at=moment,
                    expires_at=until,
                )
            )
            reached("savepoint.saved")
        return Savepoint(self._pipeline, name, moment, until, positions, values, waiting)

    async def _copy_positions(
        self, connection: AsyncConnection, name: str, moment: datetime, until: datetime | None
    ) -> int:
        table = checkpoints.c
        same = ["pipeline", "component_name", "checkpoint_data", "checkpoint_metadata", "version"]
        running = sa.select(
            *(table[column] for column in same),
            sa.literal(name),
            sa.literal(moment, table.created_at.type),
            sa.literal(until, table.expires_at.type),
        ).where(table.pipeline == self._pipeline, table.checkpoint_name == "")
        columns = [*same, "checkpoint_name", "created_at", "expires_at"]
        return (await connection.execute(sa.insert(checkpoints).from_select(columns, running))).rowcount

    async def _copy_state(self, connection: AsyncConnection, name: str) -> int:
        table = component_state.c
        same = ["pipeline", "component_name", "state_name", "state_key", "state_data"]
        query = sa.select(*(table[column] for column in same), sa.literal(name)).where(table.pipeline == self._pipeline)
        insert = sa.insert(savepoint_state).from_select([*same, "checkpoint_name"], query)
        return (await connection.execute(insert)).rowcount

    async def delete(self, name: str) -> None:
        """Delete a savepoint; raises UsageError where there is none of this name."""
        async with self._database.transaction() as connection:
            if not name or not await self._exists(connection, name):
                raise self._unknown(name, [])
            await _delete(connection, self._pipeline, name)

    async def restore(self, name: str) -> Savepoint:
        """Put back what a savepoint holds, all of it or nothing; the pipeline's next run goes on from there.

        Raises OwnedElsewhereError while an instance owns the pipeline, UsageError where there is no such savepoint. What
        becomes of everything else stands at the head of this module.
        """
        savepoint = await self.find(name)
        async with undisturbed(self._database, self._pipeline) as connection:
            query = sa.select(checkpoints.c.checkpoint_data, checkpoints.c.checkpoint_metadata)
            header = (await connection.execute(query.where(*self._header(name)))).one_or_none()
            if header is None:
                raise self._unknown(name, [])
            await self._restore_positions(connection, name)
            await self._restore_state(connection, name)
            reached("savepoint.restoring")
            last_seq = json.loads(header.checkpoint_data)["last_seq"]
            await restore_messages(connection, self._pipeline, name, last_seq=last_seq, taken_at=savepoint.created_at)
            await write_fingerprint(
                connection, self._pipeline, json.loads(header.checkpoint_metadata or "{}").get("fingerprint", {})
            )
            reached("savepoint.restored")
        return savepoint

    async def _restore_positions(self, connection: AsyncConnection, name: str) -> None:
        table = checkpoints.c
        await connection.execute(
            sa.delete(checkpoints).where(table.pipeline == self._pipeline, table.checkpoint_name == "")
        )
        same = ["pipeline", "component_name", "checkpoint_data", "checkpoint_metadata", "version", "created_at"]
        saved = sa.select(*(table[column] for column in same), sa.literal("")).where(
            table.pipeline == self._pipeline, table.checkpoint_name == name, table.component_name != HEADER
        )
        await connection.execute(sa.insert(checkpoints).from_select([*same, "checkpoint_name"], saved))

    async def _restore_state(self, connection: AsyncConnection, name: str) -> None:
        await connection.execute(sa.delete(component_state).where(component_state.c.pipeline == self._pipeline))
        table = savepoint_state.c
        same = ["pipeline", "component_name", "state_name", "state_key", "state_data"]
        saved = sa.select(
            *(table[column] for column in same), sa.literal(0), sa.literal(now(), component_state.c.updated_at.type)
        ).where(table.pipeline == self._pipeline, table.checkpoint_name == name)
        await connection.execute(sa.insert(component_state).from_select([*same, "version", "updated_at"], saved))


async def list_savepoints(database: Database, pipeline: str | None = None) -> list[Savepoint]:
    """The savepoints of a pipeline, or of all in a database; the oldest first."""
    table = checkpoints.c
    query = (
        sa.select(table.pipeline, table.checkpoint_name, table.created_at, table.expires_at, table.checkpoint_metadata)
        .where(table.component_name == HEADER, table.checkpoint_name != "")
        .order_by(table.created_at, table.pipeline, table.checkpoint_name)
    )
    if pipeline is not None:
        query = query.where(table.pipeline == pipeline)
    async with database.reading() as connection:
        rows = (await connection.execute(query)).all()
    found = []
    for owner, name, created, expires, metadata in rows:
        facts = json.loads(metadata or "{}")
        counts = (int(facts.get(each, 0)) for each in ("positions", "values", "messages"))
        found.append(Savepoint(owner, name, created, expires, *counts))
    return found


async def _delete(connection: AsyncConnection, pipeline: str, name: str) -> None:
    for table in (checkpoints, savepoint_state, savepoint_messages):
        await connection.execute(sa.delete(table).where(table.c.pipeline == pipeline, table.c.checkpoint_name == name))


async def _one_view(connection: AsyncConnection, database: Database) -> None:
    """All that this transaction reads is as of one moment; must be its first statement."""
    if not database.is_sqlite:
        await connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
