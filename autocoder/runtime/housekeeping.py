"""What goes on beside a kept run: metrics every few seconds and at the end, and now and then the deletion of old rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final
from uuid import uuid4

import anyio
from sqlalchemy.exc import DBAPIError

from autocoder.database import database_said
from autocoder.runtime.run import Parts
from autocoder.store.metrics import FLUSH_SECONDS, ComponentReading, PortReading, Recorder
from autocoder.store.retention import Retention, clean_up
from autocoder.store.store import Store

logger: Final = logging.getLogger("autocoder.pipeline")
SAMPLE_SECONDS: Final = 0.5
FIRST_CLEANING_SECONDS: Final = 60.0
CLEANING_SECONDS: Final = 3600.0
LAST_FLUSH_SECONDS: Final = 1.0


async def keep_house(store: Store, parts: Parts) -> None:
    """Record and clean up until cancelled; never fails, for neither is worth a run."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_record, store, parts)
        tasks.start_soon(_clean, store)


async def _record(store: Store, parts: Parts) -> None:
    recorder = Recorder(store.database, store.pipeline, run=uuid4().hex)
    try:
        while True:
            for _ in range(round(FLUSH_SECONDS / SAMPLE_SECONDS)):
                await anyio.sleep(SAMPLE_SECONDS)
                recorder.sample(_ports(parts))
            await recorder.flush(_components(parts), _ports(parts))
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(LAST_FLUSH_SECONDS):
            await recorder.flush(_components(parts), _ports(parts))


async def _clean(store: Store) -> None:
    await anyio.sleep(FIRST_CLEANING_SECONDS)
    while True:
        try:
            deleted = await clean_up(store.database, Retention.of(store.database.options))
            if any(deleted.values()):
                logger.info(
                    "deleted what is past its time: %s", ", ".join(f"{n} of {t}" for t, n in deleted.items() if n)
                )
        except (DBAPIError, OSError) as error:
            logger.warning("old rows were not deleted: %s; the next try is in an hour", database_said(error))
        await anyio.sleep(CLEANING_SECONDS)


def _components(parts: Parts) -> Sequence[ComponentReading]:
    return [
        ComponentReading(
            name,
            unit.given + unit.dead_letters if unit.node.kind == "source" else unit.taken,
            unit.given,
            unit.dropped,
            unit.dead_letters,
            unit.retried,
        )
        for name, unit in parts.units.items()
    ]


def _ports(parts: Parts) -> Sequence[PortReading]:
    """Channels that end at the same port count as one."""
    found: dict[tuple[str, str], PortReading] = {}
    for component, channels in parts.arriving.items():
        for port, channel in channels:
            before = found.get((component, port), PortReading(component, port, 0, 0, 0, 0))
            found[component, port] = PortReading(
                component,
                port,
                before.received + channel.taken,
                before.dropped + channel.dropped,
                before.waiting + channel.size,
                before.capacity + channel.capacity,
            )
    return list(found.values())
