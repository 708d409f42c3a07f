"""A message whose handler kills the process: found by careful mode, quarantined, and everything else exactly once."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from autocoder import Pipeline
from autocoder.database import open_database
from autocoder.store.schema import prepare
from tests.runtime.test_idle import Now, Slow
from tests.support import Collect, Double

PARTS = '''
"""What the pipeline is made of."""

import os
from collections.abc import Sequence

import anyio
import sqlalchemy as sa

from autocoder import Sink, Transformer
from autocoder.statement import Statement

table = sa.Table("done", sa.MetaData(), sa.Column("number", sa.Integer))


class Work(Transformer[int, int]):
    """Some numbers end the process."""

    deadly: list[int]

    def process(self, number: int, /) -> int:
        if number in self.deadly:
            os._exit(9)
        return number


class Slow(Work, concurrency=4):
    """The same, with calls in flight."""

    async def process(self, number: int, /) -> int:
        await anyio.sleep(0)
        return Work.process(self, number)


class Done(Sink[int]):
    """A row for each number; some end the process here."""

    deadly: list[int] = []

    def statements(self, batch: Sequence[int], /) -> list[Statement]:
        if set(batch) & set(self.deadly):
            os._exit(9)
        return [Statement(sa.insert(table), [{"number": number} for number in batch])]
'''
PIPELINE = """
pipeline: deadly
components:
  numbers: {{use: flow.Generate, with: {{count: 40, value: "i"}}}}
  before: {{use: "deadlyparts:Work", from: numbers, with: {{deadly: []}}}}
  work: {{use: "deadlyparts:{worker}", from: {{port: before, durable: {durable}}}, with: {{deadly: {work}}}}}
  done: {{use: "deadlyparts:Done", from: work, with: {{deadly: {sink}}}}}
"""


@pytest.mark.parametrize(
    ("worker", "durable", "work", "sink"),
    [("Work", "false", "[13]", "[]"), ("Slow", "true", "[13, 39]", "[]"), ("Work", "true", "[]", "[0]")],
)
def test_what_kills_the_process_is_the_only_dead_letter(
    tmp_path: Path, worker: str, durable: str, work: str, sink: str
) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "deadlyparts.py").write_text(PARTS)
    (tmp_path / "deadly.yaml").write_text(PIPELINE.format(worker=worker, durable=durable, work=work, sink=sink))
    command = [sys.executable, "-c", "from autocoder.cli.main import main; main()"]
    file = tmp_path / "x.db"

    def autocoder(*words: str) -> subprocess.CompletedProcess[str]:
        words = (*words, "--database", f"sqlite:///{file}")
        return subprocess.run([*command, *words], cwd=tmp_path, text=True, capture_output=True, check=False)

    assert autocoder("db", "upgrade").returncode == 0
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE done (number INTEGER)")
    connection.commit()
    codes = []
    while not codes or codes[-1] == 9:
        assert len(codes) < 20, codes
        codes.append((ran := autocoder("run", "deadly.yaml")).returncode)
    assert codes[-1] == 0, ran.stderr
    deadly = sorted([*map(int, filter(None, work[1:-1].split(","))), *map(int, filter(None, sink[1:-1].split(",")))])
    letters = connection.execute("SELECT message_data, error_type FROM port_messages WHERE status = 'dead_letter'")
    assert sorted(letters.fetchall()) == sorted((str(number), "ProcessDied") for number in deadly)
    delivered = connection.execute("SELECT number FROM done ORDER BY number").fetchall()
    assert [number for (number,) in delivered] == [number for number in range(40) if number not in deadly]
    assert connection.execute(
        "SELECT count(*) FROM port_messages WHERE status IN ('failed', 'processing')"
    ).fetchone() == (0,)
    assert connection.execute("SELECT count(*) FROM component_state WHERE state_key = '!call'").fetchone() == (0,)
    connection.close()


@pytest.mark.anyio
async def test_where_nothing_dies_careful_mode_ends_with_what_there_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, source, sink = tmp_path / "x.db", Now(), Collect()

    def build() -> Pipeline:
        pipeline = Pipeline("innocent")
        doubled = pipeline.add("double", Double(), after=pipeline.add("now", source))
        pipeline.add("sink", sink, after=pipeline.add("slow", Slow(), after=doubled))
        return pipeline

    def value(query: str) -> int:
        with closing(sqlite3.connect(file)) as connection:
            return int(connection.execute(query).fetchone()[0])

    async with open_database(f"sqlite:///{file}") as database:
        await prepare(database)
        async with database.transaction() as connection:
            row = "INSERT INTO regions (pipeline, region, unclean_starts) VALUES ('innocent', 'now', 2)"
            await connection.exec_driver_sql(row)
    pipeline = build()
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            await pipeline.run_async(database=f"sqlite:///{file}")

        tasks.start_soon(run)
        noted = "SELECT count(*) FROM component_state WHERE state_key = '!call'"
        number = 0
        with anyio.fail_after(60):
            while number < 3 or value(noted):
                await source.send.send(number)
                while source.committed_up_to < number:
                    await anyio.sleep(0.005)
                number += 1
        pipeline.drain()
    assert "region 'now' has died several times without a commit" in caplog.text
    assert (sink.got, value("SELECT unclean_starts FROM regions")) == ([2 * each for each in range(number)], 0)
