"""The lifecycle in a pipeline: what waits comes in by priority, its states follow the epochs of the pipeline."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, Literal

import anyio
import sqlalchemy as sa
from pydantic import Field, ValidationError

from autocoder import Batch, Sink, Source, Statement, Transformer, patiently, pipeline_database, reached
from autocoder_components.assessments.deliveries import deliver, summary_of
from autocoder_components.assessments.lifecycle import epochs
from autocoder_components.assessments.lifecycle.arguments import MOST_DAYS
from autocoder_components.assessments.lifecycle.errors import AssessmentError
from autocoder_components.assessments.lifecycle.requests import spec_of
from autocoder_components.assessments.lifecycle.states import Actor, Policy
from autocoder_components.assessments.lifecycle.store import AssessmentStore
from autocoder_components.assessments.lifecycle.tables import assessment_states
from autocoder_components.assessments.lifecycle.wanted import all_unwanted
from autocoder_components.assessments.model import Assessment, Request
from autocoder_components.assessments.reports.json_report import json_document
from autocoder_components.assessments.requests import clock

_states: Final = assessment_states.c
_PENDING: Final = _states.state == sa.literal_column("'pending'")  # the words of the partial index
WORKER: Final = "pipeline:assessments"
CLEAN_SECONDS: Final = 3600.0
"""How often what ended long ago is deleted."""
REMEMBERED: Final = 64
"""So many are taken before it is asked which of them are committed."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """Says that an assessment waits. Which one is taken for it is a matter of priority."""

    assessment_id: str


class Inbox(Transformer[Ticket, Ticket]):
    """Take the tickets that the store of assessments sends with what it creates, retries and rescues.

    ```yaml
    inbox: {use: assessments.Inbox}
    ```
    """

    until_empty: bool = Field(default=False, description="end when no ticket waits, instead of waiting for more")

    def inbox_until(self) -> Literal["drain", "empty"] | None:
        return "empty" if self.until_empty else "drain"

    def process(self, ticket: Ticket, /) -> Ticket:
        return ticket


class RetryDue(Source[Ticket], replayable=False):
    """Look after what waits: retries that are due, assessments that a crash orphaned, and those whose ticket was lost.

    Retries and orphans go back to pending, and their tickets come by the inbox. A pending assessment that nobody takes for
    `stale` seconds gets another ticket from here: one too many does no harm. What a dead letter of this pipeline stopped
    fails here, with its error. What ended long ago is deleted here once an hour, where it is said how long it is kept.

    ```yaml
    due: {use: assessments.RetryDue, with: {every: 5, keep_days: 90, keep_audit_days: 365}}
    ```
    """

    every: float = Field(default=5.0, gt=0, description="seconds between two looks")
    stale: float = Field(default=60.0, gt=0, description="seconds after which a pending assessment gets another ticket")
    grace: float = Field(
        default=Policy().grace, ge=0, description="seconds behind its deadline after which an attempt is an orphan"
    )
    keep_days: float | None = Field(
        default=None,
        ge=0,
        le=MOST_DAYS,
        description="days for which what ended is kept, but a failure that awaits its retry; by default for ever",
    )
    keep_audit_days: float | None = Field(
        default=None,
        ge=0,
        le=MOST_DAYS,
        description="days for which the audit trail of the deleted is kept, an hour at least; by default for ever",
    )
    once: bool = Field(default=False, description="look once and end, instead of looking again and again")

    def check(self) -> None:
        if self.keep_audit_days is not None and self.keep_days is None:
            raise ValueError("keep_audit_days is for the trail of what is deleted; say keep_days, too")

    async def read(self, _resume: Any, /) -> AsyncIterator[Batch[Ticket]]:
        database = pipeline_database()
        store = AssessmentStore(database, policy=Policy(grace=self.grace))

        async def looked() -> list[Ticket]:
            await store.sweep()
            since = datetime.now(UTC) - timedelta(seconds=self.stale)
            forgotten = sa.select(_states.assessment_id).where(_PENDING, _states.updated_at < since).limit(1000)
            async with database.reading() as connection:
                return [Ticket(each) for each in (await connection.execute(forgotten)).scalars()]

        async def cleaned() -> None:
            if self.keep_days is not None:
                await store.cleanup(self.keep_days, audit_days=self.keep_audit_days)

        clean_at = anyio.current_time()
        while True:
            tickets = await patiently(database, "look after assessments", looked)
            if anyio.current_time() >= clean_at:
                await patiently(database, "delete old assessments", cleaned)
                clean_at = anyio.current_time() + CLEAN_SECONDS
            if tickets:
                yield Batch(tickets)
            if self.once:
                return
            await anyio.sleep(self.every)


class Claim(Transformer[Ticket, Request]):
    """Take for tickets as many assessments, those that come first by priority and by how long they have waited.

    That they are being worked on is written by RecordClaims, in the transaction that passes the requests on. A ticket for
    which nothing waits any more (the assessment was cancelled) is dropped.

    ```yaml
    claim:  {use: assessments.Claim, from: [inbox, due]}
    claims: {use: assessments.RecordClaims, from: claim}
    ```
    """

    async def open(self) -> None:
        # What was taken and is pending until its epoch has committed: by the number of its row, in which attempt.
        self._taken: dict[int, int] = {}
        self._most = REMEMBERED

    async def process_batch(self, tickets: Sequence[Ticket], /) -> Sequence[Request]:
        database = pipeline_database()
        if len(self._taken) >= self._most:
            await patiently(database, "claim assessments", self._forget_committed)
            self._most = max(REMEMBERED, 2 * len(self._taken))
        rows = await patiently(database, "claim assessments", partial(self._first, len(tickets)))
        requests: list[Request] = []
        for row in rows:
            try:
                requests.append(_request(row))
            except ValidationError as error:
                await patiently(database, "refuse an assessment", partial(_refuse, row.assessment_id, error))
        self._taken |= {row.id: row.retry_count for row in rows}
        reached("claim.taken")
        return requests

    async def _first(self, number: int) -> Sequence[Any]:
        """So many of those who wait, the first of them.

        What is taken is left out here: a condition for each of them would be another statement each time, which PostgreSQL
        has to plan anew, longer the more there are.
        """
        columns = (_states.id, _states.retry_count)
        order = (_states.claim_rank, _states.id)
        first = sa.select(*columns).where(_PENDING).order_by(*order).limit(len(self._taken) + number)
        async with pipeline_database().reading() as connection:
            waiting = (await connection.execute(first)).all()
            free = [each.id for each in waiting if self._taken.get(each.id) != each.retry_count][:number]
            if not free:
                return []
            chosen = sa.select(assessment_states).where(_PENDING, _states.id.in_(free)).order_by(*order)
            return (await connection.execute(chosen)).all()

    async def _forget_committed(self) -> None:
        still = sa.select(_states.id, _states.retry_count).where(_PENDING, _states.id.in_(list(self._taken)))
        async with pipeline_database().reading() as connection:
            waiting = {each.id: each.retry_count for each in await connection.execute(still)}
        self._taken = {row: attempt for row, attempt in self._taken.items() if waiting.get(row) == attempt}


def _request(row: Any) -> Request:
    spec = spec_of(json.loads(row.request_data), row.assessment_id)
    return replace(spec.request(clock(None)), attempt=row.retry_count, timeout=row.timeout_seconds)


async def _refuse(assessment_id: str, error: ValidationError) -> None:
    """Fail what another version stored and this one does not understand; trying again would not help."""
    store = AssessmentStore(pipeline_database(), actor=Actor(WORKER))
    fields = ", ".join(sorted({".".join(map(str, each["loc"])) or "request" for each in error.errors()}))
    with suppress(AssessmentError):  # cancelled meanwhile, or refused already
        begun = await store.start_processing(assessment_id)
        why = f"this version does not understand the request: {fields}; create another one"
        await store.fail(assessment_id, why, retryable=False, attempt=begun.retry_count)


class StillWanted(Transformer[Request, Request]):
    """Drop requests that were cancelled or ran out of time while they waited behind others.

    ```yaml
    wanted: {use: assessments.StillWanted, from: {port: claim, durable: true, limit: 32}}
    ```
    """

    async def process_batch(self, requests: Sequence[Request], /) -> Sequence[Request]:
        return [each for each, why in zip(requests, await all_unwanted(requests), strict=True) if why is None]


class RecordClaims(Sink[Request]):
    """Note that assessments are being worked on, in the transaction that passes them on: pending to processing.

    What was cancelled meanwhile is left alone; its verdict will come too late.

    ```yaml
    claims: {use: assessments.RecordClaims, from: claim}
    ```
    """

    async def open(self) -> None:
        self._postgres = not pipeline_database().is_sqlite

    def statements(self, batch: Sequence[Request], /) -> Iterator[Statement]:
        reached("claim.recorded")
        rows = []
        for request in batch:
            if request.attempt is not None:
                moment = datetime.now(UTC)
                deadline = moment + timedelta(seconds=request.timeout or Policy().timeout)
                rows.append(_row(request, moment) | {"deadline": deadline})
        return epochs.claims(rows, postgres=self._postgres) if rows else iter(())


class RecordVerdicts(Sink[Assessment]):
    """Complete assessments with their reports, in the transaction that ends their way through the pipeline.

    A verdict that comes too late (the assessment was cancelled, or another attempt counts) is noted in the audit trail and
    dropped. Of a request that says `saveResults: false` the row keeps the numbers; who waits for it gets all of it.

    ```yaml
    verdicts: {use: assessments.RecordVerdicts, from: route.results}
    ```
    """

    with_report: bool = Field(default=True, description="false: the row keeps the numbers, no targets and findings")

    async def open(self) -> None:
        self._postgres = not pipeline_database().is_sqlite

    def statements(self, batch: Sequence[Assessment], /) -> Iterator[Statement]:
        reached("verdict.recorded")
        rows = [
            _row(each.request, datetime.now(UTC)) | {"result": self._result(each)}
            for each in batch
            if each.request.attempt is not None
        ]
        yield from deliver(batch)
        if rows:
            yield from epochs.verdicts(rows, postgres=self._postgres)

    def _result(self, assessment: Assessment) -> str:
        whole = self.with_report and assessment.request.save_results
        document = json_document(assessment) if whole else summary_of(assessment)
        return json.dumps(document, sort_keys=True, ensure_ascii=True, allow_nan=False)


def _row(request: Request, moment: datetime) -> dict[str, Any]:
    return {"of_id": request.assessment_id, "of_attempt": request.attempt, "moment": moment, "actor": WORKER}
