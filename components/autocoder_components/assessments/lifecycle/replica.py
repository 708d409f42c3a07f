"""A copy of the database that answers what need not be the newest, as long as it is there and not far behind.

It falls behind or goes away and nobody notices but the log: the database itself answers then. What this process wrote lately is
read there in any case, so that everybody sees what they did.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import anyio
import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder import Database, DatabaseOptions, UnreachableError, UsageError, open_database
from autocoder_components.assessments.lifecycle.tables import assessment_state_audit

T = TypeVar("T")
MEASURE_SECONDS: Final = 1.0
"""How often it is found out how far behind the copy is."""
AGAIN_SECONDS: Final = 5.0
MOST_AGAIN_SECONDS: Final = 60.0
"""How long a copy that failed is left alone, doubled with each failure up to this."""
PATIENCE_SECONDS: Final = 2.0
"""So long may the copy take to be opened, and to say how far it is."""
STATEMENT_SECONDS: Final = 10.0
"""So long may it take for an answer."""
MOST_WRITES: Final = 10_000
_trail: Final = assessment_state_audit.c
_newest: Final = sa.select(_trail.id, _trail.assessment_id, _trail.created_at).order_by(_trail.id.desc()).limit(1)
_entry: Final = sa.select(_trail.id, _trail.assessment_id, _trail.created_at).where(
    _trail.id == sa.bindparam("of_id", type_=sa.BigInteger())
)
_logger: Final = logging.getLogger("autocoder.assessments")


class NotUsableError(Exception):
    """The copy is away or too far behind; ask the database."""


class Replica:
    """A copy of `primary`, opened when it is first asked; `close` it at the end.

    It is far behind where its newest audit entry is older than `most_lag` seconds and not the newest there is; it is no copy
    where the database has not got that entry.
    """

    def __init__(
        self,
        url: str,
        primary: Database,
        most_lag: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        options = primary.options if DatabaseOptions(url).backend == primary.options.backend else DatabaseOptions(url)
        self._options = replace(
            options,
            url=url,
            retry_attempts=1,
            connect_timeout=min(options.connect_timeout, PATIENCE_SECONDS),
            statement_timeout=min(options.statement_timeout or STATEMENT_SECONDS, STATEMENT_SECONDS),
            pool_timeout=min(options.pool_timeout, PATIENCE_SECONDS),
            busy_timeout=min(options.busy_timeout, PATIENCE_SECONDS),
        )
        self._primary, self._most_lag, self._clock = primary, most_lag, clock
        self._lock = anyio.Lock()
        self._stack: AsyncExitStack | None = None
        self._opened: Database | None = None
        self._measured_at = -MEASURE_SECONDS
        self._is_current = False
        self._left_alone_until = 0.0
        self._failures = 0
        self._told_of_other = False
        self._written: OrderedDict[str, float] = OrderedDict()
        self._trust_nobody_until = 0.0
        self.answers = 0

    async def close(self) -> None:
        """Close its connections."""
        stack, self._stack, self._opened = self._stack, None, None
        if stack is not None:
            await stack.aclose()

    # -- what this process wrote ----------------------------------------------------------------------------------

    def wrote(self, assessment_ids: Iterable[str]) -> None:
        """These were written just now; until the copy must have them, they are read from the database."""
        moment = self._clock()
        for each in assessment_ids:
            self._written[each] = moment
            self._written.move_to_end(each)
        while len(self._written) > MOST_WRITES:
            _, at = self._written.popitem(last=False)
            self._trust_nobody_until = at + self._keep

    def may_lack(self, assessment_id: str) -> bool:
        """Whether this process wrote it so lately that the copy may not have it yet."""
        moment = self._clock()
        while self._written and next(iter(self._written.values())) + self._keep < moment:
            self._written.popitem(last=False)
        return moment < self._trust_nobody_until or assessment_id in self._written

    @property
    def _keep(self) -> float:
        return 2 * (self._most_lag + MEASURE_SECONDS)

    # -- asking ---------------------------------------------------------------------------------------------------

    async def ask(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """What the copy says. Raises NotUsableError where it is away, fails, or is too far behind, UsageError for its URL."""
        if self._clock() < self._left_alone_until:
            raise NotUsableError
        try:
            database = await self._current()
            async with database.reading() as connection:
                answer = await work(connection)
        except (DataError, IntegrityError):  # the question's own fault
            raise
        except (DBAPIError, OSError, UnreachableError) as error:
            self._failed(error)
            raise NotUsableError from error
        self.answers += 1
        return answer

    async def _current(self) -> Database:
        async with self._lock:
            if self._clock() < self._left_alone_until:  # another found out meanwhile
                raise NotUsableError
            database = self._opened or await self._open()
            if self._clock() - self._measured_at >= MEASURE_SECONDS:
                with anyio.fail_after(PATIENCE_SECONDS):
                    await self._measure(database)
            if not self._is_current:
                raise NotUsableError
            return database

    async def _open(self) -> Database:
        stack = AsyncExitStack()
        try:
            if self._options.backend == "sqlite":
                path = sa.make_url(self._options.url).database
                if path and not await anyio.Path(path).exists():
                    raise FileNotFoundError(f"there is no file {path}")  # to open it would make one
            self._opened = await stack.enter_async_context(open_database(self._options))
        except UsageError as error:
            raise UsageError(f"the copy {self._options.shown} of the database: {error}") from None
        self._stack = stack
        return self._opened

    async def _measure(self, database: Database) -> None:
        # The database last: what it has is no older than what was asked of the copy, so that they may be compared.
        async with database.reading() as connection:
            theirs: Any = (await connection.execute(_newest)).one_or_none()
        self._say_is_back()
        async with self._primary.reading() as connection:
            ours: Any = (await connection.execute(_newest)).one_or_none()
            same = theirs if theirs is None else (await connection.execute(_entry, {"of_id": theirs.id})).one_or_none()
        is_copy = same == theirs
        if not is_copy and not self._told_of_other:
            self._told_of_other = True
            shown = self._options.shown
            _logger.warning("%s has another history than the database, and is not asked: is it a copy of it?", shown)
        behind = 0.0 if theirs is None else (datetime.now(UTC) - theirs.created_at).total_seconds()
        is_current = is_copy and (ours == theirs or (theirs is not None and behind <= self._most_lag))
        self._measured_at = self._clock()
        if self._is_current and not is_current:
            _logger.info("the copy %s is too far behind; the database answers instead", self._options.shown)
        self._is_current = is_current

    def _say_is_back(self) -> None:
        if self._failures:
            self._failures = 0
            _logger.info("the copy %s is back", self._options.shown)

    def _failed(self, error: BaseException) -> None:
        pause = min(MOST_AGAIN_SECONDS, AGAIN_SECONDS * 2 ** min(self._failures, 10))
        self._left_alone_until = self._clock() + pause
        self._measured_at, self._is_current = -MEASURE_SECONDS, False
        self._failures += 1
        if self._failures == 1:
            said = next(iter(str(getattr(error, "orig", None) or error).splitlines()), type(error).__name__)
            _logger.warning(
                "the copy %s cannot be used: %s; the database answers instead, and it is tried again",
                self._options.shown,
                said,
            )
