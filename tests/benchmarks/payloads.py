"""The durable hop on SQLite with payloads of 100 B, 1 KB and 100 KB, against the same work by hand."""

from __future__ import annotations

from functools import partial

from tests.benchmarks import durable_sqlite
from tests.benchmarks.harness import OPTIONS, Bar, Contender, Result, measure_curve, step

MESSAGES = {100: 200_000, 1000: 200_000, 100_000: 2_000}
BATCHES = {100: 1000, 1000: 1000, 100_000: 50}
X = "bytes"


def contenders(size: int) -> list[Contender]:
    batch = BATCHES[size]
    messages = max(batch, OPTIONS.sized(MESSAGES[size]) // batch * batch)
    options = {"batch": batch, "note": "x" * (size - 60)}  # the rest of the payload takes sixty
    return [
        Contender(name, lambda w=work: durable_sqlite.checked(partial(w, **options), messages), messages)
        for name, work in (("autocoder", durable_sqlite.ours), ("sqlite3 by hand", durable_sqlite.by_hand))
    ]


def run() -> list[Result]:
    bars = [Bar(step("sqlite3 by hand", size, X), least=0.8, of=step("autocoder", size, X)) for size in MESSAGES]
    return [measure_curve("durable hop by size of payload, SQLite FULL", X, list(MESSAGES), contenders, bars)]
