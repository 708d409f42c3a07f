"""Two messages never have one idempotency key, and one message has the same key in every attempt and run (I4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from autocoder import Batch, ChannelOptions, Pipeline, Sink, Source, Transformer
from tests.support import Both, Numbers


class Add(Transformer[int, int]):
    """Adds a number."""

    number: int

    def process(self, payload: int, /) -> int:
        return payload + self.number


class Keys(Sink[int]):
    """Notes each payload with its key."""

    def check(self) -> None:
        self.got: list[tuple[str, int]] = []

    def write(self, batch: Sequence[int], keys: Sequence[str], /) -> None:
        self.got += zip(keys, batch, strict=True)


class Still(Source[int], replayable=False):
    """Has no position."""

    def read(self, resume: None, /) -> Iterator[Batch[int]]:
        for number in range(3):
            yield Batch([number])


class Slow(Source[int]):
    """Moves its position behind every other batch only."""

    def read(self, resume: int | None, /) -> Iterator[Batch[int]]:
        for number in range(resume or 0, 8):
            yield Batch([number], resume=(number + 1) // 2 * 2)


def diamond(keys: Keys, channel: ChannelOptions) -> Pipeline:
    pipeline = Pipeline("diamond")
    numbers = pipeline.add("numbers", Numbers(upto=4))
    one = pipeline.add("one", Add(number=100), after=numbers, channel=channel)
    two = pipeline.add("two", Add(number=200), after=numbers, channel=channel)
    pipeline.add("keys", keys, after=[one, two])
    return pipeline


def merged(keys: Keys, channel: ChannelOptions) -> Pipeline:
    pipeline = Pipeline("merged")
    numbers = pipeline.add("numbers", Numbers(upto=4))
    both = pipeline.add("both", Both(), after={"left": numbers, "right": numbers}, channel=channel)
    pipeline.add("keys", keys, after=both)
    return pipeline


@pytest.mark.parametrize("build", [diamond, merged])
@pytest.mark.parametrize("channel", [ChannelOptions(), ChannelOptions(durable=True)], ids=["memory", "durable"])
def test_what_comes_over_two_ways_has_two_keys(tmp_path: Path, build: type, channel: ChannelOptions) -> None:
    keys = Keys()
    build(keys, channel).run(database=f"sqlite:///{tmp_path / 'x.db'}")
    assert len(keys.got) == len(dict(keys.got)) == 8


def test_two_sinks_give_one_message_two_keys() -> None:
    pipeline, first, second = Pipeline("sinks"), Keys(), Keys()
    numbers = pipeline.add("numbers", Numbers(upto=4))
    pipeline.add("first", first, after=numbers)
    pipeline.add("second", second, after=numbers)
    pipeline.run()
    assert not dict(first.got).keys() & dict(second.got).keys()
    assert len(dict(first.got)) == len(dict(second.got)) == 4


def test_what_cannot_be_read_again_is_new_in_every_run() -> None:
    keys = []
    for _ in range(2):
        pipeline, sink = Pipeline("still"), Keys()
        pipeline.add("keys", sink, after=pipeline.add("still", Still()))
        pipeline.run()
        keys += [key for key, _ in sink.got]
    assert len(keys) == len(set(keys)) == 6


def test_behind_a_position_that_does_not_move_payloads_are_numbered_on() -> None:
    runs = []
    for _ in range(2):
        pipeline, sink = Pipeline("slow"), Keys()
        pipeline.add("keys", sink, after=pipeline.add("slow", Slow()))
        pipeline.run()
        runs.append(dict(sink.got))
    assert runs[0] == runs[1]
    assert sorted(runs[0].values()) == list(range(8))


def test_rows_of_two_databases_have_different_keys(tmp_path: Path) -> None:
    keys = []
    for name in ("one.db", "two.db"):
        pipeline, sink = Pipeline("rows"), Keys()
        durable = ChannelOptions(durable=True)
        pipeline.add("keys", sink, after=pipeline.add("numbers", Numbers(upto=4)), channel=durable)
        pipeline.run(database=f"sqlite:///{tmp_path / name}")
        keys += [key for key, _ in sink.got]
    assert len(keys) == len(set(keys)) == 8
