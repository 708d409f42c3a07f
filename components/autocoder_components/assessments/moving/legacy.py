"""The older event system as the router needs it: what an application writes to plug its own in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import anyio

from autocoder_components.assessments.lifecycle.importing import UNKNOWN_ERROR
from autocoder_components.assessments.lifecycle.legacy import LegacyAssessment, UnreadableError, read_legacy
from autocoder_components.assessments.lifecycle.states import AssessmentState, Policy, State
from autocoder_components.assessments.moving.errors import UnreadableAnswerError


class LegacySystem(Protocol):
    """An older event system. What its methods raise reaches the caller of the router unchanged.

    An assessment is a mapping in the form of a line of its export (`LegacyAssessment`), so that one translation serves both.
    """

    async def create_assessment(self, request: Mapping[str, Any]) -> None:
        """Take a request, which has an `id`; the same request under the same id once more changes nothing.

        When this returns or raises, it is decided: a request that was refused is not done later.
        """
        ...

    async def get_state(self, assessment_id: str) -> Mapping[str, Any] | None:
        """The assessment as it stands now; None for an id that it never had. What it gave up for the store to take over stands
        as it stood then: that the store has it, the router sees there.
        """
        ...

    async def cancel_assessment(self, assessment_id: str, reason: str | None) -> None:
        """Give an assessment up; one that has ended stays as it is."""
        ...

    def on_ended(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call `listener`, in this event loop, with the id of every assessment that ends; returns what stops that.

        An event may come late, twice or never: what counts is what `get_state` says.
        """
        ...


def legacy_state(found: Mapping[str, Any], policy: Policy | None = None) -> AssessmentState:
    """What an older system answered, as the store's readers know it. Raises UnreadableAnswerError where it is none."""
    try:
        return _state(read_legacy(found), policy or Policy())
    except UnreadableError as error:
        raise UnreadableAnswerError(str(error)) from None


def _state(legacy: LegacyAssessment, policy: Policy) -> AssessmentState:
    updated = legacy.updated_at or legacy.created_at
    state, ended = legacy.status, legacy.has_ended
    request = {
        "type": legacy.assessment_type,
        "source": legacy.source,
        "priority": legacy.priority,
        "options": legacy.options,
    }
    return AssessmentState(
        assessment_id=legacy.assessment_id,
        state=state,
        version=legacy.version or 1,
        assessment_type=legacy.assessment_type,
        source=legacy.source,
        server_name=legacy.server_name,
        priority=legacy.priority,
        progress=100 if state is State.COMPLETED else legacy.progress,
        message=legacy.message,
        retry_count=legacy.retry_count,
        max_retries=policy.max_retries if legacy.max_retries is None else legacy.max_retries,
        next_retry_at=legacy.next_retry_at,
        timeout_seconds=legacy.timeout or policy.timeout,
        created_at=legacy.created_at,
        updated_at=updated,
        started_at=None,
        deadline_at=None,
        completed_at=(legacy.completed_at or updated) if ended else None,
        error_message=(legacy.error or UNKNOWN_ERROR) if state is State.FAILED else legacy.error,
        request=request,
        result=(legacy.result or {}) if state is State.COMPLETED else None,
    )


class CompletionBridge:
    """Turns the events of an older system into something to wait for. There is one listener, while anybody waits."""

    def __init__(self, legacy: LegacySystem) -> None:
        self._legacy = legacy
        self._waiting: dict[str, tuple[anyio.Event, int]] = {}
        self._stop: Callable[[], None] | None = None

    async def settled(self, assessment_id: str, seconds: float) -> AssessmentState | None:
        """The assessment once it has ended; None after so many seconds, or when it is not (or no longer) known there."""
        event = self._begin(assessment_id)
        try:
            # Asked only now, when an event that comes meanwhile is heard.
            state = await self._ended(assessment_id)
            if state is None:
                with anyio.move_on_after(seconds):
                    await event.wait()
                state = await self._ended(assessment_id)
            return state
        finally:
            self._end(assessment_id)

    async def _ended(self, assessment_id: str) -> AssessmentState | None:
        found = await self._legacy.get_state(assessment_id)
        state = None if found is None else legacy_state(found)
        return state if state is not None and state.is_settled else None

    def _begin(self, assessment_id: str) -> anyio.Event:
        if self._stop is None:
            self._stop = self._legacy.on_ended(self._heard)
        event, waiters = self._waiting.get(assessment_id, (anyio.Event(), 0))
        self._waiting[assessment_id] = (event, waiters + 1)
        return event

    def _end(self, assessment_id: str) -> None:
        event, waiters = self._waiting[assessment_id]
        if waiters > 1:
            self._waiting[assessment_id] = (event, waiters - 1)
        else:
            del self._waiting[assessment_id]
        if not self._waiting and self._stop is not None:
            self._stop()
            self._stop = None

    def _heard(self, assessment_id: str) -> None:
        event, waiters = self._waiting.get(assessment_id, (None, 0))
        if event is not None:
            event.set()
            # Who comes from now on waits for the next event.
            self._waiting[assessment_id] = (anyio.Event(), waiters)
