"""The store of assessments: what may be done with one, each operation a transaction of its own, on SQLite and PostgreSQL.

Guarantees of every operation that changes something: the row, its audit row and the message that the pipeline gets are
written together or not at all; two that race for the same change have one winner, and the other is told by a typed error.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final

import anyio
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder import Database, DatabaseOptions, open_database, prepare, storable
from autocoder_components.assessments.deliveries import delivered
from autocoder_components.assessments.lifecycle import arguments, attempts, reading, retention, rows, upkeep
from autocoder_components.assessments.lifecycle.cache import SharedLevel, StateCache
from autocoder_components.assessments.lifecycle.errors import RetriesExhaustedError, WaitTimeoutError
from autocoder_components.assessments.lifecycle.importing import ImportReport, Release, import_legacy
from autocoder_components.assessments.lifecycle.levels import open_levels
from autocoder_components.assessments.lifecycle.reading import AuditFilters, Filters, Page, Reader
from autocoder_components.assessments.lifecycle.replica import Replica
from autocoder_components.assessments.lifecycle.requests import AssessmentRequest, judged
from autocoder_components.assessments.lifecycle.rows import change, found, refuse_unless
from autocoder_components.assessments.lifecycle.states import (
    Action,
    Actor,
    AssessmentState,
    AuditEntry,
    Health,
    Policy,
    State,
    Stats,
)
from autocoder_components.assessments.lifecycle.upkeep import Swept
from autocoder_components.assessments.lifecycle.validating import CheckReport, check_import
from autocoder_components.assessments.lifecycle.waiting import Waiters
from autocoder_components.assessments.lifecycle.writing import BATCH, Writer, now, pause_before_retry
from autocoder_components.assessments.settings import ServiceSettings

PIPELINE: Final = "assessments"
INBOX: Final = "inbox"
API: Final = Actor("api")


@asynccontextmanager
async def open_store(
    database: str | DatabaseOptions, *, service: ServiceSettings | None = None, **options: Any
) -> AsyncIterator[AssessmentStore]:
    """A store on a database (a URL without the driver, or options in full) for the length of a block.

    The tables are made where they are missing. `service` says by what policy (unless `options` do) and with what shared cache
    and copy of the database, which are used while they answer; `options` are those of AssessmentStore. Raises
    UnreachableError where the database cannot be opened.
    """
    async with open_database(database) as opened, open_levels(opened, service) as levels:
        await prepare(opened)
        policy = {} if service is None else {"policy": service.policy()}
        store = AssessmentStore(opened, **levels, **{**policy, **options})
        try:
            yield store
        finally:
            await store.close()


class AssessmentStore:
    """The assessments in one open database whose tables exist.

    `actor` is who acts where a call names nobody. With `inbox` None no messages are sent: the callers themselves start what
    they create. `clock` gives the time, aware. `shared` is a cache that processes share; `replica` is a copy of the database,
    which answers list, stats, audit and get_state while it is not far behind, and never what has to be the newest. One
    instance may be used by many tasks; `close` it at the end.
    """

    def __init__(
        self,
        database: Database,
        *,
        actor: Actor = API,
        policy: Policy | None = None,
        pipeline: str = PIPELINE,
        inbox: str | None = INBOX,
        clock: Callable[[], datetime] = now,
        shared: SharedLevel | None = None,
        replica: Replica | None = None,
    ) -> None:
        self._database = database
        cache = StateCache(shared=shared)
        self._writer = Writer(database, policy or Policy(), actor, pipeline, inbox, clock, cache)
        self._reader = Reader(database, cache, replica)
        self._waiters = Waiters(database)

    @property
    def database(self) -> Database:
        """The database that is the truth."""
        return self._database

    @property
    def has_levels(self) -> bool:
        """Whether others than the database answer: a shared cache or a copy."""
        return self._reader.has_levels

    async def close(self) -> None:
        """Stop looking for those who wait."""
        await self._waiters.close()

    # -- creating -------------------------------------------------------------------------------------------------

    async def create(self, request: AssessmentRequest | Mapping[str, Any], *, actor: Actor | None = None) -> str:
        """Store a request and send it to the pipeline; returns its id at once.

        Idempotent by the request's `id`: the same request again changes nothing. Raises InvalidRequestError, which names the
        fields, ConflictingRequestError where the id is taken by another request, and DeletedAssessmentError where it is that
        of an assessment which was deleted, as long as its audit trail is kept; then nothing is stored.
        """
        return (await self.batch_create([request], actor=actor))[0]

    async def batch_create(
        self,
        requests: Sequence[AssessmentRequest | Mapping[str, Any]],
        *,
        actor: Actor | None = None,
        also: Callable[[AsyncConnection], Awaitable[None]] | None = None,
    ) -> list[str]:
        """Store many requests, all of them or none; returns their ids, in order. Raises as `create`.

        `also` is done first in the same transaction, again where the database broke that off; what it raises undoes it.
        """
        wanted = [judged(each, self._writer.policy) for each in requests]

        async def work(connection: AsyncConnection) -> None:
            if also is not None:
                await also(connection)
            for at in range(0, len(wanted), BATCH):
                part = wanted[at : at + BATCH]
                await self._writer.send(
                    connection, await rows.insert_new(connection, self._writer.context(actor), part)
                )

        ids, moment = [each.assessment_id for each in wanted], self._writer.clock()
        if wanted:
            await self._writer.do(work)
            await self._writer.cache.created(moment, *ids)
        return ids

    async def import_legacy(self, lines: Iterable[str], *, release: Release | None = None) -> ImportReport:
        """Take over assessments that an older event system exported as JSON Lines, in batches, each a transaction.

        Every status is taken over: what had ended with its result or error, what had not as pending, with its message to the
        pipeline. Imported again, a line changes nothing. A line that cannot be taken over is in the report, with its reason;
        so is one whose assessment was here and is deleted. A retry that was promised is given, also beyond the number that the
        older system allowed; the report counts these.

        While the older system runs, `release` makes it give up what has not ended, one by one, before that is taken over;
        without it, it must have stopped, or both would do the same. An import that was killed is begun again.
        """
        return await import_legacy(self._writer, lines, release)

    async def check_import(self, lines: Iterable[str]) -> CheckReport:
        """Look whether what an older event system exported is in the store, as it was; changes nothing.

        An assessment that went on since it was taken over, or had not ended then, may have any end.
        """
        return await check_import(self._writer, lines)

    # -- one attempt ----------------------------------------------------------------------------------------------

    async def start_processing(
        self, assessment_id: str, *, version: int | None = None, actor: Actor | None = None
    ) -> AssessmentState:
        """Begin an attempt: pending to processing. Of several that try, one succeeds.

        The `retry_count` of what is returned names the attempt: hand it to `complete` and `fail`. Raises
        AssessmentNotFoundError, IllegalTransitionError, and StaleVersionError where `version` is not that of the row.
        """

        async def work(connection: AsyncConnection) -> AssessmentState:
            context, before = self._writer.context(actor), await found(connection, assessment_id, lock=True)
            refuse_unless(before, State.PROCESSING, version=version)
            await change(
                connection, context, before, State.PROCESSING, Action.START, **rows.started(before, context.moment)
            )
            return await found(connection, assessment_id)

        return await self._writer.changed(work)

    async def update_progress(
        self,
        assessment_id: str,
        progress: int,
        message: str | None = None,
        *,
        attempt: int | None = None,
        actor: Actor | None = None,
    ) -> AssessmentState:
        """Note how far an attempt is, 0 to 99 percent, and what it is at; the version stays.

        Progress that passes a multiple of the policy's step is audited. It never goes back within an attempt: less than what
        is there leaves the number. Raises InvalidArgumentError for
        another number, LateResultError where nobody works on it (any more).
        """
        arguments.within("progress", progress, 0, 99)
        return await attempts.progressed(self._writer, actor, assessment_id, progress, message, attempt)

    async def complete(
        self,
        assessment_id: str,
        result: Mapping[str, Any],
        *,
        attempt: int | None = None,
        actor: Actor | None = None,
    ) -> AssessmentState:
        """The attempt has a verdict, whatever it says: processing to completed, with progress 100.

        Raises LateResultError where the assessment is not being worked on, or in another attempt than `attempt`: the result is
        noted in the audit trail and dropped. Raises InvalidArgumentError for a result that is no JSON.
        """
        ended = {"result_data": arguments.result_text(result), "progress": 100, "error_message": None, "message": None}
        return await attempts.ended(
            self._writer, actor, assessment_id, attempt, Action.COMPLETE, lambda _: (None, ended)
        )

    async def fail(
        self,
        assessment_id: str,
        error: str,
        *,
        retryable: bool = True,
        timed_out: bool = False,
        attempt: int | None = None,
        actor: Actor | None = None,
    ) -> AssessmentState:
        """The attempt has no verdict: processing to failed. It is retried later if `retryable` and attempts remain.

        The pause before is drawn from 0 to the policy's doubled backoff. Raises LateResultError as `complete`.
        """
        action = Action.TIMEOUT if timed_out else Action.FAIL

        def ended(before: AssessmentState) -> tuple[str, dict[str, Any]]:
            due = None
            if retryable and before.retry_count < before.max_retries:
                pause = pause_before_retry(self._writer.policy, before.retry_count)
                due = self._writer.clock() + timedelta(seconds=pause)
            return error, {"error_message": storable(error), "next_retry_at": due}

        return await attempts.ended(self._writer, actor, assessment_id, attempt, action, ended)

    async def cancel(
        self,
        assessment_id: str,
        reason: str | None = None,
        *,
        version: int | None = None,
        actor: Actor | None = None,
    ) -> AssessmentState:
        """Give up what waits, also for its retry, or is worked on; a worker learns it from the state, and its result comes too
        late.

        Raises AssessmentNotFoundError, IllegalTransitionError for what has ended, StaleVersionError as `start_processing`.
        """
        return await attempts.cancelled(self._writer, actor, assessment_id, reason, version)

    # -- trying again ---------------------------------------------------------------------------------------------

    async def retry(
        self, assessment_id: str, *, version: int | None = None, actor: Actor | None = None
    ) -> AssessmentState:
        """Give a failed assessment its next attempt now: failed to pending, and a message to the pipeline.

        Raises AssessmentNotFoundError, IllegalTransitionError for what has not failed, RetriesExhaustedError where no attempts
        remain, StaleVersionError as `start_processing`.
        """

        async def work(connection: AsyncConnection) -> AssessmentState:
            before = await found(connection, assessment_id, lock=True)
            refuse_unless(before, State.PENDING, version=version)
            if before.state is not State.FAILED:
                refuse_unless(before, State.FAILED)
                raise RetriesExhaustedError(
                    f"assessment {assessment_id!r} is being worked on (version {before.version}); wait for its end"
                )
            if before.retry_count >= before.max_retries:
                raise RetriesExhaustedError(
                    f"assessment {assessment_id!r} has used its {before.max_retries} retries; create another one, with a "
                    f"larger max_retries"
                )
            await self._writer.requeue(connection, self._writer.context(actor), [before], Action.RETRY)
            return await found(connection, assessment_id)

        return await self._writer.changed(work)

    async def batch_retry_failed(
        self, max_retries: int | None = None, *, limit: int = 1000, actor: Actor | None = None
    ) -> list[str]:
        """Give all failed assessments (at most `limit`, the oldest first) their next attempt; returns their ids.

        Only those with fewer than `max_retries` retries behind them, and of their own `max_retries` in any case.
        """
        return await upkeep.retry_failed(self._writer, self._writer.context(actor), max_retries, limit)

    async def sweep(self, *, limit: int = 1000) -> Swept:
        """Give what is due its next attempt, end what cannot end by itself, and rescue orphans; at most `limit` of each.

        Due: failed, and the pause before the retry is over. Stranded: processing, and a message of the attempt became a dead
        letter of the pipeline; it fails, and is not retried by itself. Orphaned: processing, and silent since its deadline
        and the policy's grace; it goes back to pending, or fails where no attempts remain. Any number of processes may sweep
        at once.
        """
        return await upkeep.sweep(self._writer, limit)

    async def cleanup(self, retention_days: float, *, audit_days: float | None = None, batch: int = BATCH) -> int:
        """Delete what ended more than so many days ago, `batch` at a time; returns how many.

        Never a failure that awaits its retry. Metrics go with their assessments; the audit trail stays, unless `audit_days`
        says how long that of deleted assessments is kept: an hour behind its last entry at least, and as long no other
        assessment may have the id. Raises InvalidArgumentError for days below 0 or beyond a century.
        """
        arguments.within("retention_days", retention_days, 0, arguments.MOST_DAYS)
        arguments.within("audit_days", audit_days or 0, 0, arguments.MOST_DAYS)
        return await retention.cleanup(self._writer, retention_days, audit_days, batch)

    # -- reading --------------------------------------------------------------------------------------------------

    async def get_state(self, assessment_id: str, *, fresh: bool = False) -> AssessmentState:
        """The assessment as it is now; one that goes on may be as old as the cache's time to live, unless `fresh`.

        From a copy of the database it may be as old as that may be. What this store changed itself is always seen. Raises
        AssessmentNotFoundError.
        """
        return await self._reader.state(assessment_id, fresh=fresh)

    async def wait_for_completion(
        self,
        assessment_id: str,
        timeout: float | None = 30.0,  # noqa: ASYNC109  it raises an error of ours, and never cancels
    ) -> AssessmentState:
        """The assessment once it has ended and no automatic retry is ahead; `timeout` in seconds, None: any time.

        Raises WaitTimeoutError, which changes nothing about the assessment, AssessmentNotFoundError, and InvalidArgumentError
        for a timeout that is no number.
        """
        arguments.refuse_no_id(assessment_id)  # which no other may wait behind
        arguments.within("timeout", timeout or 0, -math.inf, math.inf)
        until = math.inf if timeout is None else anyio.current_time() + timeout
        async with self._waiters.watching(assessment_id) as settled:
            while True:
                left = until - anyio.current_time()
                state = await self.get_state(assessment_id, fresh=True)
                if state.is_settled:
                    return await delivered(self._database, state)
                if left <= 0:
                    raise WaitTimeoutError(assessment_id, state.state, timeout or 0.0)
                # Only the waiting is cut short, never a query.
                with anyio.move_on_after(left):
                    await settled.wait()
                settled.clear()

    async def list_assessments(
        self, filters: Filters | None = None, *, limit: int = 50, after: str | None = None
    ) -> Page:
        """How assessments stand, without their requests and results, the newest first, a page at a time.

        `after` is the `next` of the last page. What is created or deleted meanwhile makes no page skip or repeat another.
        Raises InvalidArgumentError.
        """
        arguments.within("limit", limit, 1, arguments.MOST_ROWS)
        return await self._reader.ask(lambda each: reading.page(each, filters or Filters(), limit, after))

    async def stats(self, *, window: float = 3600.0) -> Stats:
        """The seven aggregates, computed by the database; throughput is that of the last `window` seconds."""
        arguments.within("window", window, 1, arguments.MOST_SECONDS)
        return await self._reader.ask(lambda each: reading.stats(each, self._writer.clock(), window))

    async def audit(
        self, filters: AuditFilters | None = None, *, limit: int = 100, after: int = 0, fresh: bool = False
    ) -> list[AuditEntry]:
        """The audit trail in order of time, behind the entry with the id `after`; `fresh`: never that of a copy.

        On PostgreSQL transactions that overlap may end in another order than that of their entries: who follows a trail of
        many assessments as it grows looks back a while (`since`), and knows again by id what it has.
        """
        arguments.within("limit", limit, 1, arguments.MOST_ROWS)
        arguments.within("after", after, 0, arguments.MOST_ID)
        wanted = filters or AuditFilters()
        return await self._reader.ask(
            lambda each: reading.trail(each, wanted, limit, after), of=wanted.assessment_id, fresh=fresh
        )

    async def health(self) -> Health:
        """How the store does. Raises what the database raises where it does not answer."""
        async with self._database.reading() as connection:
            return await reading.health(connection, self._writer.clock(), self._writer.policy, self._writer.cache)
