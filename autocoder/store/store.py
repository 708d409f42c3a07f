"""Reads and writes of the store. Every write of a running pipeline happens in `commit`: one transaction for each epoch."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder.database import Database, database_said
from autocoder.errors import AutocoderError
from autocoder.store.epoch import EpochCommit, Parked, SinkRows
from autocoder.store.failpoints import reached
from autocoder.store.tables import IS_OPEN, checkpoints, component_state, port_messages, regions

CHUNK: Final = 500


class LeaseLost(AutocoderError):  # noqa: N818  it names what happened
    """Another instance took the pipeline over; nothing of this epoch was written. Stop this instance."""

    exit_code = 69


class SinkRefused(AutocoderError):  # noqa: N818  it names what happened
    """The database refuses what a sink does, whatever the message: no such table or column, no right to write."""

    def __init__(self, component: str, said: str) -> None:
        super().__init__(said)
        self.component = component


@dataclass(frozen=True, slots=True)
class Row:
    """A message row as the runtime takes it."""

    seq: int
    component: str
    port: str
    data: str | None
    attempts: int
    status: str
    next_retry_at: datetime | None
    order_key: str | None


def now() -> datetime:
    """The time, as rows carry it."""
    return datetime.now(UTC)


class Store:
    """The rows of one pipeline in one database."""

    def __init__(self, database: Database, pipeline: str) -> None:
        self.database = database
        self.pipeline = pipeline

    # -- reading --------------------------------------------------------------------------------------------------

    async def positions(self) -> dict[str, Any]:
        """Where each source resumes."""
        query = sa.select(checkpoints.c.component_name, checkpoints.c.checkpoint_data).where(
            checkpoints.c.pipeline == self.pipeline, checkpoints.c.checkpoint_name == ""
        )
        async with self.database.reading() as connection:
            return {name: json.loads(data) for name, data in await connection.execute(query)}

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

    async def waiting(self, component: str, port: str, after: int, limit: int) -> list[Row]:
        """The next messages of a durable channel behind `after`, in order."""
        table = port_messages.c
        query = (
            _ROWS.where(
                table.pipeline == self.pipeline,
                table.target_component == component,
                table.port_name == port,
                table.status == "pending",
                ~table.parked,
                table.seq > after,
            )
            .order_by(table.seq)
            .limit(limit)
        )
        async with self.database.reading() as connection:
            return [_row(each) for each in await connection.execute(query)]

    async def parked(self, *, after: int, components: Sequence[str], only_pending: bool) -> list[Row]:
        """Parked messages behind `after` that still have to be handled, in order; those of a replay are `pending`."""
        table = port_messages.c
        query = (
            _ROWS.where(
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
            return [_row(each) for each in await connection.execute(query)]

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

    # -- writing --------------------------------------------------------------------------------------------------

    async def forget(self, connection: AsyncConnection) -> None:
        """`--restart`: positions, state and messages under way are forgotten; dead letters and what was written stay.

        Part of the transaction of `connection`, which takes ownership.

        State goes with the positions: totals of messages that are read again would count them twice.
        """
        mine = (
            sa.delete(checkpoints).where(checkpoints.c.pipeline == self.pipeline, checkpoints.c.checkpoint_name == ""),
            sa.delete(component_state).where(component_state.c.pipeline == self.pipeline),
            sa.delete(port_messages).where(
                port_messages.c.pipeline == self.pipeline,
                port_messages.c.status.in_(["pending", "processing", "failed"]),
            ),
        )
        for statement in mine:
            await connection.execute(statement)

    async def commit(self, epoch: EpochCommit) -> None:
        """Write an epoch: the fence, then everything else, in one transaction. Raises LeaseLost under an older token.

        Committed already (a COMMIT whose answer was lost), it writes nothing and returns.
        """
        reached("commit.begin")
        async with self.database.transaction() as connection:
            if not await self._fence(connection, epoch):
                return
            reached("commit.fenced")
            moment = now()
            refused = [row for sink in epoch.sinks for row in await _write_sink(connection, sink)]
            reached("commit.sinks")
            await self._park(connection, [*epoch.parked, *refused], moment)
            reached("commit.parked")
            await self._settle(connection, epoch, moment)
            reached("commit.settled")
            await self._emit(connection, epoch, moment)
            reached("commit.emitted")
            await self._save_state(connection, epoch, moment)
            reached("commit.state")
            await self._save_positions(connection, epoch, moment)
            reached("commit.positions")
        reached("commit.done")

    async def _fence(self, connection: AsyncConnection, epoch: EpochCommit) -> bool:
        """Hold the region's row for this transaction; False where this very epoch is there already."""
        mine = sa.and_(regions.c.pipeline == self.pipeline, regions.c.region == epoch.region)
        held = sa.select(regions.c.token, regions.c.epoch).where(mine).with_for_update()
        found = (await connection.execute(held)).one_or_none()
        if found is None or found.token != epoch.token:
            raise LeaseLost(
                f"pipeline {self.pipeline!r}, region {epoch.region!r}: another instance has taken over; this one stops "
                f"without writing anything more"
            )
        if found.epoch >= epoch.number:
            return False
        await connection.execute(
            sa.update(regions).where(mine).values(epoch=epoch.number, unclean_starts=0, committed_at=now())
        )
        return True

    async def _settle(self, connection: AsyncConnection, epoch: EpochCommit, moment: datetime) -> None:
        table = port_messages.c
        done = {"status": "completed", "completed_at": moment, "processed_at": moment}
        for settled in epoch.settled:
            seqs = sorted(settled.seqs)
            mine = sa.and_(
                table.pipeline == self.pipeline,
                table.target_component == settled.component,
                table.port_name == settled.port,
                table.status == "pending",
                ~table.parked,
            )
            if self.database.is_sqlite and seqs:
                # One writer gives out seqs in the order of commits: all between first and last have been taken.
                await connection.execute(
                    sa.update(port_messages).where(mine, table.seq.between(seqs[0], seqs[-1])).values(done)
                )
                continue
            for at in range(0, len(seqs), CHUNK * 10):
                chosen = table.seq == sa.any_(sa.cast(seqs[at : at + CHUNK * 10], postgresql.ARRAY(sa.BigInteger)))
                await connection.execute(sa.update(port_messages).where(mine, chosen).values(done))

    async def _emit(self, connection: AsyncConnection, epoch: EpochCommit, moment: datetime) -> None:
        for output in epoch.outputs:
            keys = output.keys or [None] * len(output.messages)
            rows = [
                {
                    "pipeline": self.pipeline,
                    "source_component": output.source,
                    "target_component": output.component,
                    "port_name": output.port,
                    "message_data": data,
                    "order_key": key,
                    "created_at": moment,
                }
                for data, key in zip(output.messages, keys, strict=True)
            ]
            if rows:
                await connection.execute(sa.insert(port_messages), rows)

    async def _save_state(self, connection: AsyncConnection, epoch: EpochCommit, moment: datetime) -> None:
        table = component_state
        for change in epoch.state:
            kept = [
                {
                    "pipeline": self.pipeline,
                    "component_name": change.component,
                    "state_name": change.state,
                    "state_key": key,
                    "state_data": data,
                    "version": epoch.number,
                    "updated_at": moment,
                }
                for key, data in change.values.items()
                if data is not None
            ]
            cleared = [{"cleared_key": key} for key, data in change.values.items() if data is None]
            if kept:
                await connection.execute(self._upsert(table, ("state_data", "version", "updated_at")), kept)
            if cleared:
                await connection.execute(
                    sa.delete(table).where(
                        table.c.pipeline == self.pipeline,
                        table.c.component_name == change.component,
                        table.c.state_name == change.state,
                        table.c.state_key == sa.bindparam("cleared_key"),
                    ),
                    cleared,
                )

    async def _save_positions(self, connection: AsyncConnection, epoch: EpochCommit, moment: datetime) -> None:
        rows = [
            {
                "pipeline": self.pipeline,
                "checkpoint_name": "",
                "component_name": name,
                "checkpoint_data": json.dumps(position),
                "version": epoch.number,
                "created_at": moment,
            }
            for name, position in epoch.positions.items()
        ]
        if rows:
            await connection.execute(self._upsert(checkpoints, ("checkpoint_data", "version", "created_at")), rows)

    async def _park(self, connection: AsyncConnection, parked: Iterable[Parked], moment: datetime) -> None:
        """Bring the rows of parked messages up to date; a handle that is not there yet is inserted."""
        table = port_messages.c
        for each in parked:
            values = _parked_values(each, moment)
            mine = table.seq == each.reference if isinstance(each.reference, int) else table.handle == each.reference
            done = await connection.execute(
                sa.update(port_messages)
                .where(table.pipeline == self.pipeline, mine, table.status != "completed")
                .values(values)
            )
            if done.rowcount == 0 and isinstance(each.reference, str) and each.status != "completed":
                await connection.execute(
                    sa.insert(port_messages).values(
                        pipeline=self.pipeline,
                        target_component=each.component,
                        port_name=each.port,
                        source_component="",
                        message_data=each.data,
                        handle=each.reference,
                        order_key=each.order_key,
                        created_at=moment,
                        **values,
                    )
                )

    def _upsert(self, table: sa.Table, changed: Sequence[str]) -> Any:
        dialect = sqlite if self.database.is_sqlite else postgresql
        statement: Any = dialect.insert(table)
        keys = [column.name for column in table.primary_key]
        return statement.on_conflict_do_update(
            index_elements=keys, set_={name: statement.excluded[name] for name in changed}
        )


