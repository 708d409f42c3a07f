"""The error policy of a run that is kept: attempts outlive the process, and what stopped the pipeline can be mended."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa
from anyio.to_thread import run_sync

from autocoder.database import open_database
from autocoder.store.dead_letters import DeadLetters, Selection
from autocoder.store.tables import port_messages
from tests.cli.answer import Answer
from tests.forked import command

pytestmark = pytest.mark.anyio

PARTS = '''
"""What the pipeline is made of."""

import os
import pathlib
from collections.abc import Sequence

from autocoder import Sink, Transformer


def note(file: str, text: object) -> None:
    with pathlib.Path(file).open("a") as out:
        out.write(f"{text}\\n")


class Work(Transformer[int, int]):
    """Fails for 13, until with MENDED it fails no more."""

    def process(self, number: int, /) -> int:
        if number == 13 and "MENDED" not in os.environ:
            note("calls", number)
            raise TimeoutError("no answer")
        return number


class Slow(Transformer[int, int], concurrency=4):
    """The same, with calls in flight."""

    async def process(self, number: int, /) -> int:
        return Work().process(number)


class Done(Sink[int]):
    """Notes what arrived."""

    def write(self, batch: Sequence[int], /) -> None:
        for number in batch:
            note("done", number)
'''
PIPELINE = """
pipeline: policy
components:
  numbers: {{use: flow.Generate, with: {{count: 20, value: "i"}}}}
  work: {{use: "policyparts:{worker}", from: numbers, on_error: {policy}}}
  done: {{use: "policyparts:Done", from: work}}
"""
EIGHT = "{retry: {attempts: 8, backoff: 10ms}, then: dead_letter}"
Start = Callable[[str, str], "subprocess.Popen[str]"]
Run = Callable[[str, str], Awaitable[Answer]]


@pytest.fixture
def start(tmp_path: Path, url: str) -> Iterator[Start]:
    """Starts a run of the pipeline as a process of its own, which does not outlive the test."""
    started: list[subprocess.Popen[str]] = []

    def starter(worker: str, policy: str) -> subprocess.Popen[str]:
        write(tmp_path, worker, policy)
        program = [sys.executable, "-c", "from autocoder.cli.main import main; main()"]
        words = [*program, "run", "policy.yaml", "--wait", "--database", url]
        process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield starter
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def write(folder: Path, worker: str, policy: str) -> None:
    """The pipeline, with this worker and error policy."""
    (folder / "pyproject.toml").write_text("")
    (folder / "policyparts.py").write_text(PARTS)
    (folder / "policy.yaml").write_text(PIPELINE.format(worker=worker, policy=policy))


@pytest.fixture
def run(tmp_path: Path, url: str) -> Run:
    """Runs it to its end, in a process of its own."""

    async def runner(worker: str, policy: str) -> Answer:
        write(tmp_path, worker, policy)
        words = ("run", "policy.yaml", "--wait", "--database", url)
        return await run_sync(partial(command, *words, cwd=tmp_path))

    return runner


def lines(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


async def attempts_kept(url: str) -> list[int]:
    async with open_database(url) as database, database.reading() as connection:
        if not await connection.run_sync(lambda sync: sa.inspect(sync).has_table("port_messages")):
            return []
        query = sa.select(port_messages.c.retry_count).where(port_messages.c.status == "failed")
        return list((await connection.execute(query)).scalars())


@pytest.mark.parametrize("worker", ["Work", "Slow"])
async def test_attempts_outlive_a_kill(start: Start, run: Run, url: str, tmp_path: Path, worker: str) -> None:
    process = start(worker, EIGHT.replace("10ms", "300ms"))
    deadline = time.monotonic() + 60
    # The input has ended long since: commits go on while retries wait.
    while not [kept for kept in await attempts_kept(url) if kept >= 2]:
        assert time.monotonic() < deadline and process.poll() is None
        await anyio.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (kept,) = await attempts_kept(url)
    before = len(lines(tmp_path / "calls"))
    ended = await run(worker, EIGHT)
    assert ended.code == 0, ended.err
    assert len(lines(tmp_path / "calls")) - before == 8 - kept
    async with open_database(url) as database:
        letters = [each async for page in DeadLetters(database).matching(Selection()) for each in page]
    assert [(each.payload, each.attempts, each.error_type) for each in letters] == [(13, 8, "TimeoutError")]
    delivered = lines(tmp_path / "done")
    assert sorted(set(delivered)) == [each for each in range(20) if each != 13]


async def test_drop_leaves_nothing(run: Run, url: str, tmp_path: Path) -> None:
    ended = await run("Work", "{retry: {attempts: 3, backoff: 10ms}, then: drop}")
    assert ended.code == 0, ended.err
    assert lines(tmp_path / "calls") == [13, 13, 13]
    assert lines(tmp_path / "done") == [each for each in range(20) if each != 13]
    async with open_database(url) as database, database.reading() as connection:
        query = sa.select(sa.func.count()).where(port_messages.c.status != "completed")
        assert (await connection.execute(query)).scalar_one() == 0
    again = await run("Work", "drop")
    assert (again.code, len(lines(tmp_path / "calls"))) == (0, 3)


@pytest.mark.parametrize("worker", ["Work", "Slow"])
@pytest.mark.parametrize("policy", ["stop", "{retry: {attempts: 3, backoff: 10ms}, then: stop}"])
async def test_a_pipeline_that_stopped_is_resumed(
    run: Run, tmp_path: Path, worker: str, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = await run(worker, policy)
    assert stopped.code == 1
    assert "work" in stopped.err and "TimeoutError" in stopped.err
    assert (await run(worker, policy)).code == 1, "it still fails"
    monkeypatch.setenv("MENDED", "yes")
    ended = await run(worker, policy)
    assert ended.code == 0, ended.err
    assert set(lines(tmp_path / "done")) == set(range(20))
    again = await run(worker, policy)
    assert again.code == 0 and "nothing new" in again.err
