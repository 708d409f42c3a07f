"""One to sixteen consumers of one port, each of which gets every message: deliveries a second, in memory and durable."""

from __future__ import annotations

import tempfile
from pathlib import Path

from autocoder import ChannelOptions, Pipeline
from tests.benchmarks.harness import OPTIONS, Bar, Contender, Result, measure_curve, step
from tests.benchmarks.in_memory import Numbers, Tally

MESSAGES = {False: 500_000, True: 5000}
NUMBERS = (1, 2, 4, 8, 16)
X = "consumers"


def work(consumers: int, messages: int, *, durable: bool) -> None:
    pipeline = Pipeline("bench")
    port = pipeline.add("numbers", Numbers(upto=messages, size=1000))
    tallies = [Tally() for _ in range(consumers)]
    for at, tally in enumerate(tallies):
        pipeline.add(f"tally{at}", tally, after=port, channel=ChannelOptions(durable=durable))
    with tempfile.TemporaryDirectory() as folder:
        pipeline.run(database=f"sqlite:///{Path(folder) / 'bench.db'}" if durable else None)
    assert all(each.count == messages for each in tallies), [each.count for each in tallies]


def contenders(consumers: int) -> list[Contender]:
    found = []
    for name, durable in (("in memory", False), ("durable, SQLite", True)):
        messages = max(1000, OPTIONS.sized(MESSAGES[durable]))
        found.append(Contender(name, lambda m=messages, d=durable: work(consumers, m, durable=d), messages * consumers))
    return found


def run() -> list[Result]:
    bars = [Bar(step(name, 1, X), least=0.9, of=step(name, 16, X)) for name in ("in memory", "durable, SQLite")]
    return [measure_curve("consumers of one port", X, NUMBERS, contenders, bars, unit="deliveries/s")]
