"""Messages that a merger holds back: in a kept run they are rows of its input port, until their turn comes."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from autocoder import Batch, ErrorPolicy, In, Merger, Pipeline, RetryPolicy, Sink, Source
from autocoder.declaration import ChannelOptions
from tests.support import Numbers

CHANNELS = {"memory": ChannelOptions(), "durable": ChannelOptions(durable=True)}


class Gated(Source[int]):
    """Numbers up to a hundred; without `through` it stops before the last ones and waits."""

    through: bool

    async def read(self, resume: int | None, /) -> AsyncIterator[Batch[int]]:
        for at in range(resume or 0, 90, 10):
            yield Batch(list(range(at, at + 10)), resume=at + 10)
        if not self.through:
            await anyio.sleep_forever()
        if (resume or 0) < 100:
            yield Batch(list(range(90, 100)), resume=100)


class First(Merger[int]):
    """Everything from left before anything from right; some of the right fail at first."""

    left = In(int)
    right = In(int)
    fails: bool = False

    async def open(self) -> None:
        self.left_open = True
        self.failed: set[int] = set()

    def holds(self, port: str, /) -> bool:
        return port == "right" and self.left_open

    def ended(self, port: str, /) -> Iterator[int]:
        if port == "left":
            self.left_open = False
        yield -1

    def on_left(self, number: int, /) -> int:
        return number

    def on_right(self, number: int, /) -> int:
        if self.fails and number % 10 == 3 and number not in self.failed:
            self.failed.add(number)
            raise ValueError("not at once")
        return 1000 + number


class AsyncFirst(First):
    """The same, with calls on their way."""

    async def on_left(self, number: int, /) -> int:  # type: ignore[override]
        await anyio.lowlevel.checkpoint()
        return number

    async def on_right(self, number: int, /) -> int:  # type: ignore[override]
        await anyio.lowlevel.checkpoint()
        return 1000 + number


class Gather(Sink[Any]):
    """Keeps what it gets."""

    def check(self) -> None:
        self.got: list[Any] = []

    def write(self, batch: Sequence[Any], /) -> None:
        self.got.extend(batch)


def build(sink: Sink[Any], merger: First, channel: str, *, through: bool) -> Pipeline:
    pipeline = Pipeline("turns", every=0.002, messages=100)
    left = pipeline.add("left", Gated(through=through))
    right = pipeline.add("right", Numbers(upto=700))
    policy = ErrorPolicy(RetryPolicy(attempts=3, backoff=0.001))
    inputs = {"left": left, "right": right}
    merged = pipeline.add("first", merger, after=inputs, channel=CHANNELS[channel], on_error=policy)
    pipeline.add("sink", sink, after=merged)
    return pipeline


def rows(file: Path, query: str) -> list[Any]:
    connection = sqlite3.connect(file)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


HELD = "FROM port_messages WHERE port_name = 'right' AND status = 'processing'"


def drained_while_held(file: Path, pipeline: Pipeline, sink: Gather) -> None:
    """Run until the left has given what it has and much of the right was set aside, then drain."""

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: pipeline.run_async(database=f"sqlite:///{file}"))
            with anyio.fail_after(60):
                while len(sink.got) < 90 or not file.exists() or rows(file, f"SELECT count(*) {HELD}")[0][0] < 100:
                    await anyio.sleep(0.01)
            pipeline.drain()

    anyio.run(main)


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("merger", [First, AsyncFirst])
def test_what_is_held_back_waits_over_runs_and_comes_in_its_turn(tmp_path: Path, channel: str, merger: Any) -> None:
    file, sink = tmp_path / "x.db", Gather()
    drained_while_held(file, build(sink, merger(), channel, through=False), sink)
    assert sink.got == list(range(90)), "the input has not ended, so nothing is let go"
    held = rows(file, f"SELECT count(*), count(handle) {HELD}")[0]
    assert held[1] == (held[0] if channel == "memory" else 0), "what came over a durable channel has a row already"
    build(sink, merger(), channel, through=True).run(database=f"sqlite:///{file}")
    assert sink.got == [*range(100), -1, *range(1000, 1700), -1]
    assert rows(file, "SELECT count(*) FROM port_messages WHERE status <> 'completed'") == [(0,)]
    before = len(sink.got)
    build(sink, merger(), channel, through=True).run(database=f"sqlite:///{file}")
    assert sink.got[before:] == []


@pytest.mark.parametrize("channel", CHANNELS)
def test_what_was_held_back_and_fails_keeps_its_row(tmp_path: Path, channel: str) -> None:
    file, sink = tmp_path / "x.db", Gather()
    drained_while_held(file, build(sink, First(), channel, through=False), sink)
    before = rows(file, "SELECT count(*) FROM port_messages")[0][0]
    (held,) = rows(file, f"SELECT count(*), max(seq) {HELD}")
    build(sink, First(fails=True), channel, through=True).run(database=f"sqlite:///{file}")
    assert sorted(sink.got) == sorted([*range(100), -1, *range(1000, 1700), -1])
    assert rows(file, "SELECT count(*) FROM port_messages WHERE status <> 'completed'") == [(0,)]
    if channel == "durable":
        assert rows(file, "SELECT count(*) FROM port_messages WHERE handle IS NOT NULL") == [(0,)]
    else:
        assert rows(file, f"SELECT count(*) FROM port_messages WHERE seq <= {held[1]}")[0][0] == before


class Ends(Merger[str]):
    """Says of each input when it ends."""

    left = In(int)
    right = In(int)

    def on_left(self, number: int, /) -> str:
        return "left"

    def on_right(self, number: int, /) -> str:
        return "right"

    def ended(self, port: str, /) -> Iterable[str]:
        return [f"{port} ended"]


def test_the_end_of_an_input_that_was_told_is_heard_first_and_told_no_more(tmp_path: Path) -> None:
    file, sink = tmp_path / "x.db", Gather()

    def sides(*, through: bool) -> Pipeline:
        pipeline = Pipeline("sides", every=0.002)
        inputs = {
            "left": pipeline.add("left", Numbers(upto=10)),
            "right": pipeline.add("right", Gated(through=through)),
        }
        pipeline.add("sink", sink, after=pipeline.add("ends", Ends(), after=inputs))
        return pipeline

    first = sides(through=False)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: first.run_async(database=f"sqlite:///{file}"))
            with anyio.fail_after(60):
                while len(sink.got) < 101:
                    await anyio.sleep(0.005)
            first.drain()

    anyio.run(main)
    sides(through=True).run(database=f"sqlite:///{file}")
    assert sink.got.count("left ended") == sink.got.count("right ended") == 1
    assert (sink.got.count("left"), sink.got.count("right"), sink.got[-1]) == (10, 100, "right ended")
