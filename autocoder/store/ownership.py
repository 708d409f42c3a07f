"""Who may commit for a pipeline: an OS lock (or advisory lock) for the living, a token that fences off the superseded.

The lock tells at once that an owner is gone: the kernel (or the server) frees it with the process. The lease covers the
case in which it is not gone but frozen: when nobody renewed it in time, by the database's clock, it may be taken over,
and every commit of the old owner fails, since each checks the token inside its transaction.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder.database import Database
from autocoder.errors import UnreachableError
from autocoder.store.failpoints import reached
from autocoder.store.store import LeaseLost
from autocoder.store.tables import regions

LEASE_SECONDS: Final = 15.0
RENEWALS: Final = 3
WAIT_SECONDS: Final = 0.25


class OwnedElsewhereError(UnreachableError):
    """Another instance runs this pipeline on this database; wait for it (`--wait`), or stop it."""


class Ownership:
    """The lease of one pipeline: the token of each of its regions."""

    def __init__(
        self, database: Database, pipeline: str, tokens: dict[str, int], epochs: dict[str, int], unclean: int
    ) -> None:
        self.tokens = tokens
        self.epochs = epochs
        self.unclean_starts = unclean
        self._database = database
        self._pipeline = pipeline

    async def keep(self) -> None:
        """Renew the lease until cancelled; raises LeaseLost when somebody else has taken over."""
        while True:
            await anyio.sleep(LEASE_SECONDS / RENEWALS)
            reached("lease.renew")
            try:
                async with self._database.transaction() as connection:
                    kept = await connection.execute(
                        sa.update(regions)
                        .where(
                            regions.c.pipeline == self._pipeline,
                            sa.tuple_(regions.c.region, regions.c.token).in_(list(self.tokens.items())),
                        )
                        .values(expires_at=_from_now(self._database))
                    )
            except (DBAPIError, OSError):
                continue  # the store is in trouble: commits wait for it, too, and the fence judges in the end
            if kept.rowcount != len(self.tokens):
                raise LeaseLost(f"pipeline {self._pipeline!r}: another instance has taken over; this one stops")


Admission = Callable[[AsyncConnection], Awaitable[None]]
"""Part of the transaction that takes ownership; what it raises, it raises for all of it."""


async def _admit_all(_: AsyncConnection) -> None:
    """Nothing stands against it."""


@asynccontextmanager
async def owning(
    database: Database, pipeline: str, names: Iterable[str], *, wait: bool, admit: Admission = _admit_all
) -> AsyncIterator[Ownership]:
    """Own a pipeline's regions for the length of a block; with `wait`, until whoever has them is done.

    Raises OwnedElsewhereError where they are owned and `wait` is off. `admit` is called in the transaction that takes them.
    """
    async with AsyncExitStack() as stack:
        lock = await stack.enter_async_context(_lock(database, pipeline))
        owner = f"{socket.gethostname()}:{os.getpid()}"
        while True:
            locked = await lock.take()
            taken = await _take(database, pipeline, list(names), owner, locked=locked, admit=admit)
            if isinstance(taken, Ownership):
                break
            if not wait:
                raise _owned(database, pipeline, taken, "wait for it with --wait, or stop that instance")
            await anyio.sleep(WAIT_SECONDS)
        reached("lease.taken")
        try:
            yield taken
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(5):
                await _give_back(database, pipeline, taken)


def _owned(database: Database, pipeline: str, owner: str, cure: str) -> OwnedElsewhereError:
    return OwnedElsewhereError(f"pipeline {pipeline!r} is running already on {database.url} (owner {owner}); {cure}")


@asynccontextmanager
async def undisturbed(database: Database, pipeline: str) -> AsyncIterator[AsyncConnection]:
    """One transaction on what a pipeline keeps while no instance owns it, and after which none that did can commit.

    Raises OwnedElsewhereError where one does. An instance that starts meanwhile waits for the end of the transaction.
    """
    async with _lock(database, pipeline) as lock:
        locked = await lock.take()
        async with database.transaction() as connection:
            _, owner = await _held(connection, database, pipeline, locked=locked)
            if owner is not None:
                raise _owned(database, pipeline, owner, "stop that instance first")
            await connection.execute(
                sa.update(regions)
                .where(regions.c.pipeline == pipeline)
                .values(token=regions.c.token + 1, owner=None, expires_at=None)
            )
            yield connection


async def _held(
    connection: AsyncConnection, database: Database, pipeline: str, *, locked: bool
) -> tuple[list[sa.Row[Any]], str | None]:
    """All regions of a pipeline, locked, and who owns them.

    All, not only those of the graph at hand: an instance of the graph before owns others, and counts as well.
    """
    table = regions.c
    fresh = sa.and_(table.expires_at.is_not(None), table.expires_at > _clock(database))
    query = sa.select(table.region, table.token, table.epoch, table.owner, table.unclean_starts, fresh.label("fresh"))
    found = await connection.execute(query.where(table.pipeline == pipeline).order_by(table.region).with_for_update())
    rows = list(found)
    if locked:
        return rows, None
    return rows, next((str(row.owner) for row in rows if row.fresh), None)


async def _take(
    database: Database, pipeline: str, names: list[str], owner: str, *, locked: bool, admit: Admission
) -> Ownership | str:
    """Raise the tokens of all regions, or say who owns them."""
    table = regions.c
    async with database.transaction() as connection:
        for name in names:
            await connection.execute(_if_absent(database, pipeline, name))
        rows, other = await _held(connection, database, pipeline, locked=locked)
        if other is not None:
            return other
        mine = sa.and_(table.pipeline == pipeline, table.region.in_(names))
        await connection.execute(
            sa.update(regions)
            .where(mine)
            .values(
                token=table.token + 1,
                owner=owner,
                expires_at=_from_now(database),
                unclean_starts=table.unclean_starts + 1,
            )
        )
        await connection.execute(
            sa.update(regions)
            .where(table.pipeline == pipeline, table.region.not_in(names))
            .values(token=table.token + 1, owner=None, expires_at=None)
        )
        await admit(connection)
    return Ownership(
        database,
        pipeline,
        {row.region: row.token + 1 for row in rows if row.region in names},
        {row.region: row.epoch for row in rows if row.region in names},
        max((row.unclean_starts for row in rows if row.region in names), default=0),
    )


async def _give_back(database: Database, pipeline: str, ownership: Ownership) -> None:
    try:
        async with database.transaction() as connection:
            await connection.execute(
                sa.update(regions)
                .where(
                    regions.c.pipeline == pipeline,
                    sa.tuple_(regions.c.region, regions.c.token).in_(list(ownership.tokens.items())),
                )
                .values(owner=None, expires_at=None)
            )
    except (DBAPIError, OSError):
        return  # it expires by itself


def _if_absent(database: Database, pipeline: str, region: str) -> Any:
    if database.is_sqlite:
        return sa.insert(regions).prefix_with("OR IGNORE").values(pipeline=pipeline, region=region)

    return postgresql.insert(regions).values(pipeline=pipeline, region=region).on_conflict_do_nothing()


def _clock(database: Database) -> Any:
    """The database's own clock, in the form of the column."""
    if database.is_sqlite:
        return sa.literal_column("CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)")
    return sa.func.clock_timestamp()


