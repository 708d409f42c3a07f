"""The table of guarantees, row by row: what a path from source to sink promises, and what would make it better."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import pytest

from autocoder import Batch, In, Keyed, Merger, Pipeline, Sink, Source, Statement, Transformer, Value
from autocoder.declaration import ChannelOptions
from autocoder.errors import ComponentDefinitionError
from autocoder.guarantees import (
    Guarantee,
    PathGuarantee,
    guarantee_lines,
    guarantees_of,
    loss_warnings,
    state_guarantees,
)
from tests.support import Both, Collect, Double, Numbers, Parity

DURABLE = ChannelOptions(durable=True)


class Once(Source[int], replayable=False):
    """Cannot be read again."""

    async def read(self, resume: Any, /) -> AsyncIterator[Batch[int]]:
        yield Batch([1])


class Inbox(Transformer[int, int]):
    """Takes what is sent to it."""

    def inbox_until(self) -> Any:
        return "empty"

    def process(self, number: int, /) -> int:
        return number


class Sum(Transformer[int, int]):
    """A total by key."""

    total = Keyed(int, default=0)

    def key(self, number: int, /) -> str:
        return str(number)

    def process(self, number: int, /) -> int:
        return number


class Rows(Sink[Any]):
    """Into the pipeline's own database."""

    def statements(self, batch: Sequence[Any], /) -> Iterable[Statement]:
        return ()


class OtherRows(Rows):
    """Into a database of its own."""

    keyed: bool = False

    def needs_database(self) -> bool:
        return False

    def absorbs_repeats(self) -> bool:
        return self.keyed


class WithKeys(Sink[Any]):
    """Tells its receiver the key of each message."""

    def write(self, batch: Sequence[Any], keys: Sequence[str], /) -> None: ...


class File(Sink[Any], resumes=True):
    """Knows how far it wrote."""

    size = Value(int, default=0)

    def write(self, batch: Sequence[Any], /) -> None: ...


def path(source: Any, sink: Any, *, channel: ChannelOptions | None = None, kept: bool = True) -> PathGuarantee:
    """The one path of `source -> double -> sink`; `channel` is that into the sink."""
    pipeline = Pipeline("p")
    double = pipeline.add("double", Double(), after=pipeline.add("source", source))
    pipeline.add("sink", sink, after=double, channel=channel or ChannelOptions())
    (found,) = guarantees_of(pipeline.compile(), kept=kept)
    assert (found.source, found.sink, found.components) == ("source", "sink", ("source", "double", "sink"))
    return found


@pytest.mark.parametrize(
    ("sink", "guarantee", "better"),
    [
        (Rows(), Guarantee.EXACTLY_ONCE, None),
        (File(), Guarantee.EXACTLY_ONCE, None),
        (WithKeys(), Guarantee.EFFECTIVELY_ONCE, "sql.Insert"),
        (OtherRows(keyed=True), Guarantee.EFFECTIVELY_ONCE, "sql.Insert without `database`"),
        (OtherRows(), Guarantee.AT_LEAST_ONCE, "know its rows by a key"),
        (Collect(), Guarantee.AT_LEAST_ONCE, "write(batch, keys)"),
    ],
    ids=["own database", "resuming file", "keys", "other database by key", "other database", "anything else"],
)
@pytest.mark.parametrize("channel", [ChannelOptions(), DURABLE], ids=["in memory", "durable"])
def test_behind_a_source_that_replays_the_sink_decides(
    sink: Any, guarantee: Guarantee, better: str | None, channel: ChannelOptions
) -> None:
    (leg,) = path(Numbers(upto=1), sink, channel=channel).legs
    assert (leg.start, leg.end, leg.guarantee) == ("source", "sink", guarantee)
    assert leg.better is None if better is None else better in (leg.better or "")


def test_a_source_that_cannot_replay_is_at_most_once_whatever_the_sink() -> None:
    found = path(Once(), Rows())
    assert [leg.guarantee for leg in found.legs] == [Guarantee.AT_MOST_ONCE]
    assert "'source' cannot read again" in found.legs[0].why and "durable" in (found.legs[0].better or "")


