"""Handlers in threads and in other processes."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import anyio
import pytest

from autocoder import Pipeline, Transformer
from tests.support import Collect, Numbers


class WhereAmI(Transformer[int, tuple[int, int]]):
    """Says where it runs."""

    def process(self, number: int, /) -> tuple[int, int]:
        time.sleep(0.001)
        return os.getpid(), threading.get_ident()


@pytest.mark.parametrize("run_in", ["thread", "process"])
def test_blocking_handlers_run_elsewhere(run_in: str) -> None:
    pipeline, sink = Pipeline("elsewhere"), Collect()
    numbers = pipeline.add("numbers", Numbers(upto=20))
    pipeline.add("sink", sink, after=pipeline.add("where", WhereAmI(), after=numbers, run_in=run_in, concurrency=2))
    pipeline.run()
    assert len(sink.got) == 20
    here = (os.getpid(), threading.get_ident())
    assert all((pid == here[0]) == (run_in == "thread") and (pid, thread) != here for pid, thread in sink.got)


class Dies(Transformer[int, int]):
    """Ends its process over one number."""

    def process(self, number: int, /) -> int:
        if number == 5:
            os._exit(3)
        if number == 7:
            raise LookupError("seven")
        return number


def test_a_message_that_kills_its_process_is_a_dead_letter() -> None:
    pipeline = Pipeline("deadly")
    numbers = pipeline.add("numbers", Numbers(upto=12))
    dies = pipeline.add("dies", Dies(), after=numbers, run_in="process", concurrency=2)
    sink = Collect()
    pipeline.add("sink", sink, after=dies)
    letters: list[Any] = []

    async def main() -> None:
        await pipeline.run_async(on_dead_letter=letters.append)

    anyio.run(main)
    assert sink.got == [number for number in range(12) if number not in (5, 7)]
    assert {letter.payload: letter.error_type for letter in letters} == {5: "RemoteError", 7: "RemoteError"}