def _from_now(database: Database) -> Any:
    """The moment at which a lease renewed now runs out."""
    if database.is_sqlite:
        return sa.literal_column(
            f"CAST((julianday('now') - 2440587.5) * 86400000000 + {int(LEASE_SECONDS * 1_000_000)} AS INTEGER)"
        )
    return sa.literal_column(f"clock_timestamp() + interval '{LEASE_SECONDS} seconds'")


class _FileLock:
    """flock on a file beside the database; the kernel frees it with the process."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    async def take(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def close(self) -> None:
        os.close(self._descriptor)


class _AdvisoryLock:
    """A session's advisory lock; the server frees it with the connection."""

    def __init__(self, connection: AsyncConnection, key: int) -> None:
        self._connection = connection
        self._key = key
        self._held = False

    async def take(self) -> bool:
        if not self._held:
            found = await self._connection.execute(sa.select(sa.func.pg_try_advisory_lock(self._key)))
            self._held = bool(found.scalar_one())
            await self._connection.commit()
        return self._held


@asynccontextmanager
async def _lock(database: Database, pipeline: str) -> AsyncIterator[_FileLock | _AdvisoryLock]:
    digest = hashlib.sha256(pipeline.encode()).digest()
    if database.path is not None:
        lock = _FileLock(Path(f"{database.path}.{digest.hex()[:12]}.lock"))
        try:
            yield lock
        finally:
            lock.close()
        return
    connection = await database.engine.connect()
    try:
        yield _AdvisoryLock(connection, int.from_bytes(digest[:8], "big", signed=True))
    finally:
        with anyio.CancelScope(shield=True):
            await connection.invalidate()
            await connection.close()
