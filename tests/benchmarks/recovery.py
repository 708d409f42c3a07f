"""A process is killed while 100,000 messages wait on a durable channel; how soon the next one handles the first of them.

`python -m tests.benchmarks.recovery FILE MESSAGES` is such a process: with MESSAGES it reads them all and dies, without it
goes on where that one was and dies at the first message.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import anyio

from autocoder import ChannelOptions, Pipeline, Sink
from tests.benchmarks.harness import OPTIONS, Bar, Contender, Result, measure
from tests.benchmarks.orders import Order, Orders

MESSAGES = 100_000


class Reading(Orders):
    """Knows how much of what it read is committed."""

    def check(self) -> None:
        self.kept = 0

    async def committed(self, resume: int, /) -> None:
        self.kept = resume


class Dies(Sink[Order]):
    """Once the source has read everything."""

    def check(self) -> None:
        self.source: Reading | None = None

    async def write(self, batch: Sequence[Order], /) -> None:
        assert self.source is not None
        while self.source.kept < self.source.upto:
            await anyio.sleep(0.01)
        os._exit(0)


def child(file: str, messages: int) -> None:
    pipeline = Pipeline("bench")
    reading, dies = Reading(upto=messages), Dies()
    dies.source = reading
    pipeline.add("dies", dies, after=pipeline.add("reading", reading), channel=ChannelOptions(durable=True))
    pipeline.run(database=f"sqlite:///{file}")


def process(file: Path, messages: int) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "tests.benchmarks.recovery", str(file), str(messages)], check=True)
    return time.perf_counter() - started


def run() -> list[Result]:
    messages = max(2000, OPTIONS.sized(MESSAGES))
    with tempfile.TemporaryDirectory() as folder:
        killed, copy = Path(folder) / "killed", Path(folder) / "copy"
        killed.mkdir()
        process(killed / "bench.db", messages)

        def restored() -> None:
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(killed, copy)

        return [
            measure(
                f"recovery with {messages:,} pending messages, SQLite, start of the process included",
                [Contender("autocoder", lambda: process(copy / "bench.db", 0), before=restored)],
                [Bar(most=5)],
                unit="s",
                rounds=5,
            )
        ]


if __name__ == "__main__":
    child(sys.argv[1], int(sys.argv[2]))
