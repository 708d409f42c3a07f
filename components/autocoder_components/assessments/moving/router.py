"""The one door through which an application asks for assessments while it moves: to the store, to the older system, or both.

Guarantees, whatever the flags say and whenever they change:

- One system does an id. Of several processes that decide about it at once, the first decides for all (`assessment_routes`),
  and an id that either system has already stays there. Only where the flags ask for a comparison do both do it.
- The older system takes what the store failed to store only where it is certain that the store has not got it, and will not
  get it: the connection was refused for an id that nobody else knows, or the decision could be written down afterwards.
- What the store has is found and finished there, whatever the flags say of new assessments: `store: false` strands nothing.
"""

from __future__ import annotations

import logging
import math
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

import anyio
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder_components.assessments.lifecycle.errors import (
    AssessmentNotFoundError,
    IllegalTransitionError,
    InvalidRequestError,
    WaitTimeoutError,
)
from autocoder_components.assessments.lifecycle.states import Actor, AssessmentState
from autocoder_components.assessments.lifecycle.store import API, AssessmentStore
from autocoder_components.assessments.lifecycle.writing import now
from autocoder_components.assessments.moving import decisions
from autocoder_components.assessments.moving.comparing import Comparisons
from autocoder_components.assessments.moving.decisions import Decision
from autocoder_components.assessments.moving.errors import StoreAwayError, is_trouble
from autocoder_components.assessments.moving.flags import Home, bucket, home_by
from autocoder_components.assessments.moving.legacy import CompletionBridge, LegacySystem, legacy_state
from autocoder_components.assessments.requests import AssessmentId
from autocoder_components.assessments.settings import MovingFlags

LOOK_SECONDS: Final = 5.0
"""How often a waiter looks whether its assessment went from the older system to the store."""
BATCH: Final = 500
_logger: Final = logging.getLogger("autocoder.assessments")
_ids: Final[TypeAdapter[str]] = TypeAdapter(AssessmentId)


@dataclass(frozen=True, slots=True)
class Routed:
    """A new assessment on its way: what was asked for, by which flags it is decided, and whether its id is new for sure."""

    assessment_id: str
    request: Mapping[str, Any]
    flags: MovingFlags
    actor: Actor
    is_new: bool
    home: Home
    reason: str

    def decision(self) -> Decision:
        """What is written down."""
        return Decision(self.assessment_id, self.home, self.flags.compare, why=self.why() if self.flags.audit else None)

    def why(self) -> dict[str, Any]:
        """Why it goes where it goes, for the audit."""
        flags = {"store": self.flags.store, "percentage": self.flags.percentage, "compare": self.flags.compare}
        return {
            "home": self.home.value,
            "reason": self.reason,
            "bucket": bucket(self.assessment_id),
            "by": self.actor.name,
            **flags,
        }


class _ElsewhereError(Exception):
    """Another process decided otherwise; undoes the transaction that would have stored the assessment."""


