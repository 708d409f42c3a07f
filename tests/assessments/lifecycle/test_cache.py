"""The cache of one process: bounded, soon forgetful of what can change, and never told anything older than it knows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from autocoder_components.assessments.lifecycle import cache as caches
from autocoder_components.assessments.lifecycle.cache import ENDED_SECONDS, StateCache, seconds_to_keep
from autocoder_components.assessments.lifecycle.states import AssessmentState, State
from autocoder_components.assessments.lifecycle.store import AssessmentStore
from autocoder_components.assessments.lifecycle.stored import StoredJson
from autocoder_components.assessments.lifecycle.writing import now
from hypothesis import given
from hypothesis import strategies as st

from autocoder import Database

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True, scope="module")
def patience() -> Iterator[None]:
    """A slow machine is no failure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(caches, "ACTIVE_SECONDS", 60.0)
        yield


def state(assessment_id: str = "a", version: int = 1, **values: Any) -> AssessmentState:
    made = AssessmentState(
        assessment_id=assessment_id,
        state=State.PROCESSING,
        version=version,
        assessment_type="security",
        source="compliance",
        server_name="gïthub",
        priority=5,
        progress=10,
        message=None,
        retry_count=0,
        max_retries=3,
        next_retry_at=None,
        timeout_seconds=300.0,
        created_at=NOW,
        updated_at=NOW + timedelta(microseconds=version),
        started_at=NOW,
        deadline_at=NOW + timedelta(seconds=300),
        completed_at=None,
        error_message=None,
        request={"paths": ["."], "deep": {"a": [1, 2.5, None, True]}},
    )
    return replace(made, **values)


def test_the_cache_of_a_process_is_bounded_and_takes_nothing_older() -> None:
    cache = StateCache(most=3)
    for number in range(5):
        cache.put(state(f"a{number}"))
    assert [cache.get(f"a{number}") is None for number in range(5)] == [True, True, False, False, False]
    cache.put(state("a4", version=7))
    cache.put(state("a4", version=6))
    found = cache.get("a4")
    assert found is not None and found.version == 7
    assert cache.is_older(state("a4", version=6)) and not cache.is_older(state("a4", version=7))


def long(assessment_id: str, characters: int, version: int = 1, **values: Any) -> AssessmentState:
    return state(assessment_id, version, result=StoredJson('{"findings": "' + "x" * characters + '"}'), **values)


def test_what_is_kept_is_bounded_by_its_length_and_not_by_its_number_alone() -> None:
    cache = StateCache(most_characters=100_000)
    for number in range(100):
        cache.put(long(f"a{number}", 20_000))
        assert cache.characters <= 100_000
    assert [number for number in range(100) if cache.get(f"a{number}")] == [96, 97, 98, 99]
    cache.put(long("a97", 10, version=2))
    assert cache.characters < 70_000
    cache.forget("a96", "a97", "a98", "a99", "nobody")
    assert cache.characters == 0


def test_what_is_very_long_is_not_kept_and_still_loses_to_nothing_older() -> None:
    cache = StateCache()
    cache.put(state("a"))
    cache.put(long("a", caches.LONGEST, version=2))
    assert cache.get("a") is None and cache.characters == 0
    assert cache.is_older(state("a")) and not cache.is_older(state("a", version=2))
    cache.put(state("a"))
    assert cache.get("a") is None


def test_what_may_not_be_told_any_more_is_dropped_though_nobody_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = [0.0]
    monkeypatch.setattr(caches.time, "monotonic", lambda: moment[0])
    cache = StateCache()
    for number in range(10):
        cache.put(long(f"a{number}", 20_000))
    cache.put(long("done", 20_000, state=State.COMPLETED))
    moment[0] = max(caches.ACTIVE_SECONDS, caches.TIDY_SECONDS) + 0.1
    cache.put(state("b"))
    assert 20_000 < cache.characters < 21_000
    assert cache.get("done") is not None
    assert cache.is_older(state("a3", version=0))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5), st.integers(0, 3)), min_size=1))
def test_in_whatever_order_states_come_the_newest_stays(seen: list[tuple[int, int, int]]) -> None:
    cache = StateCache()
    for born, version, updated in seen:
        moment = NOW + timedelta(days=born)
        cache.put(state(version=version, created_at=moment, updated_at=moment + timedelta(seconds=updated)))
    known = cache.get("a")
    assert known is not None
    age = ((known.created_at - NOW).days, known.version, (known.updated_at - known.created_at).seconds)
    assert age == max(seen)


def test_a_verdict_is_remembered_and_what_can_change_soon_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = [0.0]
    monkeypatch.setattr(caches.time, "monotonic", lambda: moment[0])
    cache = StateCache()
    cache.put(state("goes on"))
    cache.put(state("failed", state=State.FAILED))  # and may be retried
    cache.put(state("done", state=State.COMPLETED))
    cache.put(state("cancelled", state=State.CANCELLED))
    moment[0] = caches.ACTIVE_SECONDS + 0.1
    assert [cache.get(name) is None for name in ("goes on", "failed", "done", "cancelled")] == [
        True,
        True,
        False,
        False,
    ]
    moment[0] = ENDED_SECONDS + 0.1
    assert cache.get("done") is None
    assert (cache.hits, cache.misses) == (2, 3)
    assert seconds_to_keep(state()) < seconds_to_keep(state(state=State.COMPLETED))


@pytest.mark.anyio
async def test_who_creates_what_was_deleted_is_not_told_of_its_end(database: Database) -> None:
    one, other = AssessmentStore(database, clock=lambda: now() - timedelta(hours=2)), AssessmentStore(database)
    await one.create({"id": "a"})
    await one.cancel("a")
    assert (await other.get_state("a")).state is State.CANCELLED
    assert await AssessmentStore(database).cleanup(0, audit_days=0) == 1
    await other.create({"id": "a"})
    assert (await other.get_state("a")).state is State.PENDING
