"""Brings a database to the schema of this version, or says why it will not.

A new database is made as the tables are defined; only the tables of packs and an older schema need Alembic, which takes
longer to import than a small run takes. What a person has to decide is refused with the command that does it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from typing import Final, Literal

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder.database import Database
from autocoder.database_cures import cure_for
from autocoder.database_faults import database_said
from autocoder.database_file import APPLICATION_ID
from autocoder.errors import AutocoderError, UnreachableError
from autocoder.masking import MASK
from autocoder.store.failpoints import reached
from autocoder.store.tables import (
    DEAD_LETTER_QUEUE,
    DEAD_LETTER_QUEUE_SQL,
    SCHEMA_VERSION,
    VERSION_TABLE,
    metadata,
    revisions,
    schema_version,
)

MIGRATIONS_GROUP: Final = "autocoder.migrations"
SCHEMA_LOCK: Final = 6145739087  # of the advisory lock under which a schema is changed
Standing = Literal["empty", "current", "older", "newer", "foreign", "clash"]
_NAMED: Final = re.compile(r"^(revision|down_revision|depends_on)\b[^=\n]*=[ \t]*(.+)$", re.MULTILINE)
_OWN: Final = frozenset({*metadata.tables, DEAD_LETTER_QUEUE})


class SchemaError(AutocoderError):
    """What is in the database is not what this version works with; nothing was changed. The message has the command."""

    exit_code = 78


@dataclass(frozen=True, slots=True)
class Schema:
    """What a database holds: its revisions (None: never had any), tables and views, and whether the file is ours."""

    revisions: frozenset[str] | None
    tables: frozenset[str]
    ours: bool

    def standing(self) -> Standing:
        """How it stands to this version.

        `empty`: nothing of ours is in it, and it may be made. `foreign`: an SQLite file with tables of another program;
        `clash`: tables with our names that no migration made. On PostgreSQL tables of others are no obstacle.
        """
        if not self.revisions:
            if self.tables & _OWN:
                return "clash"
            return "empty" if self.ours or not self.tables - {VERSION_TABLE} else "foreign"
        if self.revisions == _newest():
            return "current"
        from autocoder.store.migrate import is_newest, known  # noqa: PLC0415  Alembic is heavy, and rarely needed

        if is_newest(self.revisions):
            return "current"
        return "older" if self.revisions <= known() else "newer"


def pack_branches() -> list[EntryPoint]:
    """The entry points by which packs add migrations of their own, by name."""
    return sorted(entry_points(group=MIGRATIONS_GROUP), key=lambda each: each.name)


def _newest() -> frozenset[str]:
    """The rows of a database that has every installed revision, read off the files of the packs without Alembic."""
    named: dict[str, set[str]] = {"revision": {SCHEMA_VERSION}, "down_revision": set(), "depends_on": set()}
    for entry in pack_branches():
        try:
            found = [each.read_text("utf-8") for each in files(entry.value).iterdir() if each.name.endswith(".py")]
            for name, value in (match.groups() for text in found for match in _NAMED.finditer(text)):
                said = ast.literal_eval(value) or ()
                named[name].update({said} if isinstance(said, str) else said)
        except (ImportError, OSError, SyntaxError, TypeError, ValueError):
            return frozenset()  # Alembic finds out, and says what is wrong
    # Alembic drops the row of a revision that another one follows or depends on.
    return frozenset(named["revision"] - named["down_revision"] - named["depends_on"])


async def prepare(database: Database) -> None:
    """Make sure that the database has the schema of this version; any number of processes may do so at once.

    A new one is made; an SQLite file with an older schema is brought up after a backup copy beside it. Raises SchemaError
    for a schema that is newer, older on PostgreSQL, or not ours; UnreachableError where the database forbids or fails.
    """
    try:
        standing = (await read_schema(database)).standing()
        if standing == "empty":
            await create(database)
        elif standing == "older" and database.is_sqlite:
            from autocoder.store.migrate import upgrade  # noqa: PLC0415  Alembic is heavy, and rarely needed

            await upgrade(database)
        elif standing != "current":
            raise refusal(database, await read_schema(database))
    except (DBAPIError, OSError) as error:
        raise trouble(database, error) from error


def trouble(database: Database, error: BaseException) -> UnreachableError:
    """A database that fails or forbids, said for the person who must act."""
    return UnreachableError(f"the database {database.url} cannot be used: {database_said(error)}; {cure_for(error)}")


def refusal(database: Database, schema: Schema) -> SchemaError:
    """Why a schema is not worked with, and the command that changes that."""
    where = f"the database {database.url}"
    # A masked password is of no use in a command.
    at = "with the same --database or --env" if MASK in database.url else f"--database {database.url}"
    has = ", ".join(sorted(schema.revisions or ()))
    match schema.standing():
        case "older":
            return SchemaError(
                f"{where} has an older schema ({has}) than this version needs; "
                f"back it up (`autocoder db backup`) and run `autocoder db upgrade {at}`"
            )
        case "newer":
            return SchemaError(
                f"{where} has a schema that this version does not know ({has}): a newer autocoder, or a pack that is not "
                f"installed here, made it; install that, or go back with its `autocoder db downgrade` (this one's is "
                f"`autocoder db upgrade`)"
            )
        case "foreign":
            return SchemaError(
                f"{where} belongs to another program: it has tables ({_some(schema.tables)}) and no schema of autocoder's; "
                f"give another file with --database, or let autocoder add its tables with `autocoder db upgrade {at}`"
            )
        case _:
            return SchemaError(
                f"{where} has tables with the names of autocoder's ({_some(schema.tables & _OWN)}) that no version of it "
                f"made; give another database with --database, or rename them"
            )


def _some(names: Iterable[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")


async def read_schema(database: Database, connection: AsyncConnection | None = None) -> Schema:
    """What a database holds, read on a connection of its own unless one is given."""
    if connection is None:
        async with database.reading() as own:
            return await read_schema(database, own)
    query = _SQLITE_NAMES if database.is_sqlite else _POSTGRESQL_NAMES
    names = frozenset((await connection.execute(query)).scalars())
    found: frozenset[str] | None = None
    if VERSION_TABLE in names:
        found = frozenset((await connection.execute(sa.select(revisions.c.version_num))).scalars())
    ours = True
    if database.is_sqlite:
        mark = (await connection.execute(sa.text("PRAGMA application_id"))).scalar_one()
        ours = mark == APPLICATION_ID
    return Schema(found, names, ours)


_SQLITE_NAMES: Final = sa.text(
    "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
)
_POSTGRESQL_NAMES: Final = sa.text(
    "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm')"
)


async def create(database: Database) -> None:
    """Make tables and view in a database without any, marked with the newest revision, in one transaction."""
    async with database.transaction() as connection:
        await lock_schema(database, connection)
        if (await read_schema(database, connection)).standing() != "empty":
            again = True  # another process was faster
        else:
            again = False
            reached("schema.create")
            await connection.run_sync(_create_all)
            reached("schema.created")
            if pack_branches():
                from autocoder.store.migrate import upgrade_on  # noqa: PLC0415  Alembic is heavy, and rarely needed

                await connection.run_sync(upgrade_on)
    if again:
        await prepare(database)


def _create_all(connection: sa.Connection) -> None:
    metadata.create_all(connection, checkfirst=False)
    connection.execute(sa.text(f"CREATE VIEW {DEAD_LETTER_QUEUE} AS {DEAD_LETTER_QUEUE_SQL}"))
    revisions.create(connection, checkfirst=True)
    connection.execute(sa.insert(revisions).values(version_num=SCHEMA_VERSION))
    made = {"version": SCHEMA_VERSION, "description": "made as defined", "applied_at": datetime.now(UTC)}
    connection.execute(sa.insert(schema_version).values(made))


async def lock_schema(database: Database, connection: AsyncConnection) -> None:
    """Let no other process change the schema until the transaction ends; SQLite has locked the file already."""
    if not database.is_sqlite:
        await connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({SCHEMA_LOCK})"))
