"""A sink at run time: writes batches, finds the message at fault where a batch is refused, hands statements to the commit."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Iterable
from typing import Any

import anyio

from autocoder.component import Sink
from autocoder.errors import UnreachableError
from autocoder.faults import Fault, faults
from autocoder.graph import Node
from autocoder.handler import is_overridden
from autocoder.message import Barrier
from autocoder.runtime.careful import ProcessDiedError
from autocoder.runtime.failures import NO_PAYLOAD, Failures
from autocoder.runtime.parking import Entry, Finder
from autocoder.runtime.unit import Flow, Unit, parts_of
from autocoder.statement import Statement
from autocoder.store.epoch import Parked, SinkRows
from autocoder.tracing import idempotency_key


class SinkUnit(Unit):
    """Takes what arrives; what it took is durable once `flush` returned or the epoch's transaction committed."""

    def __init__(self, node: Node, failures: Failures, *, traced: bool) -> None:
        super().__init__(node, failures, traced=traced)
        self._written: list[_Written] = []
        # Its statements may depend on what came before, so each message has its own from the beginning: to find the one that
        # the database refuses, they must not be made again.
        self._one_by_one = bool(self.cells) and node.contract.transactional
        self._wants_flush = is_overridden(type(node.component), Sink, "flush")
        self._wrote = False

    def flow(self, port: str, batch: list[Any]) -> Flow:
        self.taken += len(batch)
        if self.line is not None:
            batch = [item for item in batch if not self.stands_behind(port, item)]
            if not batch:
                return
        for part in [[item] for item in batch] if self._one_by_one or self.is_careful else [batch]:
            error = yield from self._attempt(part)
            if error is not None:
                yield from self._recover(port, part, error)

    def _attempt(self, batch: list[Any], entry: Entry | None = None) -> Any:
        """Write a batch; returns what it raised instead of raising, so that the policy may judge."""
        try:
            noting = self.noting(self.only_port, batch[0])
        except ProcessDiedError as died:
            return died
        if noting is None:
            return (yield from self._write(batch, entry))
        yield noting
        error = yield from self._write(batch, entry)
        yield self.leave()
        return error

    def _keys(self, batch: list[Any]) -> list[str]:
        pipeline, sink = self.failures.pipeline, self.node.name
        return [idempotency_key(pipeline, sink, item.key) for item in batch]

    def _write(self, batch: list[Any], entry: Entry | None) -> Any:
        contract = self.node.contract
        self._wrote = True
        for cell in self.cells:
            cell.begin("")
        try:
            payloads = [item.payload for item in batch] if self.traced else batch
            if contract.transactional:
                statements = list(self.component.statements(payloads))
                self._written.append(_Written(self, batch, payloads, statements, entry))
                return None
            if contract.wants_keys:
                written = self.component.write(payloads, self._keys(batch))
            else:
                written = self.component.write(payloads)
            if written is not None and inspect.isawaitable(written):
                caught: list[Fault] = []
                yield _catching(written, caught)
                if caught:
                    raise caught[0]
        except faults() as error:
            for cell in self.cells:
                cell.rollback()
            return error
        return None

    def _recover(self, port: str, batch: list[Any], error: Fault) -> Flow:
        """Try the batch again; then message by message, so that one refused message does not take the others along.

        What the operating system refuses (disk full, no connection) is no message's fault: unless the pipeline declares a
        policy for this sink, it stops the run.
        """
        if isinstance(error, OSError | UnreachableError) and not self.node.on_error_declared:
            raise self.failures.stopped(
                self.node, port, batch[0].payload if self.traced else batch[0], error, hook="write"
            ) from error
        if self.parking is not None:
            for item in batch if len(batch) > 1 else ():
                if self.stands_behind(port, item):
                    continue
                refused = yield from self._attempt([item])
                if refused is not None:
                    self.failed(port, item, refused, 1)
            if len(batch) == 1:
                self.failed(port, batch[0], error, 1)
            return
        attempt = 1
        while (delay := self.failures.delay(self.node, error, attempt)) is not None:
            yield anyio.sleep(delay)
            attempt += 1
            self.retried += len(batch)
            again = yield from self._attempt(batch)
            if again is None:
                return
            error = again
        if len(batch) == 1:
            self.settle(port, batch[0], error, attempt)
            return
        for item in batch:
            refused = yield from self._attempt([item])
            if refused is not None:
                self.settle(port, item, refused, attempt)

    def at_barrier(self, barrier: Barrier) -> Iterable[Awaitable[Any]]:
        if self._wants_flush and self._wrote:
            self._wrote = False
            yield self.flush()

    async def flush(self) -> None:
        """Make durable what was written; a failure is the sink's, not a message's."""
        try:
            await self.component.flush()
        except faults() as error:
            raise self.failures.stopped(self.node, None, NO_PAYLOAD, error, hook="flush") from error

    def resume(self, entry: Entry) -> Flow:
        item = self.item_of(entry)
        error = yield from self._attempt([item], entry)
        if error is not None:
            self.failed(entry.port, item, error, entry.attempts + 1, entry.reference)
        elif self.parking is not None:
            self.parking.done(entry.reference, entry.port)
            self.settled(entry.port, item)

    def take_rows(self) -> list[SinkRows]:
        """The statements since the last barrier with the messages they stand for, for the epoch that closes here."""
        written, self._written = self._written, []
        finder = None if self.parking is None else self.parking.finder(self.only_port)
        return [each.rows(finder) for each in written]

    def refused(self, item: Any, entry: Entry | None, find: Finder | None, kind: str, said: str) -> Parked | None:
        """The database refused this one message: what its policy makes of it, as a row of the same transaction.

        Its row is the one that it has (of the durable channel, or where it was parked before), or else a new one.
        """
        error = RefusedRowError(said, kind)
        payload, identity = parts_of(item)
        if self.parking is None or find is None:
            raise self.failures.stopped(self.node, self.only_port, payload, error, hook="write")
        attempts = 1 if entry is None else entry.attempts + 1
        if self.failures.settle(self.node, self.only_port, payload, error, attempts) == "drop":
            self.dropped += 1
            return None
        self.dead_letters += 1
        return self.parking.row(
            self.only_port,
            payload,
            "dead_letter",
            attempts=attempts,
            error=error,
            reference=find(payload) if entry is None else entry.reference,
            identity=identity,
        )


