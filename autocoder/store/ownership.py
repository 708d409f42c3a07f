"""Who may commit for a pipeline: an OS lock (or advisory lock) for the living, a token that fences off the superseded.

The lock tells at once that an owner is gone: the kernel (or the server) frees it with the process. The lease covers the
case in which it is not gone but frozen: when nobody renewed it in time, by the database's clock, it may be taken over,
and every commit of the old owner fails, since each checks the token inside its transaction.

Whoever takes over from a frozen one has a lease and no lock: that is still with the frozen one, and free for anybody when
it goes. So the lease says whether its owner has the lock (`locked`), and a lock alone takes nothing from one that has not.
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
from autocoder.store.committing import LeaseLost
from autocoder.store.failpoints import reached
from autocoder.store.patience import patiently
from autocoder.store.pulse import Pulse
from autocoder.store.tables import regions

RENEWALS: Final = 3
WAIT_SECONDS: Final = 0.25


class OwnedElsewhereError(UnreachableError):
    """Another instance runs this pipeline on this database; wait for it (`--wait`), or stop it."""


class Ownership:
    """The lease of one pipeline: the token of each of its regions."""

    def __init__(
        self,
        database: Database,
        pipeline: str,
        lock: _FileLock | _AdvisoryLock,
        tokens: dict[str, int],
        epochs: dict[str, int],
        unclean: dict[str, int],
    ) -> None:
        self.tokens = tokens
        self.epochs = epochs
        self.unclean_starts = unclean
        self._database = database
        self._pipeline = pipeline
        self._lock = lock

    async def holds(self, connection: AsyncConnection) -> bool:
        """Whether it is still the one that owns the pipeline, as the transaction of `connection` sees it."""
        query = sa.select(sa.func.count()).where(
            regions.c.pipeline == self._pipeline,
            sa.tuple_(regions.c.region, regions.c.token).in_(list(self.tokens.items())),
        )
        return bool((await connection.execute(query)).scalar_one() == len(self.tokens))

    async def keep(self) -> None:
        """Renew the lease until cancelled; raises LeaseLost when somebody else has taken over."""
        pulse = Pulse(self._database.options, self._renew)
        async with pulse.beating():
            while True:
                await anyio.sleep(self._database.options.lease / RENEWALS)
                reached("lease.renew")
                try:
                    # Again: a server that restarts forgets it, and one that took over from a frozen owner has not got it yet.
                    locked = await self._lock.take()
                    kept = await self._renew(self._database, locked=locked)
                except (DBAPIError, OSError):
                    continue  # the store is in trouble: commits wait for it, too, and the fence judges in the end
                pulse.renewed()
                reached("lease.renewed")
                if kept != len(self.tokens):
                    raise LeaseLost(f"pipeline {self._pipeline!r}: another instance has taken over; this one stops")

    async def _renew(self, database: Database, **also: Any) -> int:
        """Let the lease begin anew, unless it was given back; returns the number of regions of which that is so."""
        async with database.transaction() as connection:
            kept = await connection.execute(
                sa.update(regions)
                .where(
                    regions.c.pipeline == self._pipeline,
                    regions.c.owner.is_not(None),
                    sa.tuple_(regions.c.region, regions.c.token).in_(list(self.tokens.items())),
                )
                .values(expires_at=_from_now(database), **also)
            )
        return int(kept.rowcount)


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
        wanted = list(names)
        attempts = None if wait else database.options.retry_attempts
        hangs_at = anyio.current_time() + database.options.lease

        async def attempt() -> Ownership | str | None:
            hangs = anyio.current_time() >= hangs_at
            return await _take(database, pipeline, wanted, owner, lock, admit, hangs=hangs)

        while True:
            taken = await patiently(database, "lease the pipeline", attempt, attempts=attempts)
            if isinstance(taken, Ownership):
                break
            if taken is not None:
                if not wait:
                    raise _owned(database, pipeline, taken, "wait for it with --wait, or stop that instance")
                hangs_at = anyio.current_time() + database.options.lease
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
    """All regions of a pipeline, their rows locked, and who owns them.

    All, not only those of the graph at hand: an instance of the graph before owns others, and counts as well. With the lock
    (`locked`) a lease counts no longer whose owner had it: that owner is gone.
    """
    table = regions.c
    fresh = sa.and_(table.expires_at.is_not(None), table.expires_at > _clock(database))
    wanted = (table.region, table.token, table.epoch, table.owner, table.unclean_starts, table.locked)
    query = sa.select(*wanted, fresh.label("fresh"))
    found = await connection.execute(query.where(table.pipeline == pipeline).order_by(table.region).with_for_update())
    rows: list[sa.Row[Any]] = list(found)
    return rows, next((str(row.owner) for row in rows if row.fresh and not (locked and row.locked)), None)


async def _take(
    database: Database,
    pipeline: str,
    names: list[str],
    owner: str,
    lock: _FileLock | _AdvisoryLock,
    admit: Admission,
    *,
    hangs: bool,
) -> Ownership | str | None:
    """Raise the tokens of all regions, or say who owns them.

    None: somebody has the lock and no lease, since it starts or ends (or only looks whether the lock is free). That is over
    soon, and to take the lease meanwhile would leave the lock to a third; if it takes as long as a lease, it `hangs`.
    """
    table = regions.c
    locked = await lock.take()
    async with database.transaction() as connection:
        rows, other = await _held(connection, database, pipeline, locked=locked)
        if other is None:
            for name in names:
                await connection.execute(_if_absent(database, pipeline, name))
            rows, other = await _held(connection, database, pipeline, locked=locked)  # another may have been first
        if other is not None:
            if locked:
                await lock.release()  # its owner is to have it
            return other
        if not (locked or hangs or any(row.owner is not None for row in rows)):
            return None
        mine = sa.and_(table.pipeline == pipeline, table.region.in_(names))
        await connection.execute(
            sa.update(regions)
            .where(mine)
            .values(
                token=table.token + 1,
                owner=owner,
                expires_at=_from_now(database),
                locked=locked,
                unclean_starts=table.unclean_starts + 1,
            )
        )
        await connection.execute(
            sa.update(regions)
            .where(table.pipeline == pipeline, table.region.not_in(names))
            .values(token=table.token + 1, owner=None, expires_at=None)
        )
        await admit(connection)
        reached("lease.taking")
    return Ownership(
        database,
        pipeline,
        lock,
        {row.region: row.token + 1 for row in rows if row.region in names},
        {row.region: row.epoch for row in rows if row.region in names},
        {row.region: row.unclean_starts for row in rows if row.region in names},
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
                .values(owner=None, expires_at=None, unclean_starts=0)
            )
            reached("lease.returning")
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
    lease = database.options.lease
    if database.is_sqlite:
        return sa.literal_column(
            f"CAST((julianday('now') - 2440587.5) * 86400000000 + {round(lease * 1_000_000)} AS INTEGER)"
        )
    return sa.literal_column(f"clock_timestamp() + interval '{lease:f} seconds'")


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

    async def release(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._descriptor)


class _AdvisoryLock:
    """An advisory lock of a session of its own; the server frees it with the session."""

    def __init__(self, database: Database, key: int) -> None:
        self._database = database
        self._key = key
        self._session = AsyncExitStack()
        self._connection: AsyncConnection | None = None
        self._held = False

    async def take(self) -> bool:
        """Whether it is held; where the session was lost it is taken again, if nobody was faster."""
        try:
            if self._connection is None:
                self._connection = await self._session.enter_async_context(self._database.session())
            query = sa.true() if self._held else sa.func.pg_try_advisory_lock(self._key)
            self._held = bool((await self._connection.execute(sa.select(query))).scalar_one())
            await self._connection.commit()
        except BaseException:
            await self.release()
            raise
        return self._held

    async def release(self) -> None:
        """Give the lock back, if it is held, with its session."""
        self._held, self._connection = False, None
        await self._session.aclose()


@asynccontextmanager
async def _lock(database: Database, pipeline: str) -> AsyncIterator[_FileLock | _AdvisoryLock]:
    digest = hashlib.sha256(pipeline.encode()).digest()
    if database.path is not None:
        file = _FileLock(Path(f"{database.path}.{digest.hex()[:12]}.lock"))
        try:
            yield file
        finally:
            file.close()
        return
    advisory = _AdvisoryLock(database, int.from_bytes(digest[:8], "big", signed=True))
    try:
        yield advisory
    finally:
        await advisory.release()
