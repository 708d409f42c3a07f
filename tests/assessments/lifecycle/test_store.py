"""The operations of the store that change an assessment, on both databases."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

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
)
from autocoder_components.assessments.lifecycle.reading import AuditFilters
from autocoder_components.assessments.lifecycle.states import Action, Actor, Policy, State
from autocoder_components.assessments.lifecycle.store import INBOX, PIPELINE, AssessmentStore
from autocoder_components.assessments.lifecycle.tables import (
    assessment_metrics,
    assessment_state_audit,
    assessment_states,
)

from autocoder import Database
from autocoder.store.tables import port_messages
from tests.assessments.lifecycle.conftest import Clock, folded
from tests.assessments.lifecycle.trails import RESULT, count, trail, ways

pytestmark = pytest.mark.anyio


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


# -- keeping ------------------------------------------------------------------------------------------------------


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
