"""Opens a database for what works on its rows beside a run: with the schema of this version, and every trouble told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from sqlalchemy.exc import DBAPIError

from autocoder.database import Database, open_database
from autocoder.database_engines import parse_url
from autocoder.database_faults import NoConnectionError, UnknownOutcomeError
from autocoder.database_options import DatabaseOptions
from autocoder.errors import UnreachableError
from autocoder.store.schema import prepare, trouble


@asynccontextmanager
async def open_store(database: str | DatabaseOptions, *, create: bool = False) -> AsyncIterator[Database]:
    """Open a database (a URL, or options in full) and its tables for the length of a block.

    A file that is not there is made only with `create`. Raises UnreachableError, naming the database and the cure, where it
    cannot be opened or fails inside the block; SchemaError where its schema is not the one of this version.
    """
    options = database if isinstance(database, DatabaseOptions) else DatabaseOptions(database)
    if not create:
        await refuse_absent(options)
    async with open_database(options) as opened:
        await prepare(opened)
        try:
            yield opened
        except (DBAPIError, NoConnectionError, UnknownOutcomeError) as error:
            raise trouble(opened, error) from error


async def refuse_absent(options: DatabaseOptions) -> None:
    """Raises UnreachableError where the options name an SQLite file that is not there."""
    if options.backend == "sqlite":
        path = Path(str(parse_url(options.url).database))
        if not await anyio.Path(path).exists():
            raise UnreachableError(
                f"there is no database {path} yet; run a pipeline first, or name another with --database "
                f"(`autocoder db upgrade` makes an empty one)"
            )
