"""Which assessment is claimed next, and what becomes of an attempt that does not count any more."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from autocoder_components.assessments import JoinOutcomes
from autocoder_components.assessments.lifecycle import epochs
from autocoder_components.assessments.lifecycle.components import Claim, Ticket
from autocoder_components.assessments.lifecycle.reading import AuditFilters
from autocoder_components.assessments.lifecycle.states import State
from autocoder_components.assessments.lifecycle.store import AssessmentStore, open_store
from autocoder_components.assessments.lifecycle.tables import assessment_states
from autocoder_components.assessments.lifecycle.wanted import until_unwanted, unwanted
from autocoder_components.assessments.model import CheckKind, Outcome, Request, Status

from autocoder import Database
from autocoder.database import in_use
from tests.assessments.conftest import SOUND, servers, write
from tests.assessments.lifecycle.conftest import folded
from tests.assessments.lifecycle.shipped import serve, states

pytestmark = pytest.mark.anyio


def request_row(assessment_id: str, attempt: int, **values: Any) -> dict[str, Any]:
    return {
        "of_id": assessment_id,
        "of_attempt": attempt,
        "moment": datetime.now(UTC),
        "actor": "pipeline",
        **values,
    }


async def executed(database: Database, statements: Any) -> None:
    """What the committer does with the statements of a sink."""
    async with database.transaction() as connection:
        for each in statements:
            await connection.execute(each.statement, list(each.rows) or None)


async def test_a_verdict_of_an_attempt_that_does_not_count_is_noted_and_dropped(database: Database) -> None:
    store, postgres = AssessmentStore(database), not database.is_sqlite
    await store.batch_create([{"id": "cancelled"}, {"id": "second"}, {"id": "counts"}, {"id": "early"}])
    ids = ("cancelled", "second", "counts", "cancelled before")
    deadline = datetime.now(UTC) + timedelta(minutes=5)
    await executed(
        database, epochs.claims([request_row(each, 0, deadline=deadline) for each in ids], postgres=postgres)
    )
    await store.cancel("cancelled")
    await store.fail("second", "no")
    await store.retry("second")
    await store.start_processing("second")
    late = [request_row(each, 0, result="{}") for each in ("cancelled", "second", "counts", "early", "nobody")]
    await executed(database, epochs.verdicts(late, postgres=postgres))
    found = {name: each.state for name, each in (await states(store)).items()}
    assert found == {
        "cancelled": State.CANCELLED,
        "second": State.PROCESSING,
        "counts": State.COMPLETED,
        "early": State.PENDING,
    }
    noted = await store.audit(AuditFilters(action="late_result"))
    assert sorted(each.assessment_id for each in noted) == ["cancelled", "early", "second"]
    for name in found:
        state = await store.get_state(name, fresh=True)
        assert folded(await store.audit(AuditFilters(assessment_id=name))) == (state.state, state.version)


async def test_what_has_waited_longer_passes_what_is_more_urgent_and_an_urgent_newcomer_the_rest(
    database: Database,
) -> None:
    moment = datetime.now(UTC)
    for name, priority, minutes in (("old", 9, 20), ("low", 9, 0), ("urgent", 1, 0), ("usual", 5, 0)):
        at = moment - timedelta(minutes=minutes)
        store = AssessmentStore(database, clock=lambda at=at: at)
        await store.create({"id": name, "priority": priority})
    with in_use(database):
        claim = Claim()
        await claim.open()
        tickets = [Ticket("any")] * 3
        assert [each.assessment_id for each in await claim.process_batch(tickets)] == ["old", "urgent", "usual"]
        await AssessmentStore(database).create({"id": "newcomer", "priority": 1})
        assert [each.assessment_id for each in await claim.process_batch(tickets)] == ["newcomer", "low"]
        assert await claim.process_batch(tickets) == []
        # What comes back for its next attempt is taken again, although nothing of the first was committed.
        store = AssessmentStore(database)
        await store.start_processing("low")
        await store.fail("low", "no")
        await store.retry("low")
        (again,) = await claim.process_batch(tickets)
        assert (again.assessment_id, again.attempt) == ("low", 1)


async def test_no_more_are_claimed_than_there_is_room_for(machine: Path, url: str) -> None:
    write(machine / ".mcp.json", servers(a=SOUND))
    async with open_store(url) as store:
        await store.batch_create([{"paths": ["."]}] * 200)
        await serve(url)
        trail = await store.audit(limit=1000)
        steps = {"start": 1, "complete": -1}
        at_once = list(accumulate(steps.get(each.change_action, 0) for each in trail))
    assert at_once[-1] == 0
    # What may wait, what is read before a commit (two epochs and a piece), and what a barrier goes past in flight.
    assert 0 < max(at_once) <= 32 + 3 * 16 + 32


async def test_a_worker_learns_that_nobody_waits(database: Database) -> None:
    store = AssessmentStore(database)
    ids = ["cancelled", "again", "late", "deleted", "goes on"]
    await store.batch_create([{"id": each} for each in ids])
    for each in ids:
        await store.start_processing(each)
    with in_use(database):
        assert [await unwanted(Request(each, attempt=0)) for each in [*ids]] == [None] * 5
        assert await unwanted(Request("nobody's")) is None
        await store.cancel("cancelled")
        await store.fail("again", "no")
        await store.retry("again")
        await store.start_processing("again")
        async with database.transaction() as connection:
            mine = assessment_states.c.assessment_id
            past = datetime.now(UTC) - timedelta(seconds=1)
            await connection.execute(sa.update(assessment_states).where(mine == "late").values(deadline_at=past))
            await connection.execute(sa.delete(assessment_states).where(mine == "deleted"))
        assert [await unwanted(Request(each, attempt=0)) for each in ids] == [
            "the assessment is cancelled",
            "attempt 1 counts now",
            "its time is over",
            "the assessment was deleted",
            None,
        ]
        ended: list[str] = []

        async def watch() -> None:
            ended.append(await until_unwanted(Request("goes on", attempt=0), every=0.01))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await anyio.wait_all_tasks_blocked()
            await store.complete("goes on", {})
        assert ended == ["the assessment is completed"]


async def test_what_was_cancelled_is_not_claimed_by_a_late_commit(database: Database) -> None:
    store = AssessmentStore(database)
    made = await store.create({})
    row = request_row(made, 0, deadline=datetime.now(UTC))
    await store.cancel(made)
    await executed(database, epochs.claims([row], postgres=not database.is_sqlite))
    assert (await store.get_state(made, fresh=True)).state is State.CANCELLED
    assert [each.change_action for each in await store.audit()] == ["create", "cancel"]


def test_the_outcomes_of_two_attempts_are_never_joined() -> None:
    first = Outcome(Request("a", attempt=0), None, CheckKind.CONFIG, Status.PASS, planned=2)
    again = replace(first, request=Request("a", attempt=1))
    join = JoinOutcomes()
    assert len({join.key(first), join.key(again), join.key(replace(first, request=Request("a")))}) == 3
