"""A bounded cache of assessments in this process. The database is the truth: what can still change is soon forgotten.

Below it there may be a level that processes share (`shared_cache`).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from autocoder_components.assessments.lifecycle.states import AssessmentState, State
from autocoder_components.assessments.lifecycle.stored import size_of

MOST: Final = 10_000
MOST_CHARACTERS: Final = 32 * 1024 * 1024
"""Of stored JSON in all. What somebody looks into takes up to three times its length, until it is dropped."""
LONGEST: Final = 1024 * 1024
"""A state with more is not kept: to ask the database again costs less than all that would go for it."""
TIDY_SECONDS: Final = 5.0
"""How often what may not be told any more is dropped."""
ACTIVE_SECONDS: Final = 0.5
"""How old the state of an assessment may be that others can change."""
ENDED_SECONDS: Final = 300.0
"""How long a verdict is remembered: it cannot change, but it may be deleted."""


def age_of(state: AssessmentState) -> tuple[float, int, float]:
    """What grows with every change of an assessment, and where one is deleted and made anew."""
    return state.created_at.timestamp(), state.version, state.updated_at.timestamp()


def _characters(state: AssessmentState) -> int:
    """What a state takes that has no bound of its own."""
    return size_of(state.request) + size_of(state.result) + len(state.error_message or "") + len(state.message or "")


def seconds_to_keep(state: AssessmentState) -> float:
    """How long a state may be told without asking the database."""
    return ENDED_SECONDS if state.state in (State.COMPLETED, State.CANCELLED) else ACTIVE_SECONDS


class SharedLevel(Protocol):
    """A level below the cache of a process. It never fails: what it cannot do costs a question to the database."""

    async def get(self, assessment_id: str) -> tuple[AssessmentState | None, int | None]:
        """The state, or None; and a moment to hand to `put` with what the database says to the same question."""
        ...

    async def put(self, state: AssessmentState, moment: int | None) -> None:
        """Remember what was read from the database behind that moment."""
        ...

    async def changed(self, *states: AssessmentState) -> None:
        """These are the newest; nothing older is told from now on."""
        ...

    async def created(self, moment: datetime, *assessment_ids: str) -> None:
        """These were created just now, or not before this moment; nothing from before is told from now on."""
        ...

    async def forget(self, *assessment_ids: str) -> None:
        """These changed, or are gone."""
        ...


@dataclass(slots=True)
class _Known:
    """An assessment as it was seen last; without its state where that is too long, or may not be told any more."""

    age: tuple[float, int, float]
    until: float
    state: AssessmentState | None
    characters: int

    def drop(self) -> int:
        """Let the state go and keep its age; returns how many characters that frees."""
        freed, self.state, self.characters = self.characters, None, 0
        return freed


class StateCache:
    """The last states by id: at most `most`, and `most_characters` of requests and results, the longest unused dropped first.

    An older version never replaces a newer: the age of a state is known for longer than the state. `on_write` is told what
    this process wrote.
    """

    def __init__(
        self, most: int = MOST, shared: SharedLevel | None = None, *, most_characters: int = MOST_CHARACTERS
    ) -> None:
        self.hits = self.misses = 0
        self.shared = shared
        self.on_write: Callable[[Iterable[str]], None] = lambda _: None
        self.characters = 0
        self._most, self._most_characters = most, most_characters
        self._kept: OrderedDict[str, _Known] = OrderedDict()
        self._tidied = time.monotonic()

    def get(self, assessment_id: str) -> AssessmentState | None:
        """The state, or None where it is not known or has been known for too long."""
        known = self._kept.get(assessment_id)
        if known is None or known.state is None or known.until < time.monotonic():
            self.misses += 1
            return None
        self._kept.move_to_end(assessment_id)
        self.hits += 1
        return known.state

    def is_older(self, state: AssessmentState) -> bool:
        """Whether this process has seen a newer one: it comes from a place that lags behind."""
        known = self._kept.get(state.assessment_id)
        return known is not None and known.age > age_of(state)

    def put(self, state: AssessmentState) -> None:
        """Remember a state that was read or written just now."""
        if self.is_older(state):
            return
        self.forget(state.assessment_id)
        known = _Known(age_of(state), time.monotonic() + seconds_to_keep(state), state, _characters(state))
        self.characters += known.characters
        if known.characters > LONGEST:
            self.characters -= known.drop()
        self._kept[state.assessment_id] = known
        self._tidy()
        while len(self._kept) > self._most or self.characters > self._most_characters:
            self.characters -= self._kept.popitem(last=False)[1].characters

    def _tidy(self) -> None:
        moment = time.monotonic()
        if moment - self._tidied >= TIDY_SECONDS:
            self._tidied = moment
            self.characters -= sum(each.drop() for each in self._kept.values() if each.until < moment)

    def forget(self, *assessment_ids: str) -> None:
        """These changed, or are gone."""
        for each in assessment_ids:
            known = self._kept.pop(each, None)
            self.characters -= 0 if known is None else known.characters

    async def changed(self, state: AssessmentState) -> None:
        """This was written just now: remember it, and let no other process remember an older one."""
        self.put(state)
        self.on_write([state.assessment_id])
        if self.shared is not None:
            await self.shared.changed(state)

    async def created(self, moment: datetime, *assessment_ids: str) -> None:
        """These were created just now: what was deleted under the same id is forgotten, here and in the shared level."""
        self.forget(*assessment_ids)
        self.on_write(assessment_ids)
        if self.shared is not None:
            await self.shared.created(moment, *assessment_ids)

    async def changed_otherwise(self, *assessment_ids: str) -> None:
        """These were written or deleted just now: forget them, here and in the shared level."""
        self.forget(*assessment_ids)
        self.on_write(assessment_ids)
        if self.shared is not None:
            await self.shared.forget(*assessment_ids)
