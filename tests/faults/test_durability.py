"""What was acknowledged survives a crash of a server that answers COMMIT before anything is on its disk."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator

import anyio.to_thread
import pytest
import sqlalchemy as sa

from autocoder.database import open_database
from autocoder.database_options import DatabaseOptions
from tests.crash.oracle import judge
from tests.crash.topologies import TOPOLOGIES
from tests.faults.scene import make_tables
from tests.faults.servers import Server, own_server
from tests.store.fresh import fresh_postgres

pytestmark = pytest.mark.anyio
# The longest delay that there is: what waits for this writer is not on the disk when the server is killed.
HASTY = "synchronous_commit = off\nwal_writer_delay = 10s\n"


@pytest.fixture(scope="module")
def hasty() -> Iterator[Server]:
    with own_server(HASTY) as made:
        yield made


@pytest.fixture
async def url(hasty: Server) -> AsyncIterator[str]:
    async with fresh_postgres(hasty.driver_url) as made:
        yield made


async def test_a_finished_run_survives_a_crash_of_the_server(
    hasty: Server, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await make_tables(url)
    caplog.set_level(logging.ERROR, logger="autocoder")
    topology = TOPOLOGIES["fanout"]
    await topology.build("finished", 1, 300).run_async(database=url)
    await anyio.to_thread.run_sync(hasty.restart)
    assert await judge(url, "finished", topology.fold(1, 300)) == []


@pytest.mark.parametrize(
    ("said", "asked", "found"),
    [
        ("off", None, "on"),
        ("local", None, "local"),
        ("remote_write", None, "remote_write"),
        ("remote_apply", None, "remote_apply"),
        ("off", "local", "local"),
        ("on", "remote_apply", "remote_apply"),
    ],
)
async def test_off_is_raised_and_nothing_else_is_changed(url: str, said: str, asked: str | None, found: str) -> None:
    name = sa.make_url(url).database
    async with open_database(url) as database, database.transaction() as connection:
        await connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET synchronous_commit = {said}')
    async with open_database(DatabaseOptions(url, synchronous_commit=asked)) as database:
        for way in (database.reading, database.transaction, database.session):
            for _ in range(2):  # the second time it is a connection that was used before
                async with way() as connection:
                    shown = await connection.exec_driver_sql("SHOW synchronous_commit")
                    assert shown.scalar_one() == found
