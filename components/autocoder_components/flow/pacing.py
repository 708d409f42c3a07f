"""Where payloads come from or end when the point is the pipeline itself: generated, slowed down, thrown away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import anyio
from pydantic import Field
from typing_extensions import TypeVar

from autocoder import Batch, Expression, Sink, Source, Transformer

T = TypeVar("T")

GENERATED_AT_ONCE: Final = 1000
BATCHES_PER_SECOND: Final = 20


class Pace:
    """Lets so many pass in a second, evenly; what was not used is not saved up for later."""

    def __init__(self, per_second: float) -> None:
        self._interval = 1 / per_second
        self._next = 0.0

    async def turn(self, number: int = 1) -> None:
        """Wait until `number` more may pass."""
        now = anyio.current_time()
        start = max(now, self._next)
        self._next = start + number * self._interval
        await anyio.sleep(max(0.0, start - now))


class Generate(Source[Any]):
    """Generate payloads: the numbers 0, 1, 2, ..., or the value of an expression over the number `i`.

    Goes on after a restart with the number after the last one committed.

    ```yaml
    pipeline: squares
    components:
      squares: {use: flow.Generate, with: {count: 10, value: "{'number': i, 'square': i * i}"}}
      done: {use: flow.Discard, from: squares}
    ```
    """

    count: int | None = Field(default=None, ge=0, description="how many payloads; without it there is no end")
    value: Expression | None = Field(
        default=None, description="CEL expression over the number `i`; without it, the number"
    )
    per_second: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="at most so many payloads in a second"
    )

    async def read(self, resume: int | None, /) -> AsyncIterator[Batch[Any]]:
        at = resume or 0
        pace = None if self.per_second is None else Pace(self.per_second)
        step = GENERATED_AT_ONCE
        if self.per_second is not None:
            step = max(1, min(GENERATED_AT_ONCE, int(self.per_second / BATCHES_PER_SECOND)))
        while self.count is None or at < self.count:
            end = at + step if self.count is None else min(at + step, self.count)
            if pace is not None:
                await pace.turn(end - at)
            yield Batch(self._payloads(at, end), resume=end)
            at = end

    def _payloads(self, at: int, end: int) -> list[Any]:
        if self.value is None:
            return list(range(at, end))
        return [self.value({"i": i}) for i in range(at, end)]


class Throttle(Transformer[T, T]):
    """Let at most `per_second` payloads through in a second, evenly; what comes faster waits, and so does its source.

    ```yaml
    pipeline: gently
    components:
      numbers: {use: flow.Generate, with: {count: 10}}
      slow: {use: flow.Throttle, from: numbers, with: {per_second: 50}}
      done: {use: flow.Discard, from: slow}
    ```
    """

    per_second: float = Field(gt=0, allow_inf_nan=False, description="how many payloads in a second, at most")

    def check(self) -> None:
        self._pace = Pace(self.per_second)

    async def process(self, payload: T, /) -> T:
        await self._pace.turn()
        return payload


class Discard(Sink[Any]):
    """Throw payloads away: for an output that is not wanted, or to measure what is in front of it.

    ```yaml
    pipeline: to-nowhere
    components:
      numbers: {use: flow.Generate, with: {count: 10}}
      done: {use: flow.Discard, from: numbers}
    ```
    """

    def write(self, batch: Sequence[Any], /) -> None:
        """Do nothing with them."""
