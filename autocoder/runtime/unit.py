"""A component at run time, as a function from lists of messages to lists of messages.

`flow` is a generator: it computes, hands outputs to the units fused behind it and to channels, and yields an awaitable
only where the stage has to wait (a channel is full, a sink writes, a retry is due). So a chain of plain components costs
no task switch and no per-message object. Errors are caught around the loop, not per message.

A unit of this class itself stands for a source, which is given nothing; workers and sinks take messages.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterable
from functools import partial
from typing import Any, Final

from autocoder.faults import Fault, faults
from autocoder.graph import Node
from autocoder.message import Barrier, Traced
from autocoder.runtime.careful import Call, Careful, ProcessDiedError
from autocoder.runtime.channel import Channel
from autocoder.runtime.ending import Ending
from autocoder.runtime.failures import NO_PAYLOAD, Failures
from autocoder.runtime.line import Line
from autocoder.runtime.memory import StateMemory
from autocoder.runtime.outlet import Outlet
from autocoder.runtime.parking import Entry, Parking, Waiting
from autocoder.state import cells_of
from autocoder.store.epoch import Reference, StateChange
from autocoder.store.failpoints import reached

Flow = Generator[Awaitable[Any], None, None]
CHUNK: Final = 1024
"""How many messages a list holds that somebody makes who is free to choose; the others run in between."""


class Unit:
    """What every kind shares: where outputs go, what was counted, what happens to a message that fails."""

    def __init__(self, node: Node, failures: Failures, *, traced: bool) -> None:
        self.node = node
        self.component: Any = node.component
        self.failures = failures
        self.traced = traced
        self.units: dict[str, list[Unit]] = {port: [] for port in node.outs}
        self.channels: dict[str, list[Channel | Outlet]] = {port: [] for port in node.outs}
        self.parking: Parking | None = None
        self.waiting: Waiting | None = None
        self.memory: StateMemory | None = None
        self.ending: Ending | None = None
        self.careful: Careful | None = None
        self.line: Line | None = None
        self.changes: list[StateChange] = []
        """What the runtime itself has to remember of this component with the epoch at hand."""
        self.cells = list(cells_of(node.component).values())
        self.taken = self.given = self.dropped = self.dead_letters = self.retried = 0
        """Of a source `taken` are the pieces of input that were rejected: of the others it says how many it gave."""

    def flow(self, port: str, batch: list[Any]) -> Flow:
        """Handle messages of one port and pass on what they give."""
        raise NotImplementedError

    def finish(self) -> Flow:
        """Emit what the component still has, its input having ended; the units behind it finish after it."""
        yield from ()

    def at_barrier(self, barrier: Barrier) -> Iterable[Awaitable[Any]]:
        """What has to be awaited before this unit has met the barrier."""
        return ()

    def followers(self) -> Iterable[Unit]:
        """This unit and all fused behind it, producers first."""
        yield self
        for units in self.units.values():
            for unit in units:
                yield from unit.followers()

    def leaving(self) -> Iterable[Channel | Outlet]:
        """The channels out of this unit and those fused behind it."""
        for unit in self.followers():
            for channels in unit.channels.values():
                yield from channels

    def deliver(self, port: str, messages: list[Any]) -> Flow:
        """Give messages to everything behind an output; each consumer gets all of them."""
        if not messages:
            return
        self.given += len(messages)
        for channel in self.channels[port]:
            if channel.put(messages):
                yield channel.room()
        for unit in self.units[port]:
            yield from unit.flow(unit.only_port, messages)

    @property
    def only_port(self) -> str:
        """The one input of a unit that is fused behind another."""
        return next(iter(self.node.ins))

    def took(self, port: str) -> None:
        """The component takes messages of a port: an end that was told before is to be told again."""
        if self.ending is not None:
            self.ending.took(port)

    @property
    def is_careful(self) -> bool:
        """Whether each call is noted before it is made."""
        return self.careful is not None and not self.careful.over

    def noting(self, port: str, item: Any) -> Awaitable[None] | None:
        """What to await before a call in careful mode, which `leave` follows; raises ProcessDiedError where it has killed."""
        if self.careful is None or self.parking is None or not self.is_careful:
            return None
        call = self.parking.call(port, parts_of(item)[0])
        if self.careful.convicts(call):
            self.changes.append(self.careful.cleared())
            raise ProcessDiedError
        return self.careful.enter(call)

    async def leave(self) -> None:
        """After a call that was noted, however it went."""
        if self.careful is not None:
            await self.careful.leave()
            if self.careful.over:
                self.changes.append(self.careful.cleared())

    async def watched(self, hook: str, call: Callable[[], Any], into: list[Any]) -> None:
        """Call, in careful mode, a hook that is given no message; raises PipelineError where it kills the process."""
        if self.careful is None:
            raise AssertionError("only careful mode watches")
        try:
            async with self.careful.watching(Call(self.node.name, f"{hook}()", "")):
                given = call()
                if hasattr(given, "__aiter__"):
                    await collect(given, into)
                else:
                    into.extend(given)
        except faults() as error:
            raise self.failures.stopped(self.node, None, NO_PAYLOAD, error, hook=hook) from error

    async def collected(self, hook: str, given: Any, into: list[Any]) -> None:
        """Take all that an asynchronous hook gives; raises PipelineError where it fails."""
        try:
            await collect(given, into)
        except faults() as error:
            raise self.failures.stopped(self.node, None, NO_PAYLOAD, error, hook=hook) from error

    def settle(
        self, port: str, item: Any, error: BaseException, attempts: int, reference: Reference | None = None
    ) -> None:
        """The message is done with: count it and keep it by what the policy says, or raise to stop."""
        verdict = self.failures.settle(self.node, port, item, error, attempts)
        if verdict == "dead_letter":
            reached("message.dead_letter")
            self.dead_letters += 1
            if self.parking is not None:
                payload, identity = parts_of(item)
                self.parking.park(
                    port,
                    payload,
                    "dead_letter",
                    attempts=attempts,
                    error=error,
                    reference=reference,
                    identity=identity,
                )
            return
        self.dropped += 1
        if self.parking is not None and reference is not None:
            self.parking.done(reference, port)

    def failed(self, port: str, item: Any, error: Fault, attempts: int, reference: Reference | None = None) -> None:
        """In a durable run a failed message is parked: it is tried again later, and nothing waits for it meanwhile."""
        if self.parking is None or self.waiting is None:
            raise AssertionError("without a store a message is tried again in its place")
        payload, identity = parts_of(item)
        if reference is None:
            reference = self.parking.reference(port, payload)
        delay = None if isinstance(error, ProcessDiedError) else self.failures.delay(self.node, error, attempts)
        if delay is None:
            self.settle(port, item, error, attempts, reference)
            self.settled(port, item)
            return
        self.retried += 1
        reached("message.retry")
        reference = self.parking.park(
            port,
            payload,
            "failed",
            attempts=attempts,
            error=error,
            reference=reference,
            identity=identity,
            delay=delay,
        )
        self.waiting.add(self, port, payload, attempts, reference, identity, delay)
        if self.line is not None:
            self.line.lead(self.line.key(port, item))

    def stands_behind(self, port: str, item: Any, reference: Reference | None = None) -> bool:
        """Whether a message of the same key is to be tried again first; this one then waits, as a row."""
        if self.line is None or self.parking is None or self.waiting is None:
            return False
        key = self.line.key(port, item)
        if key is None or not self.line.is_held(key):
            return False
        payload, identity = parts_of(item)
        if reference is None:
            reference = self.parking.reference(port, payload)
        reference = self.parking.park(port, payload, "processing", reference=reference, identity=identity)
        self.line.wait(key, partial(self.waiting.add, self, port, payload, 0, reference, identity, 0.0))
        return True

    def settled(self, port: str, item: Any) -> None:
        """A message that was tried again has left, or failed for good: the next of its key has its turn."""
        if self.line is not None:
            self.line.go_on(self.line.key(port, item))

    def resume(self, entry: Entry) -> Flow:
        """Give a parked message to the component again; in place of its port, not of what comes before it."""
        raise NotImplementedError

    def item_of(self, entry: Entry) -> Any:
        """A parked message as this unit takes messages."""
        return self.item(entry.payload, entry.reference, entry.identity)

    def item(self, payload: Any, reference: Reference, identity: str | None) -> Any:
        """A message as this unit takes messages: with its identity where that is asked for."""
        return Traced(identity or f"row:{reference}", payload) if self.traced else payload


async def collect(given: Any, into: list[Any]) -> None:
    """All that an asynchronous iterator gives."""
    async for payload in given:
        into.append(payload)


def parts_of(item: Any) -> tuple[Any, str | None]:
    """The payload and, where it is traced, the identity of a message."""
    return (item.payload, item.key) if type(item) is Traced else (item, None)
