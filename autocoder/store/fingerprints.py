"""The fingerprint of a pipeline: what its graph was like when it last ran, beside its regions in the store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder.store.tables import regions

Fingerprint = Mapping[str, Mapping[str, Any]]
"""What each component was like, by its name, in JSON's types."""


async def read_fingerprint(connection: AsyncConnection, pipeline: str) -> dict[str, dict[str, Any]]:
    """The components as they last ran; empty where the pipeline never ran here."""
    query = sa.select(regions.c.fingerprint).where(regions.c.pipeline == pipeline, regions.c.fingerprint.is_not(None))
    found: dict[str, dict[str, Any]] = {}
    for (text,) in (await connection.execute(query.order_by(regions.c.region))).all():
        found.update(json.loads(text))
    return found


async def write_fingerprint(connection: AsyncConnection, pipeline: str, fingerprint: Fingerprint) -> None:
    """Keep a fingerprint in place of the one before.

    It is one for the whole pipeline and stands in the row of one region: regions come and go with the graph.
    """
    mine = regions.c.pipeline == pipeline
    first = (await connection.execute(sa.select(sa.func.min(regions.c.region)).where(mine))).scalar_one()
    await connection.execute(sa.update(regions).where(mine, regions.c.region != first).values(fingerprint=None))
    text = json.dumps(fingerprint, sort_keys=True)
    await connection.execute(sa.update(regions).where(mine, regions.c.region == first).values(fingerprint=text))
