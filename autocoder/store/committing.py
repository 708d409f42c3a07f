"""The commit of an epoch: the fence, then all that the epoch holds, in one transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import zip_longest
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import StatementError

from autocoder.database import Database
from autocoder.database_faults import database_said, is_declaration_fault, is_store_fault
from autocoder.errors import AutocoderError
from autocoder.faults import Fault, faults
from autocoder.statement import Statement
from autocoder.store import bulk
from autocoder.store.columns import now
from autocoder.store.epoch import RUNTIME_STATE, EpochCommit, Parked, Placed, SinkRows, StateChange
from autocoder.store.failpoints import reached
from autocoder.store.parked_rows import park
from autocoder.store.tables import IS_ON_CHANNEL, checkpoints, component_state, port_messages, regions

UNWRITABLE: Final = (StatementError, OverflowError, UnicodeEncodeError)
"""What a statement raises over its values; the last two come from Python's own driver of SQLite as they are."""
SEQS: Final = 5000
"""So many rows are settled with one statement on PostgreSQL."""
# Built once: making a statement anew costs more than executing it for ten rows.
_OF_REGION: Final = sa.and_(regions.c.pipeline == sa.bindparam("of"), regions.c.region == sa.bindparam("in"))
HOLD: Final = sa.select(regions.c.token, regions.c.epoch).where(_OF_REGION).with_for_update()
COUNT: Final = (
    sa.update(regions)
    .where(_OF_REGION, regions.c.token == sa.bindparam("under"), regions.c.epoch < sa.bindparam("number"))
    .values(epoch=sa.bindparam("number"), unclean_starts=0, committed_at=sa.bindparam("moment"))
)


def _settle(chosen: sa.ColumnElement[bool]) -> sa.Update:
    table = port_messages.c
    mine = (
        table.pipeline == sa.bindparam("of"),
        table.target_component == sa.bindparam("component"),
        table.port_name == sa.bindparam("port"),
        table.status == "pending",
        ~table.parked,
    )
    moment: sa.BindParameter[Any] = sa.bindparam("moment")
    return (
        sa.update(port_messages)
        .where(*mine, chosen)
        .values(status="completed", completed_at=moment, processed_at=moment, spare=None)
    )


SETTLE_RANGE: Final = _settle(port_messages.c.seq.between(sa.bindparam("first"), sa.bindparam("last")))
SETTLE_THESE: Final = _settle(
    port_messages.c.seq == sa.any_(sa.bindparam("seqs", type_=postgresql.ARRAY(sa.BigInteger)))
)


LAST_WAITING: Final = (
    sa.select(port_messages.c.seq)
    .where(
        port_messages.c.pipeline == sa.bindparam("of"),
        port_messages.c.target_component == sa.bindparam("component"),
        port_messages.c.port_name == sa.bindparam("port"),
        IS_ON_CHANNEL,
    )
    .order_by(port_messages.c.seq.desc())
    .limit(1)
)


class LeaseLost(AutocoderError):  # noqa: N818  it names what happened
    """Another instance took the pipeline over; nothing of this epoch was written. Stop this instance."""

    exit_code = 69


class SinkRefused(AutocoderError):  # noqa: N818  it names what happened
    """The database refuses what a sink does, whatever the message: no such table or column, no right to write."""

    def __init__(self, component: str, said: str) -> None:
        super().__init__(said)
        self.component = component


@dataclass(slots=True, eq=False)
class _Ready:
    """An epoch that waits for its turn; `placed` is there once it is committed."""

    epoch: EpochCommit
    calls: Sequence[Sequence[list[bulk.Call] | None]]
    """For each batch of a sink its statements as the driver takes them, where that was done before the turn came."""
    placed: list[Placed] | None = None


class RowRefused(Exception):  # noqa: N818  it names what happened
    """The database refuses a row of a sink, and nobody has looked yet whose it is; nothing of the epoch was written."""


