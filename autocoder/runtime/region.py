"""The epochs of one region: when a barrier starts, what every stage hands in at it, and the one commit that follows.

Progress, state and output are never saved by separate writes: a commit gets all of an epoch at once, and everything that
is published (acknowledgements, the next barrier) waits until it returned.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import anyio

from autocoder.declaration import CommitPolicy
from autocoder.message import Barrier
from autocoder.statement import Statement

IN_FLIGHT: Final = 2


@dataclass(slots=True)
class Epoch:
    """Everything that happened between two barriers, gathered from the stages."""

    number: int
    positions: dict[str, Any] = field(default_factory=dict)
    statements: list[tuple[str, Statement]] = field(default_factory=list)
    waiting: set[str] = field(default_factory=set)
    final: bool = False


Commit = Callable[[Epoch], Awaitable[None]]
Published = Callable[[Epoch], Awaitable[None]]


class Region:
    """Numbers the epochs of one region and commits them in order."""

    def __init__(self, policy: CommitPolicy, stages: Sequence[str], commit: Commit, published: Published) -> None:
        self._policy = policy
        self._live = set(stages)
        self._commit = commit
        self._published = published
        self._epochs: list[Epoch] = []
        self._number = 0
        self._rest = Epoch(0)
        self._covered = 0
        self._event = anyio.Event()
        self._due = anyio.Event()
        self.start_barrier: Callable[[Barrier], dict[str, Any]] = lambda _: {}
        self.messages_read: Callable[[], int] = lambda: 0

    def tick(self) -> None:
        """A source has read another piece: see whether the epoch is large enough."""
        if self.messages_read() - self._covered >= self._policy.messages:
            self._due.set()

    def hand_in(self, stage: str, barrier: Barrier, statements: Sequence[tuple[str, Statement]]) -> None:
        """A stage met a barrier; what it did before belongs to that epoch."""
        epoch = next(each for each in self._epochs if each.number == barrier.epoch)
        epoch.statements.extend(statements)
        epoch.waiting.discard(stage)
        self._event.set()

    def ended(self, stage: str, statements: Sequence[tuple[str, Statement]]) -> None:
        """A stage met the end; what it still did belongs to the next epoch that closes, or to the final one."""
        self._live.discard(stage)
        into = next((each for each in self._epochs if stage in each.waiting), self._rest)
        into.statements.extend(statements)
        for epoch in self._epochs:
            epoch.waiting.discard(stage)
        self._event.set()
        self._due.set()

    async def run(self) -> None:
        """Close and commit epochs until every stage has ended; returns after the final commit (I7)."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._start_barriers)
            while self._live or self._epochs:
                while self._epochs and not self._epochs[0].waiting:
                    await self._close(self._epochs[0])
                    self._epochs.pop(0)
                    self._due.set()
                if self._live or self._epochs:
                    self._event = anyio.Event()
                    await self._event.wait()
            tasks.cancel_scope.cancel()
        self._number += 1
        final = Epoch(self._number, self.start_barrier(Barrier(self._number)), final=True)
        await self._close(final)

    async def _close(self, epoch: Epoch) -> None:
        epoch.statements = self._rest.statements + epoch.statements
        self._rest = Epoch(0)
        await self._commit(epoch)
        await self._published(epoch)

    async def _start_barriers(self) -> None:
        """A barrier every so many seconds or messages, as long as there is something to commit."""
        while self._live:
            with anyio.move_on_after(self._policy.every):
                await self._due.wait()
            self._due = anyio.Event()
            read = self.messages_read()
            if read > self._covered and self._live and len(self._epochs) < IN_FLIGHT:
                self._covered = read
                self._number += 1
                epoch = Epoch(self._number, waiting=set(self._live))
                self._epochs.append(epoch)
                epoch.positions = self.start_barrier(Barrier(self._number))
