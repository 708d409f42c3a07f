"""An id names one assessment for ever: while its trail is there no other gets it, and nothing of it is left when one does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from autocoder_components.assessments.lifecycle.components import Claim, Ticket
from autocoder_components.assessments.lifecycle.errors import ConflictingRequestError, DeletedAssessmentError
from autocoder_components.assessments.lifecycle.reading import AuditFilters
from autocoder_components.assessments.lifecycle.states import State
from autocoder_components.assessments.lifecycle.store import AssessmentStore
from autocoder_components.assessments.lifecycle.tables import assessment_state_audit, assessment_states

from autocoder import Database
from autocoder.database import in_use
from autocoder.store.tables import port_messages, sink_storage
from tests.assessments.conftest import SOUND, servers
from tests.assessments.lifecycle.conftest import Clock
from tests.assessments.lifecycle.shipped import serve
from tests.assessments.lifecycle.test_command import Cli, cli

__all__ = ["cli"]

pytestmark = pytest.mark.anyio
SAID = r"^id: the assessment 'a' was there and is deleted; give another id, or leave it out$"
HOUR = 3600


@pytest.fixture
async def deleted(store: AssessmentStore, clock: Clock) -> AsyncIterator[AssessmentStore]:
    """A store in which the assessment `a` was worked on, cancelled, and is deleted, a second before now."""
    await store.create({"id": "a"})
    await store.start_processing("a")
    await store.cancel("a")
    clock.move(1)
    assert await store.cleanup(0) == 1
    yield store


async def counts(database: Database) -> list[int]:
    async with database.reading() as connection:
        return [
            (await connection.execute(sa.select(sa.func.count()).select_from(each))).scalar_one()
            for each in (assessment_states, assessment_state_audit, port_messages)
        ]


@pytest.mark.parametrize("others", [[], [{}, {"id": "b"}]], ids=["alone", "beside others"])
@pytest.mark.parametrize("asked", [{}, {"priority": 1}], ids=["the same request", "another one"])
async def test_the_id_of_what_is_deleted_is_refused_and_nothing_stored(
    deleted: AssessmentStore, database: Database, others: list[Any], asked: dict[str, Any]
) -> None:
    before = await counts(database)
    with pytest.raises(DeletedAssessmentError, match=SAID) as caught:
        await deleted.batch_create([*others, {"id": "a", **asked}])
    assert isinstance(caught.value, ConflictingRequestError)
    assert (caught.value.fields, caught.value.assessment_id) == (("id",), "a")
    assert await counts(database) == before


async def test_the_look_at_the_trail_costs_a_trip_only_where_trips_are_cheap(database: Database) -> None:
    store, asked = AssessmentStore(database), list[str]()

    def heard(*arguments: Any) -> None:
        asked.append(arguments[2])

    trips = list[int]()
    for requests in ([{}], [{"id": "a"}], [{}, {}]):
        asked.clear()
        sa.event.listen(sa.Engine, "before_cursor_execute", heard)
        await store.batch_create(requests)
        sa.event.remove(sa.Engine, "before_cursor_execute", heard)
        trips.append(len(asked))
        looks = [each for each in asked if "FROM assessment_state_audit" in each]
        assert len(looks) == ("id" in requests[0]), "an id that was made up has never been anywhere"
    assert trips[1] - trips[0] == database.is_sqlite


@pytest.mark.parametrize("days", [0, 0.01])
async def test_the_trail_stays_for_an_hour_at_least_and_then_the_id_is_free(
    deleted: AssessmentStore, clock: Clock, days: float
) -> None:
    clock.move(HOUR - 2)
    assert await deleted.cleanup(0, audit_days=days) == 0
    with pytest.raises(DeletedAssessmentError):
        await deleted.create({"id": "a"})
    clock.move(2)
    await deleted.cleanup(0, audit_days=days)
    assert await deleted.create({"id": "a", "priority": 1}) == "a"
    assert [each.change_action for each in await deleted.audit(AuditFilters("a"))] == ["create"]


async def test_a_word_on_what_is_deleted_reaches_nobody(deleted: AssessmentStore) -> None:
    with pytest.raises(DeletedAssessmentError):
        await deleted.create({"id": "a"})
    with pytest.raises(Exception, match="there is no assessment 'a'"):
        await deleted.complete("a", {"verdict": "of the first"}, attempt=0)


async def test_an_export_does_not_bring_back_what_is_deleted(deleted: AssessmentStore) -> None:
    lines = [json.dumps({"id": each, "status": "pending", "created_at": "2025-06-01T10:00:00Z"}) for each in ("a", "b")]
    given_up = list[str]()

    async def release(assessment_id: str) -> None:
        given_up.append(assessment_id)

    why = "the assessment 'a' was here and is deleted; leave the line out, or give it another id"
    for each in (await deleted.import_legacy(lines, release=release), await deleted.import_legacy(lines)):
        assert (each.imported + each.known, [(one.line, one.reason) for one in each.refused]) == (1, [(1, why)])
    assert given_up == ["b"], "what is not taken over must go on where it is"
    checked = await deleted.check_import(lines)
    assert (checked.there, [(one.line, one.reason) for one in checked.missing]) == (1, [(1, why)])
    with pytest.raises(DeletedAssessmentError):
        await deleted.create({"id": "a"})


async def test_the_command_tells_the_line_of_an_id_that_cannot_be_had(cli: Cli, url: str, machine: Path) -> None:
    for each in ("a", "b"):
        await cli("create", "--id", each)
    await cli("cancel", "a")
    assert (await cli("cleanup", "--retention-days", "0", "--audit-days", "0")).code == 0
    for wrong, why in (({"id": "a"}, "was there and is deleted"), ({"id": "b", "priority": 1}, "is there already")):
        (machine / "r.jsonl").write_text("{}\n\n" + json.dumps(wrong) + "\n")
        answer = await cli("create", "--file", "r.jsonl")
        assert answer.code == 2
        assert f"r.jsonl:3: id: the assessment '{wrong['id']}' {why}" in answer.err
        assert "nothing was stored" in answer.err
    assert (await cli("stats", "--json")).json()["total_assessments"] == 1


async def test_what_is_claimed_is_known_by_its_row_and_not_by_its_id(database: Database) -> None:
    """An older one under the same id must not hide the newer one from the service for ever."""
    old = AssessmentStore(database, clock=lambda: datetime.now(UTC) - timedelta(hours=2))
    claim = Claim()
    with in_use(database):
        await claim.open()
        await old.create({"id": "a"})
        assert len(await claim.process_batch([Ticket("a")])) == 1
        await old.cancel("a")
        store = AssessmentStore(database)
        await store.cleanup(0, audit_days=0)
        await store.create({"id": "a"})
        assert [each.assessment_id for each in await claim.process_batch([Ticket("a")])] == ["a"]
        await claim._forget_committed()
        assert len(claim._taken) == 1


async def test_the_number_of_a_row_is_never_given_again(database: Database) -> None:
    store = AssessmentStore(database)
    numbers = set[int]()
    for each in ("a", "b", "c"):
        await store.create({"id": each})
        async with database.reading() as connection:
            numbers.add((await connection.execute(sa.select(assessment_states.c.id))).scalar_one())
        await store.cancel(each)
        await anyio.sleep(0.002)
        assert await store.cleanup(0) == 1
    assert len(numbers) == 3


@pytest.mark.usefixtures("machine")
async def test_what_lay_aside_for_who_waits_is_deleted_with_its_assessment(url: str, database: Database) -> None:
    store = AssessmentStore(database)
    asked = {"candidates": [{"text": json.dumps(servers(notes=SOUND))}], "saveResults": False}
    await store.batch_create([{"id": each, **asked} for each in ("a", "b")])
    await serve(url)
    aside = sa.select(sink_storage.c.sink_name).where(sink_storage.c.sink_name.startswith("delivery:"))
    async with database.reading() as connection:
        assert sorted((await connection.execute(aside)).scalars()) == ["delivery:0:a", "delivery:0:b"]
    assert (await store.wait_for_completion("a", 5)).state is State.COMPLETED
    assert await store.cleanup(0) == 2
    async with database.reading() as connection:
        assert (await connection.execute(aside)).all() == []


def test_over_http_it_is_a_conflict() -> None:
    pytest.importorskip("starlette", reason="needs starlette (pip install -e '.[web]')")
    from autocoder_components.assessments.web.problems import refusal_of

    told = refusal_of(DeletedAssessmentError("a")).details
    assert (told.status, told.code, told.fields) == (409, "conflict", ["id"])
    assert "was there and is deleted; give another id" in told.detail
