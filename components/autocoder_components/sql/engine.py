"""Databases by URL: which ones, through which driver, and errors without passwords and payloads."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import Annotated, Any, Final

import anyio
import anyio.to_thread
import sqlalchemy as sa
from pydantic import AfterValidator, SecretStr
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from autocoder import UnreachableError

DRIVERS: Final = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
CONNECT_SECONDS: Final = 10.0
BUSY_SECONDS: Final = 10.0

_CURE: Final = "write sqlite:///path or postgresql://user@host/name"
_EXCEPTION_CLASS: Final = re.compile(r"^<class '[^']*'>: ")
# "invalid input for query argument $2 in element #0 ...: 'the value' (expected str, got int)": the value stays out.
_ARGUMENT: Final = re.compile(r"(query argument \$\d+).*?(\((?:expected|an?|value|can't|unsupported)\b[^'\"]*\))?$")


class DatabaseError(RuntimeError):
    """A database refused something; says what, without the rows."""


def parse_url(url: str) -> sa.URL:
    """The URL with its asynchronous driver; raises ValueError, which never repeats the URL: it may hold a password."""
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError(f"the database URL cannot be read; {_CURE}") from None
    driver = DRIVERS.get(parsed.drivername.partition("+")[0])
    if driver is None:
        raise ValueError(f"a database of the kind {parsed.drivername!r} is not supported; {_CURE}")
    if driver.startswith("sqlite") and parsed.database in (None, "", ":memory:"):
        raise ValueError("a database in memory is lost with the process; name a file: sqlite:///path")
    return parsed.set(drivername=driver)


def _checked(url: SecretStr) -> SecretStr:
    parse_url(url.get_secret_value())
    return url


DatabaseUrl = Annotated[SecretStr, AfterValidator(_checked)]
"""A field that holds the URL of a database, without its driver; never shown, since it may hold a password."""


def shown(url: SecretStr) -> str:
    """The URL for a message: as it was written, without password and options."""
    parsed = parse_url(url.get_secret_value())
    plain = parsed.set(drivername=parsed.get_backend_name(), query={})
    return plain.render_as_string(hide_password=True)


async def connect(url: SecretStr) -> AsyncEngine:
    """An engine that has been tried; raises UnreachableError, which names the database without its password."""
    parsed = parse_url(url.get_secret_value())
    is_sqlite = parsed.get_backend_name() == "sqlite"
    arguments: dict[str, Any] = {"timeout": BUSY_SECONDS if is_sqlite else CONNECT_SECONDS}
    # Parameters are payloads: they stay out of the errors of the engine and out of its log.
    engine = create_async_engine(parsed, connect_args=arguments, hide_parameters=True)
    try:
        if is_sqlite:
            # Tried without the asynchronous driver first: where opening fails, that leaves a thread behind which wakes an
            # event loop that may be closed by then.
            await anyio.to_thread.run_sync(_try_file, str(parsed.database))
        async with engine.connect() as connection:
            await connection.execute(sa.text("SELECT 1"))
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        await engine.dispose()
        raise UnreachableError(
            f"the database {shown(url)} cannot be opened: {said(error)}; check the address and the permissions"
        ) from None
    except TypeError as error:  # the driver takes the options of the URL as keyword arguments
        await engine.dispose()
        raise ValueError(
            f"the database {shown(url)} cannot be opened: {said(error)}; leave that option out of the URL"
        ) from None
    return engine


def _try_file(file: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("SELECT name FROM sqlite_master LIMIT 1")


def said(error: BaseException) -> str:
    """What a database said, in one line: without statement, parameters and details, for these hold payloads."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    line = next(iter(str(cause).splitlines()), "").strip()
    line = _EXCEPTION_CLASS.sub("", line)
    line = _ARGUMENT.sub(lambda match: " ".join(part for part in match.groups() if part), line)
    return line or type(cause).__name__
