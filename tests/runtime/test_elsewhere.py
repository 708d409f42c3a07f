"""Handlers in threads and in other processes."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
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


class Hangs(Transformer[int, int]):
    """Says in a file which process it is in, and never comes back from there."""

    folder: str

    def process(self, number: int, /) -> int:
        (Path(self.folder) / str(os.getpid())).touch()
        time.sleep(600)
        return number


async def process_in(folder: Path) -> int:
    """The process in which the handler hangs."""
    while not (found := list(folder.iterdir())):
        await anyio.sleep(0.01)
    return int(found[0].name)


async def gone(process: int) -> None:
    with suppress(ProcessLookupError):
        while True:
            os.kill(process, 0)
            await anyio.sleep(0.01)


@pytest.mark.anyio
async def test_a_process_that_hangs_ends_with_a_run_that_is_cancelled(tmp_path: Path) -> None:
    pipeline = Pipeline("hanging")
    numbers = pipeline.add("numbers", Numbers(upto=1))
    pipeline.add(
        "sink", Collect(), after=pipeline.add("hangs", Hangs(folder=str(tmp_path)), after=numbers, run_in="process")
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pipeline.run_async)
        process = await process_in(tmp_path)
        tasks.cancel_scope.cancel()
    with anyio.fail_after(60):
        await gone(process)


@pytest.mark.anyio
async def test_a_process_ends_with_a_run_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "at").mkdir()
    code = f"""if __name__ == "__main__":
        from autocoder import Pipeline
        from tests.runtime.test_elsewhere import Hangs
        from tests.support import Collect, Numbers
        pipeline = Pipeline("killed")
        numbers = pipeline.add("numbers", Numbers(upto=1))
        hangs = pipeline.add("hangs", Hangs(folder={str(tmp_path / "at")!r}), after=numbers, run_in="process")
        pipeline.add("sink", Collect(), after=hangs)
        pipeline.run()
    """
    (tmp_path / "killed.py").write_text(code)
    command = [sys.executable, str(tmp_path / "killed.py")]
    async with await anyio.open_process(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}) as run:
        with anyio.fail_after(60):
            process = await process_in(tmp_path / "at")
            run.kill()
            await run.wait()
            await gone(process)
