"""A copy of the database that answers what need not be the newest, as long as it is there and not far behind.

It falls behind or goes away and nobody notices but the log: the database itself answers then. It also answers for what this
process wrote, and for all lists behind a write, until the copy is known to have that: who asks one process sees what they did
there. Another process may tell for as long as the copy may be behind how it was before.
"""

from __future__ import annotations

import logging
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Final, TypeVar

import anyio
import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder import Database, DatabaseOptions, UnreachableError, UsageError, open_database
from autocoder_components.assessments.lifecycle import currency
from autocoder_components.assessments.lifecycle.tables import assessment_state_audit

T = TypeVar("T")
MEASURE_SECONDS: Final = 1.0
"""How often it is found out how far behind the copy is, and how often at most there is a heartbeat."""
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

    It answers while it is known to have everything from `most_lag` seconds ago (see `currency`), whether something was written
    since or not. It is no copy where the database has not got its newest audit entry.
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
        self._pause = min(MEASURE_SECONDS, most_lag / 2)
        self._measured_at = -math.inf
        self._known_until = -math.inf  # by the clock here
        self._was_current = False
        self._first_beat = math.inf
        self._left_alone_until = 0.0
        self._failures = 0
        self._told_of_other = self._told_of_heartbeat = False
        self._written: OrderedDict[str, float] = OrderedDict()
        self._last_write = self._forgot_until = -math.inf
        self.answers = 0

    async def close(self) -> None:
        """Close its connections."""
        stack, self._stack, self._opened = self._stack, None, None
        if stack is not None:
            await stack.aclose()

    # -- what this process wrote ----------------------------------------------------------------------------------

    def wrote(self, assessment_ids: Iterable[str]) -> None:
        """These were written just now; until the copy has them, they are read from the database."""
        moment = self._clock()
        for each in assessment_ids:
            self._last_write = self._written[each] = moment
            self._written.move_to_end(each)
        while len(self._written) > MOST_WRITES:
            _, self._forgot_until = self._written.popitem(last=False)

    def _may_lack(self, assessment_id: str | None) -> bool:
        """Whether this process wrote it (None: anything), and the copy is not known to have that."""
        while self._written and next(iter(self._written.values())) < self._known_until:
            self._written.popitem(last=False)
        if assessment_id is None:
            return self._last_write >= self._known_until
        return assessment_id in self._written or self._forgot_until >= self._known_until

    # -- asking ---------------------------------------------------------------------------------------------------

    async def ask(self, work: Callable[[AsyncConnection], Awaitable[T]], of: str | None = None) -> T:
        """What the copy says, of one assessment or (None) of many.

        Raises NotUsableError where it is away, fails, is too far behind, or may lack what this process wrote of that, and
        UsageError for its URL.
        """
        if self._clock() < self._left_alone_until:
            raise NotUsableError
        try:
            database = await self._current()
            if self._may_lack(of):
                raise NotUsableError
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
            if self._clock() - self._measured_at >= self._pause:
                with anyio.fail_after(PATIENCE_SECONDS):
                    await self._measure(database)
            is_current = self._clock() - self._known_until <= self._most_lag
            if self._was_current and not is_current:
                _logger.info("the copy %s is too far behind; the database answers instead", self._options.shown)
            self._was_current = is_current
            if not is_current:
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
        began = self._clock()
        async with database.reading() as connection:
            mark = await currency.mark_of(connection)
            theirs: Any = (await connection.execute(_newest)).one_or_none()
        self._say_is_back()
        async with self._primary.reading() as connection:
            now = await currency.now_of(connection)
            until = await currency.known_until(connection, mark, now)
            same = theirs if theirs is None else (await connection.execute(_entry, {"of_id": theirs.id})).one_or_none()
        self._measured_at, self._known_until = began, -math.inf
        if same != theirs:
            self._tell_of_other()
        elif until is not None:
            self._known_until = began - max(0.0, (now - until).total_seconds())
        if not mark.is_standby and (until is None or (now - until).total_seconds() >= self._pause):
            async with self._primary.transaction() as connection:
                await currency.beat(connection, now)
            self._first_beat = min(self._first_beat, began)
            if until is None:
                self._tell_of_heartbeat(began)

    def _tell_of_other(self) -> None:
        if not self._told_of_other:
            self._told_of_other = True
            shown = self._options.shown
            _logger.warning("%s has another history than the database, and is not asked: is it a copy of it?", shown)

    def _tell_of_heartbeat(self, moment: float) -> None:
        if moment - self._first_beat > self._most_lag and not self._told_of_heartbeat:
            self._told_of_heartbeat = True
            _logger.warning(
                "%s does not get the heartbeat of the database, and is not asked: is the table sink_storage copied, too?",
                self._options.shown,
            )

    def _say_is_back(self) -> None:
        if self._failures:
            self._failures = 0
            _logger.info("the copy %s is back", self._options.shown)

    def _failed(self, error: BaseException) -> None:
        pause = min(MOST_AGAIN_SECONDS, AGAIN_SECONDS * 2 ** min(self._failures, 10))
        self._left_alone_until = self._clock() + pause
        self._measured_at, self._known_until, self._was_current = -math.inf, -math.inf, False
        self._failures += 1
        if self._failures == 1:
            said = next(iter(str(getattr(error, "orig", None) or error).splitlines()), type(error).__name__)
            _logger.warning(
                "the copy %s cannot be used: %s; the database answers instead, and it is tried again",
                self._options.shown,
                said,
            )