class AssessmentRouter:
    """Creates, finds, awaits and cancels assessments in the system that does them.

    `flags` are those that hold at the moment of each call (`WatchedFlags`, or any function). Without `legacy` this is the
    store. What a comparison looks at, and who is told of it, is set at `comparisons`. One router may be used by many tasks;
    it opens nothing and needs no closing.
    """

    def __init__(
        self,
        store: AssessmentStore,
        legacy: LegacySystem | None,
        flags: Callable[[], MovingFlags] = MovingFlags,
    ) -> None:
        self._store, self._legacy, self._flags = store, legacy, flags
        self.comparisons = Comparisons(store, legacy, self._count)
        self._bridge = None if legacy is None else CompletionBridge(legacy)
        self._counts: Counter[str] = Counter()

    def metrics(self) -> dict[str, int]:
        """What this router decided since it was made, by name; empty while the flags switch counting off.

        `store`, `legacy`: new assessments by home; `store_failed`: of those how often the store failed, `fallbacks`: and the
        older system took it, `store_away`: and it could not be decided; `compared`, `differing`: what became of
        comparisons; `second_failed`: the system whose answer does not count refused the request.
        """
        return dict(self._counts)

    # -- what callers do ------------------------------------------------------------------------------------------

    async def create(self, request: Mapping[str, Any], *, actor: Actor = API, new_id: bool = False) -> str:
        """Have an assessment done by the system that is to do it; returns its id. The same id again changes nothing.

        With `new_id` the caller vouches that the id was made up for this one call: that nobody else uses it, and that this is
        no repetition. It is so where the request has none. Raises what the system raises, and StoreAwayError where the store
        fails and it is not certain that the older system would be the only one.
        """
        routed = self._routed(request, actor, new_id)
        legacy = self._legacy
        if legacy is None:
            await self._store.create(routed.request, actor=routed.actor)
        elif routed.home is Home.STORE and await self._is_known(legacy, routed):
            await legacy.create_assessment(routed.request)  # which knows whether it is the same request
        else:
            moves = self._to_store if routed.home is Home.STORE else self._to_legacy
            self._count((await moves(legacy, routed)).value)
        return routed.assessment_id

    async def get_state(self, assessment_id: str, *, fresh: bool = False) -> AssessmentState:
        """The assessment as the system that does it says. Raises AssessmentNotFoundError where neither has it.

        While the store does not answer, `legacy_fallback` lets the older system answer for what it has.
        """
        if self._legacy is not None and (await self._home(self._legacy, assessment_id))[0] is Home.LEGACY:
            found = await self._legacy.get_state(assessment_id)
            if found is not None:
                return legacy_state(found)
            fresh = True  # it was taken over between two questions, or there is none
        return await self._store.get_state(assessment_id, fresh=fresh)

    async def wait_for_completion(
        self,
        assessment_id: str,
        timeout: float | None = 30.0,  # noqa: ASYNC109  it raises an error of ours, and never cancels
    ) -> AssessmentState:
        """The assessment once it has ended, in whichever system; `timeout` in seconds, None: any time.

        Follows an assessment that the store takes over meanwhile. Raises WaitTimeoutError, which changes nothing, and
        AssessmentNotFoundError.
        """
        legacy, bridge = self._legacy, self._bridge
        until = math.inf if timeout is None else anyio.current_time() + timeout
        while True:
            left = max(0.0, until - anyio.current_time())
            if legacy is None or bridge is None or (await self._home(legacy, assessment_id))[0] is Home.STORE:
                return await self._store.wait_for_completion(assessment_id, None if timeout is None else left)
            ended = await bridge.settled(assessment_id, min(left, LOOK_SECONDS))
            state = await self.get_state(assessment_id) if ended is None else ended
            if state.is_settled:
                return state
            if anyio.current_time() >= until:
                raise WaitTimeoutError(assessment_id, state.state, timeout or 0.0)

    async def cancel(self, assessment_id: str, reason: str | None = None, *, actor: Actor = API) -> None:
        """Give an assessment up in the system that does it, in a comparison in both. Raises as the system does."""
        legacy = self._legacy
        if legacy is None:
            await self._store.cancel(assessment_id, reason, actor=actor)
            return
        home, both = await self._home(legacy, assessment_id)
        if home is Home.STORE:
            await self._store.cancel(assessment_id, reason, actor=actor)
        elif await legacy.get_state(assessment_id) is None:
            raise AssessmentNotFoundError(assessment_id)
        elif both:
            with suppress(AssessmentNotFoundError, IllegalTransitionError):
                await self._store.cancel(assessment_id, reason, actor=actor)
        if both or home is Home.LEGACY:
            await legacy.cancel_assessment(assessment_id, reason)

    async def route_of(self, assessment_id: str) -> Decision | None:
        """What was decided for an id, and why; None where nothing was, or it is not kept any more."""
        return await decisions.decision_of(self._store.database, assessment_id)

    async def cleanup(self, retention_days: float) -> int:
        """Delete decisions that are older; returns how many. What a system has is found there without.

        Of what both did for a comparison, the store's answer counts from then on. What waits for its comparison stays, as long
        as one of the two has it.
        """
        until, deleted = now() - timedelta(days=retention_days), 0
        while True:
            async with self._store.database.transaction() as connection:
                gone = await decisions.forget(connection, until, BATCH)
            if not gone:
                return deleted
            deleted += gone

    # -- inside ---------------------------------------------------------------------------------------------------

    def _routed(self, request: Mapping[str, Any], actor: Actor, new_id: bool) -> Routed:
        given = request.get("id")
        assessment_id = str(uuid.uuid4()) if given is None else given
        try:
            _ids.validate_python(assessment_id, strict=True)
        except ValidationError as error:
            raise InvalidRequestError(f"the request cannot be stored: id: {error.errors()[0]['msg']}", ["id"]) from None
        flags = self._flags()
        home = home_by(flags, assessment_id)
        reason = "percentage" if flags.store else "store is off"
        asked = {**request, "id": assessment_id}
        routed = Routed(assessment_id, asked, flags, actor, new_id or given is None, home, reason)
        if flags.audit and self._legacy is not None:
            context = {**(actor.context or {}), "route": routed.why()}
            routed = replace(routed, actor=replace(actor, context=context))
        return routed

    async def _is_known(self, legacy: LegacySystem, routed: Routed) -> bool:
        """Whether the older system has the id already, and the store has not: it stays there."""
        if routed.is_new:
            return False
        found = await legacy.get_state(routed.assessment_id)
        if found is None:
            return False
        try:
            decided = await self.route_of(routed.assessment_id)
            if decided is not None and decided.home is Home.STORE:
                return False  # a comparison: the store has it, or is to have it
            async with self._store.database.reading() as connection:
                return not await decisions.is_stored(connection, routed.assessment_id)
        except Exception as error:
            if not is_trouble(error):
                raise
            raise StoreAwayError(routed.assessment_id) from error

    async def _to_store(self, legacy: LegacySystem, routed: Routed) -> Home:
        begun = both = False

        async def claim(connection: AsyncConnection) -> None:
            nonlocal begun, both
            begun = True
            decided = await decisions.claim(connection, routed.decision(), now())
            if decided.home is not Home.STORE:
                raise _ElsewhereError
            both = decided.compared

        try:
            await self._store.batch_create([routed.request], actor=routed.actor, also=claim)
        except _ElsewhereError:
            await legacy.create_assessment(routed.request)
            return Home.LEGACY
        except Exception as error:
            if not is_trouble(error):
                raise
            self._count("store_failed")
            if not routed.flags.legacy_fallback:
                raise
            return await self._fall_back(legacy, routed, error, begun=begun)
        if both:
            await self._second(routed, lambda: legacy.create_assessment(routed.request))
        return Home.STORE

    async def _fall_back(self, legacy: LegacySystem, routed: Routed, error: Exception, *, begun: bool) -> Home:
        """Give the older system what the store failed to store, once it is certain that the store has not got it.

        No transaction was begun: nothing is stored, and of a new id nobody else can store it. Otherwise the decision has to be
        written first, which waits for the end of a transaction whose end is not known.
        """
        if begun or not routed.is_new:
            routed = replace(routed, home=Home.LEGACY, reason="the store failed")
            if (await self._claimed(routed, error)).home is Home.STORE:
                # The COMMIT whose answer was lost had been done, or another process stored it; once more changes nothing.
                await self._store.create(routed.request, actor=routed.actor)
                return Home.STORE
        await legacy.create_assessment(routed.request)
        self._count("fallbacks")
        _logger.warning("the older system does assessment %r, for the store failed", routed.assessment_id)
        return Home.LEGACY

    async def _to_legacy(self, legacy: LegacySystem, routed: Routed) -> Home:
        claimed: Decision | None = None
        if not routed.is_new or routed.flags.compare or routed.flags.audit:
            try:
                claimed = await self._claimed(routed)
            except StoreAwayError:
                if not routed.is_new:
                    raise
                # Of a new id nothing but its trace and a comparison depend on the store.
        if claimed is not None and claimed.home is Home.STORE:
            await self._store.create(routed.request, actor=routed.actor)
            return Home.STORE
        await legacy.create_assessment(routed.request)
        if claimed is not None and claimed.compared:
            await self._second(routed, lambda: self._store.create(routed.request, actor=routed.actor))
        return Home.LEGACY

    async def _claimed(self, routed: Routed, cause: Exception | None = None) -> Decision:
        try:
            async with self._store.database.transaction() as connection:
                return await decisions.claim(connection, routed.decision(), now())
        except Exception as error:
            if not is_trouble(error):
                raise
            self._count("store_away")
            raise StoreAwayError(routed.assessment_id) from (cause or error)

    async def _second(self, routed: Routed, create: Callable[[], Awaitable[Any]]) -> None:
        """The same request to the system whose answer does not count: what it raises is a difference, and nobody's trouble."""
        try:
            await create()
        except Exception as error:
            self._count("second_failed")
            _logger.warning("assessment %r is done by one system alone: %s", routed.assessment_id, type(error).__name__)

    async def _home(self, legacy: LegacySystem, assessment_id: str) -> tuple[Home, bool]:
        """Where an id is done (where a comparison decided, else where it is), and whether both do it.

        Unknown ids are the older system's. While the store does not answer and the flags do not insist on it, that system
        answers for what it has.
        """
        try:
            decided = await self.route_of(assessment_id)
            if decided is not None and decided.compared:
                return decided.home, True
            async with self._store.database.reading() as connection:
                stored = await decisions.is_stored(connection, assessment_id)
        except Exception as error:
            flags = self._flags()
            insists = flags.store and not flags.legacy_fallback
            if insists or not is_trouble(error) or await legacy.get_state(assessment_id) is None:
                raise
            return Home.LEGACY, False
        return (Home.STORE if stored else Home.LEGACY), False

    def _count(self, name: str) -> None:
        if self._flags().metrics:
            self._counts[name] += 1
