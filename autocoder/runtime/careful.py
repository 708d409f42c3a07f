"""Careful mode: how a region finds the message whose handler kills the process, which no `except` can see.

After a region has stopped uncleanly again and again without a commit in between, it makes one call at a time and notes each
durably before it is made, and that it came back. The call that stands there after a death is suspect; when the process has
died in it three times, the message is not given to the component again, but fails for good, and with the commit of that the
region returns to normal.

What a component does without a message (`read` of a source, `finish`, `ended`) is noted likewise. There is nothing to set
aside where it kills: the run is refused once, naming the component, and the next start tries it again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

import anyio

from autocoder.store.epoch import RUNTIME_STATE, StateChange

UNCLEAN_STARTS: Final = 2
DEATHS: Final = 3
"""Between the note of a call and the note that it came back there are two commits, and whoever kills processes from outside
may well hit the same call twice; three times in a row it is the call."""
CALL: Final = "!call"
REST_SECONDS: Final = 0.002
IDLE_READ_SECONDS: Final = 60.0
LAST_NOTE_SECONDS: Final = 1.0


class ProcessDiedError(Exception):
    """The process died while the component handled this message, and each time that it was given the message alone."""

    error_type = "ProcessDied"

    def __init__(self) -> None:
        super().__init__(
            "the process died while the component handled this message, and each time that it was given the message alone"
        )


class DeadlyCallError(Exception):
    """The process died each time that the component was called like this, and no message is there to be set aside."""

    error_type = "ProcessDied"

    def __init__(self, call: Call, others: Iterable[Call]) -> None:
        at = f" from position {call.message}" if call.message else ""
        too = "".join(f"; {each.component!r} was in its {each.port} each time, too" for each in others)
        super().__init__(
            f"the process died {DEATHS} times in a row in its {call.port}{at}{too}; find out what ended it (a crash of a "
            f"library, memory), and mend the component: the next run tries it again"
        )


@dataclass(frozen=True, slots=True)
class Call:
    """One message on its way into a component; `message` is the payload encoded.

    A hook that is called without a message has its name and `()` for a port, and for a message what tells its calls apart:
    the position that a source reads from, or nothing.
    """

    component: str
    port: str
    message: str

    @property
    def is_of_message(self) -> bool:
        return not self.port.endswith("()")


class Careful:
    """The careful mode of one region: over when the conviction of a suspect is committed, or after so many calls."""

    def __init__(
        self,
        region: str,
        note: Callable[[str | None], Awaitable[None]],
        kept: str | None,
        calls: int,
        others_rest: Callable[[], bool] = lambda: True,
    ) -> None:
        self._region = region
        self._note = note
        self._others_rest = others_rest
        self._left = calls
        self._lock = anyio.Lock()
        self._deaths: Counter[Call] = Counter()
        self._call: Call | None = None
        self._reads: dict[Call, float] = {}
        self._writing = anyio.Lock()
        if kept is not None:
            before = json.loads(kept)
            self._deaths.update({Call(**each["call"]): each["deaths"] for each in before["deaths"]})
            # While a source waits for input, calls go on; where one of them was under way, it is the one to suspect.
            for each in [before["call"]] if before["call"] is not None else before.get("reads", []):
                self._deaths[Call(**each)] += 1

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
        if not self.over:
            self._call = call
            await self._write()

    async def leave(self) -> None:
        """The call came back: what kills the process from now on is not its fault.

        That of the last one is noted, too: the note stands until the epoch that clears it is committed, and whoever kills
        processes before that, again and again, would have convicted the call. Nor is a read watched any longer then.
        """
        self._call = None
        if self._left == 1:
            self._reads.clear()
        await self._write()
        self._left -= 1
        self._lock.release()

    @asynccontextmanager
    async def watching(self, call: Call) -> AsyncIterator[None]:
        """Within the block a hook is called that takes no message; raises DeadlyCallError where it has killed."""
        await self._refuse_deadly(call)
        await self.enter(call)
        try:
            yield
        finally:
            with anyio.move_on_after(LAST_NOTE_SECONDS, shield=True):
                await self.leave()

    @asynccontextmanager
    async def reading(self, source: str, position: Any, rests: Callable[[], bool]) -> AsyncIterator[None]:
        """Within the block a source reads, from a position; raises DeadlyCallError where that has killed.

        It begins when nothing else is on its way, for what was read before must not come under suspicion, here or in another
        region that is in careful mode. A source may wait
        for input without end: calls (of messages that are tried again, say) go on meanwhile, and after a while it is
        taken for idle (`let_go_of_idle`).
        """
        call = Call(source, "read()", json.dumps(position))
        await self._refuse_deadly(call)
        while not await _stays(lambda: rests() and self._others_rest()):
            pass
        async with self._lock:
            self._reads[call] = anyio.current_time()
            await self._write()
        try:
            yield
        finally:
            with anyio.move_on_after(LAST_NOTE_SECONDS, shield=True):
                if self._reads.pop(call, None) is not None:
                    await self._write()

    async def let_go_of_idle(self) -> None:
        """A source that has waited so long is idle, and whoever ends the process then does so from outside."""
        since = anyio.current_time() - IDLE_READ_SECONDS
        idle = [call for call, begun in self._reads.items() if begun <= since]
        for call in idle:
            del self._reads[call]
        if idle:
            await self._write()

    @asynccontextmanager
    async def last_hook(self, call: Call) -> AsyncIterator[None]:
        """As `watching`, for a hook that is called behind the last commit, which has cleared the note."""
        self._left = 1  # for this call, whose return is noted, too: where it raised, it did not kill
        async with self.watching(call):
            yield
        await self._note(None)
        self.end()

    async def _refuse_deadly(self, call: Call) -> None:
        if self.convicts(call):
            others = [each for each in self._deaths if each != call and not each.is_of_message and self.convicts(each)]
            self._deaths.clear()
            await self._write()
            raise DeadlyCallError(call, others)

    async def _write(self) -> None:
        async with self._writing:
            if self.over:
                return  # the note is cleared with an epoch
            deaths = [{"call": asdict(each), "deaths": number} for each, number in self._deaths.items()]
            call = None if self._call is None else asdict(self._call)
            await self._note(
                json.dumps({"call": call, "reads": [asdict(each) for each in self._reads], "deaths": deaths})
            )

    def cleared(self) -> StateChange:
        """Forget the note, in the epoch that this belongs to."""
        return StateChange(self._region, RUNTIME_STATE, {CALL: None})


async def _stays(rests: Callable[[], bool]) -> bool:
    """Whether a region rests, and not only until somebody wakes up for what was just put before him."""
    if rests():
        await anyio.sleep(REST_SECONDS)
        return rests()
    await anyio.sleep(REST_SECONDS)
    return False
