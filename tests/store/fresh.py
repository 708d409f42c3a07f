"""Databases of the test's own, empty to begin with."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from autocoder.database import open_database
from autocoder.store.schema import prepare

BOTH = ("sqlite", "postgresql")
# What has every table is made once and copied: for a server the name of a database, for SQLite what is in the file.
_templates: Final[dict[str, str]] = {}
_file: bytes = b""


@asynccontextmanager
async def fresh(request: pytest.FixtureRequest, folder: Path, *, tables: bool = False) -> AsyncIterator[str]:
    """The URL of a new database of the kind that the parameter of a fixture says, one of BOTH; empty, or with all tables."""
    if request.param == "sqlite":
        yield await sqlite_with_tables(folder) if tables else fresh_sqlite(folder)
        return
    async with fresh_postgres(request.getfixturevalue("postgres_url"), tables=tables) as made:
        yield made


@asynccontextmanager
async def fresh_postgres(server: str, *, tables: bool = False) -> AsyncIterator[str]:
    """A new database on a server, dropped at the end; its URL as a user writes it.

    It is empty; with `tables` it has those of the framework and of the packs.
    """
    if tables and server not in _templates:
        _templates[server] = await _make_template(server)
    name = _new_name()
    await _tell(server, f"CREATE DATABASE {name}" + (f" TEMPLATE {_templates[server]}" if tables else ""))
    try:
        yield _url_of(server, name)
    finally:
        await _tell(server, f"DROP DATABASE {name} WITH (FORCE)")


async def _make_template(server: str) -> str:
    name = _new_name()
    await _tell(server, f"CREATE DATABASE {name}")
    async with open_database(_url_of(server, name)) as database:
        await prepare(database)
    return name


async def drop_template(server: str) -> None:
    """Leave nothing on a server that others use, too."""
    if server in _templates:
        await _tell(server, f"DROP DATABASE {_templates.pop(server)} WITH (FORCE)")


def _new_name() -> str:
    return f"autocoder_{uuid.uuid4().hex[:12]}"


def _url_of(server: str, name: str) -> str:
    return sa.make_url(server).set(database=name, drivername="postgresql").render_as_string(hide_password=False)


async def _tell(server: str, statement: str) -> None:
    engine = create_async_engine(server, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.execute(sa.text(statement))
    await engine.dispose()


def fresh_sqlite(folder: Path, name: str = "autocoder.db") -> str:
    """The URL of a file that is not there yet."""
    return f"sqlite:///{folder / name}"


async def sqlite_with_tables(folder: Path, name: str = "autocoder.db") -> str:
    """The URL of a new file that has every table of the framework and of the packs."""
    global _file  # noqa: PLW0603  made once
    if not _file:
        with tempfile.TemporaryDirectory() as other:
            async with open_database(fresh_sqlite(Path(other))) as database:
                await prepare(database)
            (made,) = Path(other).iterdir()
            _file = made.read_bytes()
    (folder / name).write_bytes(_file)
    return fresh_sqlite(folder, name)
