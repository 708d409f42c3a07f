"""`--restart` forgets what one pipeline has under way, in parts and by the indexes, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from autocoder.database import Database
from autocoder.store import store
from autocoder.store.columns import now
from autocoder.store.epoch import RUNTIME_STATE
from autocoder.store.schema import prepare
from autocoder.store.store import Store
from autocoder.store.tables import checkpoints, component_state, port_messages
from tests.store.filled import message
from tests.store.statements import asked

pytestmark = pytest.mark.anyio
STATUSES = ("pending", "processing", "failed", "completed", "dead_letter")


async def fill(database: Database) -> None:
    """Two pipelines with several rows of each kind, at several ports."""
    await prepare(database)
    async with database.transaction() as connection:
        for pipeline in ("mine", "other"):
            places: list[dict[str, Any]] = [
                {"pipeline": pipeline, "target_component": component, "port_name": port}
                for component in ("a", "b")
                for port in ("in", "more")
            ]
            for place in places * 3:
                await connection.execute(sa.insert(port_messages), [message(status, **place) for status in STATUSES])
                await connection.execute(sa.insert(port_messages), [message("pending", **place, parked=True)])
            same = {"pipeline": pipeline, "version": 1}
            state = [
                {"component_name": component, "state_name": name, "state_key": key, "state_data": "1"}
                for component in ("a", "b")
                for name in (RUNTIME_STATE, "total")
                for key in ("", "k", "ü", "x" * 500)
            ]
            await connection.execute(
                sa.insert(component_state), [{**same, **each, "updated_at": now()} for each in state]
            )
            positions = [{"checkpoint_name": name, "component_name": "s"} for name in ("", "saved")]
            await connection.execute(
                sa.insert(checkpoints),
                [{**same, **each, "checkpoint_data": "5", "created_at": now()} for each in positions],
            )


async def kept(database: Database, pipeline: str) -> tuple[dict[str, int], int, list[str]]:
    """Messages by status, values of state, and the names of checkpoints."""
    async with database.reading() as connection:
        table = port_messages.c
        query = sa.select(table.status, sa.func.count()).where(table.pipeline == pipeline).group_by(table.status)
        messages = {each[0]: each[1] for each in await connection.execute(query)}
        values = sa.select(sa.func.count()).where(component_state.c.pipeline == pipeline)
        state = (await connection.execute(values)).scalar_one()
        names = sa.select(checkpoints.c.checkpoint_name).where(checkpoints.c.pipeline == pipeline)
        return messages, state, sorted((await connection.execute(names)).scalars())


@pytest.mark.parametrize("part", [1, 5, 12, 1000])
async def test_what_is_under_way_is_forgotten(database: Database, monkeypatch: pytest.MonkeyPatch, part: int) -> None:
    monkeypatch.setattr(store, "PART", part)
    await fill(database)
    other = await kept(database, "other")
    with asked() as statements:
        async with database.transaction() as connection:
            await Store(database, "mine").forget(connection)
    assert await kept(database, "mine") == ({"completed": 12, "dead_letter": 12}, 0, ["saved"])
    assert await kept(database, "other") == other
    deletes = sum(each.sql.startswith("DELETE") for each in statements)
    assert deletes >= 1 + 16 // part + 12 // part + 36 // part