class Committer:
    """Writes what a run of one pipeline has done; only under the token of the region's owner."""

    def __init__(self, database: Database, pipeline: str) -> None:
        self.database = database
        self.pipeline = pipeline
        self._ready: list[_Ready] = []

    async def commit(self, epoch: EpochCommit) -> list[Placed]:
        """Write an epoch: the fence, then everything else, in one transaction. Raises LeaseLost under an older token.

        Returns where its outputs stand. Committed already (a COMMIT whose answer was lost), it writes nothing and returns none.
        """
        reached("commit.begin")
        mine = _Ready(epoch, self._calls(epoch))
        self._ready.append(mine)
        try:
            async with self.database.turn():
                if mine.placed is None:
                    await self._commit(mine)
        finally:
            if mine in self._ready:
                self._ready.remove(mine)
        reached("commit.done")
        return mine.placed or []

    def _calls(self, epoch: EpochCommit) -> Sequence[Sequence[list[bulk.Call] | None]]:
        """On SQLite what can be done before its turn: another epoch is written meanwhile, in a thread that waits for the
        interpreter as long again as it works in it."""
        if not self.database.is_sqlite:
            return [()] * len(epoch.sinks)
        dialect = self.database.engine.dialect
        made = ((bulk.calls_for(each, dialect) for each in sink.statements) for sink in epoch.sinks)
        return [[None if calls is None else list(calls) for calls in of_sink] for of_sink in made]

    async def _commit(self, mine: _Ready) -> None:
        """On SQLite the regions that are ready share a transaction: it is the wait for the disk that takes long.

        Where one of them fails, each goes on alone when its turn comes, so that it costs the others nothing.
        """
        others = [each for each in self._ready if each is not mine and self.database.is_sqlite]
        if others:
            together = [mine, *others]
            self._ready = [each for each in self._ready if each not in together]
            try:
                placed = await self.database.at_once(
                    lambda connection: [self._write(connection, each, judges=False) for each in together],
                    has_turn=True,
                )
            except Exception as error:  # who is at fault says so when it is alone
                if is_store_fault(error):
                    raise
            else:
                for each, its in zip(together, placed, strict=True):
                    each.placed = its
                return
        try:
            mine.placed = await self.database.at_once(
                lambda connection: self._write(connection, mine, judges=False), has_turn=True
            )
        except RowRefused:
            # Finding the row asks the components, whose code runs in the event loop alone.
            async with self.database.transaction(has_turn=True) as connection:
                mine.placed = await connection.run_sync(self._write, mine, judges=True)

    def _write(self, connection: sa.Connection, ready: _Ready, *, judges: bool) -> list[Placed]:
        """All of an epoch; `judges` says whether a row that the database refuses is looked for, or raises RowRefused."""
        epoch = ready.epoch
        if not self._fence(connection, epoch):
            return []
        reached("commit.fenced")
        moment = now()
        sinks = zip(epoch.sinks, ready.calls, strict=True)
        refused = [row for sink, calls in sinks for row in _write_sink(connection, sink, calls, judges=judges)]
        reached("commit.sinks")
        # A parked message that was given to a sink again stands there as completed until the database refuses it.
        parked = {each.reference: each for each in [*epoch.parked, *refused]}
        park(connection, self.pipeline, parked.values(), moment)
        reached("commit.parked")
        self._settle(connection, epoch, moment)
        reached("commit.settled")
        placed = self._emit(connection, epoch, moment)
        reached("commit.emitted")
        self._save_state(connection, epoch, moment)
        reached("commit.state")
        self._save_positions(connection, epoch, moment)
        reached("commit.positions")
        return placed

    async def note(self, region: str, token: int, key: str, data: str | None) -> None:
        """Write down at once something that the runtime keeps of a region; None deletes it. Raises LeaseLost under an older
        token."""
        change = EpochCommit(region, token, 0, state=[StateChange(region, RUNTIME_STATE, {key: data})])

        def write(connection: sa.Connection) -> None:
            self._hold(connection, region, token)
            self._save_state(connection, change, now())

        await self.database.at_once(write)

    def _fence(self, connection: sa.Connection, epoch: EpochCommit) -> bool:
        """Hold the region's row for this transaction; False where this very epoch is there already."""
        place = {"of": self.pipeline, "in": epoch.region, "under": epoch.token}
        if bulk.once(connection, COUNT, {**place, "number": epoch.number, "moment": now()}).rowcount:
            return True
        if self._hold(connection, epoch.region, epoch.token) >= epoch.number:
            return False
        raise AssertionError(f"region {epoch.region!r} is held, and its epoch cannot be counted")

    def _hold(self, connection: sa.Connection, region: str, token: int) -> int:
        """Lock a region's row for this transaction; returns the number of its last epoch."""
        found = bulk.once(connection, HOLD, {"of": self.pipeline, "in": region}).row
        if found is None or found[0] != token:
            raise LeaseLost(
                f"pipeline {self.pipeline!r}, region {region!r}: another instance has taken over; this one stops without "
                f"writing anything more"
            )
        return int(found[1])

    def _settle(self, connection: sa.Connection, epoch: EpochCommit, moment: datetime) -> None:
        for settled in epoch.settled:
            seqs = sorted(settled.seqs)
            place = {
                "of": self.pipeline,
                "component": settled.component,
                "port": settled.port,
                "moment": moment,
            }
            if self.database.is_sqlite and seqs:
                # One writer gives out seqs in the order of commits: all between first and last have been taken.
                bulk.once(connection, SETTLE_RANGE, {**place, "first": seqs[0], "last": seqs[-1]})
                continue
            for at in range(0, len(seqs), SEQS):
                bulk.once(connection, SETTLE_THESE, {**place, "seqs": seqs[at : at + SEQS]})

    def _emit(self, connection: sa.Connection, epoch: EpochCommit, moment: datetime) -> list[Placed]:
        placed: list[Placed] = []
        for output in epoch.outputs:
            if output.messages:
                channel = {"of": self.pipeline, "component": output.component, "port": output.port}
                waiting = bulk.once(connection, LAST_WAITING, channel).row
                seqs = bulk.insert(
                    connection,
                    port_messages,
                    {
                        "pipeline": self.pipeline,
                        "source_component": output.source,
                        "target_component": output.component,
                        "port_name": output.port,
                        "created_at": moment,
                    },
                    {
                        "message_data": output.messages,
                        "order_key": output.keys or [None] * len(output.messages),
                    },
                )
                if seqs:
                    placed.append(Placed(output, seqs, waiting[0] if waiting else 0, moment))
        return placed

    def _save_state(self, connection: sa.Connection, epoch: EpochCommit, moment: datetime) -> None:
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
                self._upsert(connection, table, ("state_data", "version", "updated_at"), kept)
            if cleared:
                connection.execute(
                    sa.delete(table).where(
                        table.c.pipeline == self.pipeline,
                        table.c.component_name == change.component,
                        table.c.state_name == change.state,
                        table.c.state_key == sa.bindparam("cleared_key"),
                    ),
                    cleared,
                )

    def _save_positions(self, connection: sa.Connection, epoch: EpochCommit, moment: datetime) -> None:
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
            self._upsert(connection, checkpoints, ("checkpoint_data", "version", "created_at"), rows)

    def _upsert(
        self, connection: sa.Connection, table: sa.Table, changed: Sequence[str], rows: Sequence[Mapping[str, Any]]
    ) -> None:
        statement = _upserting(self.database.is_sqlite, table, changed)
        if len(rows) > bulk.FEW:
            bulk.execute(connection, Statement(statement, rows))
            return
        for row in rows:
            bulk.once(connection, statement, row)


