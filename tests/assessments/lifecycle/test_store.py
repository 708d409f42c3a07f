"""The operations of the store, on both databases."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from autocoder_components.assessments.lifecycle.errors import (
    AssessmentNotFoundError,
    ConflictingRequestError,
    IllegalTransitionError,
    LateResultError,
    RetriesExhaustedError,
    StaleVersionError,
    WaitTimeoutError,
)
from autocoder_components.assessments.lifecycle.reading import AuditFilters, Filters
from autocoder_components.assessments.lifecycle.states import Action, Actor, AssessmentState, Policy, State
from autocoder_components.assessments.lifecycle.store import INBOX, PIPELINE, AssessmentStore
from autocoder_components.assessments.lifecycle.tables import (
    assessment_metrics,
    assessment_state_audit,
    assessment_states,
)

from autocoder import Database
from autocoder.store.tables import port_messages
from tests.assessments.lifecycle.conftest import Clock, folded

pytestmark = pytest.mark.anyio

RESULT = {"score": {"value": 90}}


async def count(database: Database, table: sa.Table) -> int:
    async with database.reading() as connection:
        return int((await connection.execute(sa.select(sa.func.count()).select_from(table))).scalar_one())


async def trail(store: AssessmentStore, assessment_id: str) -> list[Any]:
    return await store.audit(AuditFilters(assessment_id=assessment_id))


async def ways(store: AssessmentStore, assessment_id: str) -> list[str]:
    return [each.change_action for each in await trail(store, assessment_id)]


# -- creating -----------------------------------------------------------------------------------------------------


async def test_what_is_created_is_a_row_an_audit_row_and_a_message_of_the_inbox(
    store: AssessmentStore, database: Database, clock: Clock
) -> None:
    made = await store.create({"paths": ["~/x"], "priority": 2, "serverName": "github"}, actor=Actor("alice"))
    state = await store.get_state(made)
    assert (state.state, state.version, state.progress, state.priority) == (State.PENDING, 1, 0, 2)
    assert (state.created_at, state.server_name, state.max_retries) == (clock(), "github", 3)
    assert state.request["paths"] == ["~/x"]
    (entry,) = await trail(store, made)
    assert (entry.change_action, entry.changed_by, entry.new_state) == (Action.CREATE, "alice", State.PENDING)
    async with database.reading() as connection:
        (message,) = await connection.execute(sa.select(port_messages))
    assert (message.pipeline, message.target_component, message.port_name) == (PIPELINE, INBOX, "in")
    assert made in message.message_data


async def test_the_same_request_again_is_the_same_assessment(store: AssessmentStore, database: Database) -> None:
    request = {"id": "mine", "paths": ["a"], "timestamp": "2026-01-01T00:00:00Z"}
    assert await store.create(request) == await store.create({**request, "timestamp": "later"}) == "mine"
    assert (await store.get_state("mine")).request["timestamp"] == request["timestamp"], "as it was first asked for"
    assert await store.batch_create([request, {"id": "other"}, request]) == ["mine", "other", "mine"]
    for table, rows in ((assessment_states, 2), (assessment_state_audit, 2), (port_messages, 2)):
        assert await count(database, table) == rows


async def test_another_request_under_a_taken_id_is_refused_and_nothing_of_its_batch_stored(
    store: AssessmentStore, database: Database
) -> None:
    await store.create({"id": "mine", "paths": ["a"]})
    for batch in ([{"id": "new"}, {"id": "mine", "paths": ["b"]}], [{"id": "x", "paths": ["1"]}, {"id": "x"}]):
        with pytest.raises(ConflictingRequestError, match=r"^id: the assessment '\w+' is there already"):
            await store.batch_create(batch)
    assert await count(database, assessment_states) == await count(database, port_messages) == 1


async def test_the_options_may_stand_together_and_the_smallest_timeout_holds(store: AssessmentStore) -> None:
    made = await store.create({"timeout": 90, "options": {"includeDetails": False, "timeout": 60}})
    state = await store.get_state(made)
    assert state.timeout_seconds == 60
    assert state.request["include_details"] is False
    assert (await store.get_state(await store.create({"timeout": 5000}))).timeout_seconds == Policy().timeout


# -- attempts -----------------------------------------------------------------------------------------------------


async def test_a_life_from_request_to_verdict(store: AssessmentStore, database: Database, clock: Clock) -> None:
    made = await store.create({"timeout": 60})
    clock.move(3)
    begun = await store.start_processing(made, actor=Actor("worker"))
    assert (begun.state, begun.version, begun.started_at) == (State.PROCESSING, 2, clock())
    assert begun.deadline_at == clock() + timedelta(seconds=60)
    for progress in (10, 30, 40, 20, 80):
        noted = await store.update_progress(made, progress, f"at {progress}", attempt=0)
    assert (noted.progress, noted.message, noted.version) == (80, "at 80", 2)
    clock.move(5)
    done = await store.complete(made, RESULT, attempt=begun.retry_count)
    assert (done.state, done.version, done.progress, done.completed_at) == (State.COMPLETED, 3, 100, clock())
    assert done.result == RESULT
    assert await ways(store, made) == ["create", "start", "progress", "progress", "complete"]
    assert folded(await trail(store, made)) == (State.COMPLETED, 3)
    async with database.reading() as connection:
        metrics = {each.metric_type: each for each in await connection.execute(sa.select(assessment_metrics))}
    assert metrics["queue_time"].metric_value == 3
    assert (metrics["processing_time"].metric_value, metrics["processing_time"].metric_unit) == (5, "seconds")


async def test_of_many_that_start_one_does(store: AssessmentStore) -> None:
    made = await store.create({})
    outcomes: Counter[str] = Counter()

    async def start() -> None:
        try:
            await store.start_processing(made)
            outcomes["started"] += 1
        except IllegalTransitionError as error:
            assert "is processing (version 2)" in str(error)
            outcomes["refused"] += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(start)
    assert outcomes == {"started": 1, "refused": 7}
    assert await ways(store, made) == ["create", "start"]


async def test_an_illegal_change_names_both_states_and_a_stale_one_both_versions(store: AssessmentStore) -> None:
    made = await store.create({})
    with pytest.raises(LateResultError, match=r"is pending \(version 1\) and cannot become completed"):
        await store.complete(made, RESULT)
    with pytest.raises(StaleVersionError, match="has version 1, not 7"):
        await store.start_processing(made, version=7)
    with pytest.raises(StaleVersionError):
        await store.cancel(made, version=2)
    with pytest.raises(IllegalTransitionError, match=r"is pending .* cannot become"):
        await store.retry(made)
    for call in (store.get_state, store.start_processing, store.cancel, store.retry, store.wait_for_completion):
        with pytest.raises(AssessmentNotFoundError, match="there is no assessment 'nobody'"):
            await call("nobody")


async def test_a_late_result_is_noted_and_dropped(store: AssessmentStore, clock: Clock) -> None:
    made = await store.create({})
    first = await store.start_processing(made)
    clock.move(Policy().timeout + Policy().grace + 1)
    assert (await store.sweep()).rescued == (made,)
    second = await store.start_processing(made)
    assert second.retry_count == first.retry_count + 1
    with pytest.raises(LateResultError, match="attempt 1 counts now; it was dropped"):
        await store.complete(made, RESULT, attempt=first.retry_count)
    with pytest.raises(LateResultError):
        await store.update_progress(made, 50, attempt=first.retry_count)
    done = await store.complete(made, {"second": True}, attempt=second.retry_count)
    with pytest.raises(LateResultError, match="nobody waits for it any more"):
        await store.fail(made, "too late", attempt=second.retry_count)
    assert (await store.get_state(made, fresh=True)).result == done.result == {"second": True}
    assert await ways(store, made) == [
        *("create", "start", "rescue", "start", "late_result", "complete", "late_result")
    ]
    assert folded(await trail(store, made)) == (State.COMPLETED, done.version)


async def test_cancelled_with_a_reason_from_pending_and_processing(store: AssessmentStore) -> None:
    waiting, working = await store.batch_create([{}, {}])
    await store.start_processing(working)
    for each in (waiting, working):
        state = await store.cancel(each, "not needed", actor=Actor("bob"))
        assert (state.state, state.is_settled, state.progress < 100) == (State.CANCELLED, True, True)
        last = (await trail(store, each))[-1]
        assert (last.change_reason, last.changed_by) == ("not needed", "bob")
        with pytest.raises(IllegalTransitionError, match="is cancelled"):
            await store.cancel(each)


async def test_a_retry_that_is_ahead_is_cancelled(store: AssessmentStore, database: Database, clock: Clock) -> None:
    made = await store.create({})
    await store.start_processing(made)
    failed = await store.fail(made, "the network is gone")
    with pytest.raises(StaleVersionError):
        await store.cancel(made, version=failed.version - 1)
    state = await store.cancel(made, "enough", version=failed.version)
    assert (state.state, state.is_settled, state.next_retry_at) == (State.CANCELLED, True, None)
    assert await ways(store, made) == ["create", "start", "fail", "retry", "cancel"]
    assert folded(await trail(store, made)) == (State.CANCELLED, state.version)
    clock.move(1000)
    assert (await store.sweep()).retried == ()
    assert await count(database, port_messages) == 1
    last = await store.create({"max_retries": 0})
    await store.start_processing(last)
    await store.fail(last, "the network is gone")
    with pytest.raises(IllegalTransitionError, match="it has failed"):
        await store.cancel(last)


# -- trying again -------------------------------------------------------------------------------------------------


async def test_a_failure_is_retried_when_its_pause_is_over_while_attempts_remain(
    store: AssessmentStore, database: Database, clock: Clock
) -> None:
    made = await store.create({"max_retries": 1})
    await store.start_processing(made)
    failed = await store.fail(made, "the disk is full")
    assert failed.next_retry_at is not None
    assert clock() <= failed.next_retry_at <= clock() + timedelta(seconds=Policy().backoff)
    assert not failed.is_settled
    clock.move(Policy().backoff + 1)
    assert (await store.sweep()).retried == (made,)
    again = await store.get_state(made)
    assert (again.state, again.retry_count, again.error_message, again.completed_at) == (State.PENDING, 1, None, None)
    assert await count(database, port_messages) == 2
    await store.start_processing(made)
    last = await store.fail(made, "still full", timed_out=True)
    assert (last.next_retry_at, last.is_settled) == (None, True)
    with pytest.raises(RetriesExhaustedError, match="has used its 1 retries"):
        await store.retry(made)
    assert await store.batch_retry_failed() == []
    assert await ways(store, made) == ["create", "start", "fail", "retry", "start", "timeout"]


async def test_what_cannot_get_better_is_not_retried_by_itself(store: AssessmentStore, clock: Clock) -> None:
    made = await store.create({})
    await store.start_processing(made)
    assert (await store.fail(made, "no such option", retryable=False)).is_settled
    clock.move(3600)
    assert (await store.sweep()).retried == ()
    assert (await store.retry(made)).state is State.PENDING


async def test_all_failures_are_retried_at_once_up_to_a_number_of_retries(store: AssessmentStore) -> None:
    ids = await store.batch_create([{"id": f"n{number}"} for number in range(5)])
    for each in ids:
        await store.start_processing(each)
        await store.fail(each, "broken", retryable=False)
    await store.retry(ids[0])
    await store.start_processing(ids[0])
    await store.fail(ids[0], "broken", retryable=False)
    assert await store.batch_retry_failed(1, limit=3) == ids[1:4]
    assert await store.batch_retry_failed(1) == ids[4:]
    assert await store.batch_retry_failed() == ids[:1]


async def test_a_row_that_cannot_be_retried_holds_no_other_back(
    store: AssessmentStore, database: Database, clock: Clock
) -> None:
    odd, sound = await store.batch_create([{"max_retries": 1}, {"max_retries": 1}])
    for each in (odd, sound):
        await store.start_processing(each)
        await store.fail(each, "no answer")
    async with database.transaction() as connection:
        by_hand = sa.update(assessment_states).where(assessment_states.c.assessment_id == odd)
        await connection.execute(by_hand.values(retry_count=1))
    clock.move(3600)
    assert (await store.sweep()).retried == (sound,)


async def test_orphans_are_rescued_once_and_given_up_when_no_attempts_remain(
    database: Database, store: AssessmentStore, clock: Clock
) -> None:
    ids = await store.batch_create([{"max_retries": 1}, {"max_retries": 0}])
    for each in ids:
        await store.start_processing(each)
    clock.move(Policy().timeout + 1)
    assert (await store.sweep()).rescued == ()  # its grace is not over
    clock.move(Policy().grace)
    other = AssessmentStore(database, clock=clock)
    swept = []

    async def sweep(who: AssessmentStore) -> None:
        swept.append(await who.sweep())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sweep, store)
        tasks.start_soon(sweep, other)
    assert sorted(each.rescued for each in swept) == [(), (ids[0],)]
    assert sorted(each.given_up for each in swept) == [(), (ids[1],)]
    said = "no verdict came in the 300 s of the attempt: they are too few, or its worker is gone"
    given_up = await store.get_state(ids[1], fresh=True)
    assert given_up.error_message == f"{said}; no attempts remain"
    assert [each.change_reason for each in await store.audit(AuditFilters(action="rescue"))] == [said]


# -- waiting ------------------------------------------------------------------------------------------------------


async def test_a_waiter_gets_the_verdict_that_another_process_reached(store: AssessmentStore, url: str) -> None:
    made = await store.create({})
    await store.start_processing(made)
    seen: list[AssessmentState] = []

    async def wait() -> None:
        seen.append(await store.wait_for_completion(made, 60))

    from autocoder_components.assessments.lifecycle.store import open_store

    async with open_store(url) as other, anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        await other.complete(made, RESULT)
    assert [each.result for each in seen] == [RESULT] * 3
    assert (await store.wait_for_completion(made, 0)).state is State.COMPLETED


async def test_to_stop_waiting_changes_nothing(store: AssessmentStore) -> None:
    made = await store.create({})
    with pytest.raises(WaitTimeoutError, match=r"is still pending after 0\.01 s; it goes on"):
        await store.wait_for_completion(made, 0.01)
    assert (await store.get_state(made, fresh=True)).version == 1
    with anyio.move_on_after(0.05):
        await store.wait_for_completion(made, None)
    assert (await store.cancel(made)).state is State.CANCELLED


async def test_many_wait_for_different_ones(store: AssessmentStore) -> None:
    ids = await store.batch_create([{} for _ in range(30)])
    ended: list[str] = []

    async def wait(assessment_id: str) -> None:
        ended.append((await store.wait_for_completion(assessment_id, 60)).assessment_id)

    async with anyio.create_task_group() as tasks:
        for each in ids:
            tasks.start_soon(wait, each)
        for each in ids:
            await store.cancel(each)
    assert sorted(ended) == sorted(ids)


# -- looking ------------------------------------------------------------------------------------------------------


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


async def test_addresses_are_kept_where_the_policy_says_so(database: Database) -> None:
    store = AssessmentStore(database, policy=Policy(keep_addresses=True))
    made = await store.create({}, actor=Actor("web", ip_address="2001:db8::1", user_agent="browser"))
    (entry,) = await trail(store, made)
    assert (entry.ip_address, entry.user_agent) == ("2001:db8::1", "browser")
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 address"):
        Actor("web", ip_address="not an address")


async def test_cleanup_deletes_what_ended_long_ago_but_no_failure_that_awaits_its_retry(
    store: AssessmentStore, database: Database, clock: Clock
) -> None:
    done, failed, awaiting, cancelled, waiting, working = await store.batch_create([{} for _ in range(6)])
    for each in (done, failed, awaiting, working):
        await store.start_processing(each)
    await store.complete(done, RESULT)
    await store.fail(failed, "no", retryable=False)
    await store.fail(awaiting, "no")
    await store.cancel(cancelled)
    assert await store.cleanup(1) == 0
    clock.move(86_401)
    young = await store.create({})
    await store.cancel(young)
    assert await store.cleanup(1, batch=2) == 3
    left = {each.assessment_id for each in (await store.list_assessments()).assessments}
    assert left == {awaiting, waiting, working, young}
    with pytest.raises(AssessmentNotFoundError):
        await store.get_state(done)
    assert await ways(store, done) == ["create", "start", "complete"]
    trailed = await count(database, assessment_state_audit)
    assert await store.cleanup(1, audit_days=0.5, batch=3) == 0
    assert await count(database, assessment_state_audit) == trailed - 3 - 3 - 2
    with pytest.raises(ValueError, match="a number from 0"):
        await store.cleanup(-1)


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


async def test_a_waiter_whose_connection_broke_is_woken_all_the_same(
    store: AssessmentStore, database: Database
) -> None:
    made = await store.create({})
    seen: list[AssessmentState] = []

    async def wait() -> None:
        seen.append(await store.wait_for_completion(made, 60))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        if not database.is_sqlite:
            listening = "FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
            broken = 0
            while not broken:  # until it listens
                async with database.transaction() as connection:
                    ended = await connection.execute(sa.text(f"SELECT pg_terminate_backend(pid) {listening}"))
                    broken = len(ended.all())
        await store.cancel(made)
    assert [each.state for each in seen] == [State.CANCELLED]
