"""What the store tells of many assessments: pages, aggregates, the audit trail, health."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from autocoder_components.assessments.lifecycle.reading import AuditFilters, Filters
from autocoder_components.assessments.lifecycle.states import Actor, State
from autocoder_components.assessments.lifecycle.store import AssessmentStore

from autocoder import Database
from tests.assessments.lifecycle.conftest import Clock
from tests.assessments.lifecycle.trails import RESULT

pytestmark = pytest.mark.anyio


async def test_pages_neither_skip_nor_repeat_while_others_are_made(store: AssessmentStore) -> None:
    ids = await store.batch_create([{"id": f"n{number:02}"} for number in range(10)])
    seen: list[str] = []
    after = None
    while True:
        page = await store.list_assessments(limit=3, after=after)
        seen += [each.assessment_id for each in page.assessments]
        await store.create({})
        after = page.next
        if after is None:
            break
    assert seen == ids[::-1]
    with pytest.raises(ValueError, match="no page ended with 'x; DROP'"):
        await store.list_assessments(after="x; DROP")


async def test_lists_load_nothing_that_they_do_not_show(store: AssessmentStore) -> None:
    await store.create({"id": "a", "candidates": [{"name": "mcp.json", "text": "x" * 10_000}]})
    asked: list[str] = []

    def note(_1: Any, _2: Any, statement: str, *_3: Any) -> None:
        asked.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        (found,) = (await store.list_assessments()).assessments
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    (listing,) = [each for each in asked if "assessment_states" in each]
    assert "_data" not in listing
    assert (found.assessment_id, found.state, hasattr(found, "request")) == ("a", State.PENDING, False)


async def test_lists_are_narrowed(store: AssessmentStore, clock: Clock) -> None:
    await store.create({"id": "a", "serverName": "github", "source": "installer"})
    clock.move(10)
    await store.create({"id": "b"})
    await store.cancel("b")

    async def listed(**filters: Any) -> list[str]:
        return [each.assessment_id for each in (await store.list_assessments(Filters(**filters))).assessments]

    assert await listed() == ["b", "a"]
    assert await listed(states=[State.CANCELLED]) == ["b"]
    assert await listed(states=[State.PENDING, State.CANCELLED]) == ["b", "a"]
    assert await listed(server_name="github") == await listed(source="installer") == ["a"]
    assert await listed(assessment_type="security") == ["b", "a"]
    assert await listed(created_since=clock()) == ["b"]
    assert await listed(created_before=clock()) == ["a"]


async def test_the_seven_aggregates(store: AssessmentStore, clock: Clock) -> None:
    nothing = await store.stats()
    assert (nothing.total_assessments, nothing.average_processing_time, nothing.error_rate) == (0, None, None)
    ids = await store.batch_create([{} for _ in range(6)])
    for each in ids[:4]:
        await store.start_processing(each)
    clock.move(4)
    await store.complete(ids[0], RESULT)
    clock.move(4)
    await store.complete(ids[1], RESULT)
    await store.fail(ids[2], "no")
    await store.cancel(ids[5])
    stats = await store.stats(window=120)
    assert (stats.total_assessments, stats.active_assessments) == (6, 2)
    assert (stats.completed_assessments, stats.failed_assessments) == (2, 1)
    assert stats.average_processing_time == pytest.approx(6)
    assert stats.throughput_per_minute == pytest.approx(1.5)
    assert stats.error_rate == pytest.approx(1 / 3)
    assert sum(stats.by_state.values()) == 6


async def test_the_audit_trail_is_asked_by_id_time_transition_and_actor(store: AssessmentStore, clock: Clock) -> None:
    first, second = await store.batch_create([{}, {}], actor=Actor("alice"))
    clock.move(10)
    await store.cancel(first, "because", actor=Actor("bob", context={"ticket": 7}, ip_address="10.0.0.1"))
    await store.start_processing(second)

    async def asked(**filters: Any) -> list[tuple[str, str]]:
        return [(each.assessment_id, each.change_action) for each in await store.audit(AuditFilters(**filters))]

    assert await asked(assessment_id=first) == [(first, "create"), (first, "cancel")]
    assert await asked(since=clock()) == [(first, "cancel"), (second, "start")]
    assert await asked(before=clock()) == [(first, "create"), (second, "create")]
    assert await asked(changed_by="bob") == await asked(new_state=State.CANCELLED) == [(first, "cancel")]
    assert await asked(old_state=State.PENDING, new_state=State.PROCESSING) == [(second, "start")]
    assert await asked(action="create", assessment_id=second) == [(second, "create")]
    (entry,) = await store.audit(AuditFilters(changed_by="bob"))
    assert (entry.context, entry.change_reason, entry.ip_address) == ({"ticket": 7}, "because", None)
    page = await store.audit(limit=2)
    assert [each.change_action for each in await store.audit(after=page[-1].id)] == ["cancel", "start"]


async def test_health_says_what_is_wrong(store: AssessmentStore, clock: Clock) -> None:
    assert ((await store.health()).status, (await store.health()).reasons) == ("healthy", ())
    waits, orphan, due = await store.batch_create([{}, {}, {}])
    await store.start_processing(orphan)
    await store.start_processing(due)
    await store.fail(due, "no")
    clock.move(3600)
    found = await store.health()
    assert (found.status, found.pending, found.processing, found.overdue, found.retries_due) == ("degraded", 1, 1, 1, 1)
    assert found.oldest_pending_seconds == 3600
    assert len(found.reasons) == 3
    await store.get_state(waits)
    await store.get_state(waits)
    assert (await store.health()).cache_hits >= 1


async def test_what_others_changed_is_seen_and_an_older_state_never_comes_back(
    store: AssessmentStore, database: Database
) -> None:
    made = await store.create({})
    old = await store.get_state(made)
    new = await store.cancel(made)
    store._writer.cache.put(old)
    assert await store.get_state(made) == new
    assert await AssessmentStore(database).get_state(made) == new
