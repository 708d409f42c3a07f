"""The store of assessments on both databases, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from autocoder_components.assessments.lifecycle import cache as caches
from autocoder_components.assessments.lifecycle import shared_cache
from autocoder_components.assessments.lifecycle.states import TRANSITIONS, Action, AuditEntry, State
from autocoder_components.assessments.lifecycle.store import AssessmentStore

from autocoder import Database
from tests.store.fresh import BOTH, fresh


@pytest.fixture(params=BOTH)
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """A new database of each kind, with every table."""
    async with fresh(request, tmp_path, tables=True) as made:
        yield made


class Clock:
    """A clock that stands still until the test moves it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(database: Database, clock: Clock) -> AsyncIterator[AssessmentStore]:
    """A store whose clock the test moves."""
    made = AssessmentStore(database, clock=clock)
    yield made
    await made.close()


@pytest.fixture(scope="module")
def patience() -> Iterator[None]:
    """A slow machine is no failure: what is told for half a second is told for a minute here, and Redis may take its time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(caches, "ACTIVE_SECONDS", 60.0)
        patch.setattr(shared_cache, "TIMEOUT_SECONDS", 60.0)
        yield


def folded(entries: Sequence[AuditEntry]) -> tuple[State, int]:
    """State and version that a trail comes to; fails where it has a gap or goes a way that the lifecycle has not."""
    first, *rest = entries
    assert (first.old_state, first.version_from, first.version_to) == (None, None, 1)
    assert first.change_action == Action.IMPORT or (first.change_action, first.new_state) == (
        Action.CREATE,
        State.PENDING,
    )
    state, version = first.new_state, 1
    for each in rest:
        assert (each.old_state, each.version_from) == (state, version), each
        if each.new_state is state:
            assert each.version_to == version, each
            assert each.change_action in (Action.PROGRESS, Action.LATE_RESULT), each
            continue
        assert (state, each.new_state) in TRANSITIONS and each.version_to == version + 1, each
        state, version = each.new_state, each.version_to
    return state, version
