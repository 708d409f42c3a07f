"""What a run finds in the store of its pipeline, and may forget; what it does is written in `committing`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder.database import Database
from autocoder.store.epoch import RUNTIME_STATE
from autocoder.store.patience import patient
from autocoder.store.tables import IS_ON_CHANNEL, IS_OPEN, checkpoints, component_state, port_messages
from autocoder.tracing import row_key

CHUNK: Final = 500
PART: Final = 20_000
"""So many rows one statement deletes."""


@dataclass(frozen=True, slots=True)
class Row:
    """A parked message as the runtime takes it up again."""

    seq: int
    component: str
    port: str
    data: str | None
    attempts: int
    status: str
    next_retry_at: datetime | None
    metadata: str | None
    details: str | None
    created_at: datetime

    @property
    def identity(self) -> str:
        """What idempotency keys are made of; an edited payload is another message."""
        facts = json.loads(self.metadata or "{}")
        edits = len(facts.get("edited", ()))
        key: str = facts.get("identity") or row_key(self.seq, self.created_at)
        return f"{key}:edit{edits}" if edits else key


WaitingRow = tuple[int, str | None, datetime | None]


def _waiting(moment: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Built once: making a statement anew costs more than executing it for ten rows."""
    table = port_messages.c
    return (
        sa.select(table.seq, table.message_data, moment)
        .where(
            table.pipeline == sa.bindparam("of"),
            table.target_component == sa.bindparam("component"),
            table.port_name == sa.bindparam("port"),
            table.status == "pending",
            ~table.parked,
            table.seq > sa.bindparam("after"),
        )
        .order_by(table.seq)
        .limit(sa.bindparam("most", type_=sa.Integer))
    )


WAITING: Final = _waiting(sa.null())
WAITING_WITH_MOMENTS: Final = _waiting(port_messages.c.created_at)


