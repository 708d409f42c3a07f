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
from autocoder.runtime.unit import Flow, Unit
from autocoder.statement import Statement
from autocoder.tracing import idempotency_key


class SinkUnit(Unit):
    """Takes what arrives; what it took is durable once `flush` returned or the epoch's transaction committed."""

    def __init__(self, node: Node, failures: Failures, *, traced: bool) -> None:
        super().__init__(node, failures, traced=traced)
        self._statements: list[Statement] = []
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
                self._statements.extend(self.component.statements(payloads))
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

    def take_statements(self) -> list[Statement]:
        """The statements since the last barrier, for the epoch that closes here."""
        statements, self._statements = self._statements, []
        return statements


async def _catching(awaitable: Awaitable[Any], caught: list[Exception]) -> None:
    try:
        await awaitable
    except Exception as error:
        caught.append(error)
