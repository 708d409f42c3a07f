"""A component in which something is cancelled fails, by its policy; it was not cancelled itself, and the run goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from autocoder import Batch, ErrorPolicy, Pipeline, PipelineError, RetryPolicy, Sink, Source, Transformer
from tests.support import Collect, Numbers


async def lost(number: int) -> int:
    """Awaits a task that somebody else has cancelled, at three."""
    if number == 3:
        task = asyncio.ensure_future(asyncio.sleep(60))
        task.cancel()
        await task
    return number


def raised(number: int) -> int:
    """What a library does that was given such a result."""
    if number == 3:
        raise asyncio.CancelledError
    return number


class Plain(Transformer[int, int]):
    def process(self, number: int, /) -> int:
        return raised(number)


class Several(Transformer[int, int]):
    def process(self, number: int, /) -> Iterator[int]:
        yield raised(number)


class Whole(Transformer[int, int]):
    def process_batch(self, batch: Sequence[int], /) -> Sequence[int]:
        return [raised(number) for number in batch]


class Awaited(Transformer[int, int]):
    async def process(self, number: int, /) -> int:
        return await lost(number)


class AwaitedSeveral(Transformer[int, int]):
    async def process(self, number: int, /) -> AsyncIterator[int]:
        yield await lost(number)


class AwaitedWhole(Transformer[int, int]):
    async def process_batch(self, batch: Sequence[int], /) -> Sequence[int]:
        return [await lost(number) for number in batch]


HANDLERS = [
    *((kind, "loop") for kind in (Plain, Several, Whole, Awaited, AwaitedSeveral, AwaitedWhole)),
    *((kind, run_in) for kind in (Plain, Whole) for run_in in ("thread", "process")),
]
KEPT = [False, True]


def database(folder: Path, kept: bool) -> Any:
    return f"sqlite:///{folder / 'cancelled.db'}" if kept else None


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize(("kind", "run_in"), HANDLERS)
def test_a_handler_fails_for_its_message(tmp_path: Path, kind: Any, run_in: Any, kept: bool) -> None:
    pipeline, sink = Pipeline("cancelled"), Collect()
    numbers = pipeline.add("numbers", Numbers(upto=6))
    policy = ErrorPolicy(RetryPolicy(attempts=2, backoff=0.001))
    pipeline.add("sink", sink, after=pipeline.add("lost", kind(), after=numbers, run_in=run_in, on_error=policy))
    summary = pipeline.run(database=database(tmp_path, kept))
    assert sorted(sink.got) == [0, 1, 2, 4, 5]
    assert (summary.components["lost"].dead_letters, summary.components["lost"].retried) == (1, 1)


class PlainSink(Sink[int]):
    def write(self, batch: Sequence[int], /) -> None:
        list(map(raised, batch))


class AwaitedSink(Sink[int]):
    async def write(self, batch: Sequence[int], /) -> None:
        for number in batch:
            await lost(number)


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("kind", [PlainSink, AwaitedSink])
def test_a_sink_fails_for_its_message(tmp_path: Path, kind: Any, kept: bool) -> None:
    pipeline = Pipeline("cancelled")
    pipeline.add("lost", kind(), after=pipeline.add("numbers", Numbers(upto=6)))
    assert pipeline.run(database=database(tmp_path, kept)).components["lost"].dead_letters == 1


class PlainSource(Source[int]):
    def read(self, resume: Any, /) -> Iterator[Batch[int]]:
        yield Batch([1], resume=1)
        raised(3)


class AwaitedSource(Source[int]):
    async def read(self, resume: Any, /) -> AsyncIterator[Batch[int]]:
        yield Batch([1], resume=1)
        await lost(3)


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("kind", [PlainSource, AwaitedSource])
def test_a_source_is_named(tmp_path: Path, kind: Any, kept: bool) -> None:
    pipeline = Pipeline("cancelled")
    pipeline.add("sink", Collect(), after=pipeline.add("lost", kind()))
    with pytest.raises(PipelineError, match="'cancelled', component 'lost', port 'out': read failed: CancelledError"):
        pipeline.run(database=database(tmp_path, kept))


class Hooks(Sink[int]):
    at: str

    async def open(self) -> None:
        await self.reach("open")

    async def write(self, batch: Sequence[int], /) -> None: ...

    async def flush(self) -> None:
        await self.reach("flush")

    async def finish(self) -> None:
        await self.reach("finish")

    async def close(self) -> None:
        await self.reach("close")

    async def reach(self, hook: str) -> None:
        await lost(3 if hook == self.at else 0)


@pytest.mark.parametrize("hook", ["open", "flush", "finish", "close"])
def test_a_hook_is_named(hook: str) -> None:
    pipeline = Pipeline("cancelled")
    pipeline.add("lost", Hooks(at=hook), after=pipeline.add("numbers", Numbers(upto=6)))
    with pytest.raises(PipelineError, match=f"'cancelled', component 'lost': {hook} failed: CancelledError"):
        pipeline.run()


class Waits(Transformer[int, int]):
    async def process(self, number: int, /) -> int:
        await asyncio.sleep(3600)
        return number


@pytest.mark.anyio
@pytest.mark.parametrize("kept", KEPT)
async def test_a_run_that_is_cancelled_ends(tmp_path: Path, kept: bool) -> None:
    """Whose task is cancelled has not failed."""
    pipeline = Pipeline("cancelled")
    stop = ErrorPolicy(then="stop")
    waits = pipeline.add("waits", Waits(), after=pipeline.add("numbers", Numbers(upto=6)), on_error=stop)
    pipeline.add("sink", Collect(), after=waits)
    run = asyncio.ensure_future(pipeline.run_async(database=database(tmp_path, kept)))
    while pipeline.progress is None or not pipeline.progress.messages_in:
        await asyncio.sleep(0.01)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
