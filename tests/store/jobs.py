"""A small pipeline whose worker fails as the test says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
from autocoder_components.flow import Inbox

from autocoder import ErrorPolicy, Pipeline, Sink, Transformer
from autocoder.database import Database
from autocoder.store.dead_letters import DeadLetters, Letter, Selection


@dataclass(frozen=True)
class Job:
    """A number, and something secret."""

    number: int
    token: str = ""


class Work(Transformer[Job, Job]):
    """Fails for the numbers in `broken`."""

    def check(self) -> None:
        self.broken: set[int] = set()

    def process(self, job: Job, /) -> Job:
        if job.number in self.broken:
            raise TimeoutError(f"no answer for {job.number}")
        if job.number < 0:
            raise ValueError("negative")
        return job


class SlowWork(Transformer[Job, Job], concurrency=4):
    """The same, with calls in flight."""

    def check(self) -> None:
        self.broken: set[int] = set()

    async def process(self, job: Job, /) -> Job:
        await anyio.lowlevel.checkpoint()
        if job.number in self.broken:
            raise TimeoutError(f"no answer for {job.number}")
        return job


class Done(Sink[Job]):
    """Keeps the numbers."""

    def check(self) -> None:
        self.got: list[int] = []

    def write(self, batch: Sequence[Job], /) -> None:
        self.got.extend(job.number for job in batch)


class Jobs:
    """The pipeline: `requests -> work -> done`."""

    def __init__(
        self,
        broken: set[int] | None = None,
        *,
        until_empty: bool = True,
        worker: type[Work] | type[SlowWork] = Work,
        on_error: ErrorPolicy | None = None,
    ) -> None:
        self.pipeline = Pipeline("jobs", every=0.02)
        self.work, self.done = worker(), Done()
        self.work.broken = broken or set()
        requests = self.pipeline.add("requests", Inbox(payload=Job, until_empty=until_empty))
        worked = self.pipeline.add("work", self.work, after=requests, on_error=on_error)
        self.pipeline.add("done", self.done, after=worked)


async def every_letter(database: Database, selection: Selection = Selection(), **options: Any) -> list[Letter]:  # noqa: B008
    """All that match."""
    return [each async for page in DeadLetters(database).matching(selection, **options) for each in page]


async def until(condition: Callable[[], Awaitable[bool]] | Callable[[], bool]) -> None:
    """Wait for something that another task brings about."""
    with anyio.fail_after(60):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await anyio.sleep(0.02)
