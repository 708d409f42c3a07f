"""How long plain handlers keep the event loop to themselves.

What commits, renews the lease and hears of signals needs it, too: a server gives up on a connection, or on a transaction,
that hears nothing for seconds.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from typing import Any, Final

import anyio.lowlevel

from autocoder.runtime.fusing import Failure, FusedLoop
from autocoder.runtime.unit import Flow

TURN: Final = 0.05
"""So many seconds at most, where the next messages take as long as the last ones; but at least one message."""
MOST: Final = 2048


def others() -> Awaitable[None]:
    """What to await so that the others run."""
    return anyio.lowlevel.checkpoint()


class Pace:
    """How many messages fit into one turn."""

    def __init__(self) -> None:
        self.most = 1  # nothing is known yet
        self._begun = 0.0

    def timed(self, loop: FusedLoop, messages: Iterator[Any], out: list[Any]) -> tuple[Sequence[int], Failure | None]:
        """Call a loop, and set the pace by how long it took."""
        begun = time.monotonic()
        done = loop(messages, out)
        self._took(done[0][0], time.monotonic() - begun)
        return done

    def _took(self, number: int, seconds: float) -> None:
        fits = int(number * TURN / seconds) if seconds > 0 else MOST
        self.most = max(1, min(fits, 2 * max(self.most, number), MOST))

    def pieces(self, batch: list[Any]) -> Iterable[list[Any]]:
        """A list in parts, of which each is as long as the pace allows when its turn comes."""
        if len(batch) <= self.most:
            yield batch
            return
        at = 0
        while at < len(batch):
            piece = batch[at : at + self.most]
            at += len(piece)
            yield piece

    def clocked(self, batch: list[Any]) -> Iterable[list[Any]]:
        """The same; the pace is set by how long is worked on each."""
        for piece in self.pieces(batch):
            self._begun = time.monotonic()
            yield piece
            self._took(len(piece), time.monotonic() - self._begun)

    def unclocked(self, waits: Flow) -> Flow:
        """What is no work on the piece at hand: it may have to wait."""
        begun = time.monotonic()
        yield from waits
        self._begun += time.monotonic() - begun


class Turn:
    """The same for a loop that can stop behind each message."""

    def __init__(self) -> None:
        self._until = time.monotonic() + TURN

    @property
    def over(self) -> bool:
        """Whether the others are to run now."""
        return time.monotonic() >= self._until

    async def pass_on(self) -> None:
        """Let the others run, and begin anew."""
        await others()
        self._until = time.monotonic() + TURN