class Store:
    """The rows of one pipeline in one database."""

    def __init__(self, database: Database, pipeline: str) -> None:
        self.database = database
        self.pipeline = pipeline

    @patient
    async def positions(self) -> dict[str, Any]:
        """Where each source resumes."""
        query = sa.select(checkpoints.c.component_name, checkpoints.c.checkpoint_data).where(
            checkpoints.c.pipeline == self.pipeline, checkpoints.c.checkpoint_name == ""
        )
        async with self.database.reading() as connection:
            return {name: json.loads(data) for name, data in await connection.execute(query)}

    @patient
    async def state(self, component: str, name: str, keys: Sequence[str] | None) -> dict[str, str]:
        """The encoded values of one state cell under the given keys (None: all of them)."""
        table = component_state.c
        query = sa.select(table.state_key, table.state_data).where(
            table.pipeline == self.pipeline, table.component_name == component, table.state_name == name
        )
        found: dict[str, str] = {}
        async with self.database.reading() as connection:
            if keys is None:
                return {each.state_key: each.state_data for each in await connection.execute(query)}
            for at in range(0, len(keys), CHUNK):
                part = query.where(table.state_key.in_(keys[at : at + CHUNK]))
                found.update((each.state_key, each.state_data) for each in await connection.execute(part))
        return found

    @patient
    async def runtime_state(self) -> dict[str, dict[str, str]]:
        """What the runtime itself keeps of the components: encoded values by component and key."""
        table = component_state.c
        query = sa.select(table.component_name, table.state_key, table.state_data).where(
            table.pipeline == self.pipeline, table.state_name == RUNTIME_STATE
        )
        found: dict[str, dict[str, str]] = {}
        async with self.database.reading() as connection:
            for component, key, data in await connection.execute(query):
                found.setdefault(component, {})[key] = data
        return found

    @patient
    async def waiting_seqs(self, component: str, port: str, upto: int, limit: int) -> list[int]:
        """The seqs of what waits on a durable channel up to one of them, in order: no payload is read."""
        table = port_messages.c
        mine = (table.pipeline == self.pipeline, table.target_component == component, table.port_name == port)
        query = sa.select(table.seq).where(*mine, IS_ON_CHANNEL, table.seq <= upto).order_by(table.seq).limit(limit)
        async with self.database.reading() as connection:
            return list((await connection.execute(query)).scalars())

    @patient
    async def waiting(
        self,
        component: str,
        port: str,
        after: int,
        limit: int,
        *,
        moments: bool = False,
        among: Sequence[int] | None = None,
    ) -> list[WaitingRow]:
        """The next messages of a durable channel behind `after`, in order: their seqs, their encoded payloads, and with
        `moments` when they were written. With `among` those of these seqs."""
        place = {"of": self.pipeline, "component": component, "port": port, "after": after, "most": limit}
        query = WAITING if not moments else WAITING_WITH_MOMENTS
        if among is not None:
            query = query.where(port_messages.c.seq.in_(among))
        async with self.database.reading() as connection:
            result = await connection.execute(query, place)
            if moments or result.cursor is None:
                return list(result.all())
            return list(result.cursor.fetchall())  # as the driver has them: there is nothing to convert

    @patient
    async def parked(self, *, after: int, components: Sequence[str], only_pending: bool) -> list[Row]:
        """Parked messages behind `after` that still have to be handled, in order; those of a replay are `pending`."""
        table = port_messages.c
        query = (
            sa.select(
                table.seq,
                table.target_component,
                table.port_name,
                table.message_data,
                table.retry_count,
                table.status,
                table.next_retry_at,
                table.message_metadata,
                table.error_details,
                table.created_at,
            )
            .where(
                table.pipeline == self.pipeline,
                table.target_component.in_(components),
                IS_OPEN,
                sa.true() if not only_pending else table.status == "pending",
                table.seq > after,
            )
            .order_by(table.seq)
            .limit(CHUNK)
        )
        async with self.database.reading() as connection:
            return [Row(*tuple(each)) for each in await connection.execute(query)]

    @patient
    async def backlog(self, component: str, port: str) -> int:
        """How many messages wait on a durable channel."""
        table = port_messages.c
        query = sa.select(sa.func.count()).where(
            table.pipeline == self.pipeline,
            table.target_component == component,
            table.port_name == port,
            table.status == "pending",
            ~table.parked,
        )
        async with self.database.reading() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def forget(self, connection: AsyncConnection) -> None:
        """`--restart`: positions, state and messages under way are forgotten; dead letters and what was written stay.

        Part of the transaction of `connection`, which takes ownership.

        State goes with the positions: totals of messages that are read again would count them twice.
        """
        table = component_state.c
        await connection.execute(
            sa.delete(checkpoints).where(checkpoints.c.pipeline == self.pipeline, checkpoints.c.checkpoint_name == "")
        )
        state = (table.component_name, table.state_name, table.state_key)
        await _delete(connection, state, table.pipeline == self.pipeline)
        messages = port_messages.c
        mine = messages.pipeline == self.pipeline
        # Each by the index that holds just these rows, in its order: how many are completed makes no difference.
        channels = (messages.target_component, messages.port_name, messages.seq)
        await _delete(connection, channels, mine & IS_ON_CHANNEL)
        await _delete(connection, (messages.seq,), mine & IS_OPEN)


async def _delete(connection: AsyncConnection, keys: Sequence[sa.Column[Any]], chosen: sa.ColumnElement[bool]) -> None:
    """Delete rows in parts, in the order of an index that begins with what is `chosen` and then has `keys`.

    So no statement takes long, whatever their number; each part begins behind the last one, for to look again through
    what this transaction has deleted would cost more with every part.
    """
    place, rest = sa.tuple_(*keys), chosen
    while True:
        last = (
            await connection.execute(sa.select(*keys).where(rest).order_by(*keys).offset(PART - 1).limit(1))
        ).one_or_none()
        upto = (
            None
            if last is None
            else sa.tuple_(*(sa.literal(value, key.type) for value, key in zip(last, keys, strict=True)))
        )
        part = rest if upto is None else rest & (place <= upto)
        await connection.execute(sa.delete(keys[0].table).where(part))
        if upto is None:
            return
        rest = chosen & (place > upto)
