"""Seeded bugs: each breaks one rule of the framework, in the process of a case alone, so that it can be seen that the harness
catches it. None of them is in the framework; `AUTOCODER_CRASH_BUG=name` plants one in all cases of a run by hand.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any, Final

import sqlalchemy as sa

from autocoder.message import Barrier, Traced
from autocoder.runtime import source_stage
from autocoder.runtime.channel import Channel, Intake
from autocoder.runtime.ending import Ending
from autocoder.runtime.inlet import Inlet
from autocoder.runtime.keeping import Kept
from autocoder.runtime.memory import StateMemory
from autocoder.runtime.parking import Parking
from autocoder.runtime.pool_stage import PoolStage
from autocoder.runtime.region import Region
from autocoder.runtime.source_stage import SourceStage
from autocoder.runtime.stage import Stage, drive
from autocoder.runtime.unit import Unit
from autocoder.runtime.worker import Worker
from autocoder.store import committing, ownership, parked_rows, retention, savepoints
from autocoder.store.columns import now
from autocoder.store.committing import Committer
from autocoder.store.dead_letters import DeadLetters
from autocoder.store.epoch import EpochCommit, Settled
from autocoder.store.inbox import insert_messages
from autocoder.store.store import Store
from autocoder.store.tables import port_messages, regions

VARIABLE: Final = "AUTOCODER_CRASH_BUG"


@dataclass(frozen=True)
class Bug:
    """How a rule is broken, the invariant that this breaks, and where it should show: topologies and faults.

    `faults` are tried in turn: `none`, `random`, `frozen`, `lost`, the name of a failpoint, or of a work beside the run.
    """

    name: str
    invariant: str
    topologies: tuple[str, ...]
    faults: tuple[str, ...]
    plant: Callable[[], None]


BUGS: Final[dict[str, Bug]] = {}


def bug(
    invariant: str, topologies: str, faults: str = "none random"
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Enter a function that breaks something."""

    def enter(function: Callable[[], None]) -> Callable[[], None]:
        found = Bug(function.__name__, invariant, tuple(topologies.split()), tuple(faults.split()), function)
        BUGS[found.name] = found
        return function

    return enter


def plant(name: str) -> None:
    """Break a rule in this process, for good; nothing where no name is given."""
    name = name or os.environ.get(VARIABLE, "")
    if name:
        BUGS[name].plant()


def lose_answers(every: int) -> None:
    """No bug but a fault: every so many commits the answer to a COMMIT that succeeded is lost."""
    commit, numbers = Committer.commit, Counter[str]()

    async def losing(self: Committer, epoch: EpochCommit) -> Any:
        placed = await commit(self, epoch)
        numbers["commits"] += 1
        if numbers["commits"] % every == 0:
            raise ConnectionResetError("the answer is lost")
        return placed

    substitute(Committer, "commit", losing)