@cache
def _upserting(on_sqlite: bool, table: sa.Table, changed: Sequence[str]) -> Any:
    """Insert a row with all columns that an epoch writes, or change those of `changed` where its key is there."""
    statement: Any = (sqlite if on_sqlite else postgresql).insert(table).inline()
    keys = [column.name for column in table.primary_key]
    return statement.on_conflict_do_update(
        index_elements=keys, set_={name: statement.excluded[name] for name in changed}
    )


def _write_sink(
    connection: sa.Connection, sink: SinkRows, calls: Sequence[list[bulk.Call] | None] = (), *, judges: bool
) -> list[Parked]:
    """Execute a batch of a sink; where the database refuses a row, message by message. Returns the refused ones, parked.

    Each try is a savepoint, so that what the database refuses costs neither its neighbours nor the epoch. A definition
    (CREATE TABLE) is no message's: it is made again without the refused row, for the sink will not hand it over twice.
    """
    try:
        with connection.begin_nested():
            for statement, ready in zip_longest(sink.statements, calls):
                bulk.execute(connection, statement, ready)
        return []
    except UNWRITABLE as error:
        _raise_unless_of_a_message(sink, error)
        if not judges:
            raise RowRefused from error
        for statement in sink.statements:
            if isinstance(statement.statement, sa.schema.ExecutableDDLElement):
                bulk.execute(connection, statement)
        if sink.size == 1:
            return _refused(sink, 0, error)
    parked: list[Parked] = []
    for number in range(sink.size):
        try:
            statements = sink.single(number)
        except faults() as error:  # the component's own word on this message
            parked += _refused(sink, number, error)
            continue
        try:
            with connection.begin_nested():
                for statement in statements:
                    bulk.execute(connection, statement)
        except UNWRITABLE as error:
            _raise_unless_of_a_message(sink, error)
            parked += _refused(sink, number, error)
    return parked


def _raise_unless_of_a_message(sink: SinkRows, error: Exception) -> None:
    """Go on only with what is the fault of a row's values; a table that is not there is nobody's row."""
    if is_store_fault(error):
        raise error
    if is_declaration_fault(error):
        raise SinkRefused(sink.component, database_said(error)) from error


def _refused(sink: SinkRows, number: int, error: Fault) -> list[Parked]:
    reached("commit.refused")
    kind = type(getattr(error, "orig", None) or error).__name__
    parked = sink.refused(number, kind, database_said(error))
    return [] if parked is None else [parked]
