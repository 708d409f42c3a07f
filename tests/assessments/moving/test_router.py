"""The router: who does an assessment, that only one does, and that both are asked for what they have."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from autocoder_components.assessments.lifecycle.errors import (
    AssessmentNotFoundError,
    ConflictingRequestError,
    InvalidRequestError,
    WaitTimeoutError,
)
from autocoder_components.assessments.lifecycle.reading import AuditFilters
from autocoder_components.assessments.lifecycle.states import Actor, AssessmentState, State
from autocoder_components.assessments.lifecycle.store import AssessmentStore, open_store
from autocoder_components.assessments.moving import AssessmentRouter, Home, MovingFlags, StoreAwayError, home_by
from sqlalchemy.exc import DBAPIError

from autocoder import Database, DatabaseOptions, open_database, prepare
from tests.assessments.moving.conftest import Flags
from tests.assessments.moving.older import OlderSystem
from tests.faults.proxy import proxied

pytestmark = pytest.mark.anyio
SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
HALF = MovingFlags(percentage=50)
IN_STORE = next(f"id-{n}" for n in range(100) if home_by(HALF, f"id-{n}") is Home.STORE)
IN_LEGACY = next(f"id-{n}" for n in range(100) if home_by(HALF, f"id-{n}") is Home.LEGACY)


async def stored(store: AssessmentStore) -> set[str]:
    return {each.assessment_id for each in (await store.list_assessments(limit=1000)).assessments}


async def test_each_id_goes_where_its_bucket_says_and_comes_back_from_there(
    router: AssessmentRouter, store: AssessmentStore, older: OlderSystem, flags: Flags
) -> None:
    flags.set(percentage=50)
    ids = [f"a-{number}" for number in range(20)]
    for each in ids:
        assert await router.create({"id": each, "priority": 2}, actor=Actor("someone")) == each
    moved = {each for each in ids if home_by(HALF, each) is Home.STORE}
    assert 0 < len(moved) < 20
    assert await stored(store) == moved
    assert set(older.created) == set(ids) - moved
    for each in ids:
        state = await router.get_state(each)
        assert (state.assessment_id, state.state, state.priority) == (each, State.PENDING, 2)
    assert router.metrics() == {"store": len(moved), "legacy": 20 - len(moved)}
    why = {"reason": "percentage", "percentage": 50, "store": True, "compare": False, "by": "someone"}
    for each in (min(moved), min(set(ids) - moved)):
        decided = await router.route_of(each)
        assert decided is not None and decided.why is not None
        assert {name: decided.why[name] for name in why} == why
        assert decided.home == decided.why["home"] == home_by(HALF, each)
    (entry,) = await store.audit(AuditFilters(assessment_id=min(moved)))
    assert entry.context is not None and entry.context["route"]["reason"] == "percentage"


@SQLITE
async def test_metrics_and_audit_are_flags(router: AssessmentRouter, store: AssessmentStore, flags: Flags) -> None:
    for percentage, assessment_id in ((100, "a"), (0, "b")):
        flags.set(percentage=percentage, metrics=False, audit=False)
        await router.create({"id": assessment_id})
        decided = await router.route_of(assessment_id)
        assert decided is not None and decided.why is None
    assert router.metrics() == {}
    assert [each.context for each in await store.audit()] == [None]
    made = await router.create({})
    assert await router.route_of(made) is None, "nothing depends on it, and no trace was asked for"


@SQLITE
async def test_an_id_stays_where_it_is_when_the_flags_change(
    router: AssessmentRouter, store: AssessmentStore, older: OlderSystem, flags: Flags
) -> None:
    flags.set(percentage=0)
    await router.create({"id": "old"})
    flags.set(percentage=100)
    await router.create({"id": "new"})
    for change in ({"percentage": 100}, {"percentage": 0}, {"store": False}, {"percentage": 100, "compare": True}):
        flags.set(**change)
        for each in ("old", "new"):
            assert await router.create({"id": each}) == each
    assert await stored(store) == {"new"}
    assert set(older.created) == {"old"}
    for wrong in ("old", "new"):
        with pytest.raises((ConflictingRequestError, ValueError)):
            await router.create({"id": wrong, "priority": 1})
    await router.cleanup(0)
    flags.set(percentage=100)
    await router.create({"id": "old"})
    flags.set(store=False)
    await router.create({"id": "new"})
    assert (await stored(store), set(older.created)) == ({"new"}, {"old"}), "the decisions are gone, both are found"


@SQLITE
async def test_what_reached_a_system_by_another_door_stays_there(
    router: AssessmentRouter, store: AssessmentStore, older: OlderSystem, flags: Flags
) -> None:
    await older.create_assessment({"id": "theirs"})
    await store.create({"id": "ours"})
    flags.set(percentage=0)
    await router.create({"id": "ours"})
    flags.set(percentage=100)
    await router.create({"id": "theirs"})
    assert await stored(store) == {"ours"} and set(older.created) == {"theirs"}


async def test_of_processes_that_decide_at_once_under_other_flags_one_decides(
    url: str, store: AssessmentStore, older: OlderSystem, tmp_path: Path
) -> None:
    async with open_store(url) as second:
        routers = [
            AssessmentRouter(store, older, lambda: MovingFlags(percentage=100)),
            AssessmentRouter(second, older, lambda: MovingFlags(percentage=0)),
        ]
        ids = [f"race-{number}" for number in range(15)]
        for each in ids:
            async with anyio.create_task_group() as tasks:
                for router in routers:
                    tasks.start_soon(router.create, {"id": each})
    ours = await stored(store)
    assert ours | set(older.created) == set(ids)
    assert not ours & set(older.created)


async def test_a_request_that_the_store_refuses_is_refused_and_falls_nowhere(
    router: AssessmentRouter, store: AssessmentStore, older: OlderSystem, flags: Flags
) -> None:
    flags.set(percentage=100, legacy_fallback=True)
    for wrong in ({"priority": 11}, {"id": "a\0"}, {"id": 5}, {"id": ""}, {"id": "x" * 300}, {"wat": 1}):
        with pytest.raises(InvalidRequestError):
            await router.create(wrong)
    assert not older.created and not await stored(store)


# -- the store fails ----------------------------------------------------------------------------------------------


@pytest.fixture
async def impatient(url: str) -> AsyncIterator[AssessmentStore]:
    """A store that waits for nothing long."""
    async with open_database(replace(DatabaseOptions(url), busy_timeout=0.05, lock_timeout=0.2)) as database:
        await prepare(database)
        yield AssessmentStore(database)


@asynccontextmanager
async def locked(store: AssessmentStore) -> AsyncIterator[None]:
    """Another program has the file for itself."""
    assert store.database.path is not None
    with closing(sqlite3.connect(store.database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@SQLITE
async def test_the_older_system_takes_what_certainly_is_not_stored_and_nothing_else(
    impatient: AssessmentStore, older: OlderSystem, flags: Flags
) -> None:
    router = AssessmentRouter(impatient, older, flags)
    async with locked(impatient):
        flags.set(percentage=100)
        with pytest.raises(DBAPIError, match="locked"):
            await router.create({})
        flags.set(percentage=100, legacy_fallback=True)
        made = await router.create({})
        await router.create({"id": "own"}, new_id=True)
        with pytest.raises(StoreAwayError, match="may have assessment 'shared'"):
            await router.create({"id": "shared"})
        assert older.created == [made, "own"]
    assert router.metrics() == {"store_failed": 4, "fallbacks": 2, "legacy": 2, "store_away": 1}
    for each in (made, "own"):
        await router.create({"id": each})
        assert (await router.get_state(each)).assessment_id == each
    await router.create({"id": "shared"})
    assert await stored(impatient) == {"shared"}


@SQLITE
async def test_going_back_works_while_the_store_is_dead_for_ids_that_are_new(
    impatient: AssessmentStore, older: OlderSystem, flags: Flags
) -> None:
    router = AssessmentRouter(impatient, older, flags)
    flags.set(store=False)
    async with locked(impatient):
        made = await router.create({})
        with pytest.raises(StoreAwayError):
            await router.create({"id": "shared"})
    assert older.created == [made]


FAILS = {
    "sqlite": ("CREATE TRIGGER broken BEFORE INSERT ON assessment_state_audit BEGIN SELECT raise_no_such(1); END",),
    "postgresql": (
        "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$",
        "CREATE TRIGGER broken BEFORE INSERT ON assessment_state_audit FOR EACH ROW EXECUTE FUNCTION broken()",
    ),
}


async def test_a_failure_inside_the_transaction_falls_back_once_the_decision_is_written(
    router: AssessmentRouter, store: AssessmentStore, older: OlderSystem, flags: Flags, database: Database
) -> None:
    async with database.transaction() as connection:
        for statement in FAILS["sqlite" if database.is_sqlite else "postgresql"]:
            await connection.execute(sa.text(statement))
    flags.set(percentage=100, legacy_fallback=True)
    await router.create({"id": "shared"})
    made = await router.create({})
    assert older.created == ["shared", made] and not await stored(store)
    decided = await router.route_of("shared")
    assert decided is not None and decided.why is not None
    assert (decided.home, decided.why["reason"]) == (Home.LEGACY, "the store failed")


async def test_a_commit_whose_answer_was_lost_is_no_reason_to_do_it_twice(
    postgres_url: str, older: OlderSystem, flags: Flags
) -> None:
    from tests.store.fresh import fresh_postgres

    async with fresh_postgres(postgres_url) as url:
        parsed = sa.make_url(url)
        socket = f"{parsed.query['host']}/.s.PGSQL.{parsed.query.get('port', 5432)}"
        async with proxied(socket) as proxy:
            through = parsed.set(host="127.0.0.1", port=proxy.port, query={}).render_as_string(hide_password=False)
            async with open_database(DatabaseOptions(through, retry_attempts=1)) as database:
                await prepare(database)
                store = AssessmentStore(database)
                router = AssessmentRouter(store, older, flags)
                flags.set(percentage=100, legacy_fallback=True)
                proxy.cut_commits(1)
                made = await router.create({})
                assert proxy.commits_cut == 1
                assert await stored(store) == {made} and not older.created
                proxy.refuse()
                fallen = await router.create({})
                with pytest.raises(StoreAwayError):
                    await router.create({"id": "shared"})
                assert (await router.get_state(fallen)).assessment_id == fallen
                proxy.heal()
    assert older.created == [fallen]


# -- looking, waiting, cancelling -----------------------------------------------------------------------------------


async def test_one_flag_goes_back_and_what_the_store_has_is_found_and_finished_there(
    router: AssessmentRouter, store: AssessmentStore, older: OlderSystem, flags: Flags
) -> None:
    flags.set(percentage=100)
    await router.create({"id": "begun"})
    await router.create({"id": "waits"})
    begun = await store.start_processing("begun")
    flags.set(store=False, percentage=100)
    await router.create({"id": "after"})
    assert older.created == ["after"]
    await store.complete("begun", {"score": {"value": 70}}, attempt=begun.retry_count)
    ended = await router.wait_for_completion("begun", 60)
    assert (ended.state, ended.result) == (State.COMPLETED, {"score": {"value": 70}})
    await router.cancel("waits", "enough")
    assert (await router.get_state("waits")).state is State.CANCELLED
    assert (await router.get_state("after")).state is State.PENDING


async def waited(
    router: AssessmentRouter, older: OlderSystem, ids: list[str], then: Callable[[], Any]
) -> dict[str, AssessmentState]:
    """What those get who wait while something happens."""
    found: dict[str, AssessmentState] = {}

    async def wait(assessment_id: str) -> None:
        found[assessment_id] = await router.wait_for_completion(assessment_id, 60)

    async with anyio.create_task_group() as tasks:
        for each in ids:
            tasks.start_soon(wait, each)
        while not older.listeners:
            await anyio.sleep(0.01)
        then()
    return found


@SQLITE
async def test_events_of_the_older_system_wake_who_waits_for_it(
    router: AssessmentRouter, older: OlderSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = ["a", "b", "c"]
    for each in ids:
        await router.create({"id": each})

    def end() -> None:
        assert older.listeners == 1
        older.complete("a", overallScore=70)
        older.complete("b")
        older._set("c", "error", error="no answer")

    found = await waited(router, older, ids, end)
    assert older.listeners == 0
    assert {name: each.state for name, each in found.items()} == {
        "a": State.COMPLETED,
        "b": State.COMPLETED,
        "c": State.FAILED,
    }
    assert (found["a"].result, found["c"].error_message) == ({"overallScore": 70}, "no answer")
    assert (await router.wait_for_completion("a", 0)).state is State.COMPLETED


@SQLITE
async def test_an_event_that_never_came_costs_a_look_and_not_the_answer(
    router: AssessmentRouter, older: OlderSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autocoder_components.assessments.moving.router.LOOK_SECONDS", 0.05)
    older.is_mute = True
    await router.create({"id": "a"})
    assert (await waited(router, older, ["a"], lambda: older.complete("a")))["a"].state is State.COMPLETED


@SQLITE
async def test_who_waits_follows_an_assessment_that_is_taken_over(
    router: AssessmentRouter, store: AssessmentStore, older: OlderSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autocoder_components.assessments.moving.router.LOOK_SECONDS", 0.05)
    await router.create({"id": "a"})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waited, router, older, ["a"], lambda: None)
        while not older.listeners:
            await anyio.sleep(0.01)
        report = await store.import_legacy(older.export(), release=older.release)
        assert report.imported == 1
        await store.start_processing("a")
        await store.complete("a", {})
    assert not older.done()


@SQLITE
async def test_who_waits_in_vain_is_told_and_nothing_changes(router: AssessmentRouter, older: OlderSystem) -> None:
    await router.create({"id": "a"})
    with pytest.raises(WaitTimeoutError):
        await router.wait_for_completion("a", 0.05)
    with pytest.raises(AssessmentNotFoundError):
        await router.wait_for_completion("nobody", 0)
    for ask in (router.get_state, router.cancel):
        with pytest.raises(AssessmentNotFoundError):
            await ask("nobody")
    await router.cancel("a")
    assert (await router.get_state("a")).state is State.CANCELLED
    older.is_away = True
    with pytest.raises(ConnectionRefusedError, match="the older system is away"):
        await router.get_state("a")


@SQLITE
async def test_without_an_older_system_the_router_is_the_store(store: AssessmentStore, flags: Flags) -> None:
    router = AssessmentRouter(store, None, flags)
    flags.set(store=False)
    made = await router.create({"id": "a"})
    assert await stored(store) == {made}
    await store.start_processing(made)
    await store.complete(made, {})
    assert (await router.wait_for_completion(made)).state is State.COMPLETED
    assert (await router.get_state(made)).state is State.COMPLETED
    assert await router.comparisons.compare_ended() == 0
