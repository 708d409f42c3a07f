"""A sink at run time: writes batches, finds the message at fault where a batch is refused, hands statements to the commit."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Iterable
from typing import Any

import anyio

from autocoder.component import Sink
from autocoder.errors import UnreachableError
from autocoder.graph import Node
from autocoder.handler import is_overridden
from autocoder.message import Barrier
from autocoder.runtime.failures import NO_PAYLOAD, Failures
from autocoder.runtime.parking import Entry
from autocoder.runtime.unit import Flow, Unit
from autocoder.statement import Statement
from autocoder.store.epoch import Parked, SinkRows
from autocoder.tracing import idempotency_key


class SinkUnit(Unit):
    """Takes what arrives; what it took is durable once `flush` returned or the epoch's transaction committed."""

    def __init__(self, node: Node, failures: Failures, *, traced: bool) -> None:
        super().__init__(node, failures, traced=traced)
        self._rows: list[tuple[list[Any], list[Statement]]] = []
        self._wants_flush = is_overridden(type(node.component), Sink, "flush")
        self._wrote = False

    def flow(self, port: str, batch: list[Any]) -> Flow:
        self.taken += len(batch)
        self._wrote = True
        error = yield from self._attempt(batch)
        if error is not None:
            yield from self._recover(port, batch, error)

    def _attempt(self, batch: list[Any]) -> Any:
        """Write a batch; returns what it raised instead of raising, so that the policy may judge."""
        contract = self.node.contract
        for cell in self.cells:
            cell.begin("")
        try:
            payloads = [item.payload for item in batch] if self.traced else batch
            if contract.transactional:
                self._rows.append((payloads, list(self.component.statements(payloads))))
                return None
            if contract.wants_keys:
                written = self.component.write(payloads, [idempotency_key(item.key) for item in batch])
            else:
                written = self.component.write(payloads)
            if inspect.isawaitable(written):
                caught: list[Exception] = []
                yield _catching(written, caught)
                if caught:
                    raise caught[0]
        except Exception as error:
            for cell in self.cells:
                cell.rollback()
            return error
        return None

    def _recover(self, port: str, batch: list[Any], error: Exception) -> Flow:
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
        except Exception as error:
            raise self.failures.stopped(self.node, None, NO_PAYLOAD, error, hook="flush") from error

    def resume(self, entry: Entry) -> Flow:
        item = self.item_of(entry)
        error = yield from self._attempt([item])
        if error is not None:
            self.failed(entry.port, item, error, entry.attempts + 1, entry.reference)
        elif self.parking is not None:
            self.parking.done(entry.reference, entry.port)

    def take_rows(self) -> list[SinkRows]:
        """The statements since the last barrier with the messages they stand for, for the epoch that closes here."""
        rows, self._rows = self._rows, []
        return [
            SinkRows(self.node.name, payloads, statements, self._single, self._refused) for payloads, statements in rows
        ]

    def _single(self, payload: Any) -> list[Statement]:
        return list(self.component.statements([payload]))

    def _refused(self, payload: Any, kind: str, said: str) -> Parked:
        """The database refused this one message: what its policy makes of it, as a row of the same transaction."""
        error = RefusedRowError(said, kind)
        if self.parking is None:
            raise self.failures.stopped(self.node, self.only_port, payload, error, hook="write")
        if self.failures.settle(self.node, self.only_port, payload, error, 1) == "drop":
            self.dropped += 1
            reference = self.parking.park(self.only_port, payload, "failed", error=error)
            self.parking.done(reference, self.only_port)
            return Parked(reference, self.node.name, self.only_port, "completed")
        self.dead_letters += 1
        self.parking.park(self.only_port, payload, "dead_letter", attempts=1, error=error)
        return self.parking.take_last()


class RefusedRowError(ValueError):
    """The database refused the row of a message (a constraint, a type)."""

    def __init__(self, said: str, kind: str) -> None:
        super().__init__(said)
        self.error_type = kind


async def _catching(awaitable: Awaitable[Any], caught: list[Exception]) -> None:
    try:
        await awaitable
    except Exception as error:
        caught.append(error)
