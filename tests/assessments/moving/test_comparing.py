"""Comparison mode: both systems do it, the first one's answer counts, and what differs is told once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import anyio
import pytest
import sqlalchemy as sa
from autocoder_components.assessments.lifecycle.states import AssessmentState, State
from autocoder_components.assessments.lifecycle.store import AssessmentStore
from autocoder_components.assessments.lifecycle.tables import assessment_routes
from autocoder_components.assessments.lifecycle.writing import now
from autocoder_components.assessments.moving import AssessmentRouter, Difference, Home, decisions, differences
from autocoder_components.assessments.moving.differences import common_view

from autocoder import Database
from tests.assessments.moving.conftest import Flags
from tests.assessments.moving.older import OlderSystem

pytestmark = pytest.mark.anyio
SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
REPORT = {
    "score": {"value": 80, "counts": {"critical": 0, "high": 1, "medium": 0, "low": 2, "info": 3}},
    "targets": [{"server": "a"}, {"server": "b"}, {"server": None}],
}
UNREADABLE = "the answer of the older system is no assessment: "
LESS = "Input should be less than or equal to 10"
OLDER = {"overallScore": 80, "totalServers": 2, "summary": {"criticalIssues": 0, "highIssues": 1, "mediumIssues": 0}}


async def complete(store: AssessmentStore, assessment_id: str) -> None:
    await store.start_processing(assessment_id)
    await store.complete(assessment_id, REPORT)


async def test_both_do_it_and_the_first_one_s_answer_counts(
    router: AssessmentRouter, store: AssessmentStore, older: OlderSystem, flags: Flags, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[str, list[Difference]]] = []
    router.comparisons.on_compared = lambda name, found: told.append((name, found))
    for name, percentage in (("ours", 100), ("theirs", 0), ("same", 100)):
        flags.set(percentage=percentage, compare=True)
        await router.create({"id": name})
        await router.create({"id": name})
    assert len(list(older.export())) == 3
    assert (await store.stats()).total_assessments == 3
    for name in ("ours", "theirs"):
        await complete(store, name)
        older.complete(name, **OLDER | {"overallScore": 50})
    await complete(store, "same")
    assert await router.comparisons.compare_ended() == 2, "one is not done by both yet"
    assert (await router.wait_for_completion("ours")).result == REPORT
    assert (await router.wait_for_completion("theirs")).result == OLDER | {"overallScore": 50}
    assert [name for name, _ in told] == ["ours", "theirs"]
    assert told[0][1] == [Difference("overallScore", 80, 50)]
    assert "assessment 'theirs' differs between the store and the older system: overallScore" in caplog.text
    older.complete("same", **OLDER)
    assert await router.comparisons.compare_ended() == 1
    assert await router.comparisons.compare_ended() == 0
    assert told[2] == ("same", [])
    differing = await router.comparisons.differing()
    assert [each.assessment_id for each in differing] == ["theirs", "ours"]
    assert differing[0].comparison == {"differences": [{"what": "overallScore", "store": 80, "legacy": 50}]}
    assert {name: router.metrics()[name] for name in ("compared", "differing")} == {"compared": 3, "differing": 2}
    assert await router.cleanup(0) == 3


@SQLITE
async def test_the_second_system_is_nobody_s_trouble(
    router: AssessmentRouter, store: AssessmentStore, older: OlderSystem, flags: Flags, database: Database
) -> None:
    flags.set(percentage=0, compare=True)
    await router.create({"id": "odd", "priority": 99})  # which the store refuses
    await router.create({"id": "old", "options": {"somethingOld": 1}})
    older.complete("old")
    flags.set(percentage=100, compare=True)
    older.is_away = True
    made = await router.create({})
    older.is_away = False
    await complete(store, made)
    assert router.metrics()["second_failed"] == 3
    assert await router.comparisons.compare_ended() == 1, "the second may be on its way, where the first can be read"
    async with database.transaction() as connection:
        await connection.execute(sa.update(assessment_routes).values(decided_at=now() - timedelta(minutes=2)))
    assert await router.comparisons.compare_ended() == 2
    found = {each.assessment_id: each.comparison for each in await router.comparisons.differing()}
    assert found == {
        "odd": {"differences": [{"what": "readable", "store": None, "legacy": f"{UNREADABLE}priority: {LESS}"}]},
        "old": {"differences": [{"what": "there", "store": False, "legacy": True}]},
        made: {"differences": [{"what": "there", "store": True, "legacy": False}]},
    }


async def test_what_both_have_deleted_is_not_asked_for_again_and_again(
    router: AssessmentRouter, store: AssessmentStore, older: OlderSystem, flags: Flags, database: Database
) -> None:
    flags.set(percentage=100, compare=True)
    older.is_away = True  # it has never had them
    for name in ("a", "kept"):
        await router.create({"id": name}, new_id=True)
    older.is_away = False
    await store.cancel("a")
    await anyio.sleep(0.002)
    assert await store.cleanup(0) == 1
    assert await router.comparisons.compare_ended() == 0
    assert await router.cleanup(0) == 0, "either may be on its way"
    async with database.transaction() as connection:
        await connection.execute(sa.update(assessment_routes).values(decided_at=now() - timedelta(minutes=2)))
    assert await router.comparisons.compare_ended() == 0
    left = [each.assessment_id for each in await decisions.uncompared(database, "", 10)]
    assert left == ["kept"], "which the store still has, and has not ended"
    decided = await router.route_of("a")
    assert decided is not None and not decided.compared
    assert await router.cleanup(0) == 1
    assert await router.comparisons.differing() == []


@SQLITE
async def test_cancelling_reaches_both(
    router: AssessmentRouter, store: AssessmentStore, older: OlderSystem, flags: Flags
) -> None:
    for name, percentage in (("ours", 100), ("theirs", 0)):
        flags.set(percentage=percentage, compare=True)
        await router.create({"id": name})
        await router.cancel(name, "enough")
        assert (await store.get_state(name)).state is State.CANCELLED
        theirs = await older.get_state(name)
        assert theirs is not None and theirs["state"] == "canceled"
        decided = await router.route_of(name)
        assert decided is not None and decided.home is (Home.STORE if percentage else Home.LEGACY)


@SQLITE
async def test_the_task_that_compares_goes_on_through_trouble(
    router: AssessmentRouter, store: AssessmentStore, older: OlderSystem, flags: Flags, caplog: pytest.LogCaptureFixture
) -> None:
    seen = anyio.Event()
    router.comparisons.on_compared = lambda _name, _found: seen.set()
    flags.set(percentage=100, compare=True)
    await router.create({"id": "a"})
    await complete(store, "a")
    older.complete("a", **OLDER)
    older.is_away = True
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(router.comparisons.run, 0.01)
        while "cannot compare assessments: ConnectionRefusedError" not in caplog.text:
            await anyio.sleep(0.01)
        older.is_away = False
        await seen.wait()
        tasks.cancel_scope.cancel()


async def test_only_what_both_speak_of_is_compared(store: AssessmentStore) -> None:
    await store.create({"id": "a"})
    await complete(store, "a")
    ours = await store.get_state("a")
    assert common_view(ours) == {
        "state": "completed",
        "overallScore": 80,
        "totalServers": 2,
        "criticalIssues": 0,
        "highIssues": 1,
        "mediumIssues": 0,
        "lowIssues": 2,
    }
    theirs = replace(ours, result=OLDER | {"serverStatuses": []})
    assert differences(ours, theirs, common_view) == []
    failed = replace(ours, state=State.FAILED, result=None)
    assert differences(ours, failed, common_view) == [Difference("state", "completed", "failed")]

    def version(state: AssessmentState) -> dict[str, int]:
        return {"version": state.version}

    assert differences(ours, replace(ours, version=9), version) == [Difference("version", 3, 9)]
