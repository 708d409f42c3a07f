"""A bounded cache of assessments in this process. The database is the truth: what can still change is soon forgotten."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final

from autocoder_components.assessments.lifecycle.states import AssessmentState, State

MOST: Final = 10_000
ACTIVE_SECONDS: Final = 0.5
"""How old the state of an assessment may be that others can change."""
ENDED_SECONDS: Final = 300.0
"""How long a verdict is remembered: it cannot change, but it may be deleted."""


class StateCache:
    """The last states by id, at most `most`, the longest unused dropped first. An older version never replaces a newer."""

    def __init__(self, most: int = MOST) -> None:
        self.hits = self.misses = 0
        self._most = most
        self._kept: OrderedDict[str, tuple[float, AssessmentState]] = OrderedDict()

    def get(self, assessment_id: str) -> AssessmentState | None:
        """The state, or None where it is not known or has been known for too long."""
        until, state = self._kept.get(assessment_id, (0.0, None))
        if state is None or until < time.monotonic():
            self.misses += 1
            return None
        self._kept.move_to_end(assessment_id)
        self.hits += 1
        return state

    def put(self, state: AssessmentState) -> None:
        """Remember a state that was read or written just now."""
        _, known = self._kept.get(state.assessment_id, (0.0, None))
        if known is not None and (known.version, known.updated_at) > (state.version, state.updated_at):
            return
        final = state.state in (State.COMPLETED, State.CANCELLED)
        until = time.monotonic() + (ENDED_SECONDS if final else ACTIVE_SECONDS)
        self._kept[state.assessment_id] = (until, state)
        self._kept.move_to_end(state.assessment_id)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def forget(self, *assessment_ids: str) -> None:
        """These changed, or are gone."""
        for each in assessment_ids:
            self._kept.pop(each, None)
