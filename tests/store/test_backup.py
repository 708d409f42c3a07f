"""Backups are whole or refused, come back as they were, and `verify` finds what is wrong."""

from __future__ import annotations

import gzip
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa

from autocoder.database import Database, open_database
from autocoder.errors import UsageError
from autocoder.store.backup import BackupError, back_up, check_copy, check_dump, opened_copy, restore
from autocoder.store.ownership import OwnedElsewhereError, owning
from autocoder.store.schema import SchemaError, prepare
from autocoder.store.tables import port_messages, regions
from autocoder.store.verify import violations
from tests.store.filled import contents, fill, message
from tests.store.fresh import fresh_postgres, fresh_sqlite

pytestmark = pytest.mark.anyio


async def counted(database: Database) -> int:
    async with database.reading() as connection:
        return int((await connection.execute(sa.select(sa.func.count()).select_from(port_messages))).scalar_one())


async def test_a_dump_brings_everything_back(database: Database, tmp_path: Path) -> None:
    await prepare(database)
    await fill(database)
    before = await contents(database)
    dump = tmp_path / "b.jsonl.gz"
    await back_up(database, dump)
    assert check_dump(dump)["port_messages"] == 4
    async with database.transaction() as connection:
        await connection.execute(sa.delete(port_messages))
        await connection.execute(sa.update(regions).values(epoch=99))
    with pytest.raises(UsageError, match="not empty; --force"):
        await restore(database, dump, force=False)
    await restore(database, dump, force=True)
    assert await contents(database) == before
    async with database.transaction() as connection:  # keys go on behind those restored
        await connection.execute(sa.insert(port_messages).values(message()))
    assert await counted(database) == 5


async def test_a_dump_moves_from_a_file_to_a_server(postgres_url: str, tmp_path: Path) -> None:
    dump = tmp_path / "b.jsonl.gz"
    async with open_database(fresh_sqlite(tmp_path)) as small:
        await prepare(small)
        await fill(small)
        before = await contents(small)
        await back_up(small, dump)
    async with fresh_postgres(postgres_url) as url, open_database(url) as large:
        await restore(large, dump, force=False)
        assert await contents(large) == before


async def test_a_restored_lease_is_nobodys(database: Database, tmp_path: Path) -> None:
    await prepare(database)
    await fill(database)
    dump = tmp_path / "b.jsonl.gz"
    await back_up(database, dump)
    await restore(database, dump, force=True)
    async with database.reading() as connection:
        row = (await connection.execute(sa.select(regions))).one()
    assert row.owner is None and row.expires_at is None
    assert row.token > 1000


async def test_nothing_is_restored_under_a_running_pipeline(database: Database, tmp_path: Path) -> None:
    await prepare(database)
    dump = tmp_path / "b.jsonl.gz"
    async with owning(database, "p", ["r"], wait=False):
        await back_up(database, dump)
        with pytest.raises(OwnedElsewhereError):
            await restore(database, dump, force=True)


async def test_a_copy_is_taken_while_others_write_and_is_whole(tmp_path: Path) -> None:
    async with open_database(fresh_sqlite(tmp_path)) as database:
        await prepare(database)
        await fill(database)

        async def write() -> None:
            while True:
                async with database.transaction() as connection:
                    await connection.execute(sa.insert(port_messages), [message() for _ in range(10)])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            for number in range(5):
                await anyio.sleep(0.01)
                await back_up(database, tmp_path / f"copy-{number}")
            tasks.cancel_scope.cancel()
    for number in range(5):
        copy = tmp_path / f"copy-{number}"
        check_copy(copy)
        async with opened_copy(copy) as connection:
            assert await violations(connection, is_sqlite=True) == []
        with closing(sqlite3.connect(copy)) as read:
            assert (read.execute("SELECT count(*) FROM port_messages").fetchone()[0] - 4) % 10 == 0


async def test_a_copy_brings_the_file_back_and_keeps_what_was_there(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    async with open_database(fresh_sqlite(tmp_path)) as database:
        await prepare(database)
        await fill(database)
        before = await contents(database)
        await back_up(database, copy)
        async with database.transaction() as connection:
            await connection.execute(sa.delete(port_messages))
        kept = await restore(database, copy, force=True)
        assert await contents(database) == before
    assert kept is not None
    with closing(sqlite3.connect(kept)) as read:
        assert read.execute("SELECT count(*) FROM port_messages").fetchone() == (0,)


@pytest.mark.parametrize("damage", ["cut", "changed", "other"])
async def test_a_damaged_dump_is_refused_before_anything_is_changed(
    database: Database, tmp_path: Path, damage: str
) -> None:
    await prepare(database)
    await fill(database)
    dump = tmp_path / "b.jsonl.gz"
    await back_up(database, dump)
    lines = gzip.decompress(dump.read_bytes()).decode().splitlines(keepends=True)
    if damage == "cut":
        lines = lines[:-1]
    elif damage == "changed":
        lines = [each.replace("ValueError", "KeyError") for each in lines]
    else:
        lines[0] = '{"format": "something else"}\n'
    dump.write_bytes(gzip.compress("".join(lines).encode()))
    before = await contents(database)
    with pytest.raises(BackupError):
        await restore(database, dump, force=True)
    assert await contents(database) == before


async def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    async with open_database(fresh_sqlite(tmp_path)) as database:
        await prepare(database)
        await back_up(database, tmp_path / "whole")
        await back_up(database, tmp_path / "b.jsonl.gz")
    for name, check in (("whole", check_copy), ("b.jsonl.gz", check_dump)):
        file = tmp_path / name
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with pytest.raises(BackupError):
            check(file)


async def test_a_dump_of_another_schema_is_refused(database: Database, tmp_path: Path) -> None:
    await prepare(database)
    dump = tmp_path / "b.jsonl.gz"
    await back_up(database, dump)
    text = re.sub(r'\d{4}"\]', '0000"]', gzip.decompress(dump.read_bytes()).decode(), count=1)
    dump.write_bytes(gzip.compress(text.encode()))
    with pytest.raises(SchemaError, match=r"has the schema \w*0000"):
        await restore(database, dump, force=True)


async def test_a_backup_never_overwrites(database: Database, tmp_path: Path) -> None:
    await prepare(database)
    target = tmp_path / "b.jsonl.gz"
    target.write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        await back_up(database, target)
    assert target.read_text() == "mine"


async def test_verify_finds_rows_that_break_a_rule(database: Database) -> None:
    await prepare(database)
    await fill(database)
    async with database.reading() as connection:
        assert await violations(connection, is_sqlite=database.is_sqlite) == []
    async with database.transaction() as connection:
        await connection.execute(sa.insert(port_messages).values(message("processing", parked=False)))
        await connection.execute(sa.insert(port_messages).values(message("failed", pipeline="ghost")))
        await connection.execute(sa.update(regions).values(epoch=1))
        if database.is_sqlite:
            await connection.execute(sa.text("UPDATE port_messages SET message_data = 'garbage' WHERE seq = 1"))
    async with database.reading() as connection:
        found = " | ".join(await violations(connection, is_sqlite=database.is_sqlite))
    for each in ("no component holds", "pipeline that never ran", "positions that are ahead", "state that is ahead"):
        assert each in found
    assert ("1 rows of port_messages whose message_data is no JSON" in found) == database.is_sqlite
