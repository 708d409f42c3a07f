"""Many write one SQLite file from one process: all get their turn."""

from __future__ import annotations

import gc
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Barrier, Thread

import anyio
import anyio.to_thread
import pytest
import sqlalchemy as sa

from autocoder import DatabaseOptions, Pipeline, open_database
from autocoder.database_faults import NoTurnError
from autocoder.database_turns import _TURNS
from autocoder.declaration import ChannelOptions
from autocoder.errors import UnreachableError
from tests.support import Collect, Double, Numbers

PIPELINES, NUMBERS = 64, 10


def _pipeline(name: str) -> tuple[Pipeline, Collect]:
    sink = Collect()
    pipeline = Pipeline(name, messages=5)
    numbers = pipeline.add("numbers", Numbers(upto=NUMBERS, size=5))
    doubled = pipeline.add("doubled", Double(), after=numbers, channel=ChannelOptions(durable=True))
    pipeline.add("sink", sink, after=doubled, channel=ChannelOptions(durable=True))
    return pipeline, sink


@pytest.mark.anyio
async def test_many_pipelines_in_one_file(tmp_path: Path) -> None:
    """Far more than `busy_timeout` would let through, were it a race."""
    options = DatabaseOptions(f"sqlite:///{tmp_path}/many.db", busy_timeout=1.0)
    made = [_pipeline(f"p{number}") for number in range(PIPELINES)]
    async with anyio.create_task_group() as tasks:
        for pipeline, _ in made:
            tasks.start_soon(partial(pipeline.run_async, database=options))
    for _, sink in made:
        assert sorted(sink.got) == [2 * number for number in range(NUMBERS)]
    with closing(sqlite3.connect(tmp_path / "many.db")) as file:
        query = "SELECT pipeline, sum(status = 'completed'), count(*) FROM port_messages GROUP BY pipeline"
        assert set(file.execute(query)) == {(f"p{number}", 2 * NUMBERS, 2 * NUMBERS) for number in range(PIPELINES)}


@pytest.mark.anyio
async def test_turns_come_in_the_order_in_which_they_were_asked_for(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    order: list[int] = []
    async with open_database(url) as first, open_database(f"sqlite:///{tmp_path}/../{tmp_path.name}/x.db") as second:

        async def write(number: int) -> None:
            async with (first, second)[number % 2].transaction():
                order.append(number)

        async with anyio.create_task_group() as tasks, first.transaction():
            for number in range(10):
                tasks.start_soon(write, number)
                await anyio.wait_all_tasks_blocked()
    assert order == list(range(10))


@pytest.mark.anyio
async def test_the_wait_for_a_turn_can_be_cancelled_and_has_an_end(tmp_path: Path) -> None:
    options = DatabaseOptions(f"sqlite:///{tmp_path}/x.db", pool_timeout=0.05)
    entered = False
    async with open_database(options) as one, open_database(options) as two:

        async def write(*, task_status: anyio.abc.TaskStatus[anyio.CancelScope]) -> None:
            nonlocal entered
            with anyio.CancelScope() as scope:
                task_status.started(scope)
                async with two.transaction():
                    entered = True

        async def starve() -> None:
            with pytest.raises(NoTurnError, match=r"no turn came in 0.05 s \(pool_timeout\)"):
                async with two.transaction():
                    pass

        async with anyio.create_task_group() as tasks, one.transaction():
            scope = await tasks.start(write)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            await anyio.wait_all_tasks_blocked()
            async with anyio.create_task_group() as hungry:
                hungry.start_soon(starve)
        async with two.transaction() as connection:  # the queue goes on without those who left it
            await connection.execute(sa.text("CREATE TABLE t (n)"))
    assert not entered


def test_event_loops_of_their_own_do_not_wait_for_each_other_in_one(tmp_path: Path) -> None:
    """They meet at the lock of the file; and nothing is left of their queues."""

    async def work() -> None:
        async with open_database(f"sqlite:///{tmp_path}/x.db") as database, anyio.create_task_group() as tasks:

            async def insert() -> None:
                async with database.transaction() as connection:
                    await connection.execute(sa.text("CREATE TABLE IF NOT EXISTS t (n)"))
                    await connection.execute(sa.text("INSERT INTO t VALUES (1)"))

            for _ in range(20):
                tasks.start_soon(insert)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(anyio.to_thread.run_sync, anyio.run, work)

    anyio.run(main)
    with closing(sqlite3.connect(tmp_path / "x.db")) as file:
        assert file.execute("SELECT count(*) FROM t").fetchone() == (80,)
    gc.collect()
    assert not [path for _, path in _TURNS if str(tmp_path) in str(path)]  # other tests of this process may hold theirs


def test_those_who_open_a_new_file_at_once_wait_for_each_other(tmp_path: Path) -> None:
    """SQLite lets nobody wait who begins the log of a file while another does."""
    refused = list[str]()

    def open_it(url: str, together: Barrier) -> None:
        async def work() -> None:
            together.wait()
            async with open_database(url):
                pass

        try:
            anyio.run(work)
        except UnreachableError as error:
            refused.append(str(error))

    for number in range(40):
        together = Barrier(6)
        threads = [Thread(target=open_it, args=(f"sqlite:///{tmp_path}/{number}.db", together)) for _ in range(6)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert refused == []


@pytest.mark.anyio
async def test_opening_waits_for_a_busy_file_within_its_timeout(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")
        short = DatabaseOptions(f"sqlite:///{tmp_path}/x.db", busy_timeout=0.05)
        with pytest.raises(UnreachableError, match="locked; another program holds it"):
            async with open_database(short):
                pass
        async with anyio.create_task_group() as tasks:
            opened = anyio.Event()

            async def wait() -> None:
                async with open_database(DatabaseOptions(f"sqlite:///{tmp_path}/x.db", busy_timeout=60)):
                    opened.set()

            tasks.start_soon(wait)
            await anyio.sleep(0.1)
            assert not opened.is_set()
            other.execute("ROLLBACK")
