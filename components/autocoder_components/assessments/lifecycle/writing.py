"""How the store writes: transactions that are tried again, the actor and the clock, the messages to the pipeline."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, TypeVar

import anyio
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder import Database, reached, send
from autocoder_components.assessments.lifecycle.cache import StateCache
from autocoder_components.assessments.lifecycle.rows import Context, change, requeued
from autocoder_components.assessments.lifecycle.states import Action, Actor, AssessmentState, Policy, State

T = TypeVar("T")
BATCH: Final = 500
_CONFLICTS: Final = ("40001", "40P01")
_ATTEMPTS: Final = 8
_random: Final = random.Random()  # noqa: S311  jitter is no secret


def now() -> datetime:
    """The time, aware."""
    return datetime.now(UTC)


@dataclass(slots=True)
class Writer:
    """What every operation that writes needs."""

    database: Database
    policy: Policy
    actor: Actor
    pipeline: str
    inbox: str | None
    clock: Callable[[], datetime] = now
    cache: StateCache = field(default_factory=StateCache)

    def context(self, actor: Actor | None) -> Context:
        """Who acts, now, by the rules of this store."""
        return Context(actor or self.actor, self.clock(), self.policy)

    async def do(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """The work in a transaction; again, whole, where the database broke it off for the sake of another."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                async with self.database.transaction() as connection:
                    return await work(connection)
            except DBAPIError as error:
                if attempt == _ATTEMPTS or getattr(error.orig, "sqlstate", None) not in _CONFLICTS:
                    raise
            await anyio.sleep(_random.uniform(0, 0.01 * 2**attempt))
        raise AssertionError("the last attempt returns or raises")

    async def changed(self, work: Callable[[AsyncConnection], Awaitable[AssessmentState]]) -> AssessmentState:
        """The same, for work that gives the new state of one assessment."""
        state = await self.do(work)
        await self.cache.changed(state)
        return state

    async def send(self, connection: AsyncConnection, assessment_ids: Sequence[str]) -> None:
        """One message to the pipeline for each assessment that waits, in the transaction of `connection`."""
        if self.inbox is not None and assessment_ids:
            tickets = [{"assessment_id": each} for each in assessment_ids]
            await send(connection, self.pipeline, self.inbox, tickets)
            reached("ticket.sent")

    async def requeue(
        self, connection: AsyncConnection, context: Context, befores: Sequence[AssessmentState], action: Action
    ) -> None:
        """Back to pending with their next attempt, and a message for each."""
        for before in befores:
            reason = before.error_message if action is Action.RETRY else without_verdict(before)
            values = requeued(before, context)
            await change(connection, context, before, State.PENDING, action, reason=reason, **values)
            reached(f"{action}.changed")
        await self.send(connection, [each.assessment_id for each in befores])


def without_verdict(state: AssessmentState) -> str:
    """Why an attempt behind its deadline is given up. A crash and too little time look the same from outside."""
    return f"no verdict came in the {state.timeout_seconds:g} s of the attempt: they are too few, or its worker is gone"


def pause_before_retry(policy: Policy, retry_count: int) -> float:
    """Seconds, drawn from 0 to the backoff doubled for each retry before, capped (full jitter)."""
    return _random.uniform(0, min(policy.backoff_cap, policy.backoff * 2 ** min(retry_count, 32)))
