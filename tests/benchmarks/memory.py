"""How much memory a pipeline takes while a million messages wait for a slow sink: each run in a process of its own.

`python -m tests.benchmarks.memory MESSAGES FILE` is such a process; it prints its growth in bytes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import anyio

from autocoder import Batch, ChannelOptions, Pipeline, Sink, Source
from tests.benchmarks.harness import OPTIONS, Bar, Contender, Result, measure

MESSAGES = 1_000_000
MANY = 10_000_000
MEBIBYTE = 1024 * 1024
BATCH = 1000
TEXT = "a hundred bytes or so, as short messages are wont to be, and a number in front: "


class Texts(Source[str]):
    """As fast as it can, each payload an object of its own."""

    upto: int

    def read(self, resume: int | None, /) -> Iterator[Batch[str]]:
        for at in range(resume or 0, self.upto, BATCH):
            yield Batch([f"{number} {TEXT}" for number in range(at, at + BATCH)], at + BATCH)


class Slow(Sink[str]):
    """Takes longer than it takes to make the messages, and lets the source run on meanwhile."""

    seconds: float

    def check(self) -> None:
        self.count = 0
        self.before = 0

    async def write(self, batch: Sequence[str], /) -> None:
        self.before = self.before or most_resident()
        self.count += len(batch)
        await anyio.sleep(len(batch) * self.seconds)


def most_resident() -> int:
    """The most memory that this process has had, in bytes. Not `ru_maxrss`: that begins with what its parent had."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (kibibytes,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kibibytes) * 1024


def child(messages: int, file: str) -> None:
    """From the first message that arrives to the end of the run: how much the most grows."""
    pipeline = Pipeline("bench")
    slow = Slow(seconds=30e-6 if file else 3e-6)
    channel = ChannelOptions(durable=bool(file))
    pipeline.add("slow", slow, after=pipeline.add("texts", Texts(upto=messages)), channel=channel)
    pipeline.run(database=f"sqlite:///{file}" if file else None)
    assert slow.count == messages, slow.count
    print(most_resident() - slow.before)


def growth(messages: int, *, durable: bool) -> float:
    """In MiB."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "bench.db") if durable else ""
        command = [sys.executable, "-m", "tests.benchmarks.memory", str(messages), file]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout) / MEBIBYTE


def run() -> list[Result]:
    return [
        measure(
            f"growth of memory, {OPTIONS.sized(messages):,} messages through a slow sink",
            [
                Contender("autocoder, in memory", lambda m=messages: growth(OPTIONS.sized(m), durable=False)),
                Contender("autocoder, durable", lambda m=messages: growth(OPTIONS.sized(m), durable=True)),
            ],
            [Bar(most=64, of="autocoder, in memory"), Bar(most=64, of="autocoder, durable")],
            unit="MiB",
            rounds=rounds,
            warm_up=False,
        )
        for messages, rounds in ((MESSAGES, 5), *([(MANY, 1)] if OPTIONS.long else []))
    ]


if __name__ == "__main__":
    child(int(sys.argv[1]), sys.argv[2])
