"""The service: the shipped pipeline on the store, the states of assessments following its epochs."""

from __future__ import annotations

import json
import signal
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa
from autocoder_components.assessments.lifecycle.reading import AuditFilters, Filters
from autocoder_components.assessments.lifecycle.states import State
from autocoder_components.assessments.lifecycle.store import AssessmentStore, open_store
from autocoder_components.assessments.lifecycle.tables import assessment_metrics, assessment_states
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from autocoder import Database, Pipeline, prepare
from autocoder.errors import Place
from autocoder.store.tables import port_messages
from autocoder.yaml_document import from_python
from tests.assessments.conftest import ROOTED, SOUND, servers, write
from tests.assessments.lifecycle.conftest import folded
from tests.assessments.lifecycle.shipped import ENDS, SHIPPED, serve, states
from tests.forked import command

pytestmark = pytest.mark.anyio


async def test_what_is_asked_for_is_claimed_by_priority_assessed_and_told(machine: Path, url: str) -> None:
    write(machine / ".mcp.json", servers(a=SOUND, b=ROOTED))
    async with open_store(url) as store:
        priorities = {"slow": 9, "first": 1, "middle": 5, "gone": 2}
        await store.batch_create([{"id": name, "paths": ["."], "priority": n} for name, n in priorities.items()])
        await store.cancel("gone")
        summary = await serve(url)
        assert summary.dead_letters == 0
        found = await states(store)
        assert found.pop("gone").state is State.CANCELLED
        assert {each.state for each in found.values()} == {State.COMPLETED}
        assert found["first"].result is not None
        assert [each["rule"] for each in found["first"].result["findings"]] == ["AC-511"]
        begun = await store.audit(AuditFilters(action="start"))
        assert [each.assessment_id for each in begun] == ["first", "middle", "slow"]
        for name in priorities:
            trail = await store.audit(AuditFilters(assessment_id=name))
            state = await store.get_state(name, fresh=True)
            assert folded(trail) == (state.state, state.version)
    reports = sorted(each.name for each in (machine / "assessment").iterdir())
    assert reports == [f"{name}.{kind}" for name in ("first", "middle", "slow") for kind in ("html", "sarif")]


async def test_nothing_is_under_way_when_all_have_their_verdict(machine: Path, url: str, database: Database) -> None:
    write(machine / ".mcp.json", servers(a=SOUND))
    store = AssessmentStore(database)
    ids = await store.batch_create([{"paths": ["."]} for _ in range(5)])
    await serve(url)
    assert {each.state for each in (await states(store)).values()} == {State.COMPLETED}
    async with database.reading() as connection:
        waiting = sa.select(sa.func.count()).where(port_messages.c.status != "completed")
        assert (await connection.execute(waiting)).scalar_one() == 0
        kinds = list((await connection.execute(sa.select(assessment_metrics.c.metric_type))).scalars())
    assert sorted(kinds) == ["processing_time"] * len(ids) + ["queue_time"] * len(ids)
    assert (await serve(url)).messages_in == 0


async def test_a_failed_one_is_tried_again_and_a_lost_ticket_replaced(
    machine: Path, url: str, database: Database
) -> None:
    write(machine / ".mcp.json", servers(a=SOUND))
    store = AssessmentStore(database)
    await store.create({"id": "failed", "paths": ["."]})
    await store.start_processing("failed")
    await store.fail("failed", "the network is gone")
    silent = AssessmentStore(database, inbox=None, clock=lambda: datetime.now(UTC) - timedelta(hours=1))
    await silent.create({"id": "lost", "paths": ["."]})
    await silent.create({"id": "orphan", "paths": ["."]})
    await silent.start_processing("orphan")
    async with database.transaction() as connection:
        await connection.execute(
            sa.update(assessment_states)
            .where(assessment_states.c.assessment_id == "failed")
            .values(next_retry_at=datetime.now(UTC) - timedelta(seconds=1))
        )
    for _ in range(2):  # the inbox may be found empty before the look that fills it
        await serve(url)
    assert {name: each.state for name, each in (await states(store)).items()} == dict.fromkeys(
        ("failed", "lost", "orphan"), State.COMPLETED
    )
    assert [each.change_action for each in await store.audit(AuditFilters(assessment_id="orphan"))] == [
        *("create", "start", "rescue", "start", "complete")
    ]


async def test_what_became_a_dead_letter_fails_at_the_next_look_and_is_not_retried_by_itself(
    machine: Path, url: str, database: Database
) -> None:
    write(machine / ".mcp.json", servers(a=SOUND))
    text = SHIPPED.read_text().replace("from: wanted}", "from: breaks}")
    text += "  breaks: {use: tests.assessments.lifecycle.breaking:Breaks, from: wanted}\n"
    pipeline = Pipeline.from_yaml(
        text, allowed=["tests.assessments"], overrides=from_python({"components": ENDS}, Place("test"))
    )
    store = AssessmentStore(database)
    await store.batch_create([{"id": "broken", "paths": ["."]}, {"id": "sound", "paths": ["."]}])
    assert (await pipeline.run_async(database=url)).dead_letters == 1
    await store.create({"id": "works"})
    await store.start_processing("works")
    before = await states(store)
    assert [before[each].state for each in ("broken", "sound", "works")] == [
        *(State.PROCESSING, State.COMPLETED, State.PROCESSING)
    ]
    assert (await store.sweep()).stranded == ("broken",)
    found = await states(store)
    assert found["works"].state is State.PROCESSING
    broken = found["broken"]
    assert (broken.state, broken.next_retry_at, broken.is_settled) == (State.FAILED, None, True)
    assert broken.error_message is not None
    assert "dead letter at breaks" in broken.error_message and "this one breaks it" in broken.error_message
    trail = await store.audit(AuditFilters(assessment_id="broken"))
    assert folded(trail) == (State.FAILED, 3)
    assert [(each.change_action, each.changed_by) for each in trail[2:]] == [("fail", "sweeper")]
    assert (await store.sweep()).stranded == ()
    # The letter of an earlier attempt says nothing of the next one.
    await store.retry("broken")
    await store.start_processing("broken")
    assert (await store.sweep()).stranded == ()


