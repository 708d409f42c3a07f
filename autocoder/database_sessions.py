"""Ends sessions of PostgreSQL whose connection was given up, so that nobody waits for the locks that they hold.

A server learns late that a network is gone. Where it has part of a message, and waits for the rest, it minds no timeout of
statements and transactions either: the row locks of that session would stand until the connection is found dead.
"""

from __future__ import annotations

import time
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from autocoder.database_faults import is_store_fault

MOST: Final = 100
"""So many are remembered, the last ones; the server finds the others by its own means."""
# A session with such a number that began later is another one.
_END: Final = sa.text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = :pid AND usename = current_user "
    "AND datname = current_database() AND backend_start < clock_timestamp() - make_interval(secs => :ago)"
)


def liveness_settings(lease: float) -> dict[str, str]:
    """Settings of a session by which the server finds its client gone within the time of a lease, in seconds.

    They are those of TCP; on a Unix socket they say nothing, and the kernel tells at once.
    """
    pause = max(1, round(lease / 6))
    return {
        "tcp_keepalives_idle": str(max(1, round(lease / 3))),
        "tcp_keepalives_interval": str(pause),
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": str(round(lease * 1000)),
    }


class LostSessions:
    """The sessions of connections that an engine has given up."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._lost: dict[int, float] = {}
        sa.event.listen(engine.sync_engine, "invalidate", self._invalidated)

    def _invalidated(self, connection: Any, _record: Any, _error: BaseException | None) -> None:
        self._lost[connection.driver_connection.get_server_pid()] = time.monotonic()
        for pid in list(self._lost)[:-MOST]:
            del self._lost[pid]

    async def end(self, connection: AsyncConnection) -> None:
        """End them, over a connection on which no transaction has begun. Raises what shows that the database is in trouble."""
        for pid, moment in list(self._lost.items()):
            try:
                await connection.execute(_END, {"pid": pid, "ago": time.monotonic() - moment})
            except DBAPIError as error:  # it may not be allowed: then they end as the server ends them
                if is_store_fault(error):
                    raise
            self._lost.pop(pid, None)
            await connection.rollback()

    def __bool__(self) -> bool:
        return bool(self._lost)
