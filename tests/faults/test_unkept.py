"""A run that keeps nothing but the rows of its sinks waits for a database that is briefly away, like any other."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa

from autocoder import DatabaseOptions, Pipeline, Sink, Statement, UnreachableError, open_database
from tests.faults.proxy import Proxy, proxied
from tests.faults.servers import Server
from tests.support import Numbers

pytestmark = pytest.mark.anyio
table = sa.Table("rows", sa.MetaData(), sa.Column("number", sa.Integer))


class Rows(Sink[int]):
    """A row for each number."""

    def statements(self, batch: Sequence[int], /) -> list[Statement]:
        return [Statement(sa.insert(table), [{"number": number} for number in batch])]


class Locked(Rows):
    """The same; once the run has reached the database, another process has locked it."""

    file: Path

    async def open(self) -> None:
        self.other = sqlite3.connect(self.file, isolation_level=None)
        self.other.execute("BEGIN IMMEDIATE")

    async def close(self) -> None:
        self.other.close()


class Cut(Rows):
    """The same; the answer to the first COMMIT of its rows is lost."""

    def check(self) -> None:
        self.proxy: Proxy | None = None

    async def open(self) -> None:
        assert self.proxy is not None
        self.proxy.cut_commits(1)


def pipeline(sink: Rows) -> Pipeline:
    made = Pipeline("unkept", every=0.01)
    made.add("rows", sink, after=made.add("numbers", Numbers(upto=20)))
    return made


async def test_a_locked_file_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="autocoder")
    file = tmp_path / "x.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE rows (number INTEGER)")
    sink = Locked(file=file)
    options = DatabaseOptions(f"sqlite:///{file}", busy_timeout=0.02, retry_backoff=0.01, retry_cap=0.02)

    async def run() -> None:
        await pipeline(sink).run_async(database=options, keep=False)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            while caplog.text.count("the store cannot commit") < 3:
                await anyio.sleep(0.01)
            sink.other.execute("ROLLBACK")
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT number FROM rows").fetchall() == [(number,) for number in range(20)]


async def test_what_may_be_stored_is_not_written_twice(postgres: str, server: Server) -> None:
    sink = Cut()
    async with open_database(postgres) as database:
        async with database.transaction() as connection:
            await connection.run_sync(table.metadata.create_all)
        async with proxied(server.socket) as proxy:
            options = DatabaseOptions(
                f"postgresql://postgres@127.0.0.1:{proxy.port}/{sa.make_url(postgres).database}", statement_timeout=1.0
            )
            sink.proxy = proxy
            with pytest.raises(UnreachableError, match="what was to be stored may be stored"):
                await pipeline(sink).run_async(database=options, keep=False)
        async with database.reading() as connection:
            rows = (await connection.execute(sa.select(table.c.number))).scalars().all()
            assert proxy.commits_cut == 1 and rows and len(rows) == len(set(rows))
