"""Writes messages from outside into a durable channel: rows like those that a region emits."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder.database import Database
from autocoder.store.columns import now
from autocoder.store.failpoints import reached
from autocoder.store.identity import message_id
from autocoder.store.patience import patiently
from autocoder.store.tables import port_messages, regions

OUTSIDE = ""
"""The producer of a message that no component made."""


async def insert_messages(
    connection: AsyncConnection, pipeline: str, component: str, port: str, messages: Sequence[str]
) -> list[UUID]:
    """Insert encoded messages in order, in the transaction of `connection`; returns their ids, in the same order."""
    if not messages:
        return []
    moment = now()
    rows = [
        {
            "pipeline": pipeline,
            "source_component": OUTSIDE,
            "target_component": component,
            "port_name": port,
            "message_data": data,
            "created_at": moment,
        }
        for data in messages
    ]
    insert = sa.insert(port_messages).returning(port_messages.c.seq, sort_by_parameter_order=True)
    seqs = (await connection.execute(insert, rows)).scalars()
    reached("inbox.inserted")
    return [message_id(seq, pipeline, component, port, moment) for seq in seqs]


async def store_messages(
    database: Database, pipeline: str, component: str, port: str, messages: Sequence[str]
) -> list[UUID]:
    """The same in a transaction of its own, tried as often as the database's options say while that is in trouble.

    Raises UnreachableError where it failed, or where nobody knows whether it did: nothing is stored twice.
    """

    async def attempt() -> list[UUID]:
        async with database.transaction() as connection:
            return await insert_messages(connection, pipeline, component, port, messages)

    return await patiently(database, "take messages", attempt, attempts=database.options.retry_attempts)


async def known_pipelines(connection: AsyncConnection) -> list[str]:
    """The pipelines that have run on this database."""
    query = sa.select(regions.c.pipeline).distinct().order_by(regions.c.pipeline)
    return list((await connection.execute(query)).scalars())
