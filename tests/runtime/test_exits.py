"""`sys.exit` in a component is a failure of that component, whoever calls it; Ctrl-C is none."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from autocoder import (
    Batch,
    ErrorPolicy,
    Keyed,
    Pipeline,
    PipelineError,
    RetryPolicy,
    Sink,
    Source,
    Statement,
    Transformer,
)
from tests.support import Collect, Numbers

SAID = "SystemExit: no way out"


def leave_at_three(number: int) -> int:
    """What a library does that thinks itself a program."""
    if number == 3:
        sys.exit("no way out")
    return number


class Plain(Transformer[int, int]):
    def process(self, number: int, /) -> int:
        return leave_at_three(number)


class Several(Transformer[int, int]):
    def process(self, number: int, /) -> Iterator[int]:
        yield leave_at_three(number)


class Whole(Transformer[int, int]):
    def process_batch(self, batch: Sequence[int], /) -> Sequence[int]:
        return [leave_at_three(number) for number in batch]


class Awaited(Transformer[int, int]):
    async def process(self, number: int, /) -> int:
        return leave_at_three(number)


class AwaitedSeveral(Transformer[int, int]):
    async def process(self, number: int, /) -> AsyncIterator[int]:
        yield leave_at_three(number)


class AwaitedWhole(Transformer[int, int]):
    async def process_batch(self, batch: Sequence[int], /) -> Sequence[int]:
        return [leave_at_three(number) for number in batch]


class ByKey(Transformer[int, int]):
    seen = Keyed(int, default=0)

    def key(self, number: int, /) -> str:
        return str(leave_at_three(number))

    def process(self, number: int, /) -> int:
        return number


HANDLERS = [
    *((kind, "loop") for kind in (Plain, Several, Whole, Awaited, AwaitedSeveral, AwaitedWhole, ByKey)),
    *((kind, run_in) for kind in (Plain, Whole) for run_in in ("thread", "process")),
]
KEPT = [False, True]


def pipeline_of(transformer: Any, run_in: Any, then: Any) -> tuple[Pipeline, Collect]:
    """`retry` names no class, so that all exceptions are tried again."""
    policy = ErrorPolicy(RetryPolicy(attempts=3, backoff=0.001), then=then)
    pipeline, sink = Pipeline("exits"), Collect()
    numbers = pipeline.add("numbers", Numbers(upto=6))
    pipeline.add("sink", sink, after=pipeline.add("leaves", transformer, after=numbers, on_error=policy, run_in=run_in))
    return pipeline, sink


def database(folder: Path, kept: bool) -> Any:
    return f"sqlite:///{folder / 'exits.db'}" if kept else None


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize(("kind", "run_in"), HANDLERS)
def test_a_handler_that_exits_fails_for_its_message(tmp_path: Path, kind: Any, run_in: str, kept: bool) -> None:
    pipeline, sink = pipeline_of(kind(), run_in, "dead_letter")
    summary = pipeline.run(database=database(tmp_path, kept))
    assert sorted(sink.got) == [0, 1, 2, 4, 5]
    assert (summary.components["leaves"].dead_letters, summary.components["leaves"].retried) == (1, 0)


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize(("kind", "run_in"), HANDLERS)
def test_a_handler_that_exits_is_named_where_it_stops_the_run(
    tmp_path: Path, kind: Any, run_in: str, kept: bool
) -> None:
    pipeline, _ = pipeline_of(kind(), run_in, "stop")
    with pytest.raises(PipelineError) as caught:
        pipeline.run(database=database(tmp_path, kept))
    where = "pipeline 'exits', component 'leaves', port 'in': process failed"
    said = f"RemoteError: {SAID}" if run_in == "process" else SAID
    assert str(caught.value) == f"{where}: {said}; payload: 3"
    assert caught.value.exit_code == 1


def test_a_policy_may_name_it() -> None:
    tries: list[int] = []

    class Once(Transformer[int, int]):
        def process(self, number: int, /) -> int:
            tries.append(number)
            return leave_at_three(number) if tries.count(3) == 1 else number

    pipeline, sink = Pipeline("exits"), Collect()
    policy = ErrorPolicy(RetryPolicy(attempts=2, backoff=0.001, on=("SystemExit",)))
    once = pipeline.add("once", Once(), after=pipeline.add("numbers", Numbers(upto=6)), on_error=policy)
    pipeline.add("sink", sink, after=once)
    assert (pipeline.run().dead_letters, sink.got) == (0, [0, 1, 2, 3, 4, 5])


class PlainSink(Sink[int]):
    def write(self, batch: Sequence[int], /) -> None:
        list(map(leave_at_three, batch))


class AwaitedSink(Sink[int]):
    async def write(self, batch: Sequence[int], /) -> None:
        list(map(leave_at_three, batch))


class Statements(Sink[int]):
    def statements(self, batch: Sequence[int], /) -> list[Statement]:
        list(map(leave_at_three, batch))
        return [Statement(sa.text("SELECT 1"))]


class PlainSource(Source[int]):
    def read(self, resume: Any, /) -> Iterator[Batch[int]]:
        yield Batch([1], resume=1)
        leave_at_three(3)


class AwaitedSource(Source[int]):
    async def read(self, resume: Any, /) -> AsyncIterator[Batch[int]]:
        yield Batch([1], resume=1)
        leave_at_three(3)


@pytest.mark.parametrize(
    ("kind", "kept"), [*((kind, kept) for kind in (PlainSink, AwaitedSink) for kept in KEPT), (Statements, True)]
)
def test_a_sink_that_exits_fails_for_its_message(tmp_path: Path, kind: Any, kept: bool) -> None:
    pipeline = Pipeline("exits")
    pipeline.add("leaves", kind(), after=pipeline.add("numbers", Numbers(upto=6)))
    assert pipeline.run(database=database(tmp_path, kept)).components["leaves"].dead_letters == 1
    pipeline = Pipeline("exits again")
    stop = ErrorPolicy(then="stop")
    pipeline.add("leaves", kind(), after=pipeline.add("numbers", Numbers(upto=6)), on_error=stop)
    with pytest.raises(PipelineError, match=f"component 'leaves', port 'in': process failed: {SAID}; payload: 3"):
        pipeline.run(database=database(tmp_path, kept))


@pytest.mark.parametrize("run_in", ["loop", "thread"])
@pytest.mark.parametrize("kind", [PlainSource, AwaitedSource])
def test_a_source_that_exits_is_named(kind: Any, run_in: Any) -> None:
    pipeline = Pipeline("exits")
    pipeline.add(
        "sink", Collect(), after=pipeline.add("leaves", kind(), run_in=run_in if kind is PlainSource else "loop")
    )
    with pytest.raises(PipelineError, match=f"'exits', component 'leaves', port 'out': read failed: {SAID}$"):
        pipeline.run()


class Hooks(Sink[int]):
    at: str

    async def open(self) -> None:
        self.reach("open")

    async def write(self, batch: Sequence[int], /) -> None: ...

    async def flush(self) -> None:
        self.reach("flush")

    async def finish(self) -> None:
        self.reach("finish")

    async def close(self) -> None:
        self.reach("close")

    def reach(self, hook: str) -> None:
        leave_at_three(3 if hook == self.at else 0)


@pytest.mark.parametrize("hook", ["open", "flush", "finish", "close"])
def test_a_hook_that_exits_is_named(hook: str) -> None:
    pipeline = Pipeline("exits")
    pipeline.add("leaves", Hooks(at=hook), after=pipeline.add("numbers", Numbers(upto=6)))
    with pytest.raises(PipelineError, match=f"'exits', component 'leaves': {hook} failed: {SAID}$"):
        pipeline.run()


class Last(Transformer[int, int]):
    lazy: bool

    def process(self, number: int, /) -> int:
        return number

    def finish(self) -> Iterator[int]:
        return self.given() if self.lazy else iter([leave_at_three(3)])

    def given(self) -> Iterator[int]:
        yield leave_at_three(3)


class AwaitedLast(Transformer[int, int]):
    def process(self, number: int, /) -> int:
        return number

    async def finish(self) -> AsyncIterator[int]:
        yield leave_at_three(3)


@pytest.mark.parametrize("last", [Last(lazy=True), Last(lazy=False), AwaitedLast()])
def test_a_finish_that_exits_is_named(last: Any) -> None:
    pipeline = Pipeline("exits")
    leaves = pipeline.add("leaves", last, after=pipeline.add("numbers", Numbers(upto=6)))
    pipeline.add("sink", Collect(), after=leaves)
    with pytest.raises(PipelineError, match=f"'exits', component 'leaves': finish failed: {SAID}$"):
        pipeline.run()


class Interrupted(Transformer[int, int]):
    def process(self, number: int, /) -> int:
        if number == 3:
            raise KeyboardInterrupt
        return number


class InterruptedAwaited(Transformer[int, int]):
    async def process(self, number: int, /) -> int:
        return Interrupted().process(number)


@pytest.mark.parametrize("kind", [Interrupted, InterruptedAwaited])
def test_ctrl_c_is_nobodys_failure(kind: Any) -> None:
    pipeline, _ = pipeline_of(kind(), "loop", "drop")
    with pytest.raises(KeyboardInterrupt):
        pipeline.run()
