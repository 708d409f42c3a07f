"""Where a message is to be tried again, the others of its key wait for it, and those of other keys do not (I8)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from autocoder import ErrorPolicy, Keyed, Pipeline, RetryPolicy, Sink, Transformer
from autocoder.declaration import ChannelOptions
from tests.support import Numbers

KEYS = 5
CHANNELS = {"memory": ChannelOptions(), "durable": ChannelOptions(durable=True)}


class Flaky:
    """Fails for every seventh number, so often."""

    def __init__(self, failures: int) -> None:
        self._left: dict[int, int] = {}
        self._failures = failures

    def meet(self, number: int) -> None:
        left = self._left.setdefault(number, self._failures if number % 7 == 3 else 0)
        if left:
            self._left[number] -= 1
            raise ConnectionError("no answer")


class Plain(Transformer[int, int]):
    """Keyed by the remainder; keeps the last number of each key, which must only grow."""

    failures: int = 2
    last = Keyed(int, default=-1)

    def check(self) -> None:
        self.flaky = Flaky(self.failures)

    def key(self, number: int, /) -> str:
        return str(number % KEYS)

    def process(self, number: int, /) -> int:
        self.flaky.meet(number)
        assert number > self.last.value
        self.last.value = number
        return number


class Async(Plain):
    """The same, asynchronously."""

    async def process(self, number: int, /) -> int:  # type: ignore[override]
        await anyio.lowlevel.checkpoint()
        return Plain.process(self, number)


class Gather(Sink[Any]):
    """Keeps what it gets."""

    def check(self) -> None:
        self.got: list[Any] = []

    def write(self, batch: Sequence[Any], /) -> None:
        self.got.extend(batch)


def in_order(numbers: list[int]) -> bool:
    return all(own == sorted(own) for key in range(KEYS) for own in [[each for each in numbers if each % KEYS == key]])


def build(step: Plain, sink: Gather, channel: str, backoff: float, attempts: int = 4, upto: int = 200) -> Pipeline:
    pipeline = Pipeline("lines", every=0.005)
    policy = ErrorPolicy(RetryPolicy(attempts=attempts, backoff=backoff, on=("ConnectionError",)))
    numbers = pipeline.add("numbers", Numbers(upto=upto, size=3))
    pipeline.add(
        "sink", sink, after=pipeline.add("step", step, after=numbers, channel=CHANNELS[channel], on_error=policy)
    )
    return pipeline


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("step", [Plain, Async])
def test_messages_of_a_key_wait_for_one_that_is_tried_again(tmp_path: Path, step: type[Plain], channel: str) -> None:
    sink = Gather()
    summary = build(step(), sink, channel, 0.02).run(database=f"sqlite:///{tmp_path}/x.db")
    assert (sorted(sink.got), summary.dead_letters) == (list(range(200)), 0)
    assert in_order(sink.got)
    assert sink.got != sorted(sink.got), "other keys go on"


@pytest.mark.parametrize("step", [Plain, Async])
def test_what_fails_for_good_lets_the_others_go_on(tmp_path: Path, step: type[Plain]) -> None:
    sink = Gather()
    summary = build(step(failures=9), sink, "memory", 0.01, attempts=2).run(database=f"sqlite:///{tmp_path}/x.db")
    assert sorted(sink.got) == [number for number in range(200) if number % 7 != 3]
    assert summary.dead_letters == len([number for number in range(200) if number % 7 == 3])
    assert in_order(sink.got)


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("step", [Plain, Async])
def test_the_line_goes_on_in_a_later_run(tmp_path: Path, step: type[Plain], channel: str) -> None:
    file, first, second = tmp_path / "x.db", Gather(), Gather()
    pipeline = build(step(failures=3), first, channel, 1000.0, upto=60)

    def parked() -> int:
        if not file.exists():
            return 0
        connection = sqlite3.connect(file)
        try:
            query = "SELECT count(*) FROM port_messages WHERE status IN ('failed', 'processing')"
            return int(connection.execute(query).fetchone()[0])
        except sqlite3.OperationalError:  # the table is yet to come
            return 0
        finally:
            connection.close()

    async def drained() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: pipeline.run_async(database=f"sqlite:///{file}"))
            with anyio.fail_after(60):
                while parked() + len(first.got) < 60:
                    await anyio.sleep(0.01)
            pipeline.drain()

    anyio.run(drained)
    assert first.got and parked() == 60 - len(first.got)
    connection = sqlite3.connect(file)
    connection.execute("UPDATE port_messages SET next_retry_at = NULL")
    connection.commit()
    connection.close()
    build(step(failures=0), second, channel, 0.01, upto=70).run(database=f"sqlite:///{file}")
    assert sorted(first.got + second.got) == list(range(70))
    assert in_order(first.got + second.got)


class Posts(Sink[dict[str, int]]):
    """Fails for some; its channel names the key."""

    def check(self) -> None:
        self.flaky = Flaky(2)
        self.got: list[int] = []

    def write(self, batch: Sequence[dict[str, int]], /) -> None:
        for each in batch:
            self.flaky.meet(each["number"])
        self.got += [each["number"] for each in batch]


class Named(Transformer[int, dict[str, int]]):
    """A number with its key."""

    def process(self, number: int, /) -> dict[str, int]:
        return {"number": number, "key": number % KEYS}


@pytest.mark.parametrize("durable", [False, True])
def test_a_channel_may_name_the_key(tmp_path: Path, durable: bool) -> None:
    pipeline, sink = Pipeline("posts"), Posts()
    named = pipeline.add("named", Named(), after=pipeline.add("numbers", Numbers(upto=200, size=9)))
    policy = ErrorPolicy(RetryPolicy(attempts=9, backoff=0.01))
    pipeline.add("posts", sink, after=named, channel=ChannelOptions(durable=durable, key="key"), on_error=policy)
    pipeline.run(database=f"sqlite:///{tmp_path}/x.db")
    assert sorted(sink.got) == list(range(200))
    assert in_order(sink.got)
    assert sink.got != sorted(sink.got)
