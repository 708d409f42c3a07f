"""A durable channel whose messages come back to the region that they left: it ends once all that feeds it is committed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import anyio
import pytest

from autocoder import In, Merger, Pipeline, Transformer, Value
from autocoder.declaration import ChannelOptions
from tests.support import Collect, Double, Numbers, Parity

pytestmark = pytest.mark.anyio
DURABLE = ChannelOptions(durable=True)
IN_MEMORY = ChannelOptions()


class Sides(Merger[int]):
    """What comes from either side, and how many there were at the end."""

    number = Value(int, default=0)
    left = In(int)
    right = In(int)

    def on_left(self, number: int, /) -> int:
        self.number.value += 1
        return number

    def on_right(self, number: int, /) -> int:
        return self.on_left(number)

    def finish(self) -> Iterator[int]:
        yield -self.number.value


class AndOneMore(Transformer[int, int]):
    """Each number, and a last one when the input ends."""

    last: int

    def process(self, number: int, /) -> int:
        return number

    def finish(self) -> Iterable[int]:
        return (self.last,)


def build(channels: tuple[ChannelOptions, ...]) -> tuple[Pipeline, Collect]:
    """Even numbers go straight to the merger, odd ones around, over these channels."""
    pipeline, sink = Pipeline("returning"), Collect()
    numbers = pipeline.add("numbers", Numbers(upto=100))
    parity = pipeline.add("parity", Parity(), after=numbers, channel=channels[0])
    more = pipeline.add("more", AndOneMore(last=1001), after=parity.port(Parity.odd), channel=channels[1])
    double = pipeline.add("double", Double(), after=more, channel=channels[2])
    sides = pipeline.add("sides", Sides(), after={"left": parity.port(Parity.even), "right": double})
    pipeline.add("sink", sink, after=sides)
    return pipeline, sink


@pytest.mark.parametrize(
    "channels",
    [
        (IN_MEMORY, DURABLE, IN_MEMORY),
        (IN_MEMORY, DURABLE, DURABLE),
        (DURABLE, IN_MEMORY, DURABLE),
        (DURABLE, DURABLE, DURABLE),
    ],
)
async def test_it_ends_with_everything_and_says_so_once(url: str, channels: tuple[ChannelOptions, ...]) -> None:
    expected = sorted([-101, *range(0, 100, 2), *(2 * number for number in range(1, 100, 2)), 2002])
    for told in (expected, []):
        pipeline, sink = build(channels)
        with anyio.fail_after(20):
            await pipeline.run_async(database=url)
        assert sorted(sink.got) == told


async def test_a_source_feeds_both_ends(url: str) -> None:
    pipeline, sink = Pipeline("returning"), Collect()
    numbers = pipeline.add("numbers", Numbers(upto=100))
    double = pipeline.add("double", Double(), after=numbers, channel=DURABLE)
    pipeline.add("sink", sink, after=pipeline.add("sides", Sides(), after={"left": numbers, "right": double}))
    with anyio.fail_after(20):
        await pipeline.run_async(database=url)
    assert sorted(sink.got) == sorted([-200, *range(100), *range(0, 200, 2)])
