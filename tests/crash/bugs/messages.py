"""Bugs of messages: what is not settled once, what is forgotten or given again, whose identity changes."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from autocoder.message import Traced
from autocoder.runtime import source_stage
from autocoder.runtime.channel import Intake
from autocoder.runtime.inlet import Inlet
from autocoder.runtime.keeping import Kept
from autocoder.runtime.parking import Parking
from autocoder.runtime.pool_stage import PoolStage
from autocoder.runtime.unit import Unit
from autocoder.store import parked_rows
from autocoder.store.committing import Committer
from autocoder.store.epoch import EpochCommit, Settled
from autocoder.store.store import Store
from autocoder.store.tables import port_messages
from tests.crash.planting import bug, substitute

# -- I3: settled once -------------------------------------------------------------------------------------------------


@bug("I3", "chain fanout")
def settle_dropped() -> None:
    """Inputs are never settled."""

    def settle(*_: Any) -> None:
        return

    substitute(Committer, "_settle", settle)


@bug("I3", "chain fanout", "commit.done random")
def settle_too_many() -> None:
    """With each batch the messages behind it are settled, too."""
    settle = Committer._settle

    def settling(self: Committer, connection: Any, epoch: EpochCommit, moment: Any) -> None:
        more = [
            Settled(s.component, s.port, [*s.seqs, *(max(s.seqs) + n for n in range(1, 60))]) for s in epoch.settled
        ]
        settle(self, connection, replace(epoch, settled=more), moment)

    substitute(Committer, "_settle", settling)


@bug("I3", "chain pool")
def retried_not_settled() -> None:
    """A message that succeeded at a later attempt keeps its row."""
    done = Parking.done

    def forgetting(self: Parking, reference: Any, port: str) -> None:
        if reference in self._fresh:
            done(self, reference, port)

    substitute(Parking, "done", forgetting)


@bug("I3", "chain fanout", "commit.done random")
def completed_given_again() -> None:
    """A run takes messages that are completed."""

    async def waiting(self: Store, component: str, port: str, after: int, limit: int, **_: Any) -> list[Any]:
        table = port_messages.c
        mine = sa.and_(table.pipeline == self.pipeline, table.target_component == component, table.port_name == port)
        query = sa.select(table.seq, table.message_data, table.created_at).where(mine, ~table.parked, table.seq > after)
        async with self.database.reading() as connection:
            return list((await connection.execute(query.order_by(table.seq).limit(limit))).all())

    substitute(Store, "waiting", waiting)


@bug("I3", "chain fanout", "commit.done random")
def handed_over_again() -> None:
    """A consumer that has read rows takes them again from the region that wrote them."""
    offer = Inlet.offer

    def offering(self: Inlet, placed: Any) -> None:
        self._asks, self._tip = False, placed.before
        offer(self, placed)

    substitute(Inlet, "offer", offering)


@bug("I9", "pool outside chain", "random commit.done barrier.met")
def parked_forgotten() -> None:
    """A run does not take up what was parked when the one before was killed."""
    give = Kept._give_parked

    async def giving(self: Kept, parts: Any, *, only_pending: bool) -> None:
        if only_pending:
            await give(self, parts, only_pending=True)

    substitute(Kept, "_give_parked", giving)


@bug("I9", "pool ordered outside", "barrier.met commit.done random")
def in_flight_forgotten() -> None:
    """A barrier goes past calls in flight, and their messages are no part of the snapshot."""
    substitute(PoolStage, "_park_in_flight", lambda _: None)


@bug("I9", "turns", "barrier.met commit.done random")
def held_forgotten() -> None:
    """A barrier goes past messages that a merger holds, and they are no part of the snapshot."""
    substitute(Intake, "park_aside", lambda *_: None)


@bug("I3", "chain pool outside", "late-early commit.done random")
def attempts_not_written() -> None:
    """The row of a failed message does not say how often it was tried."""
    values = parked_rows._parked_values

    def forgetting(each: Any, moment: Any) -> dict[str, Any]:
        found = values(each, moment)
        return {**found, "retry_count": 0} if each.status == "failed" else found

    substitute(parked_rows, "_parked_values", forgetting)


@bug("I3", "stubborn", "late-early commit.done random")
def attempts_start_again() -> None:
    """After a kill a failed message has all its attempts again."""
    give = Kept._give

    def giving(self: Kept, stage: Any, unit: Any, row: Any) -> None:
        give(self, stage, unit, replace(row, attempts=0))

    substitute(Kept, "_give", giving)


@bug("I3", "chain keyed")
def dead_letter_forgotten() -> None:
    """A message that can never succeed is counted, and no row is kept of it."""

    def settle(self: Unit, *_: Any, **__: Any) -> None:
        self.dead_letters += 1

    substitute(Unit, "settle", settle)


@bug("I3", "chain keyed")
def dead_letter_without_payload() -> None:
    """The payload of a dead letter is not kept."""
    row = Parking.row

    def emptied(self: Parking, port: str, payload: Any, status: Any, **named: Any) -> Any:
        found = row(self, port, payload, status, **named)
        return replace(found, data=None) if status == "dead_letter" else found

    substitute(Parking, "row", emptied)


# -- I4: deterministic ids --------------------------------------------------------------------------------------------


@bug("I4", "keyed ordered chain", "random commit.done")
def handle_without_token() -> None:
    """The handles of parked messages begin anew with each run."""

    def handle(self: Kept, region: str) -> Any:
        return lambda: f"{self._graph.name}/{region}/{next(self._handles)}"

    substitute(Kept, "_handle", handle)


@bug("I4", "outside", "random commit.begin")
def key_from_clock() -> None:
    """The identity of a message comes from the time at which it was read."""
    substitute(source_stage, "origin_key", lambda *_: str(time.time_ns()))


@bug("I4", "outside", "random commit.begin commit.fenced")
def key_from_row() -> None:
    """The identity of a message that is tried again is that of its row."""

    def item_of(self: Unit, entry: Any) -> Any:
        return Traced(f"row:{entry.reference}", entry.payload) if self.traced else entry.payload

    substitute(Unit, "item_of", item_of)
