"""The lifecycle of assessments on both databases: how fast they are created, how soon a waiter wakes, a thousand at once.

The thousand go through the shipped pipeline in a process of its own (`python -m tests.benchmarks.assessments URL`), which
asks a server of MCP in a third, each of whose answers takes 50 ms. Meanwhile their states are queried.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import autocoder_components.assessments as pack
from autocoder_components.assessments.lifecycle.store import AssessmentStore, open_store

from autocoder import Pipeline
from autocoder.errors import Place
from autocoder.yaml_document import from_python
from tests.benchmarks.harness import OPTIONS, Bar, Contender, Result, measure
from tests.benchmarks.postgres import postgres

AT_ONCE = 1000
CREATED = 5000
SINGLY = 500
CALLERS = 20
WAKES = 100
WORKERS = 4
"""Servers that are asked at a time."""
ANSWER_SECONDS = 0.05
ANSWERS: dict[str, dict[str, Any]] = {
    "server/discover": {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}},
    "tools/list": {"tools": [{"name": "add", "inputSchema": {"type": "object"}}]},
}
"""All that a probe asks of a server, each once."""
QUERY_PAUSE = 0.01
REQUEST = {"candidates": [{"text": '{"mcpServers": {"a": {"command": "npx"}}}'}]}
SHIPPED = Path(pack.__file__ or "").with_name("pipelines") / "assessments.yaml"
OURS, IDEAL, QUERIES = "autocoder, all done", "ideal for its workers", "state query meanwhile, p99"


# -- creating and waking ----------------------------------------------------------------------------------------------


async def in_batches(store: AssessmentStore, number: int) -> float:
    """Created in a second."""
    started = OPTIONS.clock()
    await store.batch_create([REQUEST] * number)
    return number / (OPTIONS.clock() - started)


async def singly(store: AssessmentStore, number: int, callers: int = 1) -> float:
    """Created in a second, each in a transaction of its own, by so many callers."""

    async def caller(each: int) -> None:
        for _ in range(each):
            await store.create(REQUEST)

    async with asyncio.TaskGroup() as tasks:  # every connection of the pool has its statements prepared
        for _ in range(CALLERS):
            tasks.create_task(caller(2))
    started = OPTIONS.clock()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(callers):
            tasks.create_task(caller(number // callers))
    return number // callers * callers / (OPTIONS.clock() - started)


async def waking(url: str, number: int) -> float:
    """Milliseconds from a commit to the moment at which a waiter on another connection has its verdict, the median."""
    async with open_store(url) as one, open_store(url) as other:
        delays = []
        for made in await one.batch_create([REQUEST] * number):
            await one.start_processing(made)
            waiter = asyncio.create_task(other.wait_for_completion(made))
            await asyncio.sleep(random.uniform(0.02, 0.05))
            await one.complete(made, {})
            committed = time.perf_counter()
            await waiter
            delays.append(time.perf_counter() - committed)
        return 1000 * statistics.median(delays)


def on_store(fresh: Callable[[], str], work: Callable[[AssessmentStore], Awaitable[float]]) -> float:
    """The figure of some work on a new database."""

    url = fresh()

    async def opened() -> float:
        async with open_store(url) as store:
            return await work(store)

    return asyncio.run(opened())


# -- a thousand at once -----------------------------------------------------------------------------------------------


async def serve(url: str) -> None:
    """The shipped pipeline until SIGTERM; it may ask servers on loopback."""
    overrides = {"components": {"status": {"concurrency": WORKERS, "with": {"hosts": ["127.0.0.1"]}}}}
    await Pipeline.from_yaml(SHIPPED, overrides=from_python(overrides, Place("benchmark"))).run_async(
        database=url, signals=True
    )


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request to a server of MCP: what it can, or its tools."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = next(int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:"))
    asked = json.loads(await reader.readexactly(length))
    await asyncio.sleep(ANSWER_SECONDS)
    result = {"resultType": "complete", **ANSWERS[asked["method"]]}
    body = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}).encode()
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    await writer.drain()
    writer.close()


def fakes(told: Connection) -> None:
    """Serve on a free port of loopback, which is told."""

    async def listen() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1000)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(listen())


@contextmanager
def faking() -> Iterator[int]:
    """The port of fakes in a process of their own."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=fakes, args=(theirs,), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.kill()
        process.join()


