"""Bugs of epochs: what a source hears too early, what gets to the wrong side of a barrier, what is missing at the end."""

from __future__ import annotations

from typing import Any

from autocoder.message import Barrier
from autocoder.runtime.channel import Channel, Intake
from autocoder.runtime.ending import Ending
from autocoder.runtime.memory import StateMemory
from autocoder.runtime.region import Region
from autocoder.runtime.source_stage import SourceStage
from autocoder.runtime.stage import Stage, drive
from tests.crash.planting import bug, substitute


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
