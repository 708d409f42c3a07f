"""What a run delivers, for every kind of component and handler."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import anyio
import pytest
from typing_extensions import TypeVar

from autocoder import (
    Batch,
    Emission,
    ErrorPolicy,
    In,
    Keyed,
    Merger,
    Out,
    Pipeline,
    Sink,
    Source,
    Splitter,
    Transformer,
    Value,
)
from tests.support import Both, Collect, CollectAsync, Double, Evens, Numbers, Parity, PlainNumbers, Repeat

T = TypeVar("T")


def ran(*components: Any, **options: Any) -> list[Any]:
    """Run a chain into a Collect and return what arrived."""
    pipeline = Pipeline("chain")
    at = pipeline.add("source", components[0])
    for number, component in enumerate(components[1:]):
        at = pipeline.add(f"step{number}", component, after=at, **options)
    sink = Collect()
    pipeline.add("sink", sink, after=at)
    pipeline.run()
    return sink.got


@pytest.mark.parametrize("size", [1, 7, 1000, 5000])
@pytest.mark.parametrize("source", [Numbers, PlainNumbers])
def test_a_chain_delivers_everything_in_order(source: Any, size: int) -> None:
    assert ran(source(upto=3000, size=size), Double(), Evens(), Repeat(times=2)) == [
        2 * number for number in range(3000) for _ in range(2)
    ]


def test_the_summary_counts_what_each_component_took_gave_and_dropped() -> None:
    pipeline = Pipeline("counted")
    numbers = pipeline.add("numbers", Numbers(upto=100))
    evens = pipeline.add("evens", Evens(), after=numbers)
    pipeline.add("sink", Collect(), after=evens)
    summary = pipeline.run()
    evens_summary = summary.components["evens"]
    assert (evens_summary.taken, evens_summary.given, evens_summary.dropped) == (100, 50, 50)
    assert (summary.messages_in, summary.messages_out, summary.dead_letters, summary.drained) == (100, 50, 0, False)


@pytest.mark.parametrize("sink", [Collect, CollectAsync])
def test_every_consumer_of_a_port_gets_every_message(sink: Any) -> None:
    pipeline = Pipeline("fan-out")
    numbers = pipeline.add("numbers", Numbers(upto=500))
    doubled = pipeline.add("double", Double(), after=numbers)
    sinks = [sink() for _ in range(4)]
    for number, each in enumerate(sinks):
        pipeline.add(f"sink{number}", each, after=doubled if number % 2 else numbers)
    pipeline.run()
    assert [each.got for each in sinks] == [list(range(500)), list(range(0, 1000, 2))] * 2


def test_an_input_may_take_from_several_outputs() -> None:
    pipeline = Pipeline("fan-in")
    one = pipeline.add("one", Numbers(upto=50))
    other = pipeline.add("other", Numbers(upto=70))
    sink = Collect()
    pipeline.add("sink", sink, after=[one, other])
    pipeline.run()
    assert sorted(sink.got) == sorted([*range(50), *range(70)])


def test_a_splitter_and_a_merger_conserve_messages() -> None:
    pipeline = Pipeline("diamond")
    numbers = pipeline.add("numbers", Numbers(upto=5000, size=100))
    parity = pipeline.add("parity", Parity(), after=numbers)
    odd = pipeline.add("odd", Double(), after=parity.port(Parity.odd))
    both = pipeline.add("both", Both(), after={"left": parity.port(Parity.even), "right": odd})
    sink = Collect()
    pipeline.add("sink", sink, after=both)
    pipeline.run()
    assert sorted(sink.got) == sorted([n if n % 2 == 0 else 2 * n for n in range(5000)])


class Slow(Transformer[int, int]):
    """Waits a little, the later the shorter."""

    def check(self) -> None:
        self.now = self.most = 0

    async def process(self, number: int, /) -> int:
        self.now += 1
        self.most = max(self.most, self.now)
        await anyio.sleep(0.002 * (number % 5))
        self.now -= 1
        return number


def test_async_calls_run_at_once_and_stay_in_order() -> None:
    slow = Slow()
    assert ran(Numbers(upto=200), slow, concurrency=16) == list(range(200))
    assert 2 <= slow.most <= 16


def test_unordered_async_calls_deliver_everything() -> None:
    got = ran(Numbers(upto=200), Slow(), concurrency=16, ordered=False)
    assert sorted(got) == list(range(200))
    assert got != list(range(200))


class AsyncMany(Transformer[int, int]):
    """Each number as often as it says."""

    async def process(self, number: int, /) -> AsyncIterator[int]:
        for _ in range(number):
            await anyio.lowlevel.checkpoint()
            yield number


class AsyncOptional(Transformer[int, int]):
    """Odd numbers only."""

    async def process(self, number: int, /) -> int | None:
        return number if number % 2 else None


def test_async_handlers_of_every_shape() -> None:
    assert ran(Numbers(upto=5), AsyncMany()) == [1, 2, 2, 3, 3, 3, 4, 4, 4, 4]
    assert ran(Numbers(upto=6), AsyncOptional(), concurrency=3) == [1, 3, 5]


class Vector(Transformer[int, int]):
    """Doubles whole batches."""

    def process_batch(self, batch: Sequence[int], /) -> Sequence[int]:
        if 13 in batch:
            raise ValueError("unlucky")
        return [2 * number for number in batch]


class AsyncVector(Transformer[int, int]):
    """The same, asynchronously."""

    async def process_batch(self, batch: Sequence[int], /) -> Sequence[int]:
        if 13 in batch:
            raise ValueError("unlucky")
        return [2 * number for number in batch]


@pytest.mark.parametrize("vector", [Vector, AsyncVector])
def test_a_vectorised_handler_fails_only_for_the_message_at_fault(vector: Any) -> None:
    assert ran(Numbers(upto=30), vector()) == [2 * n for n in range(30) if n != 13]


class Total(Transformer[int, int]):
    """A running total per remainder by three, failing for one number after it changed the state."""

    total = Keyed(int, default=0)
    seen = Value(list[int], default_factory=list)

    def key(self, number: int, /) -> str:
        return str(number % 3)

    def process(self, number: int, /) -> int:
        self.total.value += number
        self.seen.value.append(number)
        if number == 4:
            raise ValueError("not four")
        return self.total.value


def test_a_handler_that_raises_leaves_no_trace_in_state() -> None:
    total = Total()
    ran(Numbers(upto=9), total)
    assert total.seen.value == [0, 1, 2, 3, 5, 6, 7, 8], "a plain value is one for all keys"
    assert ran(Numbers(upto=9), total) == [0, 1, 2, 3, 7, 9, 8, 15]
    assert ran(Numbers(upto=9), total) == [0, 1, 2, 3, 7, 9, 8, 15], "each run begins without state"


class Pairs(Transformer[T, list[T]]):
    """Two by two, with the rest at the end."""

    def check(self) -> None:
        self.waiting: list[Any] = []

    def process(self, payload: T, /) -> list[T] | None:
        self.waiting.append(payload)
        if len(self.waiting) == 2:
            pair, self.waiting = self.waiting, []
            return pair
        return None

    def finish(self) -> Iterator[list[T]]:
        if self.waiting:
            yield self.waiting


def test_finish_emits_what_is_left() -> None:
    assert ran(Numbers(upto=5), Pairs()) == [[0, 1], [2, 3], [4]]


class First(Merger[int]):
    """Everything from left before anything from right."""

    left = In(int)
    right = In(int)

    def check(self) -> None:
        self.left_open = True

    def holds(self, port: str, /) -> bool:
        return port == "right" and self.left_open

    def ended(self, port: str, /) -> Iterator[int]:
        if port == "left":
            self.left_open = False
        yield -1

    def on_left(self, number: int, /) -> int:
        return number

    def on_right(self, number: int, /) -> int:
        return 1000 + number


def test_a_merger_may_hold_an_input_back() -> None:
    pipeline = Pipeline("held", every=0.001, messages=50)
    left = pipeline.add("left", Numbers(upto=5000))
    right = pipeline.add("right", Numbers(upto=6000))
    merged = pipeline.add("first", First(), after={"left": left, "right": right})
    sink = Collect()
    pipeline.add("sink", sink, after=merged)
    pipeline.run()
    assert sink.got == [*range(5000), -1, *range(1000, 7000), -1]


class KeyedSink(Sink[int]):
    """Asks for idempotency keys."""

    def check(self) -> None:
        self.got: list[tuple[int, str]] = []

    async def write(self, batch: Sequence[int], keys: Sequence[str], /) -> None:
        self.got.extend(zip(batch, keys, strict=True))


def test_idempotency_keys_are_the_same_in_a_second_run_and_differ_between_messages() -> None:
    def once() -> list[tuple[int, str]]:
        pipeline = Pipeline("traced")
        numbers = pipeline.add("numbers", Numbers(upto=40))
        parity = pipeline.add("parity", Parity(), after=numbers)
        slow = pipeline.add("slow", Slow(), after=parity.port("even"), concurrency=4)
        many = pipeline.add("many", Repeat(), after=[parity.port("odd")])
        sink = KeyedSink()
        pipeline.add("sink", sink, after=[slow, many])
        pipeline.run()
        return sorted(sink.got)

    first = once()
    assert first == once()
    assert [number for number, _ in first] == sorted([*range(0, 40, 2), *range(1, 40, 2), *range(1, 40, 2)])
    assert len({key for _, key in first}) == len(first)


class Busy(Source[int]):
    """Never waits and never ends by itself."""

    def check(self) -> None:
        self.reached = 0

    async def read(self, resume: Any, /) -> AsyncIterator[Batch[int]]:
        while True:
            self.reached += 1
            yield Batch([self.reached], resume=self.reached)


class SlowSink(Sink[int]):
    """Takes its time."""

    def check(self) -> None:
        self.got: list[int] = []

    async def write(self, batch: Sequence[int], /) -> None:
        await anyio.sleep(0.01)
        self.got.extend(batch)


@pytest.mark.anyio
async def test_a_slow_sink_holds_the_source_back_and_a_drain_loses_nothing() -> None:
    source, sink = Busy(), SlowSink()
    pipeline = Pipeline("pressed")
    busy = pipeline.add("busy", source)
    doubled = pipeline.add("double", Double(), after=busy)
    pipeline.add("sink", sink, after=doubled)
    async with anyio.create_task_group() as tasks:

        async def main() -> None:
            summary = await pipeline.run_async()
            assert summary.drained
            assert summary.messages_in == summary.messages_out

        tasks.start_soon(main)
        while len(sink.got) < 3000:
            await anyio.sleep(0.01)
            assert source.reached - len(sink.got) <= 8 * 1024
        pipeline.drain()
    assert sink.got == [2 * number for number in range(1, source.reached + 1)]


def test_policies_drop_retry_and_stop() -> None:
    class Flaky(Transformer[int, int]):
        def check(self) -> None:
            self.calls: dict[int, int] = {}

        def process(self, number: int, /) -> int:
            self.calls[number] = self.calls.get(number, 0) + 1
            if number % 4 == 0 and self.calls[number] < 3:
                raise ConnectionError("again")
            if number == 6:
                raise ValueError("never")
            return number

    from autocoder import RetryPolicy

    policy = ErrorPolicy(RetryPolicy(attempts=3, backoff=0.001, on=("OSError",)), then="drop")
    flaky = Flaky()
    assert ran(Numbers(upto=10), flaky, on_error=policy) == [number for number in range(10) if number != 6]
    assert flaky.calls == {number: 3 if number % 4 == 0 else 1 for number in range(10)}


class Unready(Splitter[int]):
    """Emits where it has no output."""

    here = Out(int)

    def process(self, number: int, /) -> Emission:
        return Emission("elsewhere", number)


def test_an_emission_to_an_unknown_output_is_the_message_s_failure() -> None:
    pipeline = Pipeline("astray")
    numbers = pipeline.add("numbers", Numbers(upto=3))
    split = pipeline.add("split", Unready(), after=numbers)
    pipeline.add("sink", Collect(), after=split.port("here"))
    assert pipeline.run().dead_letters == 3


class Stops(Transformer[int, int]):
    """Raises what would end a loop unseen."""

    def process(self, number: int, /) -> int:
        if number == 2:
            raise StopIteration
        return number


def test_stop_iteration_out_of_a_handler_loses_no_other_message() -> None:
    assert ran(Numbers(upto=5), Stops()) == [0, 1, 3, 4]
