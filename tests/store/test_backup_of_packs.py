"""A dump holds the tables that migrations of packs made, of either database and into either."""

from __future__ import annotations

import gzip
import json
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from autocoder_components.assessments.lifecycle.tables import (
    assessment_metrics,
    assessment_routes,
    assessment_state_audit,
    assessment_states,
)

from autocoder.database import Database, open_database
from autocoder.errors import UsageError
from autocoder.store import pack_tables
from autocoder.store.backup import back_up, check_dump, restore
from autocoder.store.schema import prepare
from autocoder.store.verify import violations
from tests.store.filled import fill
from tests.store.fresh import BOTH, fresh_postgres, fresh_sqlite

pytestmark = pytest.mark.anyio
MOMENT = datetime(2026, 3, 1, 12, 30, 15, 123457, tzinfo=UTC)
TABLES = (assessment_states, assessment_state_audit, assessment_metrics, assessment_routes)


async def fill_packs(database: Database) -> None:
    """Rows with all that a column may hold: moments, JSON as it was written, numbers, truth, nothing."""
    at = {"created_at": MOMENT, "updated_at": MOMENT}
    request = '{"b": 1.50,  "a": "\\u0000 é"}'
    done = {"started_at": MOMENT, "deadline_at": MOMENT, "completed_at": MOMENT, "result_data": "[1]", "progress": 100}
    state: dict[str, Any] = {"assessment_type": "x", "source": "s", "request_data": request, "claim_rank": 2**40, **at}
    async with database.transaction() as connection:
        for number in (7, 3):
            row = {**state, "id": number, "assessment_id": f"a{number}"}
            await connection.execute(
                sa.insert(assessment_states).values({**row, "state": "completed", **done} if number == 7 else row)
            )
            await connection.execute(
                sa.insert(assessment_metrics).values(
                    assessment_id=f"a{number}",
                    metric_type="queue_time",
                    metric_value=0.1,
                    metric_unit="s",
                    timestamp=MOMENT,
                )
            )
        begun = {"version_to": 1, "changed_by": "me", "change_action": "import", "created_at": MOMENT, "context": "{}"}
        for name, ended in (("gone", "pending"), ("a7", "completed"), ("a3", "pending")):
            trail = {"assessment_id": name, "new_state": ended, **begun}
            await connection.execute(sa.insert(assessment_state_audit).values(trail))
        for home, compared in (("store", True), ("legacy", False)):
            await connection.execute(
                sa.insert(assessment_routes).values(assessment_id=home, home=home, compared=compared, decided_at=MOMENT)
            )


async def rows_of_packs(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    async with database.reading() as connection:
        return {
            table.name: [
                tuple(each) for each in await connection.execute(sa.select(table).order_by(*table.primary_key))
            ]
            for table in TABLES
        }


async def add_one(database: Database) -> int:
    """The key that a new row gets."""
    async with database.transaction() as connection:
        row = {"assessment_id": "new", "assessment_type": "x", "source": "s", "request_data": "{}", "claim_rank": 1}
        made = sa.insert(assessment_states).values(**row, created_at=MOMENT, updated_at=MOMENT)
        return int((await connection.execute(made.returning(assessment_states.c.id))).scalar_one())


@pytest.mark.parametrize("target", BOTH)
@pytest.mark.parametrize("source", BOTH)
async def test_the_rows_of_packs_come_back(source: str, target: str, postgres_url: str, tmp_path: Path) -> None:
    dump = tmp_path / "b.jsonl.gz"
    async with AsyncExitStack() as stack:

        async def opened(kind: str, name: str) -> Database:
            made = fresh_sqlite(tmp_path, name)
            url = made if kind == "sqlite" else await stack.enter_async_context(fresh_postgres(postgres_url))
            return await stack.enter_async_context(open_database(url))

        database = await opened(source, "a.db")
        await prepare(database)
        await fill(database)
        await fill_packs(database)
        before = await rows_of_packs(database)
        await back_up(database, dump)
        counts = check_dump(dump)
        assert {table.name: counts[table.name] for table in TABLES} == {
            name: len(rows) for name, rows in before.items()
        }
        if source == target:  # over itself, which has gone on
            await add_one(database)
            await restore(database, dump, force=True)
        else:
            database = await opened(target, "b.db")
            await restore(database, dump, force=False)
        assert await rows_of_packs(database) == before
        async with database.reading() as connection:
            assert await violations(connection, is_sqlite=database.is_sqlite) == []
        assert await add_one(database) > 7  # keys go on behind those restored


async def test_a_dump_without_them_leaves_them_as_they_are(database: Database, tmp_path: Path) -> None:
    """One of an earlier version, which knew only the framework's tables."""
    await prepare(database)
    await fill(database)
    await fill_packs(database)
    before = await rows_of_packs(database)
    dump = tmp_path / "b.jsonl.gz"
    await back_up(database, dump)
    lines, names = [], {table.name for table in TABLES}
    inside = False
    for line in gzip.decompress(dump.read_bytes()).decode().splitlines(keepends=True):
        value = json.loads(line)
        inside = inside or (isinstance(value, dict) and value.get("table") in names)
        if not inside:
            lines.append(line)
        if isinstance(value, dict) and "sealed" in value:
            inside = False
    dump.write_bytes(gzip.compress("".join(lines).encode()))
    assert not names & check_dump(dump).keys()
    await restore(database, dump, force=True)
    assert await rows_of_packs(database) == before


async def test_what_a_dump_has_no_form_for_is_named(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await prepare(database)
    images = sa.Table("images", sa.MetaData(), sa.Column("picture", sa.LargeBinary, primary_key=True))
    monkeypatch.setattr(pack_tables, "_names", lambda: frozenset({"images"}))
    async with database.transaction() as connection:
        await connection.run_sync(images.create)
        await connection.execute(sa.insert(images).values(picture=b"\0\xff"))
    with pytest.raises(UsageError, match="column 'picture' of table 'images' holds values of the type bytes"):
        await back_up(database, tmp_path / "b.jsonl.gz")
    assert list(tmp_path.glob("*.gz*")) == []