async def test_a_request_of_another_version_fails_and_the_next_one_is_taken(
    machine: Path, url: str, database: Database
) -> None:
    write(machine / ".mcp.json", servers(a=SOUND))
    store = AssessmentStore(database)
    await store.batch_create([{"id": "strange", "priority": 1}, {"id": "good", "paths": ["."]}])
    async with database.transaction() as connection:
        strange = (await connection.execute(sa.select(assessment_states).order_by(assessment_states.c.id))).first()
        assert strange is not None
        await connection.execute(sa.delete(assessment_states).where(assessment_states.c.id == strange.id))
        other = {**strange._mapping, "request_data": '{"hologram": true, "wat": "secret"}'}
        await connection.execute(sa.insert(assessment_states).values(other))
    assert (await serve(url)).dead_letters == 0
    found = await states(store)
    assert (found["strange"].state, found["strange"].next_retry_at) == (State.FAILED, None)
    assert found["strange"].error_message == (
        "this version does not understand the request: hologram, wat; create another one"
    )
    assert found["good"].state is State.COMPLETED


@pytest.mark.parametrize("place", ["commit.fenced:2", "commit.sinks:2", "commit.emitted:1", "commit.done:2"])
async def test_after_a_kill_each_has_exactly_one_verdict(
    machine: Path, url: str, database: Database, place: str
) -> None:
    write(machine / ".mcp.json", servers(a=SOUND))
    await prepare(database)
    store = AssessmentStore(database)
    ids = await store.batch_create([{"id": f"n{number}", "paths": ["."]} for number in range(20)])
    overrides = {"assessments": {"components": ENDS}}
    write(machine / "config" / "testing.yaml", json.dumps({"pipelines": overrides}))

    words = ("run", "assessments", "--env", "testing", "--database", url)
    assert command(*words, cwd=machine, failpoint=place).code == -signal.SIGKILL
    assert command(*words, cwd=machine).code == 0
    ended = (await store.list_assessments(Filters([State.COMPLETED]), limit=100)).assessments
    assert {each.assessment_id for each in ended} == set(ids)
    for each in ids:
        trail = await store.audit(AuditFilters(assessment_id=each))
        assert folded(trail) == (State.COMPLETED, 3)
        assert [entry.change_action for entry in trail] == ["create", "start", "complete"]


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_the_service_waits_out_a_database_that_is_away(
    machine: Path, url: str, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(machine / ".mcp.json", servers(a=SOUND))
    forever = {"due": {"with": {"every": 0.05}}}
    pipeline = Pipeline.from_yaml(SHIPPED, overrides=from_python({"components": forever}, Place("test")))
    server = create_async_engine(postgres_url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    name = sa.make_url(url).database

    async def tell(statement: str) -> None:
        async with server.connect() as connection:
            await connection.execute(sa.text(statement))

    async def until(condition: Callable[[], Awaitable[bool]]) -> None:
        while not await condition():
            await anyio.sleep(0.05)

    async with open_store(url) as store:

        async def completed(assessment_id: str) -> bool:
            return (await store.get_state(assessment_id, fresh=True)).state is State.COMPLETED

        async def tried_again() -> bool:
            return "cannot look after assessments" in caplog.text

        async with anyio.create_task_group() as tasks:

            async def run() -> None:
                assert (await pipeline.run_async(database=url)).dead_letters == 0

            tasks.start_soon(run)
            first = await store.create({"paths": ["."]})
            await until(partial(completed, first))
            await tell(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            await tell(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
            await until(tried_again)
            await tell(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            second = await store.create({"paths": ["."]})
            await until(partial(completed, second))
            pipeline.drain()
    await server.dispose()


async def test_what_is_not_saved_reaches_who_waits_and_the_row_keeps_the_numbers(machine: Path, url: str) -> None:
    write(machine / ".mcp.json", servers(b=ROOTED))

    def later() -> datetime:
        return datetime.now(UTC) + timedelta(minutes=11)

    async with open_store(url) as store, open_store(url, clock=later) as sweeper:
        await store.create({"id": "kept", "paths": ["."]})
        await store.create({"id": "gone", "paths": ["."], "options": {"saveResults": False}})
        await serve(url)
        kept, gone = [await store.wait_for_completion(each) for each in ("kept", "gone")]
        assert kept.result is not None
        assert gone.result is not None
        assert [each["rule"] for each in gone.result["findings"]] == ["AC-511"]
        assert gone.result["score"] == kept.result["score"]
        row = await store.get_state("gone", fresh=True)
        assert row.result is not None
        assert set(row.result) == {"format", "version", "assessment", "score", "baseline"}
        assert (await store.get_state("kept", fresh=True)).result == kept.result
        await store.sweep()
        assert (await store.wait_for_completion("gone")).result == gone.result
        await sweeper.sweep()
        assert (await store.wait_for_completion("gone")).result == row.result
        assert (await store.wait_for_completion("kept")).result == kept.result