_ROWS: Final = sa.select(
    port_messages.c.seq,
    port_messages.c.target_component,
    port_messages.c.port_name,
    port_messages.c.message_data,
    port_messages.c.retry_count,
    port_messages.c.status,
    port_messages.c.next_retry_at,
    port_messages.c.order_key,
)


def _row(found: Any) -> Row:
    return Row(*found)


def _parked_values(each: Parked, moment: datetime) -> dict[str, Any]:
    details: Mapping[str, Any] | None = each.details
    # What a replayed message failed with before stands in its details, and stays there.
    described = {} if details is None else {"error_details": json.dumps(details)}
    return {
        "status": each.status,
        "parked": True,
        "retry_count": each.attempts,
        "max_retries": each.max_attempts,
        "next_retry_at": each.next_retry_at if each.status == "failed" else None,
        "processed_at": moment,
        "completed_at": moment if each.status == "completed" else None,
        "error_type": each.error_type,
        "error_message": each.error_message,
        **described,
    }


async def _write_sink(connection: AsyncConnection, sink: SinkRows) -> list[Parked]:
    """Execute a batch of a sink; where the database refuses a row, message by message. Returns the refused ones, parked.

    Each try is a savepoint, so that what the database refuses costs neither its neighbours nor the epoch.
    """
    try:
        async with connection.begin_nested():
            for statement in sink.statements:
                await connection.execute(statement.statement, list(statement.rows) or None)
        return []
    except (DBAPIError, OverflowError) as error:
        _raise_unless_of_a_message(sink, error)
        if len(sink.messages) == 1:
            return [_refused(sink, sink.messages[0], error)]
    parked: list[Parked] = []
    for message in sink.messages:
        try:
            async with connection.begin_nested():
                for statement in sink.single(message):
                    await connection.execute(statement.statement, list(statement.rows) or None)
        except (DBAPIError, OverflowError) as error:
            _raise_unless_of_a_message(sink, error)
            parked.append(_refused(sink, message, error))
    return parked


