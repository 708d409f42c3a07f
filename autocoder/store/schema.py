"""Brings a database to the schema of this version."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder.database import Database
from autocoder.store.tables import DEAD_LETTER_QUEUE, DEAD_LETTER_QUEUE_SQL, metadata


async def prepare(database: Database) -> None:
    """Make the tables and the view that are missing, in one transaction; two processes may do so at once."""
    async with database.transaction() as connection:
        if not database.is_sqlite:
            await connection.execute(sa.text("SELECT pg_advisory_xact_lock(6145739087)"))
        await connection.run_sync(metadata.create_all)
        await _make_view(connection, is_sqlite=database.is_sqlite)


async def _make_view(connection: AsyncConnection, *, is_sqlite: bool) -> None:
    create = "CREATE VIEW IF NOT EXISTS" if is_sqlite else "CREATE OR REPLACE VIEW"
    await connection.execute(sa.text(f"{create} {DEAD_LETTER_QUEUE} AS {DEAD_LETTER_QUEUE_SQL}"))
