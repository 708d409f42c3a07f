"""Bugs of commits: what is not written in one transaction, what is not fenced, what is written twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import sqlalchemy as sa

from autocoder.store import committing, ownership, parked_rows
from autocoder.store.columns import now
from autocoder.store.committing import Committer
from autocoder.store.epoch import EpochCommit
from autocoder.store.tables import regions
from tests.crash.planting import bug, substitute

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
