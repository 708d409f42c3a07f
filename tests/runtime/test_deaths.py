"""A message whose handler kills the process: found by careful mode, quarantined, and everything else exactly once."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from autocoder import Pipeline
from autocoder.database import open_database
from autocoder.runtime.careful import DEATHS, Call, Careful, DeadlyCallError
from autocoder.store.schema import prepare
from tests.cli.answer import Answer
from tests.forked import command
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
    file = tmp_path / "x.db"

    def autocoder(*words: str) -> Answer:
        return command(*words, "--database", f"sqlite:///{file}", cwd=tmp_path)

    assert autocoder("db", "upgrade").code == 0
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE done (number INTEGER)")
    connection.commit()
    codes: list[int] = []
    while not codes or codes[-1] == 9:
        assert len(codes) < 20, codes
        codes.append((ran := autocoder("run", "deadly.yaml")).code)
    assert codes[-1] == 0, ran.err
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


HOOKS = '''
"""Components that end the process without a message, for as long as a file lies here."""

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import anyio
import sqlalchemy as sa

from autocoder import Batch, In, Merger, Sink, Source, Transformer
from autocoder.statement import Statement

table = sa.Table("done", sa.MetaData(), sa.Column("number", sa.Integer))


def perhaps(hook: str) -> None:
    if Path(f"deadly-{hook}").exists():
        os._exit(9)


class Plain(Source[int]):
    hook: str = "read"

    def read(self, resume: int | None, /) -> Iterator[Batch[int]]:
        for number in range(resume or 0, 6):
            if number == 3:
                perhaps(self.hook)
            yield Batch([number], resume=number + 1)


class Waiting(Source[int]):
    async def read(self, resume: int | None, /) -> AsyncIterator[Batch[int]]:
        for number in range(resume or 0, 6):
            await anyio.sleep(0)
            if number == 3:
                perhaps("wait")
            yield Batch([number], resume=number + 1)


class Lasts(Transformer[int, int]):
    def process(self, number: int, /) -> int:
        return number

    def finish(self) -> Iterator[int]:
        yield 6
        perhaps("finish")


class Slowly(Lasts):
    async def process(self, number: int, /) -> int:
        await anyio.sleep(0)
        return number

    async def finish(self) -> AsyncIterator[int]:
        yield 6
        perhaps("slowly")


class Joined(Merger[int]):
    left = In(int)
    right = In(int)

    def on_left(self, number: int, /) -> int:
        return number

    def on_right(self, number: int, /) -> int:
        return number

    def ended(self, port: str, /) -> list[int]:
        perhaps(f"ended-{port}")
        return []


class Done(Sink[int]):
    def statements(self, batch: Sequence[int], /) -> list[Statement]:
        return [Statement(sa.insert(table), [{"number": number} for number in batch])]

    async def finish(self) -> None:
        perhaps("sink")
'''


def chain(*uses: str, durable: str = "false") -> str:
    """A pipeline of these components, one behind the other."""
    lines = ["pipeline: hooks", "components:", f"  c0: {{use: 'hookparts:{uses[0]}'}}"]
    for number, use in enumerate(uses[1:]):
        come = f"{{port: c{number}, durable: {durable}}}"
        into = f"{{left: {come}, right: c{number}}}" if use == "Joined" else come
        lines.append(f"  c{number + 1}: {{use: 'hookparts:{use}', from: {into}}}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("pipeline", "hook", "said", "numbers"),
    [
        (chain("Plain", "Done"), "read", r"'c0'.*read failed: .* in its read\(\) from position 3;", 6),
        (chain("Plain", "Done", durable="true"), "read", r"'c0'.*read failed: .* in its read\(\) from position 3;", 6),
        (chain("Waiting", "Done"), "wait", r"'c0'.*read failed: .* in its read\(\) from position 3;", 6),
        (chain("Plain", "Lasts", "Done"), "finish", r"'c1'.*finish failed: .* in its finish\(\);", 7),
        (chain("Plain", "Slowly", "Done"), "slowly", r"'c1'.*finish failed: .* in its finish\(\);", 7),
        (chain("Plain", "Joined", "Done"), "ended-left", r"'c1'.*ended failed: .* in its ended\(\);", 12),
        (chain("Plain", "Lasts", "Done"), "sink", r"'c2'.*finish failed: .* in its finish\(\);", 7),
    ],
)
def test_a_hook_that_kills_the_process_is_named_and_a_mended_one_goes_on(
    tmp_path: Path, pipeline: str, hook: str, said: str, numbers: int
) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "hookparts.py").write_text(HOOKS)
    (tmp_path / "hooks.yaml").write_text(pipeline)
    (tmp_path / f"deadly-{hook}").touch()
    file = tmp_path / "x.db"

    def autocoder(*words: str) -> Answer:
        return command(*words, "--database", f"sqlite:///{file}", cwd=tmp_path)

    assert autocoder("db", "upgrade").code == 0
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE done (number INTEGER)")
        codes: list[int] = []
        while not codes or codes[-1] == 9:
            assert len(codes) < 20, codes
            codes.append((ran := autocoder("run", "hooks.yaml")).code)
        assert codes[-1] == 1, ran.err
        assert re.search(f"component {said}", ran.err), ran.err
        assert connection.execute("SELECT count(*) FROM port_messages WHERE status = 'dead_letter'").fetchone() == (0,)
        (tmp_path / f"deadly-{hook}").unlink()
        assert (ran := autocoder("run", "hooks.yaml")).code == 0, ran.err
        delivered = connection.execute("SELECT number FROM done ORDER BY number").fetchall()
        times = 2 if numbers == 12 else 1
        assert [number for (number,) in delivered] == [each for each in range(numbers // times) for _ in range(times)]
        assert connection.execute("SELECT count(*) FROM component_state WHERE state_key = '!call'").fetchone() == (0,)


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


@pytest.mark.anyio
async def test_whoever_kills_a_process_whose_source_waits_for_input_is_not_taken_for_the_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notes: list[str | None] = []

    async def note(data: str | None) -> None:
        notes.append(data)

    for waits in (0.0, 3600.0):
        kept: str | None = None
        lives = []
        monkeypatch.setattr("autocoder.runtime.careful.IDLE_READ_SECONDS", waits)
        for _ in range(DEATHS):
            careful = Careful("region", note, kept, 10)
            lives.append(careful.reading("source", 7, lambda: True))
            await lives[-1].__aenter__()
            await careful.let_go_of_idle()
            kept = notes[-1]  # the process dies
        careful = Careful("region", note, kept, 10)
        if waits:
            with pytest.raises(DeadlyCallError, match="from position 7"):
                await careful.reading("source", 7, lambda: True).__aenter__()
        else:
            async with careful.reading("source", 7, lambda: True):
                pass
        for each in lives:
            await each.__aexit__(None, None, None)


@pytest.mark.anyio
async def test_whoever_kills_a_process_behind_the_last_careful_call_is_not_taken_for_that_call() -> None:
    """Careful mode is over then, and its note stands until the next commit."""
    notes: list[str | None] = []

    async def note(data: str | None) -> None:
        notes.append(data)

    call, kept = Call("work", "in", "99"), None
    for _ in range(DEATHS + 1):
        careful = Careful("region", note, kept, 1)
        reading = careful.reading("source", 7, lambda: True)
        await reading.__aenter__()
        assert not careful.convicts(call)
        await careful.enter(call)
        await careful.leave()
        assert careful.over
        kept = notes[-1]  # the process dies
        await reading.__aexit__(None, None, None)
