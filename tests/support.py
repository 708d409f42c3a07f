"""Small components that the tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from typing_extensions import TypeVar

from autocoder import Batch, Emission, In, Merger, Out, Sink, Source, Splitter, Transformer

T = TypeVar("T")


class Numbers(Source[int]):
    """Count from zero to `upto`, `size` at a time."""

    upto: int
    size: int = 10

    async def read(self, resume: int | None, /) -> AsyncIterator[Batch[int]]:
        for at in range(resume or 0, self.upto, self.size):
            yield Batch(list(range(at, min(at + self.size, self.upto))), resume=at + self.size)


class PlainNumbers(Source[int]):
    """The same from a plain generator."""

    upto: int
    size: int = 10

    def read(self, resume: int | None, /) -> Iterator[Batch[int]]:
        for at in range(resume or 0, self.upto, self.size):
            yield Batch(list(range(at, min(at + self.size, self.upto))), resume=at + self.size)


class Double(Transformer[int, int]):
    """Twice the number."""

    def process(self, number: int, /) -> int:
        return 2 * number


class Evens(Transformer[int, int]):
    """Even numbers only."""

    def process(self, number: int, /) -> int | None:
        return number if number % 2 == 0 else None


class Repeat(Transformer[int, int]):
    """Every number `times` times."""

    times: int = 2

    def process(self, number: int, /) -> Iterator[int]:
        for _ in range(self.times):
            yield number


class Parity(Splitter[int]):
    """Even numbers one way, odd ones the other."""

    even = Out(int)
    odd = Out(int)

    def process(self, number: int, /) -> Emission:
        return (self.even if number % 2 == 0 else self.odd)(number)


class Both(Merger[int]):
    """What comes from either side."""

    left = In(int)
    right = In(int)

    def on_left(self, number: int, /) -> int:
        return number

    def on_right(self, number: int, /) -> int | None:
        return number


class Collect(Sink[Any]):
    """Keep everything in a list."""

    def check(self) -> None:
        self.got: list[Any] = []

    def write(self, batch: Sequence[Any], /) -> None:
        self.got.extend(batch)


class CollectAsync(Sink[Any]):
    """The same, asynchronously."""

    def check(self) -> None:
        self.got: list[Any] = []

    async def write(self, batch: Sequence[Any], /) -> None:
        self.got.extend(batch)
