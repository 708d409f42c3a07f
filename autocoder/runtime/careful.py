"""Careful mode: how a region finds the message whose handler kills the process, which no `except` can see.

After a region has stopped uncleanly again and again without a commit in between, it makes one call at a time and notes each
durably before it is made, and that it came back. The call that stands there after a death is suspect; when the process has
died in it three times, the message is not given to the component again, but fails for good, and with the commit of that the
region returns to normal.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Final

import anyio

from autocoder.store.epoch import RUNTIME_STATE, StateChange

UNCLEAN_STARTS: Final = 2
DEATHS: Final = 3
"""Between the note of a call and the note that it came back there are two commits, and whoever kills processes from outside
may well hit the same call twice; three times in a row it is the call."""
CALL: Final = "!call"


class ProcessDiedError(Exception):
    """The process died while the component handled this message, and each time that it was given the message alone."""

    error_type = "ProcessDied"

    def __init__(self) -> None:
        super().__init__(
            "the process died while the component handled this message, and each time that it was given the message alone"
        )


@dataclass(frozen=True, slots=True)
class Call:
    """One message on its way into a component; `message` is the payload encoded."""

    component: str
    port: str
    message: str


class Careful:
    """The careful mode of one region: over when the conviction of a suspect is committed, or after so many calls."""

    def __init__(self, region: str, note: Callable[[str], Awaitable[None]], kept: str | None, calls: int) -> None:
        self._region = region
        self._note = note
        self._left = calls
        self._lock = anyio.Lock()
        self._deaths: Counter[Call] = Counter()
        if kept is not None:
            before = json.loads(kept)
            self._deaths.update({Call(**each["call"]): each["deaths"] for each in before["deaths"]})
            if before["call"] is not None:
                self._deaths[Call(**before["call"])] += 1

    @property
    def over(self) -> bool:
        return self._left <= 0

    def convicts(self, call: Call) -> bool:
        """Whether this call killed the process often enough. The epoch that holds its failure has to hold `cleared`, too."""
        return self._deaths[call] >= DEATHS

    def committed(self, changes: Iterable[StateChange]) -> None:
        """These changes are committed: with a conviction among them, that was it."""
        if any(each == self.cleared() for each in changes):
            self.end()

    def end(self) -> None:
        """Return to normal. Where nobody was convicted, what was noted has to be `cleared`."""
        self._left = 0

    async def enter(self, call: Call) -> None:
        """Wait for one's turn, and note the call."""
        await self._lock.acquire()
        if self.over:
            return
        await self._write(call)

    async def leave(self) -> None:
        """The call came back: what kills the process from now on is not its fault."""
        self._left -= 1
        if not self.over:
            await self._write(None)
        self._lock.release()

    async def _write(self, call: Call | None) -> None:
        deaths = [{"call": asdict(each), "deaths": number} for each, number in self._deaths.items()]
        await self._note(json.dumps({"call": None if call is None else asdict(call), "deaths": deaths}))

    def cleared(self) -> StateChange:
        """Forget the note, in the epoch that this belongs to."""
        return StateChange(self._region, RUNTIME_STATE, {CALL: None})