@contextmanager
def serving(url: str) -> Iterator[None]:
    """The service in a process of its own, in a folder for its reports."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "tests.benchmarks.assessments", url]
        process = subprocess.Popen(words, env=_environment(), cwd=folder)
        try:
            yield
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        finally:
            process.kill()
            process.wait()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}


class Thousand:
    """So many assessments at once; keeps what it saw meanwhile."""

    def __init__(self, fresh: Callable[[], str], port: int, number: int) -> None:
        self._fresh, self._number = fresh, number
        server = {"type": "http", "url": f"http://127.0.0.1:{port}/mcp"}
        self._request = {
            "type": "health",
            "generate_report": False,
            "candidates": [{"text": json.dumps({"mcpServers": {"fake": server}})}],
        }
        self.queries: list[float] = []

    def __call__(self) -> float:
        url = self._fresh()
        return asyncio.run(self._run(url))

    async def _run(self, url: str) -> float:
        async with open_store(url) as store:
            with serving(url):
                await store.wait_for_completion(await store.create(self._request), 60)  # it is up, and warm
                started = time.perf_counter()
                ids = await store.batch_create([self._request] * self._number)
                querying = asyncio.create_task(self._query(store, ids))
                for each in ids:
                    await store.wait_for_completion(each, 600)
                seconds = time.perf_counter() - started
                querying.cancel()
            stats = await store.stats()
            assert stats.completed_assessments == stats.total_assessments == self._number + 1, stats
            one = await store.get_state(ids[0])
            assert one.result is not None and _was_asked(one.result), one.result
        return seconds

    async def _query(self, store: AssessmentStore, ids: list[str]) -> None:
        self.queries = []
        while True:
            started = time.perf_counter()
            await store.get_state(random.choice(ids), fresh=True)
            self.queries.append(1000 * (time.perf_counter() - started))
            await asyncio.sleep(QUERY_PAUSE)


def _was_asked(result: Any) -> bool:
    """Whether the verdict rests on what the fake said."""
    return any("MCP 2026-07-28" in (each["reason"] or "") for each in result["outcomes"] if each["check"] == "status")


def run_on(database: str, fresh: Callable[[], str], port: int) -> Iterator[Result]:
    """All figures of one database."""
    created, single, wakes = OPTIONS.sized(CREATED), max(CALLERS, OPTIONS.sized(SINGLY)), max(5, OPTIONS.sized(WAKES))
    batches, one, many = "in batches of 500", "singly, one caller", f"singly, {CALLERS} callers at once"
    is_server = database == "PostgreSQL"
    yield measure(
        f"assessments created, {database}",
        [
            Contender(batches, lambda: on_store(fresh, lambda store: in_batches(store, created))),
            Contender(one, lambda: on_store(fresh, lambda store: singly(store, single))),
            Contender(many, lambda: on_store(fresh, lambda store: singly(store, single, CALLERS))),
        ],
        [Bar(least=2000, of=batches), Bar(least=300, of=one), Bar(least=300, of=many)] if is_server else [],
        unit="assessments/s",
        rounds=5,
    )
    yield measure(
        f"a waiter wakes after the commit, {database}",
        [Contender("median", lambda: asyncio.run(waking(fresh(), wakes)))],
        [Bar(most=50, of="median")],
        unit="ms",
        rounds=5,
    )
    number = max(20, OPTIONS.sized(AT_ONCE))
    thousand = Thousand(fresh, port, number)
    yield measure(
        f"{number:,} assessments at once, {WORKERS} workers, answers in {ANSWER_SECONDS * 1000:.0f} ms, {database}",
        [
            Contender(OURS, thousand),
            Contender(IDEAL, lambda: number * len(ANSWERS) * ANSWER_SECONDS / WORKERS),
            Contender(
                QUERIES, lambda: statistics.quantiles(thousand.queries, n=100, method="inclusive")[98], unit="ms"
            ),
        ],
        [Bar(IDEAL, most=1.5, of=OURS), Bar(most=100, of=QUERIES)],
        unit="s",
        rounds=5,
        warm_up=False,
    )


def run() -> list[Result]:
    results: list[Result] = []
    with faking() as port:
        with tempfile.TemporaryDirectory() as folder:
            numbers = iter(range(1_000_000))
            results += run_on("SQLite", lambda: f"sqlite:///{Path(folder) / f'{next(numbers)}.db'}", port)
        with postgres() as fresh:
            results += run_on("PostgreSQL", fresh, port)
    return results


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