class _Written:
    """A batch whose statements wait for the commit.

    What has to be found out about a single message when the database refuses the batch is found out once: a commit that is
    repeated, because the store was in trouble, gets the same answers.
    """

    def __init__(
        self, unit: SinkUnit, items: list[Any], payloads: list[Any], statements: list[Statement], entry: Entry | None
    ) -> None:
        self._unit = unit
        self._items = items
        self._payloads = payloads
        self._statements = statements
        self._entry = entry
        self._find: Finder | None = None
        self._singles: dict[int, list[Statement]] = {}
        self._parked: dict[int, Parked | None] = {}

    def rows(self, find: Finder | None) -> SinkRows:
        """As the epoch takes it; `find` looks among the messages of the epoch that closes here."""
        self._find = find
        return SinkRows(self._unit.node.name, len(self._items), self._statements, self._single, self._refused)

    def _single(self, number: int) -> list[Statement]:
        if len(self._items) == 1:
            return self._statements
        if number not in self._singles:
            self._singles[number] = list(self._unit.component.statements([self._payloads[number]]))
        return self._singles[number]

    def _refused(self, number: int, kind: str, said: str) -> Parked | None:
        if number not in self._parked:
            self._parked[number] = self._unit.refused(self._items[number], self._entry, self._find, kind, said)
        return self._parked[number]


class RefusedRowError(ValueError):
    """The database refused the row of a message (a constraint, a type)."""

    def __init__(self, said: str, kind: str) -> None:
        super().__init__(said)
        self.error_type = kind


async def _catching(awaitable: Awaitable[Any], caught: list[Fault]) -> None:
    try:
        await awaitable
    except faults() as error:
        caught.append(error)
