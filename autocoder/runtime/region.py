"""The epochs of one region: when a barrier starts, what every stage hands in at it, and the one commit that follows.

Progress, state and output are never saved by separate writes: a commit gets all of an epoch at once, and everything that
is published (acknowledgements, the wake-up of the next region) waits until it returned.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
import anyio.lowlevel

from autocoder.declaration import CommitPolicy
from autocoder.message import Barrier
from autocoder.store.epoch import Output, Parked, Placed, Settled, SinkRows, StateChange
from autocoder.store.failpoints import reached

IN_FLIGHT: Final = 2
IDLE_SECONDS: Final = 0.002
"""So long nothing may happen in a region that was busy before its epoch is closed: long enough for a source that reads on at
once."""


@dataclass(slots=True)
class Contribution:
    """What a stage, a source or an inlet has done since the last barrier."""

    positions: dict[str, Any] = field(default_factory=dict)
    settled: list[Settled] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    state: list[StateChange] = field(default_factory=list)
    parked: list[Parked] = field(default_factory=list)
    sinks: list[SinkRows] = field(default_factory=list)
    ended: set[str] = field(default_factory=set)
    """Those whose end this is."""

    def add(self, other: Contribution) -> None:
        """Take in what another has done, after what is here."""
        self.positions.update(other.positions)
        self.settled += other.settled
        self.outputs += other.outputs
        self.state += other.state
        self.parked += other.parked
        self.sinks += other.sinks
        self.ended |= other.ended


@dataclass(slots=True)
class Epoch:
    """Everything that happened between two barriers, gathered from the stages that still have to meet it."""

    number: int
    region: str
    done: Contribution = field(default_factory=Contribution)
    waiting: set[str] = field(default_factory=set)
    covers: int = 0
    """The activity of the region when its barrier started."""
    placed: Sequence[Placed] = ()
    """Where its outputs stand, once it is committed."""


class Region:
    """Numbers the epochs of one region and commits them in order."""

    def __init__(
        self,
        name: str,
        policy: CommitPolicy,
        commit: Callable[[Epoch], Awaitable[None]],
        published: Callable[[Epoch], Awaitable[None]],
    ) -> None:
        self.name = name
        self.draining = False
        self.finished = anyio.Event()
        self.awaited: set[str] = set()
        """Sources and stages for whose end somebody in front of this region's own end waits."""
        self.over: set[str] = set()
        """Sources and stages of which everything is committed, their end included."""
        self._policy = policy
        self._commit = commit
        self._published = published
        self._sources: set[str] = set()
        self._stages: set[str] = set()
        self._epochs: list[Epoch] = []
        self._number = 0
        self._rest = Contribution()
        self._covered = 0
        self._committed = 0
        self._room = anyio.Event()
        self._has_epochs = True
        self._event = anyio.Event()
        self._due = anyio.Event()
        self.start_barrier: Callable[[Barrier], Contribution] = lambda _: Contribution()
        self.activity: Callable[[], int] = lambda: 0
        self.rests: Callable[[], bool] = lambda: False
        self._quiet = anyio.Event()
        self._quiet_at = -math.inf

    def begin(self, *, sources: Iterable[str], stages: Iterable[str], after: int, has_epochs: bool) -> None:
        """Who takes part, the number of the last epoch that was committed by an earlier run, and whether there is anything
        to commit before the end."""
        self._sources, self._stages, self._number = set(sources), set(stages), after
        self._has_epochs = has_epochs

    @property
    def most(self) -> int:
        """So many messages an epoch is to hold, or more where they came together."""
        return self._policy.messages

    def tick(self) -> None:
        """A source has read another piece: close the epoch where it is large enough.

        At once, for a source does not always let others run behind a piece: what it reads next belongs to the next epoch, and
        is read while this one is committed.
        """
        if self._has_epochs and self.activity() - self._covered >= self._policy.messages:
            self._start_barrier()

    @property
    def has_epochs_open(self) -> bool:
        """Whether an epoch is closed and not committed yet."""
        return bool(self._epochs)

    @property
    def is_behind(self) -> bool:
        """Whether more is under way than two epochs are to hold."""
        return self._has_epochs and self.activity() - self._committed >= IN_FLIGHT * self._policy.messages

    async def catch_up(self) -> None:
        """Wait until commits have caught up with what was read: what is under way stays within memory (I11)."""
        while self.is_behind:
            await self._room.wait()
            # Behind a commit the next one begins first: it goes on in its thread, or at the server, while others work here.
            await anyio.lowlevel.checkpoint()

    def quiet(self, *, at_once: bool = False) -> None:
        """Somebody has nothing more to do: perhaps nobody has. With an epoch on its way the next one follows anyway.

        `at_once`: the epoch may be closed within this call, for it is no stage that calls, which would not see the barrier.
        """
        if not self._has_epochs or self._epochs:
            return
        if at_once and time.monotonic() >= self._quiet_at + IDLE_SECONDS and self._is_to_close():
            self._quiet_at = time.monotonic()
            self._start_barrier()
        else:
            self._quiet.set()

    def _is_to_close(self) -> bool:
        return self.activity() > self._covered and self.rests()

    async def _close_when_idle(self) -> None:
        """Commit what was done once there is nothing else to do, instead of after `every`.

        What comes after a pause is committed at once; what comes soon after something else may well be followed by more.
        """
        while True:
            await self._quiet.wait()
            self._quiet = anyio.Event()
            activity = self.activity()
            if activity > self._covered:
                before, self._quiet_at = self._quiet_at, time.monotonic()
                if self._quiet_at < before + IDLE_SECONDS:
                    await anyio.sleep(IDLE_SECONDS)
                if activity == self.activity() and self.rests():
                    self._start_barrier()

    def unmet(self, stage: str) -> Barrier | None:
        """The barrier that a stage has to meet next. For one whose inputs have all ended, which count as aligned: no barrier
        comes to it any more, and it must not hold up commits for as long as its retries take."""
        return next((Barrier(each.number) for each in self._epochs if stage in each.waiting), None)

    def hand_in(self, stage: str, barrier: Barrier, done: Contribution) -> None:
        """A stage met a barrier; what it did before belongs to that epoch."""
        epoch = next(each for each in self._epochs if each.number == barrier.epoch)
        epoch.done.add(done)
        epoch.waiting.discard(stage)
        self._event.set()

    def ended(self, stage: str, done: Contribution) -> None:
        """A stage met the end; what it still did belongs to the first epoch that waits for it, or to the final one."""
        self._sources.discard(stage)
        self._stages.discard(stage)
        into = next((each.done for each in self._epochs if stage in each.waiting), self._rest)
        into.add(done)
        into.ended.add(stage)
        for epoch in self._epochs:
            epoch.waiting.discard(stage)
        self._event.set()
        self._due.set()

    async def run(self) -> None:
        """Close and commit epochs until every stage has ended; returns after the final commit (I7)."""
        async with anyio.create_task_group() as tasks:
            if self._has_epochs:
                tasks.start_soon(self._start_barriers)
                tasks.start_soon(self._close_when_idle)
            while self._live or self._epochs:
                while self._epochs and not self._epochs[0].waiting:
                    await self._close(self._epochs[0])
                    self._committed = self._epochs.pop(0).covers
                    self._due.set()
                    self._room.set()
                    self._room = anyio.Event()
                if self._live or self._epochs:
                    self._event = anyio.Event()
                    await self._event.wait()
            tasks.cancel_scope.cancel()
        self._number += 1
        final = Epoch(self._number, self.name, self.start_barrier(Barrier(self._number)))
        final.done.add(self._rest)
        reached("final.begin")
        await self._close(final)
        self.finished.set()

    @property
    def _live(self) -> bool:
        return bool(self._sources or self._stages)

    async def _close(self, epoch: Epoch) -> None:
        await self._commit(epoch)
        self.over |= epoch.done.ended
        reached("publish.due")
        await self._published(epoch)
        reached("publish.done")

    async def _start_barriers(self) -> None:
        """A barrier every so many seconds or messages, as long as there is something to commit."""
        while self._live:
            with anyio.move_on_after(self._policy.every):
                await self._due.wait()
            self._due = anyio.Event()
            self._start_barrier()

    def _start_barrier(self) -> None:
        """Close the epoch at hand, where it holds anything and no more than one other is under way."""
        activity = self.activity()
        is_due = activity > self._covered or not self._rest.ended.isdisjoint(self.awaited)
        if is_due and self._live and len(self._epochs) < IN_FLIGHT:
            self._covered = activity
            self._number += 1
            epoch = Epoch(self._number, self.name, waiting=set(self._stages), covers=activity)
            self._epochs.append(epoch)
            epoch.done.add(self.start_barrier(Barrier(self._number)))
            reached("barrier.started")
            epoch.done.add(self._rest)
            self._rest = Contribution()
            self._event.set()
