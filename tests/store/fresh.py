"""Databases of the test's own, empty to begin with."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

BOTH = ("sqlite", "postgresql")


@asynccontextmanager
async def fresh_postgres(server: str) -> AsyncIterator[str]:
    """A new database on a server, dropped at the end; its URL as a user writes it."""
    name = f"autocoder_{uuid.uuid4().hex[:12]}"
    engine = create_async_engine(server, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.execute(sa.text(f"CREATE DATABASE {name}"))
    try:
        url = sa.make_url(server).set(database=name, drivername="postgresql")
        yield url.render_as_string(hide_password=False)
    finally:
        async with engine.connect() as connection:
            await connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
        await engine.dispose()


def fresh_sqlite(folder: Path, name: str = "autocoder.db") -> str:
    """The URL of a file that is not there yet."""
    return f"sqlite:///{folder / name}"