def test_a_source_that_cannot_replay_is_at_most_once_until_the_first_durable_channel_only() -> None:
    found = path(Once(), WithKeys(), channel=DURABLE)
    assert [(leg.start, leg.end, leg.guarantee) for leg in found.legs] == [
        ("source", "sink", Guarantee.AT_MOST_ONCE),
        ("sink", "sink", Guarantee.EFFECTIVELY_ONCE),
    ]
    assert "directly behind 'source'" in (found.legs[0].better or "")
    assert found.guarantee is Guarantee.AT_MOST_ONCE


def test_a_channel_that_drops_when_full_is_at_most_once_until_there() -> None:
    found = path(Numbers(upto=1), Rows(), channel=ChannelOptions(capacity=1, on_full="drop_oldest"))
    assert [leg.guarantee for leg in found.legs] == [Guarantee.AT_MOST_ONCE, Guarantee.EXACTLY_ONCE]
    assert "drops messages when it is full" in found.legs[0].why
    assert found.legs[0].better == "leave out `on_full: drop_oldest`, so that the producer waits"


@pytest.mark.parametrize("sink", [Rows(), File(), WithKeys(), Collect()])
def test_without_a_database_everything_is_at_most_once(sink: Any) -> None:
    (leg,) = path(Numbers(upto=1), sink, kept=False).legs
    assert leg.guarantee is Guarantee.AT_MOST_ONCE and "database" in (leg.better or "")


def test_what_is_sent_from_outside_is_rows_from_the_beginning() -> None:
    pipeline = Pipeline("p")
    pipeline.add("sink", Rows(), after=pipeline.add("inbox", Inbox(), after=()))
    (found,) = guarantees_of(pipeline.compile())
    assert (found.source, found.guarantee) == ("inbox", Guarantee.EXACTLY_ONCE)


def diamonds(number: int, *, lossy: bool = False) -> Pipeline:
    """A chain of splitters whose two ways meet again: 2 ** number ways from end to end."""
    pipeline = Pipeline("p")
    outlet: Any = pipeline.add("source", Numbers(upto=1))
    for at in range(number):
        parity = pipeline.add(f"parity{at}", Parity(), after=outlet)
        outlet = pipeline.add(f"both{at}", Both(), after={"left": parity.port("even"), "right": parity.port("odd")})
    if lossy:
        side = pipeline.add("side", Double(), after=outlet, channel=ChannelOptions(capacity=1, on_full="drop_newest"))
        pipeline.add("sink", Rows(), after=[outlet, side])
    else:
        pipeline.add("sink", Rows(), after=outlet)
    return pipeline


def test_of_many_ways_that_promise_the_same_one_is_shown() -> None:
    assert len(guarantees_of(diamonds(40).compile())) == 1


def test_ways_that_promise_different_things_are_shown_each() -> None:
    found = guarantees_of(diamonds(3, lossy=True).compile())
    assert sorted(each.guarantee for each in found) == [Guarantee.AT_MOST_ONCE, Guarantee.EXACTLY_ONCE]
    assert {"side" in each.components: each.guarantee for each in found}[True] is Guarantee.AT_MOST_ONCE


def test_a_loop_through_a_durable_channel_ends() -> None:
    pipeline = Pipeline.from_yaml(
        """
        pipeline: loop
        components:
          numbers: {use: flow.Generate, with: {count: 1}}
          again: {use: flow.Map, from: [numbers, {port: route.back, durable: true}], with: {value: payload}}
          route: {use: flow.Route, from: again, with: {routes: {back: "payload > 3", on: "true"}}}
          out: {use: flow.Discard, from: route.on}
        """
    )
    (found,) = guarantees_of(pipeline.compile())
    assert found.components == ("numbers", "again", "route", "out")


@pytest.mark.parametrize(
    ("source", "channel", "kept", "guarantee"),
    [
        (Numbers(upto=1), ChannelOptions(), True, Guarantee.EXACTLY_ONCE),
        (Once(), DURABLE, True, Guarantee.EXACTLY_ONCE),
        (Once(), ChannelOptions(), True, Guarantee.AT_MOST_ONCE),
        (Numbers(upto=1), ChannelOptions(), False, Guarantee.AT_MOST_ONCE),
    ],
)
def test_state(source: Any, channel: ChannelOptions, kept: bool, guarantee: Guarantee) -> None:
    pipeline = Pipeline("p")
    pipeline.add(
        "sink", File(), after=pipeline.add("sum", Sum(), after=pipeline.add("source", source), channel=channel)
    )
    (found,) = state_guarantees(pipeline.compile(), kept=kept)
    assert (found.component, found.guarantee) == ("sum", guarantee)


