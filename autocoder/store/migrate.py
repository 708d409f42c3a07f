"""Migrations, through Alembic: those of the framework, and the branches that packs add (group `autocoder.migrations`).

They are found among the installed packages and need no alembic.ini. An entry point of a pack names a package that holds
revision files; its first revision has `down_revision = None`, a branch label, and may have `depends_on = "0001"`. Every
change happens in one transaction of ours: all of its steps, or none.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError

from autocoder.database import Database
from autocoder.database_file import APPLICATION_ID
from autocoder.errors import UsageError, describe
from autocoder.store.failpoints import reached
from autocoder.store.owners import refuse_owned
from autocoder.store.schema import (
    Schema,
    SchemaError,
    create,
    lock_schema,
    pack_branches,
    read_schema,
    refusal,
)
from autocoder.store.snapshot import copy_beside
from autocoder.store.tables import DEAD_LETTER_QUEUE, VERSION_TABLE, metadata, schema_version

BASE: Final = "base"
HEADS: Final = "heads"


@dataclass(frozen=True, slots=True)
class Step:
    """A revision that this version knows. `applied_at` is None where the database does not have it."""

    revision: str
    before: tuple[str, ...]
    branch: str
    description: str
    applied: bool = False
    applied_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What a migration did: the revisions before and behind it, and the backup that was made first."""

    before: frozenset[str]
    behind: frozenset[str]
    backup: Path | None


@cache
def _locations() -> tuple[str, ...]:
    found = [str(files("autocoder_migrations") / "versions")]
    for entry in pack_branches():
        try:
            found.append(str(files(entry.value)))
        except (ImportError, TypeError) as error:
            raise SchemaError(
                f"the migrations of the pack {entry.name!r} cannot be found in {entry.value!r}: {describe(error)}; "
                f"reinstall the pack, or uninstall it"
            ) from error
    return tuple(found)


def configuration(connection: sa.Connection | None = None) -> Config:
    """Alembic's configuration, made of the installed packages; `connection` is what env.py works on."""
    config = Config(stdout=io.StringIO(), attributes={"connection": connection})
    for name, value in (
        ("script_location", str(files("autocoder_migrations"))),
        ("path_separator", "newline"),
        ("version_locations", "\n".join(_locations())),
    ):
        config.set_main_option(name, value.replace("%", "%%"))
    return config


@cache
def scripts() -> ScriptDirectory:
    """All revisions that are installed."""
    return ScriptDirectory.from_config(configuration())


def heads() -> frozenset[str]:
    """The newest revision of every branch."""
    return frozenset(scripts().get_heads())


@cache
def known() -> frozenset[str]:
    """Every revision that is installed."""
    return frozenset(each.revision for each in scripts().walk_revisions())


def held_by(revisions: frozenset[str]) -> frozenset[str]:
    """Every revision that a database with these rows has: Alembic drops the row of one that another depends on."""
    held: set[str] = set()
    waiting = list(revisions)
    while waiting:
        each = waiting.pop()
        if each not in held:
            held.add(each)
            script = scripts().get_revision(each)
            waiting += script._all_down_revisions if script is not None else ()
    return frozenset(held)


def is_newest(revisions: frozenset[str]) -> bool:
    """Whether a database with these rows has every revision that is installed."""
    return revisions <= known() and held_by(revisions) == known()


def upgrade_on(connection: sa.Connection, target: str = HEADS) -> None:
    """Take the steps up to `target` on a connection inside a transaction."""
    command.upgrade(configuration(connection), target)


def downgrade_on(connection: sa.Connection, target: str = BASE) -> None:
    """Take the steps down to `target` on a connection inside a transaction."""
    command.downgrade(configuration(connection), target)


async def upgrade(database: Database, target: str = HEADS) -> Change:
    """Bring a database up to `target`; one of another program gets our tables beside its own.

    SQLite: a backup copy is made first. Raises SchemaError for a newer schema, UsageError for an unknown revision, and
    UnreachableError while an instance runs a pipeline on it.
    """
    schema = await read_schema(database)
    _refuse_unknown(database, schema)
    if not schema.revisions:
        if target == HEADS:
            return await _begin(database, schema)
    elif is_newest(schema.revisions):
        return Change(schema.revisions, schema.revisions, None)
    await refuse_owned(database)
    return await _step(database, upgrade_on, target)


async def downgrade(database: Database, target: str) -> Change:
    """Take a database down to `target` (a revision, `base`, or a number of steps such as -1), losing what that drops.

    SQLite: a backup copy is made first. Raises as `upgrade`.
    """
    _refuse_unknown(database, await read_schema(database))
    await refuse_owned(database)
    return await _step(database, downgrade_on, target)


async def _begin(database: Database, schema: Schema) -> Change:
    if schema.standing() == "foreign":
        await _adopt(database)
    else:
        await create(database)
    return Change(frozenset(), (await read_schema(database)).revisions or frozenset(), None)


async def _adopt(database: Database) -> None:
    """Add our tables to a file of another program, as its owner has asked for; its own mark in the header stays."""
    async with database.transaction() as connection:
        if (await connection.execute(sa.text("PRAGMA application_id"))).scalar_one() == 0:
            await connection.execute(sa.text(f"PRAGMA application_id={APPLICATION_ID}"))
        await connection.run_sync(upgrade_on)


async def _step(database: Database, change: Callable[[sa.Connection, str], None], target: str) -> Change:
    backup = None
    async with database.transaction() as connection:
        await lock_schema(database, connection)
        before = (await read_schema(database, connection)).revisions or frozenset()
        if change is upgrade_on and is_newest(before):
            return Change(before, before, None)  # another process was faster
        if database.path is not None and before:
            backup = await copy_beside(Path(database.path), "-".join(sorted(before)))
        reached("migration.begin")
        try:
            await connection.run_sync(change, target)
        except (CommandError, RevisionError) as error:
            raise UsageError(
                f"there is no way to revision {target!r}: {error}; `autocoder db history` lists them"
            ) from error
        reached("migration.done")
        behind = (await read_schema(database, connection)).revisions or frozenset()
    return Change(before, behind, backup)


def _refuse_unknown(database: Database, schema: Schema) -> None:
    if schema.standing() in ("newer", "clash"):
        raise refusal(database, schema)


async def history(database: Database) -> list[Step]:
    """Every installed revision, oldest first, and which the database has."""
    schema = await read_schema(database)
    stamps: dict[str, datetime] = {}
    if schema_version.name in schema.tables and schema.revisions:
        async with database.reading() as connection:
            rows = await connection.execute(sa.select(schema_version.c.version, schema_version.c.applied_at))
            stamps = {row.version: row.applied_at for row in rows}
    held = held_by(schema.revisions) if schema.revisions and schema.revisions <= known() else frozenset[str]()
    return [
        Step(
            each.revision,
            each._normalized_down_revisions,
            ", ".join(sorted(each.branch_labels)),
            (each.doc or "").rstrip("."),
            each.revision in held,
            stamps.get(each.revision) if each.revision in held else None,
        )
        for each in reversed(list(scripts().walk_revisions()))
    ]


async def differences(database: Database) -> list[str]:
    """Where the tables of a database differ from the definition, in words; those of others are not looked at."""
    async with database.reading() as connection:
        found: list[str] = await connection.run_sync(_differences)
    return found


def _differences(connection: sa.Connection) -> list[str]:
    def ours(name: str | None, kind: str, parents: Any) -> bool:
        return kind == "schema" or (name if kind == "table" else parents.get("table_name")) in metadata.tables

    context = MigrationContext.configure(
        connection,
        opts={"compare_type": True, "include_name": ours, "version_table": VERSION_TABLE, "target_metadata": metadata},
    )
    found = [_said(each) for each in compare_metadata(context, metadata)]
    inspector = sa.inspect(connection)
    if DEAD_LETTER_QUEUE not in inspector.get_view_names():
        found.append(f"the view {DEAD_LETTER_QUEUE} is missing")
    for table in metadata.sorted_tables:
        if inspector.has_table(table.name):
            have = {each["name"] for each in inspector.get_check_constraints(table.name)}
            expected = {
                str(each.name)
                for each in table.constraints
                if isinstance(each, sa.CheckConstraint)
                and (each._ddl_if is None or connection.dialect.name == "sqlite")
            }
            found += [f"{table.name}: the constraint {name} is missing" for name in sorted(expected - have)]
    return found


def _said(change: Any) -> str:
    if isinstance(change, list):  # changes of one column
        return "; ".join(_said(each) for each in change)
    verb, *rest = change
    names = [str(getattr(each, "name", each)) for each in rest if each is not None and not isinstance(each, dict)]
    return f"{str(verb).replace('_', ' ')}: {' '.join(names)}"