def substitute(owner: Any, name: str, value: Any) -> None:
    """Put a broken function in the place of another, which has to take what that is called with: else it is no rule of the
    framework that breaks, and every case is a violation."""
    assert hasattr(owner, name), f"{owner} has no {name} any more"
    wanted = signature(getattr(owner, name)).parameters.values()
    in_order = [each.name for each in wanted if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    signature(value).bind(*in_order, **{each.name: each for each in wanted if each.kind is each.KEYWORD_ONLY})
    setattr(owner, name, value)


# -- I1: one transaction ----------------------------------------------------------------------------------------------


def _apart(part: str, *, before: bool) -> None:
    """Write one part of each epoch in a transaction of its own, before or behind the rest."""
    commit = Committer.commit

    async def write(committer: Committer, own: EpochCommit) -> None:
        moment = now()

        def parts(connection: Any) -> None:
            for sink in own.sinks:
                committing._write_sink(connection, sink, judges=True)
            parked_rows.park(connection, committer.pipeline, own.parked, moment)
            committer._settle(connection, own, moment)
            committer._emit(connection, own, moment)
            committer._save_state(connection, own, moment)
            committer._save_positions(connection, own, moment)

        async with committer.database.transaction() as connection:
            await connection.run_sync(parts)

    async def torn(self: Committer, epoch: EpochCommit) -> Any:
        empty: Any = {} if part == "positions" else []
        own = EpochCommit(epoch.region, epoch.token, epoch.number)
        setattr(own, part, getattr(epoch, part))
        if before:
            await write(self, own)
        placed = await commit(self, replace(epoch, **{part: empty}))
        if not before:
            await write(self, own)
        return placed

    substitute(Committer, "commit", torn)


BEHIND: Final = "commit.done random"
AHEAD: Final = "commit.begin commit.fenced random"


@bug("I1", "keyed splitter", BEHIND)
def state_behind() -> None:
    """State is written after the commit."""
    _apart("state", before=False)


@bug("I1", "keyed splitter", AHEAD)
def state_ahead() -> None:
    """State is written before the commit."""
    _apart("state", before=True)


@bug("I1", "chain fanout", AHEAD)
def positions_ahead() -> None:
    """Positions are written before the effects."""
    _apart("positions", before=True)


@bug("I1", "fanout chain", BEHIND)
def positions_behind() -> None:
    """Positions are written after the effects."""
    _apart("positions", before=False)


@bug("I1", "chain fanout", AHEAD)
def settled_ahead() -> None:
    """Inputs are settled before the effects."""
    _apart("settled", before=True)


@bug("I1", "chain fanout", BEHIND)
def settled_behind() -> None:
    """Inputs are settled after the effects."""
    _apart("settled", before=False)


@bug("I1", "chain fanout", BEHIND)
def outputs_behind() -> None:
    """The messages of durable channels are written after the commit."""
    _apart("outputs", before=False)


@bug("I1", "fanout keyed", AHEAD)
def sink_rows_ahead() -> None:
    """The rows of sinks are written before the commit."""
    _apart("sinks", before=True)


@bug("I1", "fanout keyed", BEHIND)
def sink_rows_behind() -> None:
    """The rows of sinks are written after the commit."""
    _apart("sinks", before=False)


@bug("I1", "pool chain", BEHIND)
def parked_behind() -> None:
    """Failed messages and those in flight are written after the commit."""
    _apart("parked", before=False)


# -- I2: fenced, once -------------------------------------------------------------------------------------------------


@bug("I2", "keyed fanout chain", "frozen")
def no_fence() -> None:
    """A commit does not look at the token."""

    def fence(self: Committer, connection: Any, epoch: EpochCommit) -> bool:
        mine = sa.and_(regions.c.pipeline == self.pipeline, regions.c.region == epoch.region)
        connection.execute(sa.update(regions).where(mine).values(epoch=epoch.number))
        return True

    substitute(Committer, "_fence", fence)


@bug("I2", "keyed fanout chain", "frozen")
def takeover_keeps_token() -> None:
    """Whoever takes a pipeline over goes on under the token of the owner before."""
    take = ownership._take

    async def taking(database: Any, pipeline: str, *given: Any, **named: Any) -> Any:
        taken = await take(database, pipeline, *given, **named)
        if isinstance(taken, ownership.Ownership):
            taken.tokens = {region: token - 1 for region, token in taken.tokens.items()}
            async with database.transaction() as connection:
                mine = regions.c.pipeline == pipeline
                await connection.execute(sa.update(regions).where(mine).values(token=regions.c.token - 1))
        return taken

    substitute(ownership, "_take", taking)


@bug("I2", "fanout chain", "lost")
def epoch_not_checked() -> None:
    """A commit whose answer was lost is written again."""
    fence = Committer._fence

    def fencing(self: Committer, connection: Any, epoch: EpochCommit) -> bool:
        fence(self, connection, epoch)
        return True

    substitute(Committer, "_fence", fencing)


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


@bug("I3", "keyed ordered chain", "replay")
def replay_copies() -> None:
    """A replay sends a copy, and leaves the dead letter."""

    async def replay(self: DeadLetters, letters: Any) -> Any:
        async with self._database.transaction() as connection:
            for each in letters:
                await insert_messages(connection, each.pipeline, each.component, each.port, [each.data])
        return letters

    substitute(DeadLetters, "replay", replay)


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


# -- I5 to I7: publication, cut, final epoch --------------------------------------------------------------------------


@bug("I5", "acknowledged", "commit.begin commit.emitted random")
def publish_first() -> None:
    """The source hears of a commit before it happens."""

    async def close(self: Region, epoch: Any) -> None:
        await self._published(epoch)
        await self._commit(epoch)

    substitute(Region, "_close", close)


@bug("I6", "splitter merger", "none")
def barrier_skips_empty_route() -> None:
    """A barrier is not sent over a channel in which nothing is."""
    mark = Channel.mark

    def marking(self: Channel, marker: Any) -> None:
        if not isinstance(marker, Barrier) or self._items:
            mark(self, marker)

    substitute(Channel, "mark", marking)


@bug("I6", "turns merger", "commit.done publish.done random")
def merger_does_not_align() -> None:
    """A merger meets the barrier as soon as one input brings it."""
    seen: dict[int, int] = {}

    def first(self: Intake) -> Barrier | None:
        found = [each for each in self._aligned.values() if each.epoch > seen.get(id(self), 0)]
        self._aligned.clear()
        if not found:
            return None
        barrier = max(found, key=lambda each: each.epoch)
        seen[id(self)] = barrier.epoch
        return barrier

    substitute(Intake, "_aligned_barrier", first)


@bug("I6", "keyed splitter merger", "commit.done publish.done random")
def snapshot_behind_barrier() -> None:
    """What stands behind the barrier gets into its snapshot."""
    meet = Stage.meet

    async def meeting(self: Stage, barrier: Barrier) -> None:
        for port, channel in self.intake._channels:
            if channel._items and type(channel._items[0]) is list:
                taken = channel.take()
                assert isinstance(taken, list)
                await drive(self.head.flow(port, taken))
        await meet(self, barrier)

    substitute(Stage, "meet", meeting)


@bug("I6", "keyed splitter")
def state_of_epoch_before() -> None:
    """State is written with the epoch behind the one that changed it."""
    take = StateMemory.take_changes
    kept: dict[int, list[Any]] = {}

    def late(self: StateMemory) -> list[Any]:
        before = kept.get(id(self), [])
        kept[id(self)] = take(self)
        return before

    substitute(StateMemory, "take_changes", late)


@bug("I6", "chain merger", "none random")
def position_of_batch_before() -> None:
    """The position of a source is one batch behind."""
    put = SourceStage._put
    last: dict[int, Any] = {}

    def putting(self: SourceStage, batch: Any) -> bool:
        pause = put(self, batch)
        self.position, last[id(self)] = last.get(id(self)), batch.resume
        return pause

    substitute(SourceStage, "_put", putting)


@bug("I6", "fanout keyed", "commit.done publish.done random")
def position_of_batch_behind() -> None:
    """The position of a source is one batch ahead, except at the end."""
    put = SourceStage._put

    def putting(self: SourceStage, batch: Any) -> bool:
        pause = put(self, batch)
        component: Any = self.unit.component
        self.position = min(batch.resume + component.size, component.upto)
        return pause

    substitute(SourceStage, "_put", putting)


@bug("I7", "chain keyed")
def final_epoch_skipped() -> None:
    """What is left at the end is not committed."""
    close = Region._close

    async def closing(self: Region, epoch: Any) -> None:
        if self._live or epoch in self._epochs:
            await close(self, epoch)

    substitute(Region, "_close", closing)


@bug("I3", "endings", "lease.returning publish.done final.begin random")
def ending_told_again() -> None:
    """What a component emits at its end is emitted again by a run after a kill."""
    substitute(Ending, "take_changes", lambda _: [])


# -- I8: order; state and what stands beside the run ------------------------------------------------------------------


@bug("I8", "ordered")
def pool_out_of_order() -> None:
    """Results leave an ordered component as they come."""
    begin = PoolStage.__init__

    def beginning(self: PoolStage, *given: Any, **named: Any) -> None:
        begin(self, *given, **named)
        self._ordered = False

    substitute(PoolStage, "__init__", beginning)


@bug("I1", "keyed splitter")
def no_rollback() -> None:
    """A message that fails leaves what it changed in state."""
    substitute(Worker, "rollback", lambda _: None)


@bug("I1", "splitter fanout", "none random")
def clearing_forgotten() -> None:
    """State that was cleared stays in the store."""
    take = StateMemory.take_changes

    def taking(self: StateMemory) -> list[Any]:
        changes = take(self)
        return [replace(c, values={k: v for k, v in c.values.items() if v is not None}) for c in changes]

    substitute(StateMemory, "take_changes", taking)


@bug("I9", "chain pool", "save")
def savepoint_without_messages() -> None:
    """A savepoint holds no messages."""

    async def nothing(*_: Any) -> tuple[int, int]:
        return 0, 0

    substitute(savepoints, "copy_messages", nothing)


@bug("I9", "chain pool", "clean")
def retention_deletes_waiting() -> None:
    """Retention deletes messages that wait."""
    clear = retention._clear

    async def clearing(database: Any, time: Any, old: Any, dry_run: bool) -> int:
        if time.table is port_messages:
            old = port_messages.c.status.in_(["pending", "processing", "failed"])
        return await clear(database, time, old, dry_run)

    substitute(retention, "_clear", clearing)
