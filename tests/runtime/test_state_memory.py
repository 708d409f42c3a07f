"""State larger than memory: what is dropped from memory is fetched again, and what is not stored is not looked for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import anyio
import pytest

from autocoder import Batch, Keyed, Pipeline, Sink, Source, Transformer
from autocoder.runtime import memory
from autocoder.state import Cell
from tests.store.statements import asked
from tests.support import Collect


def test_what_was_absent_and_is_written_down_is_no_longer_known_to_be_absent() -> None:
    cell = Cell(int, lambda: 0)
    cell.preload({}, ["k"])
    cell.begin("k")
    cell.value = 5
    assert cell.take_changes() == {"k": 5}
    cell.keep_only(0, set())
    assert not cell.knows("k")
    cell.preload({"k": 5}, ["k"])
    cell.begin("k")
    assert cell.value == 5


def test_what_was_cleared_stays_absent_until_it_is_gone_from_the_store() -> None:
    cell = Cell(int, lambda: 0)
    cell.preload({"k": 5}, ["k"])
    cell.begin("k")
    cell.clear()
    cell.take_changes()
    cell.keep_only(0, {"k"})
    cell.preload({"k": 5}, ["k"])
    assert cell.value == 0


class Rounds(Source[int]):
    """Each number once a round; a barrier has passed between two rounds."""

    async def read(self, resume: int | None, /) -> AsyncIterator[Batch[int]]:
        for number in range(4):
            for at in range(0, 40, 8):
                yield Batch(list(range(at, at + 8)), resume=number)
                await anyio.sleep(0.005)


class Again(Source[int]):
    """The numbers up to `upto`, in every run."""

    upto: int

    async def read(self, resume: int | None, /) -> AsyncIterator[Batch[int]]:
        yield Batch(list(range(self.upto)), resume=self.upto)


class Times(Transformer[int, int]):
    """How often each number came."""

    times = Keyed(int, default=0)

    def key(self, number: int, /) -> str:
        return str(number)

    def process(self, number: int, /) -> int:
        self.times.value += 1
        return self.times.value


class AsyncTimes(Transformer[int, int]):
    """The same, asynchronously; one number has no key."""

    times = Keyed(int, default=0)

    def key(self, number: int, /) -> str:
        if number == 13:
            raise LookupError("no key")
        return str(number)

    async def process(self, number: int, /) -> int:
        self.times.value += 1
        return self.times.value


@pytest.mark.parametrize("times", [Times, AsyncTimes])
def test_state_may_be_larger_than_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: type[Transformer[int, int]]
) -> None:
    monkeypatch.setattr(memory, "MOST_KEYS", 3)
    monkeypatch.setattr(memory, "EPOCHS_UNDER_WAY", 3)
    pipeline, sink = Pipeline("large", every=0.001), Collect()
    pipeline.add("sink", sink, after=pipeline.add("times", times(), after=pipeline.add("rounds", Rounds())))
    summary = pipeline.run(database=f"sqlite:///{tmp_path}/x.db")
    failing = times is AsyncTimes
    assert sorted(sink.got) == sorted(list(range(1, 5)) * (39 if failing else 40))
    assert summary.dead_letters == (4 if failing else 0)


class Totals(Times):
    """Tells in the end how many numbers came."""

    def finish(self) -> list[int]:
        return [len(self.times.keys())]


@pytest.mark.parametrize(("times", "reads"), [(Times, False), (AsyncTimes, False), (Totals, True)])
def test_every_key_is_read_only_for_a_component_that_says_something_at_its_end(
    tmp_path: Path, times: type[Transformer[int, int]], reads: bool
) -> None:
    for upto in (40, 3):
        pipeline, sink = Pipeline("ends"), Collect()
        numbers = pipeline.add("numbers", Again(upto=upto))
        pipeline.add("sink", sink, after=pipeline.add("times", times(), after=numbers))
        with asked() as statements:
            pipeline.run(database=f"sqlite:///{tmp_path}/x.db")
    values = "SELECT component_state.state_key, component_state.state_data"
    state = [each for each in statements if each.sql.startswith(values)]
    assert state
    assert any("state_key IN" not in each.sql for each in state) == reads
    assert (sink.got[-1] == 40) == reads


class Late(Transformer[int, int], concurrency=2, ordered=False):
    """Answers when it is told to."""

    def check(self) -> None:
        self.told = anyio.Event()

    async def process(self, number: int, /) -> int:
        await self.told.wait()
        return number


class Endless(Source[int]):
    """One number, and then nothing, without an end."""

    async def read(self, resume: int | None, /) -> AsyncIterator[Batch[int]]:
        yield Batch([1], resume=1)
        await anyio.sleep_forever()


class Flushed(Sink[int]):
    """Notes what was flushed, which happens where a barrier passes."""

    def check(self) -> None:
        self.got: list[int] = []
        self.flushed: list[int] = []

    def write(self, batch: Sequence[int], /) -> None:
        self.got += batch

    async def flush(self) -> None:
        self.flushed = list(self.got)


@pytest.mark.anyio
@pytest.mark.parametrize("kept", [True, False])
async def test_what_a_pool_gives_after_a_barrier_is_committed_though_nothing_else_comes(
    tmp_path: Path, kept: bool
) -> None:
    late, sink = Late(), Flushed()
    pipeline = Pipeline("late", every=0.01)
    pipeline.add("sink", sink, after=pipeline.add("late", late, after=pipeline.add("endless", Endless())))
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            await pipeline.run_async(database=f"sqlite:///{tmp_path}/x.db" if kept else None)

        tasks.start_soon(run)
        await anyio.sleep(0.3)  # several barriers pass while the call is on its way
        late.told.set()
        with anyio.fail_after(30):
            while sink.flushed != [1]:
                await anyio.sleep(0.01)
        pipeline.drain()
