"""What no outcome comes of holds nothing up for ever: at the deadline it is an error, and afterwards nothing is left of it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from autocoder_components.assessments import JoinOutcomes, Overdue
from autocoder_components.assessments.joining import OVERDUE
from autocoder_components.assessments.lifecycle import overdue
from autocoder_components.assessments.lifecycle.states import State
from autocoder_components.assessments.lifecycle.store import AssessmentStore, open_store
from autocoder_components.assessments.lifecycle.tables import assessment_state_audit, assessment_states
from autocoder_components.assessments.model import CheckKind, Joined, Outcome, Request, Status, TimeOver
from sqlalchemy.ext.asyncio import AsyncConnection

from autocoder import Database, Pipeline
from autocoder.database import in_use
from autocoder.errors import Place
from autocoder.store.tables import component_state, port_messages
from autocoder.yaml_document import from_python
from tests.assessments.conftest import SOUND, servers, write
from tests.assessments.lifecycle.shipped import SHIPPED

pytestmark = pytest.mark.anyio
FIRST = Outcome(Request("a", attempt=1), None, CheckKind.CONFIG, Status.PASS, planned=3)


def joined(*messages: Outcome | TimeOver) -> tuple[list[Joined], JoinOutcomes]:
    """What the component gives, driven as the runtime does, and the component."""
    join, given = JoinOutcomes(), []
    for each in messages:
        join.arrived.begin(join.key(each))
        result = join.on_skipped(each)
        given += [result] if result is not None else []
    return given, join


def test_what_is_missing_when_the_time_is_over_is_an_error() -> None:
    other = replace(FIRST, request=Request("a", attempt=2))
    (one,), join = joined(FIRST, other, TimeOver("a", 1, wanted=True))
    assert [(each.status, each.reason) for each in one.outcomes if each.status is not Status.PASS] == [
        (Status.ERROR, OVERDUE)
    ] * 2
    assert (one.request.attempt, len(one.outcomes)) == (1, 3)
    assert join.arrived.keys() == ["a#2"]  # the other attempt is waited for


def test_nothing_is_said_of_an_attempt_of_which_nothing_came_or_that_nobody_waits_for() -> None:
    given, join = joined(TimeOver("a", 1, wanted=True), FIRST, TimeOver("a", 1, wanted=False))
    assert (given, join.arrived.keys()) == ([], [])


async def told(source: Overdue, resume: int | None = None) -> tuple[Sequence[TimeOver], Any]:
    async for batch in source.read(resume):
        return batch.payloads, batch.resume
    return [], resume


async def test_overdue_attempts_are_told_of_and_later_what_ended_without_a_verdict(database: Database) -> None:
    store = AssessmentStore(database)
    ids = ["works", "late", "again", "cancelled", "failed", "completed", "waits"]
    await store.batch_create([{"id": each} for each in ids])
    for each in ids[:-1]:
        await store.start_processing(each)
    await store.complete("completed", {})
    await store.cancel("cancelled")
    for each in ("again", "failed"):
        await store.fail(each, "no")
    await store.retry("again")
    async with database.transaction() as connection:
        past = datetime.now(UTC) - timedelta(seconds=20)
        late = sa.update(assessment_states).where(assessment_states.c.assessment_id == "late")
        await connection.execute(late.values(deadline_at=past))
    with in_use(database):
        assert await told(Overdue(once=True)) == ([TimeOver("late", 0, wanted=True)], 0)
        assert (await told(Overdue(once=True, patience=60)))[0] == []
        found, position = await told(Overdue(once=True, patience=60, linger=0))
        assert sorted((each.assessment_id, each.attempt, each.wanted) for each in found) == [
            *(("again", 0, False), ("cancelled", 0, False), ("failed", 0, False))
        ]
        assert (await told(Overdue(once=True, patience=60, linger=0), position))[0] == []


async def test_what_is_left_of_the_deleted_is_forgotten_too(database: Database) -> None:
    """Cleanup may come before what is left of an attempt is told of; nobody would ask for it again."""
    store = AssessmentStore(database)
    line = {"id": "taken over", "status": "pending", "created_at": "2025-01-01T00:00:00Z", "retryCount": 3}
    await store.batch_create([{"id": each} for each in ("cancelled", "again", "completed", "goes on")])
    await store.import_legacy([json.dumps(line)])
    for each in ("cancelled", "again", "completed", "goes on", "taken over"):
        await store.start_processing(each)
    await store.fail("again", "no")
    await store.retry("again")
    for each in ("cancelled", "again", "taken over"):
        await store.cancel(each)
    await store.complete("completed", {})
    await anyio.sleep(0.002)
    assert await store.cleanup(0) == 4
    with in_use(database):
        found, position = await told(Overdue(once=True, linger=0))
        mine = [(each.assessment_id, each.attempt) for each in found if each.assessment_id != "taken over"]
        assert sorted(mine) == [("again", 0), ("again", 1), ("cancelled", 0), ("completed", 0)]
        assert TimeOver("taken over", 3, wanted=False) in found
        assert not any(each.wanted for each in found)
        assert (await told(Overdue(once=True, linger=0), position))[0] == []


async def test_a_trail_that_is_deleted_while_it_is_looked_at_stops_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = AssessmentStore(database)
    await store.create({"id": "a"})
    await store.start_processing("a")
    await store.cancel("a")
    await anyio.sleep(0.002)
    assert await store.cleanup(0) == 1
    count = overdue._attempts_of_deleted

    async def later(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, int]:
        async with database.transaction() as other:
            await other.execute(sa.delete(assessment_state_audit))
        return await count(connection, ids)

    monkeypatch.setattr(overdue, "_attempts_of_deleted", later)
    with in_use(database):
        assert (await told(Overdue(once=True, linger=0)))[0] == []


async def test_a_check_without_an_outcome_does_not_keep_a_verdict_back(
    machine: Path, url: str, database: Database
) -> None:
    write(machine / ".mcp.json", servers(a=SOUND))
    waits = "tests.assessments.lifecycle.breaking:Waits, on_error: {retry: {attempts: 2, backoff: 1h}}"
    text = SHIPPED.read_text().replace("assessments.CheckSecurity", waits)
    often = {"components": {"overdue": {"with": {"every": 0.02, "patience": 0}}}}
    pipeline = Pipeline.from_yaml(text, allowed=["tests.assessments"], overrides=from_python(often, Place("test")))

    async def until(condition: Callable[[], Awaitable[bool]]) -> None:
        while not await condition():
            await anyio.sleep(0.02)

    async def is_tried() -> bool:
        async with database.reading() as connection:
            failed = sa.select(sa.func.count()).where(port_messages.c.status == "failed")
            return (await connection.execute(failed)).scalar_one() == 2  # of the file, and of its server

    async def has_state() -> bool:
        async with database.reading() as connection:
            kept = sa.select(sa.func.count()).where(component_state.c.component_name == "join")
            return (await connection.execute(kept)).scalar_one() > 0

    async with open_store(url) as store, anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: pipeline.run_async(database=url))
        made = await store.create({"type": "security", "paths": ["."]})
        await until(is_tried)
        await until(has_state)
        async with database.transaction() as connection:
            past = datetime.now(UTC) - timedelta(seconds=1)
            await connection.execute(sa.update(assessment_states).values(deadline_at=past))
        ended = await store.wait_for_completion(made)
        assert not await has_state()
        pipeline.drain()
    assert (ended.state, ended.result is not None) == (State.COMPLETED, True)
    assert ended.result is not None
    missing = [each for each in ended.result["outcomes"] if each["check"] == "security"]
    assert [(each["status"], each["reason"]) for each in missing] == [("error", OVERDUE)] * 2
