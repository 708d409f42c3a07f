"""Migrations and the definition of the tables say the same, on both databases, upwards and downwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from autocoder.database import Database, open_database
from autocoder.errors import UsageError
from autocoder.store import migrate
from autocoder.store.migrate import BASE, HEADS, differences, downgrade, heads, history, scripts, upgrade_on
from autocoder.store.retention import Retention, clean_up
from autocoder.store.schema import create, prepare, read_schema
from autocoder.store.store import Store
from autocoder.store.tables import DEAD_LETTER_QUEUE, SCHEMA_VERSION, VERSION_TABLE, metadata
from tests.store.catalog import catalog
from tests.store.fresh import fresh_sqlite

pytestmark = pytest.mark.anyio


async def migrated(database: Database, target: str = HEADS) -> None:
    """By migrations alone, from nothing."""
    async with database.transaction() as connection:
        await connection.run_sync(upgrade_on, target)


async def emptied(database: Database) -> None:
    await downgrade(database, BASE)
    async with database.transaction() as connection:
        await connection.execute(sa.text(f"DROP TABLE {VERSION_TABLE}"))


async def test_migrations_make_exactly_what_is_defined(database: Database) -> None:
    await create(database)
    defined = await catalog(database)
    assert await differences(database) == []
    await emptied(database)
    assert await catalog(database) == {}
    await migrated(database)
    assert await catalog(database) == defined
    assert await differences(database) == []


async def test_every_table_constraint_and_index_of_the_definition_is_there(database: Database) -> None:
    await migrated(database)
    found = await catalog(database)
    text = " ".join([*found, *found.values()])
    for table in metadata.sorted_tables:
        names = [str(each.name) for each in table.indexes]
        names += [str(each.name) for each in table.constraints if each.name and each._ddl_if is None]
        for name in (table.name, *names):
            if not (database.is_sqlite and name.startswith("pk_")):
                assert name in text, name
    partial = [text for name, text in found.items() if "ix_port_messages_" in name]
    assert len(partial) == 4
    assert all(" WHERE " in text for text in partial)
    assert f"view {DEAD_LETTER_QUEUE}" in found


async def test_every_step_goes_down_and_up_again(database: Database) -> None:
    await migrated(database)
    for step in scripts().walk_revisions():
        above = await catalog(database)
        await downgrade(database, "-1")
        assert await catalog(database) != above
        await migrated(database, step.revision)
        assert await catalog(database) == above
        await downgrade(database, "-1")
    schema = await read_schema(database)
    assert schema.revisions == frozenset()
    assert schema.tables == {VERSION_TABLE}
    assert schema.standing() == "empty"


async def test_the_definition_names_the_newest_revision() -> None:
    assert SCHEMA_VERSION in heads()
    own = (each.revision for each in scripts().walk_revisions() if "autocoder" in each.branch_labels)
    assert next(own) == SCHEMA_VERSION


async def test_what_was_emptied_can_be_made_again(database: Database) -> None:
    await prepare(database)
    await downgrade(database, BASE)
    await prepare(database)
    assert await differences(database) == []


async def test_history_says_what_the_database_has(database: Database) -> None:
    before = await history(database)
    assert [each.applied for each in before] == [False] * len(before)
    await migrated(database)
    after = await history(database)
    assert all(each.applied and each.applied_at is not None for each in after)
    assert after[0].revision == "0001" and after[0].before == ()


async def test_an_unknown_revision_is_a_mistake_of_the_caller(database: Database) -> None:
    await prepare(database)
    with pytest.raises(UsageError, match=r"no way to revision 'nonsense'.*history"):
        await downgrade(database, "nonsense")
    assert (await read_schema(database)).standing() == "current"


async def test_a_difference_is_found(database: Database) -> None:
    await prepare(database)
    async with database.transaction() as connection:
        await connection.execute(sa.text("DROP VIEW dead_letter_queue"))
        await connection.execute(sa.text("DROP INDEX ix_port_messages_channel"))
        await connection.execute(sa.text("ALTER TABLE sink_storage ADD COLUMN colour text"))
    found = " | ".join(await differences(database))
    assert "dead_letter_queue" in found and "ix_port_messages_channel" in found and "colour" in found


async def test_processes_that_begin_at_once_do_not_disturb_each_other(url: str) -> None:
    program = (
        "import anyio, sys\n"
        "from autocoder.database import open_database\n"
        "from autocoder.store.schema import prepare\n"
        "async def main():\n"
        "    async with open_database(sys.argv[1]) as database:\n"
        "        await prepare(database)\n"
        "anyio.run(main)\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, url], stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    said = [each.communicate()[1] for each in running]
    assert [each.returncode for each in running] == [0] * 3, said
    async with open_database(url) as database:
        assert await differences(database) == []


async def test_upgrades_at_once_by_two_processes_take_each_step_once(url: str) -> None:
    program = (
        "import anyio, sys\n"
        "from autocoder.database import open_database\n"
        "from autocoder.store.migrate import _step, upgrade_on\n"
        "async def main():\n"
        "    async with open_database(sys.argv[1]) as database:\n"
        "        await _step(database, upgrade_on, 'heads')\n"
        "anyio.run(main)\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, url], stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = [each.communicate()[1] for each in running]
    assert [each.returncode for each in running] == [0] * 2, said
    async with open_database(url) as database:
        assert await differences(database) == []
        assert (await migrate.history(database))[0].applied


async def test_sqlite_reads_parked_and_completed_messages_through_their_partial_indexes(tmp_path: Path) -> None:
    async with open_database(fresh_sqlite(tmp_path)) as database:
        await prepare(database)
        asked: list[tuple[str, Any]] = []

        def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
            asked.append((statement, parameters))

        for engine in (database.engine, database._reader):
            sa.event.listen(engine.sync_engine, "before_cursor_execute", note)
        store = Store(database, "p")
        for only_pending in (True, False):
            await store.parked(after=0, components=["c"], only_pending=only_pending)
        await clean_up(database, Retention(), dry_run=True)
        asked = [each for each in asked if "FROM port_messages" in each[0]]
        async with database.reading() as connection:
            plans = [
                " ".join(str(row) for row in await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values))
                for text, values in list(asked)
            ]
    assert len(plans) == 3
    assert all("ix_port_messages_parked" in each for each in plans[:2])
    assert "ix_port_messages_completed" in plans[2]
