"""What a component says when its input ends, it says once: over runs without anything new, and over crashes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from autocoder import ErrorPolicy, In, Merger, Pipeline, PipelineError, RetryPolicy, Sink, Transformer, Value
from autocoder.declaration import ChannelOptions
from tests.support import Double, Numbers

IN_MEMORY = ChannelOptions()
DURABLE = ChannelOptions(durable=True)


class Sum(Transformer[int, int]):
    """The sum of all, when the input ends; it does not forget it."""

    total = Value(int, default=0)

    def process(self, number: int, /) -> int | None:
        self.total.value += number
        return None

    def finish(self) -> Iterable[int]:
        yield self.total.value


class AsyncSum(Transformer[int, int]):
    """The same, with calls in flight."""

    total = Value(int, default=0)

    async def process(self, number: int, /) -> int | None:
        self.total.value += number
        return None

    def finish(self) -> Iterable[int]:
        yield self.total.value


class Gather(Sink[Any]):
    """Keeps what it gets, over runs; while `broken` it takes nothing."""

    broken: bool = False

    def check(self) -> None:
        self.got: list[Any] = []

    def write(self, batch: Sequence[Any], /) -> None:
        if self.broken:
            raise OSError("out of order")
        self.got.extend(batch)


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/x.db"


def build(sink: Sink[Any], *steps: Any, upto: int, channel: ChannelOptions = IN_MEMORY) -> Pipeline:
    pipeline = Pipeline("ends")
    at = pipeline.add("numbers", Numbers(upto=upto))
    for number, step in enumerate(steps):
        at = pipeline.add(f"step{number}", step, after=at)
    pipeline.add("sink", sink, after=at, channel=channel)
    return pipeline


@pytest.mark.parametrize("channel", [IN_MEMORY, DURABLE], ids=["memory", "durable"])
@pytest.mark.parametrize("steps", [[Sum], [AsyncSum], [Double, Sum], [Sum, Double, AsyncSum]])
def test_an_end_is_told_once_and_again_only_after_something_new(
    database: str, steps: list[Any], channel: ChannelOptions
) -> None:
    sink = Gather()
    factor = 2 if Double in steps else 1
    for upto in (10, 10, 10, 20, 20):
        build(sink, *(step() for step in steps), upto=upto, channel=channel).run(database=database)
    if steps[-1] is AsyncSum and len(steps) > 1:  # the sum of the sums
        assert sink.got == [45 * factor, (45 + 190) * factor]
    else:
        assert sink.got == [45 * factor, 190 * factor]


def test_an_end_is_told_once_though_what_is_behind_stopped(database: str) -> None:
    with pytest.raises(PipelineError, match="out of order"):
        build(Gather(broken=True), Sum(), upto=10, channel=DURABLE).run(database=database)
    sink = Gather()
    build(sink, Sum(), upto=10, channel=DURABLE).run(database=database)
    assert sink.got == [45]
    build(sink, Sum(), upto=10, channel=DURABLE).run(database=database)
    assert sink.got == [45]


def test_a_drain_is_no_end(database: str) -> None:
    sink = Gather()
    first = build(sink, Sum(), upto=10_000_000)

    async def drained() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: first.run_async(database=database))
            while first.progress is None or not first.progress.messages_in:
                await anyio.sleep(0.001)
            first.drain()

    anyio.run(drained)
    assert sink.got == []


class Sides(Merger[str]):
    """Says of each input when it ends, and in the end that all have."""

    left = In(int)
    right = In(int)

    def on_left(self, number: int, /) -> str | None:
        return None

    def on_right(self, number: int, /) -> str | None:
        return None

    def ended(self, port: str, /) -> Iterator[str]:
        yield port

    def finish(self) -> Iterator[str]:
        yield "all"


def test_a_merger_tells_the_end_of_each_input_once(database: str) -> None:
    sink = Gather()
    for lefts, rights in ((10, 30), (10, 30), (20, 30)):
        pipeline = Pipeline("sides")
        sides = {
            "left": pipeline.add("lefts", Numbers(upto=lefts)),
            "right": pipeline.add("rights", Numbers(upto=rights)),
        }
        pipeline.add("sink", sink, after=pipeline.add("sides", Sides(), after=sides))
        pipeline.run(database=database)
    assert [sorted(sink.got[at : at + 2]) for at in (0, 3)] == [["left", "right"]] * 2
    assert (sink.got[2], sink.got[5], len(sink.got)) == ("all", "all", 6)


class FailsFirst(Transformer[int, int]):
    """Fails for what it has not seen yet."""

    def check(self) -> None:
        self.seen: set[int] = set()

    def process(self, number: int, /) -> int:
        if number not in self.seen:
            self.seen.add(number)
            raise ValueError("not at once")
        return number


@pytest.mark.parametrize("summing", [Sum, AsyncSum])
def test_what_is_emitted_at_an_end_is_tried_again_before_what_is_behind_it_ends(database: str, summing: Any) -> None:
    pipeline = Pipeline("again")
    at = pipeline.add("numbers", Numbers(upto=10))
    at = pipeline.add("sum", summing(), after=at)
    policy = ErrorPolicy(RetryPolicy(attempts=3, backoff=0.001))
    at = pipeline.add("flaky", FailsFirst(), after=at, on_error=policy)
    at = pipeline.add("behind", Sum(), after=at)
    sink = Gather()
    pipeline.add("sink", sink, after=at)
    pipeline.run(database=database)
    assert sink.got == [45]
