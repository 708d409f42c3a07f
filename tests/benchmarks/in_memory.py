"""A source of integers, map, filter, map, a sink that counts: three trivial operators, so that only overhead is measured."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from importlib.util import find_spec
from typing import Any

from autocoder import Batch, Pipeline, Sink, Source, Transformer
from tests.benchmarks.harness import OPTIONS, Bar, Contender, Result, measure

MESSAGES = {1000: 2_000_000, 10: 1_000_000, 1: 500_000}
BARS = {
    1000: [Bar("Bytewax", 2.0), Bar("plain loop, one message at a time", 0.5)],
    10: [],
    1: [Bar("Bytewax", 5.0), Bar("streamz", 1.0)],
}


def increment(number: int) -> int:
    return number + 1


def is_even(number: int) -> bool:
    return number % 2 == 0


class Numbers(Source[int]):
    """Counts up, `size` at a time."""

    upto: int
    size: int

    async def read(self, resume: int | None, /) -> AsyncIterator[Batch[int]]:
        for at in range(resume or 0, self.upto, self.size):
            yield Batch(list(range(at, min(at + self.size, self.upto))), at + self.size)


class Singly(Source[int]):
    """Counts up, one at a time."""

    upto: int

    async def read(self, resume: int | None, /) -> AsyncIterator[Batch[int]]:
        for number in range(resume or 0, self.upto):
            yield Batch([number], number + 1)


class Increment(Transformer[int, int]):
    """Adds one."""

    def process(self, number: int, /) -> int:
        return number + 1


class Even(Transformer[int, int]):
    """Lets even numbers pass."""

    def process(self, number: int, /) -> int | None:
        return number if number % 2 == 0 else None


class Tally(Sink[int]):
    """Counts what arrives."""

    def check(self) -> None:
        self.count = 0

    def write(self, batch: Sequence[int], /) -> None:
        self.count += len(batch)


def ours(messages: int, size: int) -> None:
    pipeline = Pipeline("bench")
    at = pipeline.add("numbers", Singly(upto=messages) if size == 1 else Numbers(upto=messages, size=size))
    for name, component in (("first", Increment()), ("even", Even()), ("second", Increment())):
        at = pipeline.add(name, component, after=at)
    tally = Tally()
    pipeline.add("tally", tally, after=at)
    pipeline.run()
    check(tally.count, messages)


def plain_loop(messages: int) -> None:
    """What a person would write by hand: one message at a time, a function for each operator."""
    kept: list[int] = []
    for number in range(messages):
        raised = increment(number)
        if is_even(raised):
            kept.append(increment(raised))
    check(len(kept), messages)


def comprehension(messages: int) -> None:
    """The limit of the language: a list comprehension per batch of 1,024."""
    count = 0
    for at in range(0, messages, 1024):
        batch = range(at, min(at + 1024, messages))
        count += len([number + 2 for number in batch if (number + 1) % 2 == 0])
    check(count, messages)


def bytewax(messages: int, size: int) -> None:
    from bytewax import operators
    from bytewax.dataflow import Dataflow
    from bytewax.inputs import DynamicSource, StatelessSourcePartition
    from bytewax.outputs import DynamicSink, StatelessSinkPartition
    from bytewax.testing import run_main

    tally = [0]

    class Singly(StatelessSourcePartition[int]):
        at = -1

        def next_batch(self) -> list[int]:
            self.at += 1
            if self.at >= messages:
                raise StopIteration
            return [self.at]

    class Several(StatelessSourcePartition[int]):
        at = 0

        def next_batch(self) -> list[int]:
            if self.at >= messages:
                raise StopIteration
            batch = list(range(self.at, min(self.at + size, messages)))
            self.at += size
            return batch

    class Numbers(DynamicSource[int]):
        def build(self, *_: Any) -> Singly | Several:
            return Singly() if size == 1 else Several()

    class Counting(StatelessSinkPartition[int]):
        def write_batch(self, items: list[int]) -> None:
            tally[0] += len(items)

    class Tally(DynamicSink[int]):
        def build(self, *_: Any) -> Counting:
            return Counting()

    flow = Dataflow("bench")
    stream = operators.input("numbers", flow, Numbers())
    stream = operators.map("first", stream, increment)
    stream = operators.filter("even", stream, is_even)
    stream = operators.map("second", stream, increment)
    operators.output("tally", stream, Tally())
    run_main(flow)
    check(tally[0], messages)


def check(count: int, messages: int) -> None:
    assert count == messages // 2, (count, messages)


def streamz(messages: int) -> None:
    from streamz import Stream

    kept: list[int] = []
    source = Stream()
    source.map(increment).filter(is_even).map(increment).sink(kept.append)
    for number in range(messages):
        source.emit(number)
    check(len(kept), messages)


def contenders(size: int) -> list[Contender]:
    messages = OPTIONS.sized(MESSAGES[size])
    missing = {name: f"{name} is not installed" for name in ("bytewax", "streamz") if find_spec(name) is None}
    found = [
        Contender("autocoder", lambda: ours(messages, size), messages),
        Contender(
            "Bytewax",
            None if "bytewax" in missing else lambda: bytewax(messages, size),
            messages,
            missing.get("bytewax", ""),
        ),
        Contender("plain loop, one message at a time", lambda: plain_loop(messages), messages),
        Contender("list comprehension per batch of 1,024", lambda: comprehension(messages), messages),
    ]
    if size == 1:  # it knows no batches
        few = messages // 10
        work = None if "streamz" in missing else lambda: streamz(few)
        found.append(Contender("streamz", work, few, missing.get("streamz", "")))
    return found


def run() -> list[Result]:
    return [
        measure(f"in memory, three trivial operators, batch {size:,}", contenders(size), BARS[size])
        for size in MESSAGES
    ]
