"""Writes down what a run does and how its components fare: a batch every few seconds, one short transaction each.

Only numbers and the names that the pipeline's author gave are kept, never a payload or a configured value. A store in
trouble costs a gap in the metrics, never the run.

Health, judged over the last minute:

- `unhealthy`: at least half of the messages that the component took became dead letters;
- `degraded`: some did, or attempts were repeated, or the store could not be written to;
- `unknown`: it has not taken a message yet; and whoever reads a row judges one whose `last_heartbeat` is older than
  SILENCE_SECONDS as unknown, too, for its run has ended or hangs (`judged`);
- `healthy`: otherwise.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder.database import Database
from autocoder.database_faults import database_said
from autocoder.store.columns import now
from autocoder.store.tables import component_metrics, port_messages, port_metrics, system_health

logger: Final = logging.getLogger("autocoder.store")
FLUSH_SECONDS: Final = 5.0
WINDOW: Final = 12
SILENCE_SECONDS: Final = 3 * FLUSH_SECONDS
TENTHS: Final = 11
HALF: Final = 0.5


@dataclass(frozen=True, slots=True)
class ComponentReading:
    """The counters of a component since its run began, in messages.

    `held_seconds` is for how long the messages of a key have waited for one that is tried again, where they wait longest.
    """

    name: str
    taken: int
    given: int
    dropped: int
    dead_letters: int
    retried: int
    held_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PortReading:
    """A channel at an input port: its counters since the run began, what waits in it, and how much has room.

    The recorder finds out how old the first message of a `durable` one is.
    """

    component: str
    port: str
    received: int
    dropped: int
    waiting: int
    capacity: int
    durable: bool = False
    oldest_age_ms: float | None = None

    @property
    def utilization(self) -> float:
        return self.waiting / self.capacity if self.capacity else 0.0


# With a literal: SQLite uses a partial index only where a query has its very words.
IS_WAITING: Final = sa.and_(port_messages.c.status == sa.literal_column("'pending'"), ~port_messages.c.parked)
Still = Callable[[AsyncConnection], Awaitable[bool]]


async def _always(_: AsyncConnection) -> bool:
    return True


COUNTERS: Final = ("taken", "given", "dropped", "dead_letters", "retried")


class Recorder:
    """Keeps the readings of one run between two flushes; `run` names the run in the metadata of its metrics.

    `still` says, in the transaction that writes, whether the run owns its pipeline: one that was superseded writes nothing.
    """

    def __init__(self, database: Database, pipeline: str, run: str, still: Still = _always) -> None:
        self._database = database
        self._pipeline = pipeline
        self._still = still
        self._metadata = json.dumps({"run": run})
        self._last: dict[str, ComponentReading] = {}
        self._ports: dict[tuple[str, str], PortReading] = {}
        self._histograms: dict[tuple[str, str], list[int]] = {}
        self._window: deque[dict[str, ComponentReading]] = deque(maxlen=WINDOW)
        self._failures = 0

    def sample(self, ports: Sequence[PortReading]) -> None:
        """Note how full the channels are; cheap, to be called often."""
        for each in ports:
            histogram = self._histograms.setdefault((each.component, each.port), [0] * TENTHS)
            histogram[min(TENTHS - 1, int(each.utilization * 10))] += 1

    async def flush(self, components: Sequence[ComponentReading], ports: Sequence[PortReading]) -> None:
        """Write what changed since the last flush; a store that fails is logged, and the next flush makes up for it."""
        moment = now()
        metrics = [row for each in components for row in self._component_rows(each, moment)]
        health = [self._health_row(each, moment) for each in components]
        try:
            async with self._database.transaction() as connection:
                if not await self._still(connection):
                    return
                ports = [await self._aged(connection, each, moment) for each in ports]
                channels = [self._port_row(each, moment) for each in ports if self._is_news(each)]
                if metrics:
                    await connection.execute(sa.insert(component_metrics), metrics)
                if channels:
                    await connection.execute(sa.insert(port_metrics), channels)
                if health:
                    await connection.execute(self._upsert(), health)
        except (DBAPIError, OSError) as error:
            self._failures += 1
            logger.debug("metrics were not written: %s", database_said(error))
            return
        self._failures = 0
        self._last = {each.name: each for each in components}
        self._window.append(self._last)
        self._ports = {(each.component, each.port): each for each in ports}
        self._histograms.clear()

    def _component_rows(self, reading: ComponentReading, moment: datetime) -> list[dict[str, Any]]:
        last = self._last.get(reading.name)
        return [
            {
                "pipeline": self._pipeline,
                "component_name": reading.name,
                "metric_name": f"messages_{counter}",
                "metric_value": float(getattr(reading, counter)),
                "metric_unit": "messages",
                "metric_metadata": self._metadata,
                "timestamp": moment,
            }
            for counter in COUNTERS
            if getattr(reading, counter) != (getattr(last, counter) if last is not None else 0)
        ]

    async def _aged(self, connection: AsyncConnection, reading: PortReading, moment: datetime) -> PortReading:
        """The reading with the age of the first message that waits; unchanged where none does."""
        if not reading.durable:
            return reading
        table = port_messages.c
        query = sa.select(table.created_at).where(
            table.pipeline == self._pipeline,
            table.target_component == reading.component,
            table.port_name == reading.port,
            IS_WAITING,
        )
        first = (await connection.execute(query.order_by(table.seq).limit(1))).scalar_one_or_none()
        if first is None:
            return reading
        return replace(reading, oldest_age_ms=max(0.0, (moment - first) / timedelta(milliseconds=1)))

    def _is_news(self, reading: PortReading) -> bool:
        last = self._ports.get((reading.component, reading.port))
        return last != reading if last is not None else bool(reading.received or reading.waiting or reading.dropped)

    def _port_row(self, reading: PortReading, moment: datetime) -> dict[str, Any]:
        histogram = self._histograms.get((reading.component, reading.port), [0] * TENTHS)
        return {
            "pipeline": self._pipeline,
            "component_name": reading.component,
            "port_name": reading.port,
            "messages_sent": reading.received + reading.waiting + reading.dropped,
            "messages_received": reading.received,
            "messages_dropped": reading.dropped,
            "buffer_utilization": reading.utilization,
            "buffer_histogram": json.dumps(histogram),
            "oldest_message_age_ms": reading.oldest_age_ms,
            "timestamp": moment,
        }

    def _health_row(self, reading: ComponentReading, moment: datetime) -> dict[str, Any]:
        before = self._window[0].get(reading.name) if self._window else None
        taken, dead, retried = (
            getattr(reading, each)
            - (getattr(before, each) if before is not None and len(self._window) == WINDOW else 0)
            for each in ("taken", "dead_letters", "retried")
        )
        details = {
            "taken": taken,
            "dead_letters": dead,
            "retried": retried,
            "dead_letter_rate": round(dead / taken, 6) if taken else None,
            "held_seconds": round(reading.held_seconds, 3),
            "store_failures": self._failures,
        }
        return {
            "pipeline": self._pipeline,
            "component_name": reading.name,
            "health_status": health(
                taken, dead, retried, self._failures, ever=bool(reading.taken or reading.given or reading.dead_letters)
            ),
            "health_details": json.dumps(details),
            "last_heartbeat": moment,
            "created_at": moment,
        }

    def _upsert(self) -> Any:
        dialect = sqlite if self._database.is_sqlite else postgresql
        statement: Any = dialect.insert(system_health)
        changed = ("health_status", "health_details", "last_heartbeat")
        return statement.on_conflict_do_update(
            index_elements=["pipeline", "component_name"], set_={name: statement.excluded[name] for name in changed}
        )


def health(taken: int, dead_letters: int, retried: int, store_failures: int, *, ever: bool) -> str:
    """The health of a component by the rules above, from its counts over the window; `ever` is whether it did anything."""
    if not ever:
        return "unknown"
    if dead_letters and dead_letters >= HALF * max(taken, 1):
        return "unhealthy"
    return "degraded" if dead_letters or retried or store_failures else "healthy"


def judged(status: str, last_heartbeat: datetime, moment: datetime) -> str:
    """The health that a row tells at a moment: unknown where its run has not been heard of for SILENCE_SECONDS."""
    return "unknown" if moment - last_heartbeat > timedelta(seconds=SILENCE_SECONDS) else status
