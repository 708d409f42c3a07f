"""What goes on beside a kept run: metrics every few seconds and at the end, and now and then the deletion of old rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final
from uuid import uuid4

import anyio
from sqlalchemy.exc import DBAPIError

from autocoder.database_faults import database_said
from autocoder.runtime.run import Parts
from autocoder.store.metrics import FLUSH_SECONDS, ComponentReading, PortReading, Recorder
from autocoder.store.ownership import Ownership
from autocoder.store.retention import Retention, clean_up
from autocoder.store.store import Store

logger: Final = logging.getLogger("autocoder.pipeline")
SAMPLE_SECONDS: Final = 0.5
FIRST_CLEANING_SECONDS: Final = 60.0
CLEANING_SECONDS: Final = 3600.0
LAST_CLEANING_SECONDS: Final = 1.0
LAST_FLUSH_SECONDS: Final = 1.0


async def keep_house(store: Store, ownership: Ownership, parts: Parts) -> None:
    """Record and clean up until cancelled; never fails, for neither is worth a run."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_record, store, ownership, parts)
        tasks.start_soon(_clean, store)


async def _record(store: Store, ownership: Ownership, parts: Parts) -> None:
    recorder = Recorder(store.database, store.pipeline, run=uuid4().hex, still=ownership.holds)
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
    cleaned = False
    try:
        await anyio.sleep(FIRST_CLEANING_SECONDS)
        while True:
            await _clean_once(store)
            cleaned = True
            await anyio.sleep(CLEANING_SECONDS)
    finally:
        if not cleaned:  # many short runs must not let the tables grow for ever
            with anyio.CancelScope(shield=True), anyio.move_on_after(LAST_CLEANING_SECONDS):
                await _clean_once(store)


async def _clean_once(store: Store) -> None:
    try:
        deleted = await clean_up(store.database, Retention.of(store.database.options))
    except (DBAPIError, OSError) as error:
        logger.warning(
            "old rows were not deleted: %s; they will be, in an hour or by the next run", database_said(error)
        )
        return
    if any(deleted.values()):
        logger.info("deleted what is past its time: %s", ", ".join(f"{n} of {t}" for t, n in deleted.items() if n))


def _components(parts: Parts) -> Sequence[ComponentReading]:
    return [
        ComponentReading(
            name,
            unit.given + unit.taken if unit.node.kind == "source" else unit.taken,
            unit.given,
            unit.dropped,
            unit.dead_letters,
            unit.retried,
            0.0 if unit.line is None else unit.line.age,
        )
        for name, unit in parts.units.items()
    ]


def _ports(parts: Parts) -> Sequence[PortReading]:
    """Channels that end at the same port count as one."""
    durable = {(each.component, each.port) for each in parts.inlets}
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
                durable=(component, port) in durable,
            )
    return list(found.values())
