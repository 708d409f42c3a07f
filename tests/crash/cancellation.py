"""Cancels a run at its n-th await, for every n: nothing may be left behind, and the next run has to end as if nothing was.

Between the event loop and every task stands a `Counted` coroutine: each time that a task is about to wait, the awaits of all
tasks together are counted, and at the chosen one the scope around the run is cancelled.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from autocoder import Pipeline
from tests.crash.components import side_file
from tests.crash.oracle import judge
from tests.crash.topologies import TOPOLOGIES

MESSAGES = 16
PATIENCE = 60.0
GRACE = 5.0


@dataclass
class Counter:
    """The awaits of a run, and what happens at one of them."""

    at: int
    awaits: int = 0
    cancel: Callable[[], None] = lambda: None

    def count(self) -> None:
        """A task is about to wait."""
        self.awaits += 1
        if self.awaits == self.at:
            self.cancel()


class Counted(Coroutine[Any, Any, Any]):
    """A coroutine whose every suspension is counted."""

    def __init__(self, inner: Any, counter: Counter) -> None:
        self._inner = inner
        self._counter = counter

    def send(self, value: Any) -> Any:
        """Go on to the next await."""
        waited = self._inner.send(value)
        self._counter.count()
        return waited

    def throw(self, *error: Any) -> Any:
        """Go on with an exception to the next await."""
        waited = self._inner.throw(*error)
        self._counter.count()
        return waited

    def close(self) -> None:
        """End it."""
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield from self._inner.__await__())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)  # cr_frame and the like, by which libraries tell its state


def _is_more(after: tuple[int, int], before: tuple[int, int]) -> bool:
    """Whether something is left over; fewer are there where a thread from before has ended meanwhile."""
    return any(now > then for now, then in zip(after, before, strict=True))


def cancelled_at(topology: str, seed: int, at: int, template: Path, folder: Path) -> tuple[bool, list[str]]:
    """Cancel a run at its `at`-th await and run again. Whether it was still running then, and what is wrong afterwards."""
    file = folder / f"{topology}_{at}.db"
    shutil.copyfile(template, file)
    name, url = file.stem, f"sqlite:///{file}"
    before = _open_files(), threading.active_count()
    counter = Counter(at)
    wrong: list[str] = anyio.run(_cancelled, topology, name, seed, url, counter)
    until = time.monotonic() + GRACE  # a thread that was told to end may be about to
    while _is_more(after := (_open_files(), threading.active_count()), before) and time.monotonic() < until:
        time.sleep(0.002)
    if _is_more(after, before):
        wrong.append(f"files and threads: {after} instead of {before}")
    if not wrong:
        wrong = anyio.run(_again, topology, name, seed, url)
    side_file(name).unlink(missing_ok=True)
    for each in folder.glob(f"{file.name}*"):
        each.unlink()
    return counter.awaits >= at, wrong


async def _cancelled(topology: str, name: str, seed: int, url: str, counter: Counter) -> list[str]:
    return await run_cancelled(TOPOLOGIES[topology].build(name, seed, MESSAGES), url, counter)


async def run_cancelled(pipeline: Pipeline, url: str, counter: Counter) -> list[str]:
    """Run a pipeline and cancel it at an await; what is wrong right afterwards."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(lambda loop, made, **options: asyncio.Task(Counted(made, counter), loop=loop, **options))

    async def within() -> None:
        with anyio.CancelScope() as scope:
            counter.cancel = scope.cancel
            await pipeline.run_async(database=url)

    running = loop.create_task(within())
    done, _ = await asyncio.wait([running], timeout=PATIENCE)
    if not done:
        running.cancel()
        return [f"the run does not end within {PATIENCE} s after it was cancelled at await {counter.at}"]
    left = asyncio.all_tasks() - {asyncio.current_task()}
    wrong = [f"tasks are left: {left}"] if left else []
    error = running.exception()
    return wrong if error is None else [*wrong, f"the cancelled run raises {error!r}"]


async def _again(topology: str, name: str, seed: int, url: str) -> list[str]:
    chosen = TOPOLOGIES[topology]
    with anyio.move_on_after(PATIENCE) as scope:
        await chosen.build(name, seed, MESSAGES).run_async(database=url)
    if scope.cancelled_caught:
        return [f"the next run does not end within {PATIENCE} s"]
    return await judge(url, name, chosen.fold(seed, MESSAGES))


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
