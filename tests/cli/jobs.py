"""A project with an inbox, and a worker that fails for negative numbers until the file `mended` is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal

from tests.store.fresh import fresh_postgres, fresh_sqlite

PARTS = '''
    """What the pipeline is made of."""

    import pathlib
    from collections.abc import Sequence
    from dataclasses import dataclass

    from autocoder import Sink, Transformer


    @dataclass
    class Job:
        number: int
        token: str = ""


    class Work(Transformer[Job, Job]):
        """Fails for negative numbers until somebody has mended it."""

        def process(self, job: Job, /) -> Job:
            if job.number < 0 and not pathlib.Path("mended").exists():
                raise TimeoutError(f"no answer for {job.number}")
            return job


    class Append(Sink[Job]):
        """One number a line."""

        def write(self, batch: Sequence[Job], /) -> None:
            with pathlib.Path("done.txt").open("a") as file:
                file.writelines(f"{job.number}\\n" for job in batch)
'''
PIPELINE = """
    pipeline: jobs
    components:
      requests: {use: flow.Inbox, with: {payload: "jobparts:Job", until_empty: UNTIL}}
      work: {use: jobparts:Work, from: requests}
      done: {use: jobparts:Append, from: work}
"""
BATCH = PIPELINE.replace("UNTIL", "true")
ENDLESS = PIPELINE.replace("UNTIL", "false")


@contextmanager
def database_of(kind: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """A new database for a test that is not asynchronous."""
    if kind == "sqlite":
        yield fresh_sqlite(folder)
        return
    fresh = fresh_postgres(request.getfixturevalue("postgres_url"))
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(fresh) as url:
        yield url


def done(folder: Path) -> list[int]:
    """The numbers that the sink has written."""
    file = folder / "done.txt"
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []
