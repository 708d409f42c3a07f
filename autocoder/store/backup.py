"""Backups: a copy of an SQLite file, or a portable dump of autocoder's tables from either database.

A dump (`.jsonl.gz`) is one consistent snapshot: a head, for each table its columns, its rows and a seal (count and
SHA-256 of the lines), and an end, without which it is not whole. It can be restored into either database. It holds the
tables that migrations made, autocoder's and those of its packs: what sinks wrote into tables of their own is the business
of pg_dump, or of the file's copy.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import sqlite3
import zlib
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import asynccontextmanager, closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import quote

import anyio
import anyio.to_thread
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from autocoder.database import Database
from autocoder.errors import UnreachableError, UsageError, describe
from autocoder.store.failpoints import reached
from autocoder.store.owners import refuse_owned
from autocoder.store.pack_tables import pack_tables, read_back, written
from autocoder.store.schema import Schema, SchemaError, create, read_schema, refusal
from autocoder.store.snapshot import copy, copy_beside
from autocoder.store.tables import metadata, regions

DUMP_SUFFIX: Final = ".jsonl.gz"
FORMAT: Final = "autocoder dump 1"
BATCH: Final = 1000
_SQLITE_HEADER: Final = b"SQLite format 3\0"
# A restored database has older tokens; an instance that was frozen all the while must not hold one that comes again.
TOKEN_LEAP: Final = 1_000_000


class BackupError(UnreachableError):
    """A backup is damaged, or is none; nothing was changed."""


def is_dump(path: Path) -> bool:
    """Whether a file is, or is to be, a dump, judged by its name."""
    return path.name.endswith(DUMP_SUFFIX)


async def back_up(database: Database, target: Path) -> int:
    """Write a backup while pipelines go on, and return its size in bytes; the file appears whole or not at all.

    `target` ends in `.jsonl.gz` for a dump; any other name means a copy of the file, which SQLite alone has. Raises
    UsageError where `target` exists.
    """
    if await anyio.Path(target).exists():
        raise UsageError(f"{target} exists already; name another file, or remove it")
    if is_dump(target):
        await _dump(database, target)
    elif database.path is None:
        raise UsageError(
            f"a backup of PostgreSQL is a dump of autocoder's tables; end its name in {DUMP_SUFFIX} "
            f"(pg_dump is the tool for the database as a whole)"
        )
    else:
        await copy(Path(database.path), target)
    return (await anyio.Path(target).stat()).st_size


async def restore(database: Database, source: Path, *, force: bool) -> Path | None:
    """Put a backup in the place of what a database holds; returns the copy that was made of that first (SQLite).

    Raises UsageError where the database holds something and `force` is off, UnreachableError while an instance owns it,
    BackupError for a damaged backup, SchemaError for one of another schema.
    """
    await refuse_owned(database)
    schema = await read_schema(database)
    if schema.standing() != "empty" and not force:
        raise UsageError(
            f"the database {database.url} is not empty; --force puts the backup in the place of what it holds"
        )
    if is_dump(source):
        counts = await anyio.to_thread.run_sync(check_dump, source)
        before = await _copy_of(database, schema)
        await _load(database, source, counts.keys())
    else:
        if database.path is None:
            raise UsageError(f"{source} is no dump ({DUMP_SUFFIX}), and PostgreSQL takes no other backup")
        await anyio.to_thread.run_sync(check_copy, source)
        before = await _copy_of(database, schema)
        await anyio.to_thread.run_sync(_replace, source, Path(database.path))
    async with database.transaction() as connection:
        await connection.execute(
            sa.update(regions).values(token=regions.c.token + TOKEN_LEAP, owner=None, expires_at=None)
        )
    reached("restore.done")
    return before


async def _copy_of(database: Database, schema: Schema) -> Path | None:
    if database.path is None or not schema.tables:
        return None
    return await copy_beside(Path(database.path), "before-restore")


def _replace(source: Path, target: Path) -> None:
    """In one transaction of the database, so that whoever has it open sees the old or the new."""
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as read,
            closing(sqlite3.connect(target, timeout=10)) as write,
        ):
            read.backup(write)
    except sqlite3.Error as error:
        raise UnreachableError(f"{source} cannot be restored to {target}: {describe(error)}") from error


def check_copy(path: Path) -> None:
    """Raises BackupError unless a file is a whole SQLite database with autocoder's tables."""
    try:
        with path.open("rb") as file:
            header = file.read(len(_SQLITE_HEADER))
        if header != _SQLITE_HEADER:
            raise BackupError(f"{path} is no backup: neither an SQLite database nor a dump ({DUMP_SUFFIX})")
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            said = connection.execute("PRAGMA integrity_check(3)").fetchall()
            connection.execute("SELECT count(*) FROM port_messages")
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"the backup {path} cannot be read: {describe(error)}; take an older one") from error
    if said != [("ok",)]:
        raise BackupError(f"the backup {path} is damaged: {said[0][0]}; take an older one")


# -- dumps ------------------------------------------------------------------------------------------------------------


async def _dump(database: Database, target: Path) -> None:
    schema = await read_schema(database)
    if schema.standing() != "current":
        raise (
            refusal(database, schema)
            if schema.tables
            else UsageError(f"{database.url} is empty; there is nothing to back up")
        )
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    head = {"format": FORMAT, "revisions": sorted(schema.revisions or ()), "made_at": datetime.now(UTC).isoformat()}
    try:
        with partial.open("wb") as raw:
            with gzip.open(raw, "wt", encoding="utf-8", compresslevel=6) as file:
                file.write(json.dumps(head) + "\n")
                async with _snapshot(database) as connection:
                    tables = await _tables(connection)
                    for table in tables:
                        await _dump_table(connection, table, file)
                file.write(json.dumps({"end": len(tables)}) + "\n")
            raw.flush()
            os.fsync(raw.fileno())
        partial.replace(target)
    except OSError as error:
        raise UnreachableError(
            f"the backup {target} cannot be written: {describe(error)}; make room, or name another place"
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink()


async def _tables(connection: AsyncConnection) -> list[sa.Table]:
    """All that a dump holds, those first that others refer to."""
    return [*metadata.sorted_tables, *await pack_tables(connection)]


@asynccontextmanager
async def _snapshot(database: Database) -> AsyncIterator[AsyncConnection]:
    """A transaction that sees one moment: REPEATABLE READ on PostgreSQL, an open read on SQLite."""
    async with database.reading() as connection:
        if not database.is_sqlite:
            frozen = await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            async with frozen.begin():
                yield frozen
            return
        await connection.execute(sa.text("BEGIN"))
        try:
            yield connection
        finally:
            await connection.execute(sa.text("ROLLBACK"))


async def _dump_table(connection: AsyncConnection, table: sa.Table, file: IO[str]) -> None:
    digest, number = hashlib.sha256(), 0
    file.write(json.dumps({"table": table.name, "columns": [column.name for column in table.columns]}) + "\n")
    result = await connection.stream(
        sa.select(table).order_by(*table.primary_key), execution_options={"yield_per": BATCH}
    )
    async for row in result:
        line = json.dumps(written(table, row), ensure_ascii=False) + "\n"
        digest.update(line.encode())
        number += 1
        file.write(line)
    file.write(json.dumps({"sealed": table.name, "rows": number, "sha256": digest.hexdigest()}) + "\n")


def _lines(path: Path) -> Iterator[tuple[str, Any, list[str]]]:
    """`(line, value, open table's columns)` of a dump whose seals hold; raises BackupError at the first that does not."""
    digest, number, table, columns, ended = hashlib.sha256(), 0, "", [], False
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
            for line in file:
                value = json.loads(line)
                if isinstance(value, list):
                    digest.update(line.encode())
                    number += 1
                elif "table" in value:
                    digest, number, table, columns = hashlib.sha256(), 0, value["table"], value["columns"]
                elif "sealed" in value and (value["sealed"], value["rows"], value["sha256"]) != (
                    table,
                    number,
                    digest.hexdigest(),
                ):
                    raise BackupError(f"the backup {path} is damaged: rows of {table} were changed; take an older one")
                ended = ended or "end" in value
                yield table, value, columns
    except (OSError, EOFError, ValueError, zlib.error, KeyError, TypeError) as error:
        raise BackupError(f"the backup {path} is damaged or cut off: {describe(error)}; take an older one") from error
    if not ended:
        raise BackupError(f"the backup {path} is cut off before its end; take an older one")


def check_dump(path: Path) -> dict[str, int]:
    """The number of rows by table; raises BackupError unless a dump is whole and of this format."""
    counts: dict[str, int] = {}
    for at, (table, value, _) in enumerate(_lines(path)):
        if at == 0 and (not isinstance(value, dict) or value.get("format") != FORMAT):
            raise BackupError(f"{path} is no dump that this version reads ({FORMAT})")
        if isinstance(value, dict) and "sealed" in value:
            counts[table] = int(value["rows"])
    return counts


async def _load(database: Database, source: Path, held: Collection[str]) -> None:
    """Put the rows of a dump in the place of those that its tables, which it `held`, have; other tables stay as they are."""
    lines = _lines(source)
    head = next(lines)[1]
    if (await read_schema(database)).standing() == "empty":
        await create(database)
    schema = await read_schema(database)
    if schema.standing() != "current":
        raise refusal(database, schema)
    if frozenset(head["revisions"]) != schema.revisions:
        raise SchemaError(
            f"the backup {source} has the schema {', '.join(head['revisions'])}, and the database "
            f"{', '.join(sorted(schema.revisions or ()))}; restore it with the version that made it, "
            f"and run `autocoder db upgrade` then"
        )
    async with database.transaction() as connection:
        tables = {table.name: table for table in await _tables(connection) if table.name in held}
        for table in reversed(tables.values()):
            await connection.execute(sa.delete(table))
        batch: list[dict[str, Any]] = []
        for name, value, columns in lines:
            if isinstance(value, list):
                batch.append(_row(tables[name], columns, value))
            if batch and (not isinstance(value, list) or len(batch) >= BATCH):
                await connection.execute(sa.insert(tables[name]), batch)
                batch = []
        await _move_sequences(database, connection, tables.values())
        reached("restore.loaded")


def _row(table: sa.Table, columns: list[str], values: list[Any]) -> dict[str, Any]:
    return {name: read_back(table.columns[name], value) for name, value in zip(columns, values, strict=True)}


async def _move_sequences(database: Database, connection: AsyncConnection, tables: Iterable[sa.Table]) -> None:
    """Keys go on behind those that were restored; SQLite sees to that by itself."""
    if database.is_sqlite:
        return
    for table in tables:
        keys = list(table.primary_key)
        if len(keys) == 1 and isinstance(keys[0].type, sa.Integer):
            last = sa.select(sa.func.max(keys[0])).scalar_subquery()
            sequence = sa.func.pg_get_serial_sequence(
                f'"{table.name}"', keys[0].name
            )  # NULL, which moves nothing, for none
            moved = sa.func.setval(sequence, sa.func.coalesce(last, 1), sa.exists(sa.select(keys[0])))
            await connection.execute(sa.select(moved))


@asynccontextmanager
async def opened_copy(path: Path) -> AsyncIterator[AsyncConnection]:
    """A connection to the copy of a file, which stays untouched: no journal is made beside it."""
    file = str(await anyio.Path(path).absolute())
    url = sa.URL.create(
        "sqlite+aiosqlite", database=f"file:{quote(file)}", query={"mode": "ro", "immutable": "1", "uri": "true"}
    )
    engine = create_async_engine(url, hide_parameters=True)
    try:
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()