def test_a_warning_for_each_source_that_cannot_replay() -> None:
    pipeline = Pipeline("p")
    pipeline.add("sink", Rows(), after=[pipeline.add("once", Once()), pipeline.add("numbers", Numbers(upto=1))])
    (warning,) = loss_warnings(pipeline.compile())
    assert "source 'once' (Once) cannot read again" in warning.what
    assert "{port: once, durable: true}" in (warning.cure or "")


def test_the_guarantees_as_text_and_as_data() -> None:
    found = path(Once(), Collect(), channel=DURABLE)
    lines = guarantee_lines([found], [])
    assert lines[0] == "  source -> double -> sink"
    assert lines[1].startswith("    until sink at most once: ") and lines[3].startswith(
        "    from sink on at least once: "
    )
    data = found.data()
    assert data["guarantee"] == "at most once"
    assert [leg["guarantee"] for leg in data["legs"]] == ["at most once", "at least once"]


def test_a_sink_that_resumes_has_to_keep_where() -> None:
    with pytest.raises(ComponentDefinitionError, match="declare how far it wrote as a Value"):

        class Forgetful(Sink[Any], resumes=True):
            """Keeps nothing."""

            def write(self, batch: Sequence[Any], /) -> None: ...


class Growing(Numbers):
    """Its batches depend on what is there when it reads."""

    def repeats_batches(self) -> bool:
        return False


class Evens(Transformer[int, int]):
    """Takes many at once, and gives fewer."""

    def process_batch(self, batch: Sequence[int], /) -> Sequence[int]:
        return [number for number in batch if number % 2 == 0]


class Pairs(Merger[int]):
    """Keeps one half until the other comes."""

    left = In(int)
    right = In(int)
    waits = Value(int, default=0)

    def on_left(self, number: int, /) -> int:
        return number

    def on_right(self, number: int, /) -> int:
        return number


@pytest.mark.parametrize(
    ("source", "middle", "said"),
    [
        (Growing(upto=1), Double(), "how the batches of 'source' are cut"),
        (Numbers(upto=1), Evens(), "the keys behind 'middle'"),
        (Numbers(upto=1), Pairs(), "what 'middle' puts together"),
    ],
    ids=["a source that grows", "a vectorised component", "a merger with state"],
)
def test_keys_that_may_be_others_when_a_message_comes_again_are_no_promise(source: Any, middle: Any, said: str) -> None:
    for channel, wanted in ((ChannelOptions(), Guarantee.AT_LEAST_ONCE), (DURABLE, Guarantee.EFFECTIVELY_ONCE)):
        for sink, guarantee in ((WithKeys(), wanted), (OtherRows(keyed=True), Guarantee.EFFECTIVELY_ONCE)):
            pipeline = Pipeline("p")
            start = pipeline.add("source", source)
            after = {"left": start, "right": start} if isinstance(middle, Pairs) else start
            pipeline.add("sink", sink, after=pipeline.add("middle", middle, after=after), channel=channel)
            (found,) = guarantees_of(pipeline.compile())
            assert found.guarantee is guarantee
            assert (said in found.legs[0].why) is (guarantee is Guarantee.AT_LEAST_ONCE)
            if guarantee is Guarantee.AT_LEAST_ONCE:
                assert "`durable: true`" in (found.legs[0].better or "")


def test_of_two_ways_to_a_sink_that_give_keys_otherwise_both_are_shown() -> None:
    pipeline = Pipeline("p")
    source = pipeline.add("source", Numbers(upto=1))
    ways = [pipeline.add("double", Double(), after=source), pipeline.add("evens", Evens(), after=source)]
    pipeline.add("sink", WithKeys(), after=ways)
    assert {each.components[1]: each.guarantee for each in guarantees_of(pipeline.compile())} == {
        "double": Guarantee.EFFECTIVELY_ONCE,
        "evens": Guarantee.AT_LEAST_ONCE,
    }
