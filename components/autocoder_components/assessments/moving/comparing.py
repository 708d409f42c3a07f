"""Comparison mode behind the door: what both systems have ended is compared once, and what differs is reported.

What is still to be compared are rows, so that a crash loses no comparison and several processes share the work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

import anyio

from autocoder_components.assessments.lifecycle.errors import AssessmentNotFoundError
from autocoder_components.assessments.lifecycle.states import AssessmentState
from autocoder_components.assessments.lifecycle.store import AssessmentStore
from autocoder_components.assessments.lifecycle.writing import now
from autocoder_components.assessments.moving import decisions
from autocoder_components.assessments.moving.decisions import Decision
from autocoder_components.assessments.moving.differences import Difference, View, common_view, differences
from autocoder_components.assessments.moving.errors import UnreadableAnswerError, is_trouble
from autocoder_components.assessments.moving.legacy import LegacySystem, legacy_state

BATCH: Final = 500
GRACE: Final = timedelta(minutes=1)
"""How long behind the decision the second system may not know the assessment yet."""
_logger: Final = logging.getLogger("autocoder.assessments")


class Comparisons:
    """The comparisons of a router.

    `view` gives of an assessment what is compared, by name; `on_compared` is told of each comparison, with its differences.
    Both may be set to others.
    """

    def __init__(self, store: AssessmentStore, legacy: LegacySystem | None, count: Callable[[str], None]) -> None:
        self.view: View = common_view
        self.on_compared: Callable[[str, list[Difference]], None] | None = None
        self._store, self._legacy, self._count = store, legacy, count

    async def compare_ended(self) -> int:
        """Compare what both systems have ended, once each; returns how many. What differs is kept, logged and counted.

        Any number of processes may do so at once, and a comparison that a crash cut off is made by the next call.
        """
        after, done = "", 0
        while self._legacy is not None:
            found = await decisions.uncompared(self._store.database, after, BATCH)
            if not found:
                break
            after = found[-1].assessment_id
            for each in found:
                done += await self._compare(self._legacy, each)
        return done

    async def run(self, every: float = 5.0) -> None:
        """Compare again and again, with so many seconds between, until it is cancelled: for a task of the application."""
        while True:
            try:
                await self.compare_ended()
            except Exception as error:
                if not is_trouble(error):
                    raise
                _logger.warning("cannot compare assessments: %s; trying again in %g s", type(error).__name__, every)
            await anyio.sleep(every)

    async def differing(self, limit: int = 100) -> list[Decision]:
        """The last comparisons that found differences, the newest first."""
        return await decisions.list_differing(self._store.database, limit)

    async def _compare(self, legacy: LegacySystem, decided: Decision) -> bool:
        answered = await legacy.get_state(decided.assessment_id)
        try:
            theirs = None if answered is None else legacy_state(answered)
        except UnreadableAnswerError as error:
            return await self._note(decided.assessment_id, [Difference("readable", None, str(error))])
        ours: AssessmentState | None
        try:
            ours = await self._store.get_state(decided.assessment_id, fresh=True)
        except AssessmentNotFoundError:
            ours = None
        there = [each for each in (ours, theirs) if each is not None]
        if not all(each.is_settled for each in there):
            return False
        if ours is not None and theirs is not None:
            return await self._note(decided.assessment_id, differences(ours, theirs, self.view))
        if decided.decided_at is not None and decided.decided_at > now() - GRACE:
            return False
        if not there:  # both have deleted it, or a crash came before either had it
            async with self._store.database.transaction() as connection:
                await decisions.give_up_comparison(connection, decided.assessment_id)
            return False
        return await self._note(decided.assessment_id, [Difference("there", ours is not None, theirs is not None)])

    async def _note(self, assessment_id: str, found: list[Difference]) -> bool:
        async with self._store.database.transaction() as connection:
            kept: dict[str, Any] = {"differences": [asdict(each) for each in found]}
            if not await decisions.note_comparison(connection, assessment_id, kept):
                return False
        self._count("compared")
        if found:
            self._count("differing")
            names = ", ".join(each.what for each in found)
            _logger.warning("assessment %r differs between the store and the older system: %s", assessment_id, names)
        if self.on_compared is not None:
            self.on_compared(assessment_id, found)
        return True
