"""Neighbouring plain components share one loop; what leaves them, what fails and what is counted is as with a loop each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autocoder import Batch, Pipeline, Sink, Source, Transformer
from autocoder.runtime.fusing import fused_loop

Behaviour = dict[int, str]
MODULUS = 7


class RefusedError(Exception):
    """Raised for a message by a component of these tests."""


def behave(behaviour: Behaviour, number: int) -> int | None:
    what = behaviour.get(number % MODULUS, "pass")
    if what == "fail":
        raise RefusedError(number)
    return None if what == "drop" else number + 1


class Always(Transformer[int, int]):
    """Gives one payload, or fails."""

    behaviour: Behaviour

    def process(self, number: int, /) -> int:
        given = behave(self.behaviour, number)
        assert given is not None
        return given


class Maybe(Transformer[int, int]):
    """Gives one payload or none, or fails."""

    behaviour: Behaviour

    def process(self, number: int, /) -> int | None:
        return behave(self.behaviour, number)


class Numbers(Source[int]):
    """Counts up in batches of a size; waits between them or does not."""

    upto: int
    size: int
    waits: bool = False

    async def read(self, resume: int | None, /) -> AsyncIterator[Batch[int]]:
        for at in range(resume or 0, self.upto, self.size):
            if self.waits:
                await anyio.lowlevel.checkpoint()
            yield Batch(range(at, min(at + self.size, self.upto)), at + self.size)


class Kept(Sink[int]):
    """Keeps what arrives; an awaited write, so that the stage has to wait in the middle of a list."""

    waits: bool = False

    def check(self) -> None:
        self.kept: list[int] = []

    async def write(self, batch: Sequence[int], /) -> None:
        if self.waits:
            await anyio.lowlevel.checkpoint()
        self.kept += batch


behaviours = st.dictionaries(st.integers(0, MODULUS - 1), st.sampled_from(["fail", "drop"]), max_size=3)
chains = st.lists(st.tuples(st.booleans(), behaviours), min_size=1, max_size=6).map(
    lambda chain: [
        (optional, behaviour if optional else {key: "fail" for key, what in behaviour.items() if what == "fail"})
        for optional, behaviour in chain
    ]
)


def reference(chain: list[tuple[bool, Behaviour]], numbers: Sequence[int]) -> tuple[list[int], list[dict[str, int]]]:
    """What a loop for each message and component gives, and the counts."""
    counts = [{"taken": 0, "given": 0, "dropped": 0, "dead_letters": 0} for _ in chain]
    out = []
    for number in numbers:
        item: int | None = number
        for count, (_, behaviour) in zip(counts, chain, strict=True):
            assert item is not None
            count["taken"] += 1
            try:
                item = behave(behaviour, item)
            except RefusedError:
                count["dead_letters"] += 1
                break
            if item is None:
                count["dropped"] += 1
                break
            count["given"] += 1
        else:
            assert item is not None
            out.append(item)
    return out, counts


class Behaving:
    """What is called as a method, where others are called as functions."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour

    def handle(self, number: int) -> int | None:
        return behave(self.behaviour, number)


@given(chains, st.lists(st.integers(0, 100), max_size=60))
def test_the_loop_says_what_entered_each_component_and_what_failed(
    chain: list[tuple[bool, Behaviour]], numbers: list[int]
) -> None:
    calls: list[Callable[[int], int | None]] = [
        Behaving(behaviour).handle if at % 2 else partial(behave, behaviour) for at, (_, behaviour) in enumerate(chain)
    ]
    loop = fused_loop(calls, [optional for optional, _ in chain])
    messages = iter(numbers)
    out: list[Any] = []
    entered = [0] * len(chain)
    failures = [0] * len(chain)
    while True:
        some, failure = loop(messages, out)
        entered = [total + each for total, each in zip(entered, some, strict=True)]
        if failure is None:
            break
        failures[failure.position] += 1
        with pytest.raises(RefusedError):
            calls[failure.position](failure.item)
    expected, counts = reference(chain, numbers)
    assert out == expected
    assert entered == [count["taken"] for count in counts]
    assert failures == [count["dead_letters"] for count in counts]


@pytest.mark.anyio
@settings(max_examples=40, deadline=None)
@given(chains, st.sampled_from([1, 7, 700, 1000, 3000]), st.booleans(), st.booleans())
async def test_a_fused_chain_delivers_and_counts_as_a_loop_for_each_message(
    chain: list[tuple[bool, Behaviour]], size: int, source_waits: bool, sink_waits: bool
) -> None:
    pipeline = Pipeline("fused")
    at = pipeline.add("numbers", Numbers(upto=5000, size=size, waits=source_waits))
    for number, (optional, behaviour) in enumerate(chain):
        component = (Maybe if optional else Always)(behaviour=behaviour)
        at = pipeline.add(f"part{number}", component, after=at)
    sink = Kept(waits=sink_waits)
    pipeline.add("kept", sink, after=at)
    summary = await pipeline.run_async()
    expected, counts = reference(chain, range(5000))
    assert sink.kept == expected
    for number, count in enumerate(counts):
        found = summary.components[f"part{number}"]
        assert {name: getattr(found, name) for name in count} == count
