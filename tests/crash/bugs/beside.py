"""Bugs of what stands beside the run: replays, savepoints, retention."""

from __future__ import annotations

from typing import Any

from autocoder.store import retention, savepoints
from autocoder.store.dead_letters import DeadLetters
from autocoder.store.inbox import insert_messages
from autocoder.store.tables import port_messages
from tests.crash.planting import bug, substitute


@bug("I3", "keyed ordered chain", "replay")
def replay_copies() -> None:
    """A replay sends a copy, and leaves the dead letter."""

    async def replay(self: DeadLetters, letters: Any) -> Any:
        async with self._database.transaction() as connection:
            for each in letters:
                await insert_messages(connection, each.pipeline, each.component, each.port, [each.data])
        return letters

    substitute(DeadLetters, "replay", replay)


@bug("I9", "chain pool", "save")
def savepoint_without_messages() -> None:
    """A savepoint holds no messages."""

    async def nothing(*_: Any) -> tuple[int, int]:
        return 0, 0

    substitute(savepoints, "copy_messages", nothing)


@bug("I9", "chain pool", "clean")
def retention_deletes_waiting() -> None:
    """Retention deletes messages that wait."""
    clear = retention._clear

    async def clearing(database: Any, time: Any, old: Any, dry_run: bool) -> int:
        if time.table is port_messages:
            old = port_messages.c.status.in_(["pending", "processing", "failed"])
        return await clear(database, time, old, dry_run)

    substitute(retention, "_clear", clearing)