def _raise_unless_of_a_message(sink: SinkRows, error: DBAPIError | OverflowError) -> None:
    """Go on only with what is the fault of a row's values; a table that is not there is nobody's row."""
    if is_store_fault(error):
        raise error
    if is_declaration_fault(error):
        raise SinkRefused(sink.component, database_said(error)) from error


def _refused(sink: SinkRows, message: Any, error: DBAPIError | OverflowError) -> Parked:
    kind = type(getattr(error, "orig", None) or error).__name__
    parked: Parked = sink.refused(message, kind, database_said(error))
    return parked


_DECLARATION = re.compile(r"no such (table|column)|has no column named|syntax error|readonly database|no such function")


def is_declaration_fault(error: BaseException) -> bool:
    """Whether a statement can never succeed here: its table or column is missing, it is no SQL, rights are missing."""
    cause = getattr(error, "orig", None) or error
    state = str(getattr(cause, "sqlstate", None) or "")
    return state[:2] in ("42", "3F", "3D", "28") or _DECLARATION.search(str(cause)) is not None


def is_store_fault(error: BaseException) -> bool:
    """Whether the store itself is in trouble (busy, disconnected, disk full, conflicting transactions), not a row."""
    if isinstance(error, DBAPIError):
        if error.connection_invalidated or isinstance(error, OperationalError):
            return not is_declaration_fault(error)
        state = str(getattr(error.orig, "sqlstate", None) or "")
        return state[:2] in ("08", "40", "53", "55", "57", "58")
    return isinstance(error, OSError)
